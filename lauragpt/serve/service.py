"""What all paths share: the worker, the settings, and the way from a request to its answer.

In: a request and what it asks. Out: the answer, unless its client leaves or its time is up before.
"""

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from fastapi import Request

from lauragpt.checkpoint import find_checkpoint, read_config
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.result import Result
from lauragpt.serve.metrics import Metrics
from lauragpt.serve.problems import Left, Problem, late
from lauragpt.serve.settings import Settings
from lauragpt.serve.uploads import decode
from lauragpt.serve.worker import Kind, Ticket, Worker
from lauragpt.text import Tokenizer

# What clients of OpenAI ask for by default: the checkpoint answers to these names too.
ALIASES = (
    "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe", "tts-1", "tts-1-hd", "gpt-4o-mini-tts",
)  # fmt: skip
DECODERS = 2  # recordings that are decoded at a time
T = TypeVar("T")


class Service:
    def __init__(self, settings: Settings):
        self.settings = settings
        self.folder: Path = find_checkpoint(settings.model)
        self.name: str = read_config(self.folder).get("name") or self.folder.resolve().name
        self.metrics = Metrics(lambda: self.worker.held, lambda: self.worker.waiting())
        self.worker = Worker(self._load, settings.limits, settings.window, self.metrics.answered)
        self.decoders = ThreadPoolExecutor(DECODERS, "laura-decoder")
        self.ready = False

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.folder / "tokenizer.json")

    def start(self) -> None:
        self.worker.start()

    def stop(self) -> None:
        self.worker.stop()
        self.decoders.shutdown()

    def _load(self) -> Laura:
        settings = self.settings
        laura = Laura.load(settings.model, settings.device, beams=settings.beams, threads=settings.threads)
        hum = 0.1 * np.sin(np.arange(16000, dtype=np.float32) / 20)
        laura.transcribe(hum)  # so that the first request does not wait for what is made once
        self.ready = True
        return laura

    def check_model(self, name: str | None) -> None:
        if name is not None and name not in (self.name, *ALIASES):
            message = f"the model is not here: this server has {self.name}, which also answers to {', '.join(ALIASES)}"
            raise Problem(404, message, "model", "model_not_found")

    async def answer(self, request: Request, data: bytes, kind: Kind) -> Result:
        """The answer to a recording, which may be given together with others of its kind."""
        with self.worker.ticket() as ticket:
            return await attended(request, ticket, self._answer(request, data, kind, ticket))

    async def _answer(self, request: Request, data: bytes, kind: Kind, ticket: Ticket) -> Result:
        recording = await self.decoded(request, data, ticket)
        return await asyncio.wrap_future(self.worker.ask(kind, recording, ticket))

    async def decoded(self, request: Request, data: bytes, ticket: Ticket):
        """The recording, read by another thread."""
        recording = await asyncio.get_running_loop().run_in_executor(self.decoders, decode, data, ticket)
        request.state.seconds = ticket.seconds
        return recording


def service_of(request: Request) -> Service:
    return request.app.state.service


async def attended(request: Request, ticket: Ticket, answer: Awaitable[T]) -> T:
    """An answer as long as its client waits for it. Left where it does not, Problem 504 where it takes too long."""
    work, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(_left(request))
    limit = ticket.worker.limits.request_seconds
    try:
        await asyncio.wait({work, leaving}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        ticket.close()  # the worker stops at its next chunk
        raise Left if leaving.done() else late(limit)
    finally:
        for task in (work, leaving):
            task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_lang(lang: str | None) -> str | None:
    """A language as clients write it: en, EN, en-US."""
    code = lang.strip().lower().partition("-")[0] if lang else None
    if code is not None and not (code.isalpha() and len(code) <= 8):
        raise LauraError("language: give a code of two letters, as en or de")
    return code
