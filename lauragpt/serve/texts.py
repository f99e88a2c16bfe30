"""/v1/text/translations, /v1/text/chains: what begins with a text and is not speech alone.

In: JSON with `input`, and `to` or `steps`. Out: JSON, of which `verbose_json` is what `laura translate --text --format json` writes; or a
file of sound where a chain ends in it.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from lauragpt.engine.api import Laura
from lauragpt.engine.progress import Progress
from lauragpt.result import Result
from lauragpt.serve.service import attended, check_lang, service_of
from lauragpt.serve.sounds import FORMATS
from lauragpt.serve.speech import sound_response
from lauragpt.serve.verbs import ChainOptions, chain_format, written
from lauragpt.serve.worker import Kind

router = APIRouter()


class TextBody(BaseModel):
    model_config = {"json_schema_extra": {"example": {"model": "mini", "input": "A man rides a horse.", "to": "de"}}}

    input: str = Field(description="The text.")
    model: str | None = None
    to: str = Field("en", min_length=1, description="The language to translate into.")
    language: str | None = Field(None, description="Of the text. Without it the model decides.")
    response_format: Literal["json", "text", "verbose_json"] = "json"


class ChainBody(ChainOptions):
    model_config = ConfigDict(json_schema_extra={"example": {"model": "mini", "input": "Good morning.", "steps": "translate:de | speak"}})

    input: str = Field(description="The text.")


@dataclass(frozen=True)
class Translate:
    """Texts into the same language, together."""

    to: str
    lang: str | None

    def __call__(self, laura: Laura, inputs: list[str], progress: Progress) -> list[Result]:
        return laura.translate(text=inputs, to=self.to, lang=self.lang, progress=progress)


@dataclass(frozen=True)
class Chain:
    """Texts through the same steps, together."""

    options: tuple[tuple[str, Hashable], ...]

    def __call__(self, laura: Laura, inputs: list[str], progress: Progress) -> list[Result]:
        return laura.chain(text=inputs, progress=progress, **dict(self.options))


@router.post("/v1/text/translations")
async def translations(request: Request, body: TextBody) -> Response:
    """A text in another language."""
    result = await answered(request, body, Translate(check_lang(body.to), check_lang(body.language)))
    return written(result, body.response_format)


@router.post("/v1/text/chains")
async def chains(request: Request, body: ChainBody) -> Response:
    """Verbs one after the other, the first of which takes the text."""
    format = chain_format(body, "text")
    result = await answered(request, body, Chain(tuple(body.options().items())))
    return await sound_response(service_of(request), result, format) if format in FORMATS else written(result, format)


async def answered(request: Request, body: TextBody | ChainBody, kind: Kind) -> Result:
    """The answer to a text, which may be given together with others of its kind."""
    service = service_of(request)
    service.check_model(body.model)
    service.check_text(body.input)
    with service.ticket(request) as ticket:
        ticket.reserve(service.seconds_of(body.input))
        return await attended(request, ticket, asyncio.wrap_future(service.worker.ask(kind, body.input, ticket)))
