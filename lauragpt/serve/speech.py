"""/v1/audio/speech, as OpenAI's: a text -> speech, whole or while it is made.

In: JSON. Out: a file of sound; with `stream_format` audio the same in pieces; with sse events `speech.audio.delta` and `speech.audio.done`.
`verbose_json` is what `laura speak --format json` writes, the sound in it as a WAV file in base64.
"""

import asyncio
import base64
import json
import warnings
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine.api import Laura
from lauragpt.engine.chunking import TOKENS_PER_SECOND
from lauragpt.engine.progress import Progress
from lauragpt.errors import LauraError, SpeechWarning
from lauragpt.result import Result
from lauragpt.serve.ffmpeg import FASTEST, SLOWEST, check_av
from lauragpt.serve.problems import Problem, response
from lauragpt.serve.service import Service, attended, check_lang, service_of
from lauragpt.serve.shapes import event, headers_of
from lauragpt.serve.sounds import Encoder, encode, media_type
from lauragpt.serve.voice_store import VoiceStore
from lauragpt.serve.worker import Ticket
from lauragpt.tasks import TASKS

router = APIRouter()
EXAMPLE = {"model": "mini", "input": "Good morning, everyone.", "voice": "slt", "response_format": "wav"}


class VoiceId(BaseModel):
    id: str


class SpeechBody(BaseModel):
    model_config = {"json_schema_extra": {"example": EXAMPLE}}

    input: str = Field(description="The text.")
    model: str | None = None
    voice: str | VoiceId | None = Field(None, description="One of /v1/voices. OpenAI's names stand for the language's default.")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm", "verbose_json"] = "mp3"
    speed: float = Field(1.0, ge=SLOWEST, le=FASTEST, description="At the same pitch; the model itself speaks at one pace.")
    stream_format: Literal["audio", "sse"] | None = Field(None, description="Sound leaves while it is made; default: when it is whole.")
    instructions: str | None = Field(None, description="Ignored, as X-Laura-Ignored says.")
    language: str | None = None
    seed: int = Field(0, ge=0, lt=2**63)
    temperature: float = Field(0.3, ge=0, le=10)
    top_k: int = Field(25, ge=0)
    verify: int = Field(0, ge=0, le=10, description="Tries, of which the one is sent that the model itself recognises best.")


@dataclass(frozen=True)
class Say:
    """Texts and voices with the same options, together."""

    voices: VoiceStore
    options: tuple[tuple[str, Hashable], ...]

    def __call__(self, laura: Laura, inputs: list[tuple[str, str | None]], progress: Progress) -> list[Result]:
        voices = [self.voices.voice(laura, name) for _, name in inputs]
        return laura.speak([text for text, _ in inputs], voice=voices, progress=progress, **dict(self.options))


@router.post("/v1/audio/speech")
async def speech(request: Request, body: SpeechBody) -> Response:
    """A text as speech."""
    service = service_of(request)
    service.check_model(body.model)
    check_body(body, service)
    voice = service.voices.find(body.voice.id if isinstance(body.voice, VoiceId) else body.voice)
    options = {"lang": check_lang(body.language), "seed": body.seed, "temperature": body.temperature, "top_k": body.top_k}
    unused = ["instructions"] if body.instructions else []
    if body.stream_format is not None:
        return await streamed(request, service, body, voice, options, unused)
    kind = Say(service.voices, tuple((options | {"verify": body.verify}).items()))
    with service.ticket(request) as ticket:
        ticket.reserve(service.seconds_of(body.input))
        answer = asyncio.wrap_future(service.worker.ask(kind, (body.input, voice), ticket))
        result = await attended(request, ticket, answer)
    return await sound_response(service, result, body.response_format, unused, body.speed)


def check_body(body: SpeechBody, service: Service) -> None:
    service.check_text(body.input)
    check_av(body.response_format, body.speed)
    if body.stream_format is not None and body.response_format == "verbose_json":
        raise Problem(400, "verbose_json is sent when the speech is whole: leave stream_format out", "response_format")
    if body.stream_format is not None and body.verify:
        raise Problem(400, "verify compares speech that is whole: leave stream_format out", "verify")


async def sound_response(
    service: Service, result: Result, format: str, unused: list[str] | None = None, speed: float = 1.0
) -> Response:  # fmt: skip
    """The sound of an answer, encoded by another thread. Problem 400 where there is nothing to hear."""
    if not len(result.audio):
        raise Problem(400, "nothing is said, so there is no sound to send")
    container = "wav" if format == "verbose_json" else format
    data = await asyncio.get_running_loop().run_in_executor(service.coders, encode, result.audio, container, service.about, speed)
    receipt = result.receipt | ({"speed": speed} if speed != 1 else {})
    headers = headers_of(receipt, unused) | service.generated
    if format != "verbose_json":
        return Response(data, headers=headers, media_type=media_type(format))
    row = json.loads(result.to_json()) | {"audio": base64.b64encode(data).decode(), "receipt": receipt}
    del row["file"]
    return JSONResponse(row, headers=headers)


async def streamed(request: Request, service: Service, body: SpeechBody, voice: str | None, options: dict, unused: list[str]) -> Response:
    """The first piece is waited for, so that what is wrong with the request is told by the status."""
    ticket = service.ticket(request)
    try:
        ticket.reserve(service.seconds_of(body.input))

        def begin(laura: Laura) -> tuple[Iterator[np.ndarray], tuple]:
            pieces = laura.speak_stream(body.input, voice=service.voices.voice(laura, voice), **options)
            return pieces, step(pieces)

        pieces, first = await attended(request, ticket, asyncio.wrap_future(service.worker.call(begin, ticket)))
    except BaseException:
        ticket.close()
        raise
    receipt = {"model": service.name, "voice": voice, **options, "streamed": True} | ({"speed": body.speed} if body.speed != 1 else {})
    headers = headers_of(receipt, unused) | service.generated
    encoder = Encoder(body.response_format, service.about, body.speed)
    if body.stream_format == "audio":
        sound = pieces_of(service, pieces, first, encoder, ticket)
        return StreamingResponse(sound, headers=headers, media_type=media_type(body.response_format))
    return StreamingResponse(events(service, body, pieces, first, encoder, ticket), headers=headers, media_type="text/event-stream")


def step(pieces: Iterator[np.ndarray]) -> tuple[np.ndarray | None, str | None]:
    """The next piece (n,), None behind the last; and why the speech before it failed, if it did."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", SpeechWarning)
        piece = next(pieces, None)
    return piece, next((str(each.message) for each in told if issubclass(each.category, SpeechWarning)), None)


async def steps(service: Service, pieces: Iterator[np.ndarray], first: tuple, ticket: Ticket) -> AsyncIterator[tuple]:
    """Each step is a job of its own, so that other requests are answered in between; the next is made when the last was sent."""
    try:
        found = first
        while found[0] is not None:
            yield found
            found = await asyncio.wrap_future(service.worker.call(lambda laura: step(pieces), ticket))
        yield found
    finally:
        ticket.close()


async def pieces_of(service: Service, pieces: Iterator, first: tuple, encoder: Encoder, ticket: Ticket) -> AsyncIterator[bytes]:
    """What fails now ends the connection: the client sees that the sound is not whole."""
    async with aclosing(steps(service, pieces, first, ticket)) as made:  # so that it ends with this one
        async for piece, _ in made:
            if data := encoder.finish() if piece is None else encoder.feed(piece):
                yield data


async def events(
    service: Service, body: SpeechBody, pieces: Iterator, first: tuple, encoder: Encoder, ticket: Ticket
) -> AsyncIterator[bytes]:
    samples, failed = 0, None
    try:
        async with aclosing(steps(service, pieces, first, ticket)) as made:
            async for piece, reason in made:
                failed, samples = failed or reason, samples + (0 if piece is None else len(piece))
                if data := encoder.finish() if piece is None else encoder.feed(piece):
                    yield event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
    except (LauraError, Problem) as error:
        yield b"data: " + bytes(response(error).body) + b"\n\n"
        return
    read = len(service.tokenizer.encode(body.input, TASKS["tts"].letters))
    made = round(samples / SAMPLE_RATE * TOKENS_PER_SECOND)
    usage = {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
    yield event({"type": "speech.audio.done", "usage": usage} | ({"failed": failed} if failed else {}))
