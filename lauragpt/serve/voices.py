"""/v1/voices: the voices that speak. Those that the checkpoint ships, and those that clients upload, with the speaker's consent.

In: a recording of somebody speaking, a name, and `consent`: the words with which the speaker allows it. Out: a row a voice, in the shape of
OpenAI's.
"""

import asyncio

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from lauragpt.audio import Recording
from lauragpt.engine.api import Laura
from lauragpt.engine.voices import Voice, make_voice, prompt_clip
from lauragpt.serve.service import Service, attended, check_lang, service_of
from lauragpt.serve.uploads import form_docs, read_form
from lauragpt.serve.worker import Ticket

router = APIRouter()


class VoiceForm(BaseModel):
    name: str = Field(description="Letters, digits, spaces, - and _.")
    consent: str = Field(description="How the speaker allowed this use of the voice; kept beside it.", min_length=1, max_length=2000)
    text: str | None = Field(None, description="What the recording says. Default: it is transcribed.", max_length=2000)
    language: str | None = None
    type: str = Field("audio_sample", pattern="audio_sample")


@router.get("/v1/voices")
@router.get("/v1/audio/voices", include_in_schema=False)
async def voices(request: Request) -> dict:
    """All voices."""
    return {"object": "list", "data": service_of(request).voices.rows(), "has_more": False}


DOCS = form_docs(VoiceForm, {"name": "anna", "consent": "Anna has agreed in writing."}, "audio_sample")


@router.post("/v1/voices", openapi_extra=DOCS)
@router.post("/v1/audio/voices", include_in_schema=False)
async def upload(request: Request) -> dict:
    """A voice from a recording, of which the first 10 s are kept. Only with the speaker's consent."""
    service = service_of(request)
    form, data = await read_form(request, VoiceForm, "audio_sample")
    service.voices.check(form.name)
    with service.worker.ticket() as ticket:
        return await attended(request, ticket, added(request, service, form, data, ticket))


async def added(request: Request, service: Service, form: VoiceForm, data: bytes, ticket: Ticket) -> dict:
    recording = await service.decoded(request, data, ticket)
    voice, text = await asyncio.wrap_future(service.worker.call(lambda laura: made(laura, recording, form), ticket))
    return service.voices.add(form.name, form.consent, voice, text)


def made(laura: Laura, recording: Recording, form: VoiceForm) -> tuple[Voice, str]:
    """The voice and its text. LauraError for a recording in which nothing sounds."""
    lang, clip = laura.runtime.check_lang(check_lang(form.language)), prompt_clip(recording.wave)
    text = form.text if form.text and len(clip) == len(recording.wave) else None
    if text is None:
        transcript = laura.transcribe(clip, lang=lang)
        text, lang = transcript.text, transcript.lang
    return make_voice(laura.runtime.backend, "uploaded", clip, text, lang), text


@router.delete("/v1/voices/{name}")
@router.delete("/v1/audio/voices/{name}", include_in_schema=False)
async def delete(request: Request, name: str) -> dict:
    """An uploaded voice, with its recording."""
    return {"id": service_of(request).voices.delete(name), "object": "audio.voice.deleted", "deleted": True}
