"""The verbs that OpenAI's API has no name for, in its style: enhancements, captions, emotions, intents, chains.

In: a form with a recording. Out: JSON or text, or a file of sound. `verbose_json` is what `laura VERB --format json` writes.
"""

import json
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from lauragpt.engine.chain import VERBS, parse_chain
from lauragpt.result import Result
from lauragpt.serve.ffmpeg import check_av
from lauragpt.serve.problems import Problem
from lauragpt.serve.service import check_lang, service_of
from lauragpt.serve.shapes import headers_of
from lauragpt.serve.sounds import FORMATS
from lauragpt.serve.speech import sound_response
from lauragpt.serve.uploads import form_docs, read_form
from lauragpt.serve.worker import Ask

router = APIRouter()
TEXTS = ("json", "text", "verbose_json")


class VerbForm(BaseModel):
    model: str | None = None
    response_format: Literal["json", "text", "verbose_json"] = "json"
    min_confidence: float = Field(0.0, ge=0, le=1, description="The answer is empty where its confidence is lower.")


class IntentForm(VerbForm):
    language: str | None = None


class EnhancementForm(BaseModel):
    model: str | None = None
    response_format: Literal["wav", "flac", "opus", "mp3", "aac", "pcm"] = "wav"
    verify: bool = Field(False, description="The input is kept where other words are recognised afterwards.")


class ChainOptions(BaseModel):
    model: str | None = None
    steps: str = Field(description="Verbs joined by |, as in enhance | transcribe | translate:de | speak.", max_length=500)
    response_format: Literal["json", "text", "verbose_json", "wav", "flac", "opus", "mp3", "aac", "pcm"] | None = Field(
        None, description="Default: wav where the last step gives sound, else json."
    )
    seed: int = Field(0, ge=0, lt=2**63)
    temperature: float = Field(0.3, ge=0, le=10)
    top_k: int = Field(25, ge=0)

    def options(self) -> dict:
        return {name: getattr(self, name) for name in ("steps", "seed", "temperature", "top_k")}


def written(result: Result, format: str) -> Response:
    """An answer that is text."""
    headers = headers_of(result.receipt)
    if format == "text":
        return PlainTextResponse(f"{result.to_text()}\n", headers=headers)
    row = json.loads(result.to_json())
    del row["file"]
    if format == "json":
        row = {name: row[name] for name in ("text", "scores", "intent", "slots") if name in row}
    return JSONResponse(row, headers=headers)


@router.post("/v1/audio/captions", openapi_extra=form_docs(VerbForm, {"response_format": "json"}))
async def captions(request: Request) -> Response:
    """What sounds, in a sentence."""
    return await told(request, "caption", VerbForm)


@router.post("/v1/audio/emotions", openapi_extra=form_docs(VerbForm, {"response_format": "json"}))
async def emotions(request: Request) -> Response:
    """The emotion of a voice, with the probability of each."""
    return await told(request, "emotion", VerbForm)


@router.post("/v1/audio/intents", openapi_extra=form_docs(IntentForm, {"response_format": "json"}))
async def intents(request: Request) -> Response:
    """A spoken order as an intent and its slots."""
    return await told(request, "understand", IntentForm)


async def told(request: Request, verb: str, kind: type[VerbForm]) -> Response:
    service = service_of(request)
    form, data = await read_form(request, kind)
    service.check_model(form.model)
    options = {"lang": check_lang(form.language)} if isinstance(form, IntentForm) else {}
    result = await service.answer(request, data, Ask.of(verb, min_confidence=form.min_confidence, **options))
    return written(result, form.response_format)


@router.post("/v1/audio/enhancements", openapi_extra=form_docs(EnhancementForm, {"response_format": "wav"}))
async def enhancements(request: Request) -> Response:
    """A recording of speech without its noise, exactly as long as it was."""
    service = service_of(request)
    form, data = await read_form(request, EnhancementForm)
    service.check_model(form.model)
    check_av(form.response_format)
    result = await service.answer(request, data, Ask.of("enhance", verify=form.verify))
    return await sound_response(service, result, form.response_format)


@router.post("/v1/audio/chains", openapi_extra=form_docs(ChainOptions, {"steps": "enhance | transcribe"}))
async def chains(request: Request) -> Response:
    """Verbs one after the other; `speak` goes on in the voice of the recording."""
    service = service_of(request)
    form, data = await read_form(request, ChainOptions)
    service.check_model(form.model)
    format = chain_format(form, "audio")
    result = await service.answer(request, data, Ask.of("chain", **form.options()))
    return await sound_response(service, result, format) if format in FORMATS else written(result, format)


def chain_format(form: ChainOptions, kind: str) -> str:
    """What the answer of a chain is sent as. LauraError for steps that cannot be, Problem 400 for a format that it does not have.
    `kind`: of its input."""
    sound = VERBS[parse_chain(form.steps, kind)[-1].verb][1] == "audio"
    format = form.response_format or ("wav" if sound else "json")
    if (format in FORMATS) != sound:
        allowed = ", ".join(FORMATS if sound else TEXTS)
        raise Problem(400, f"this chain ends in {'sound' if sound else 'text'}: choose one of {allowed}", "response_format")
    check_av(format)
    return format
