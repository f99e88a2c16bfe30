"""/v1/text/translations: texts from one language into another.

In: JSON with `input` and `to`. Out: JSON; `verbose_json` is what `laura translate --text --format json` writes.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from lauragpt.engine.api import Laura
from lauragpt.engine.progress import Progress
from lauragpt.result import Result
from lauragpt.serve.service import attended, check_lang, service_of
from lauragpt.serve.verbs import written

router = APIRouter()


class TextBody(BaseModel):
    model_config = {"json_schema_extra": {"example": {"model": "mini", "input": "A man rides a horse.", "to": "de"}}}

    input: str = Field(description="The text.")
    model: str | None = None
    to: str = Field("en", min_length=1, description="The language to translate into.")
    language: str | None = Field(None, description="Of the text. Without it the model decides.")
    response_format: Literal["json", "text", "verbose_json"] = "json"


@dataclass(frozen=True)
class Translate:
    """Texts into the same language, together."""

    to: str
    lang: str | None

    def __call__(self, laura: Laura, inputs: list[str], progress: Progress) -> list[Result]:
        return laura.translate(text=inputs, to=self.to, lang=self.lang, progress=progress)


@router.post("/v1/text/translations")
async def translations(request: Request, body: TextBody) -> Response:
    """A text in another language."""
    service = service_of(request)
    service.check_model(body.model)
    service.check_text(body.input)
    kind = Translate(check_lang(body.to), check_lang(body.language))
    with service.ticket(request) as ticket:
        ticket.reserve(service.seconds_of(body.input))
        result = await attended(request, ticket, asyncio.wrap_future(service.worker.ask(kind, body.input, ticket)))
    return written(result, body.response_format)
