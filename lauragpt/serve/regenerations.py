"""/v1/audio/regenerations: a span of a spoken answer made anew.

In: JSON with the answer as `verbose_json` of /v1/audio/speech gave it, and a span. Out: the same kind of answer, or a file of sound. The
server keeps nothing between the two.
"""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from lauragpt.engine.api import Laura
from lauragpt.engine.chunking import TOKENS_PER_SECOND
from lauragpt.result import AudioResult, Segment
from lauragpt.serve.ffmpeg import FASTEST, SLOWEST, check_av
from lauragpt.serve.problems import too_long
from lauragpt.serve.service import attended, check_lang, service_of
from lauragpt.serve.speech import VoiceId, sound_response

router = APIRouter()
SENTENCE = {"start": 0.0, "end": 0.16, "text": "yes", "codes": [12, 801, 33, 7], "probabilities": [0.5, 0.9, 0.4, 0.8]}


class Sentence(BaseModel):
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    text: str = Field(min_length=1)
    codes: list[int]
    probabilities: list[float]


class Made(BaseModel):
    """A span that was made anew before."""

    start: float
    end: float
    seed: int
    temperature: float
    top_k: int


class Past(BaseModel):
    """What a receipt says of how the speech was made. The rest of it is not needed."""

    text: str | None = None
    seed: int = 0
    temperature: float = 0.3
    top_k: int = 25
    regenerated: list[Made] = []


class Speech(BaseModel):
    lang: str
    segments: list[Sentence] = Field(min_length=1)
    receipt: Past = Past()


class RegenerationBody(BaseModel):
    model_config = {"json_schema_extra": {"example": {"speech": {"lang": "en", "segments": [SENTENCE]}, "start": 0.04, "end": 0.12}}}

    speech: Speech = Field(description="What /v1/audio/speech gave as verbose_json; its sound may be left out.")
    start: float = Field(ge=0, description="Seconds, at speed 1, from which the speech is made anew,")
    end: float = Field(ge=0, description="and up to which.")
    seed: int = Field(1, ge=0, lt=2**63)
    model: str | None = None
    voice: str | VoiceId | None = Field(None, description="The one that the speech was made with.")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm", "verbose_json"] = "verbose_json"
    speed: float = Field(1.0, ge=SLOWEST, le=FASTEST)
    temperature: float = Field(0.3, ge=0, le=10)
    top_k: int = Field(25, ge=0)


@router.post("/v1/audio/regenerations")
async def regenerations(request: Request, body: RegenerationBody) -> Response:
    """Speech with a span of it made anew; all else stays as it is."""
    service = service_of(request)
    service.check_model(body.model)
    check_av(body.response_format, body.speed)
    service.check_text(" ".join(sentence.text for sentence in body.speech.segments))
    seconds = sum(len(sentence.codes) for sentence in body.speech.segments) / TOKENS_PER_SECOND
    if seconds > (limit := service.settings.limits.seconds):
        raise too_long(limit)
    voice = service.voices.find(body.voice.id if isinstance(body.voice, VoiceId) else body.voice)
    lang, past = check_lang(body.speech.lang) or "", body.speech.receipt.model_dump(exclude_none=True)
    segments = [Segment(**sentence.model_dump()) for sentence in body.speech.segments]
    speech = AudioResult("tts", lang, segments=segments, receipt=past | {"voice_text": None})

    def made(laura: Laura) -> AudioResult:
        laura.runtime.check_lang(lang)
        found = service.voices.voice(laura, voice) or laura.voices.default(lang)
        return laura.regenerate(speech, body.start, body.end, body.seed, found, body.temperature, body.top_k)

    with service.ticket(request) as ticket:
        ticket.reserve(seconds)
        result = await attended(request, ticket, asyncio.wrap_future(service.worker.call(made, ticket)))
    return await sound_response(service, result, body.response_format, speed=body.speed)
