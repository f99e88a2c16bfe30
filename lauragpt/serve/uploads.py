"""What clients send: forms with a recording -> their fields, checked, and the recording, decoded.

Everything stays in memory: nothing is written to the disk, and no name that a client sends is ever opened. Bytes are counted while they
come (guard.py), seconds while they are decoded, so that a file that unfolds to more than is allowed is never unfolded.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from lauragpt.audio import SAMPLE_RATE, AudioStream, Recording, read_recording
from lauragpt.serve.problems import Problem, sentence, too_long
from lauragpt.serve.worker import Ticket

FIELD_BYTES = 2**16  # of a field that is no file, at most
Form = TypeVar("Form", bound=BaseModel)


class MemoryParser(MultiPartParser):
    """Starlette's, which else writes files of more than 1 MB to the disk."""

    spool_max_size = 2**62


async def read_form(request: Request, kind: type[Form], file: str = "file") -> tuple[Form, bytes]:
    """The fields of a form, and the content of its field `file`. Problem 400 where they are not what `kind` says."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Problem(400, "the request is no form: send multipart/form-data with the recording in the field file", file)
    parser = MemoryParser(request.headers, request.stream(), max_files=1, max_fields=50, max_part_size=FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Problem(400, f"the form cannot be read: {error.message.rstrip('.')}") from None
    except UnicodeError:  # of the charset that the client names
        raise Problem(400, "the form cannot be read: its fields are not of its charset") from None
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(form.close)
        sent = form.get(file)
        if not isinstance(sent, UploadFile):
            raise Problem(400, f"the form holds no recording: send one as a file, in the field {file}", file)
        data = await sent.read()
        values: dict[str, Any] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                field = name.removesuffix("[]")
                values[field] = [*values.get(field, []), value] if field in lists_of(kind) else value
    try:
        return kind.model_validate(values), data
    except ValidationError as error:
        raise Problem(400, *sentence(error.errors())) from None


def lists_of(kind: type[BaseModel]) -> set[str]:
    """The fields that may be given several times."""
    return {name for name, field in kind.model_fields.items() if str(field.annotation).startswith("list")}


class CountedStream(AudioStream):
    """A recording in memory that is held by a ticket: it is decoded no further than is allowed, or than somebody waits for it."""

    def __init__(self, data: bytes, ticket: Ticket):
        super().__init__(data, name="the file")
        self.ticket = ticket

    def seconds(self) -> Iterator[np.ndarray]:
        limit, count = self.ticket.worker.limits.seconds, 0
        for wave in super().seconds():
            count += len(wave)
            self.ticket.check()
            if count > limit * SAMPLE_RATE:
                raise too_long(limit)
            self.ticket.reserve(len(wave) / SAMPLE_RATE)
            yield wave


def decode(data: bytes, ticket: Ticket) -> Recording:
    """LauraError for what is no sound; Problem 413 where it is too long, 429 where the server holds too much."""
    return read_recording(CountedStream(data, ticket))


def form_docs(kind: type[BaseModel], example: dict, file: str = "file") -> dict:
    """What OpenAPI says of a path that takes a form."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    recording = {"type": "string", "format": "binary", "description": "The recording, of any kind."}
    schema["properties"] = {file: recording} | schema["properties"]
    schema["required"] = [file, *schema.get("required", [])]
    content = {"multipart/form-data": {"schema": schema, "example": {file: "talk.flac"} | example}}
    return {"requestBody": {"required": True, "content": content}}
