"""/v1/audio/transcriptions and /v1/audio/translations, as OpenAI's, and the transcript as events while it is written.

In: a form with a recording. Out: text in one of five formats, or server-sent events `transcript.text.delta` and `transcript.text.done`.
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from lauragpt.audio import Recording
from lauragpt.engine.api import Laura
from lauragpt.engine.decoding import FINISHES
from lauragpt.engine.stream import Transcript
from lauragpt.errors import LauraError
from lauragpt.serve.problems import Problem, response
from lauragpt.serve.service import Service, attended, check_lang, service_of
from lauragpt.serve.shapes import event, headers_of, text_response, words_of
from lauragpt.serve.uploads import form_docs, read_form
from lauragpt.serve.worker import Ask, Ticket

router = APIRouter()


class TranscriptionForm(BaseModel):
    model: str | None = Field(None, description="The name of the checkpoint, or one of OpenAI's, which stand for it.")
    language: str | None = Field(None, description="Of the speech, as en or de. Without it the model decides.")
    prompt: str | None = Field(None, description="Ignored, as X-Laura-Ignored says.")
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: float = Field(0.0, ge=0, le=1, description="Ignored: the likeliest text is searched for.")
    timestamp_granularities: list[Literal["word", "segment"]] = Field([], description="Of verbose_json. Default: segment.")
    stream: bool = Field(False, description="Server-sent events while the recording is being read; with verbose_json they hold words.")
    min_confidence: float = Field(0.0, ge=0, le=1, description="Words of less confidence are left out.")


class TranslationForm(BaseModel):
    model: str | None = None
    to: str = Field("en", description="The language to translate into. OpenAI's clients, who cannot say, get English.")
    language: str | None = Field(None, description="Of the speech.")
    prompt: str | None = Field(None, description="Ignored, as X-Laura-Ignored says.")
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: float = Field(0.0, ge=0, le=1, description="Ignored: the likeliest text is searched for.")


def ignored(form: TranscriptionForm | TranslationForm) -> list[str]:
    """The fields that were given and have no effect."""
    return [name for name in ("prompt", "temperature") if getattr(form, name)]


@router.post("/v1/audio/transcriptions", openapi_extra=form_docs(TranscriptionForm, {"model": "mini", "response_format": "verbose_json"}))
async def transcriptions(request: Request) -> Response:
    """What is said in a recording, in lower case, without punctuation, with numbers in words."""
    service = service_of(request)
    form, data = await read_form(request, TranscriptionForm)
    service.check_model(form.model)
    if form.timestamp_granularities and form.response_format != "verbose_json":
        raise Problem(400, "timestamp_granularities go with response_format verbose_json: ask for that", "timestamp_granularities")
    lang = check_lang(form.language)
    if form.stream:
        return await streamed(request, service, data, lang, form)
    result = await service.answer(request, data, Ask.of("transcribe", lang=lang, min_confidence=form.min_confidence))
    granularities = list(form.timestamp_granularities) or ["segment"]
    return text_response(result, form.response_format, granularities, service.tokenizer, ignored(form))


@router.post("/v1/audio/translations", openapi_extra=form_docs(TranslationForm, {"model": "mini", "to": "de"}))
async def translations(request: Request) -> Response:
    """What is said in a recording, in another language."""
    service = service_of(request)
    form, data = await read_form(request, TranslationForm)
    service.check_model(form.model)
    result = await service.answer(request, data, Ask.of("translate", to=check_lang(form.to), lang=check_lang(form.language)))
    return text_response(result, form.response_format, ["segment"], service.tokenizer, ignored(form))


async def streamed(request: Request, service: Service, data: bytes, lang: str | None, form: TranscriptionForm) -> StreamingResponse:
    """What cannot be read is told by the status; what fails later, by an event."""
    ticket = service.ticket(request)
    try:
        recording = await attended(request, ticket, service.decoded(request, data, ticket))
        transcript = await asyncio.wrap_future(service.worker.call(lambda laura: begin(laura, lang, form.min_confidence), ticket))
    except BaseException:
        ticket.close()
        raise
    headers = headers_of({"truncated": recording.truncated, "model": service.name}, ignored(form))
    told = events(service, transcript, recording, ticket, form.response_format == "verbose_json")
    return StreamingResponse(told, headers=headers, media_type="text/event-stream")


def begin(laura: Laura, lang: str | None, min_confidence: float) -> Transcript:
    return Transcript(laura.runtime, laura.runtime.check_lang(lang), min_confidence, every=None, soon=True)


async def events(
    service: Service, transcript: Transcript, recording: Recording, ticket: Ticket, verbose: bool = False
) -> AsyncIterator[bytes]:
    """A delta a chunk, several of the first one perhaps; together they are the text that `done` has. `verbose`: with what `verbose_json`
    says of words, with a delta for silence too, so that one sees how far the reading has come, and at the end with the receipt."""
    texts: list[str] = []
    receipts: list[dict] = []
    try:
        results = chain(transcript.feed(recording.wave), transcript.finish())
        while result := await asyncio.wrap_future(service.worker.call(lambda laura: next(results, None), ticket)):
            receipts.append(result.receipt)
            if result.text or verbose:
                glue = " " if any(texts) and result.text and result.lang != "zh" else ""
                texts.append(glue + result.text)
                end = result.segments[-1].end if result.segments else round(sum(receipt["seconds_read"] for receipt in receipts), 3)
                more = {"language": result.lang, "end": end, "words": words_of(result.segments)} if verbose else {}
                yield event({"type": "transcript.text.delta", "delta": texts[-1]} | more)
        receipt = {"receipt": summed(receipts) | {"truncated": recording.truncated}} if verbose else {}
        yield event({"type": "transcript.text.done", "text": "".join(texts)} | receipt)
    except (LauraError, Problem) as error:
        yield b"data: " + bytes(response(error).body) + b"\n\n"
    finally:
        ticket.close()


def summed(receipts: list[dict]) -> dict:
    """The receipts of a recording's chunks as one."""
    seconds = {name: round(sum(receipt[name] for receipt in receipts), 3) for name in ("seconds_given", "seconds_read")}
    chunks = sum(receipt["chunks"] for receipt in receipts)
    lists = {name: [each for receipt in receipts for each in receipt[name]] for name in ("guards", "sequences")}
    finish = min((receipt["finish"] for receipt in receipts), key=FINISHES.index)
    return receipts[-1] | seconds | lists | {"chunks": chunks, "finish": finish}
