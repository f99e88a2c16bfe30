"""WebSocket /v1/audio/stream: speech that is being spoken -> its transcript.

In: binary messages of raw 16-bit samples of one channel, and at the end the text `{"type": "end"}`. Out: `transcript.partial`, the open
stretch so far; `transcript.final`, a stretch that never changes; behind the end `transcript.done`, all of it.
"""

import asyncio
import json
import time

import numpy as np
from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from lauragpt.audio import SAMPLE_RATE, PcmReader
from lauragpt.engine.chunking import LONGEST, SHORTEST
from lauragpt.engine.stream import Gathered, Transcript
from lauragpt.errors import LauraError
from lauragpt.result import TextResult
from lauragpt.samples import RATES
from lauragpt.serve.keys import PROTOCOL
from lauragpt.serve.problems import Left, Problem, response, sentence
from lauragpt.serve.service import Service, check_lang
from lauragpt.serve.worker import Ticket

router = APIRouter()
BAD, BUSY = 1008, 1013  # how the connection is closed


class StreamQuery(BaseModel):
    model: str | None = None
    language: str | None = None
    sample_rate: int = Field(SAMPLE_RATE, ge=RATES[0], le=RATES[1])
    interval: float = Field(1.0, ge=0, description="Seconds between partial answers; 0: none.")
    min_confidence: float = Field(0.0, ge=0, le=1)


@router.websocket("/v1/audio/stream")
async def stream(socket: WebSocket) -> None:
    await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", []) else None)
    service: Service = socket.app.state.service
    try:
        with service.worker.ticket() as ticket:
            ticket.reserve(LONGEST + SHORTEST)  # what a stream holds, at most, however long it is
            await Live(socket, service, ticket, asked(socket)).run()
        await socket.close()
    except (Problem, LauraError) as error:
        await socket.send_text(bytes(response(error).body).decode())
        await socket.close(BUSY if isinstance(error, Problem) and error.status_code in (429, 503, 504) else BAD)
    except (WebSocketDisconnect, Left):
        pass


def asked(socket: WebSocket) -> StreamQuery:
    try:
        return StreamQuery.model_validate(dict(socket.query_params))
    except ValidationError as error:
        raise Problem(400, *sentence(error.errors())) from None


class Live:
    """One connection. Memory does not grow with it but for the text."""

    def __init__(self, socket: WebSocket, service: Service, ticket: Ticket, query: StreamQuery):
        self.socket, self.service, self.ticket, self.query = socket, service, ticket, query
        self.pcm = PcmReader(query.sample_rate)
        self.kept: list[np.ndarray] = []
        self.texts: list[str] = []
        self.samples = 0

    async def run(self) -> None:
        """Until the end is told. Problem for what is no sound, WebSocketDisconnect where the client leaves."""
        self.service.check_model(self.query.model)
        lang, every = check_lang(self.query.language), self.query.interval or None

        def begin(laura) -> Transcript:
            return Transcript(laura.runtime, laura.runtime.check_lang(lang), self.query.min_confidence, every)

        self.transcript = await asyncio.wrap_future(self.service.worker.call(begin, self.ticket))
        while (data := await self._received()) is not None:
            await self._hear(self.pcm.feed(data))
        await self._hear(self.pcm.feed(b"", last=True), last=True)
        receipt = {"seconds_given": round(self.samples / SAMPLE_RATE, 3), "model": self.service.name, "halved": self.pcm.halved}
        await self._send({"type": "transcript.done", "text": " ".join(self.texts), "receipt": receipt})

    async def _received(self) -> bytes | None:
        """The next samples, None at the end."""
        limit = self.service.settings.limits.request_seconds
        try:
            message = await asyncio.wait_for(self.socket.receive(), limit)
        except asyncio.TimeoutError:
            raise Problem(408, f"nothing came for {limit:g} s: send samples, or the end") from None
        self.ticket.deadline = time.monotonic() + limit
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        if message.get("bytes") is not None:
            return message["bytes"]
        try:
            kind = json.loads(message.get("text") or "")["type"]
        except (ValueError, TypeError, KeyError):
            kind = None
        if kind != "end":
            raise Problem(400, 'send samples as binary messages, and as text {"type": "end"} alone')
        return None

    async def _hear(self, wave: np.ndarray, last: bool = False) -> None:
        """Samples are gathered, as the network takes them one by one else; each result is sent as soon as it is there."""
        self.kept.append(wave)
        self.samples += len(wave)
        if not last and sum(map(len, self.kept)) < Gathered.LEAST:
            return
        piece, self.kept = np.concatenate(self.kept), []
        results = self.transcript.feed(piece)
        await self._tell(results)
        if last:
            await self._tell(self.transcript.finish(complete=False))

    async def _tell(self, results) -> None:
        while result := await asyncio.wrap_future(self.service.worker.call(lambda laura: next(results, None), self.ticket)):
            if result.final and result.text:
                self.texts.append(result.text)
            await self._send(row_of(result))

    async def _send(self, row: dict) -> None:
        await self.socket.send_text(json.dumps(row))


def row_of(result: TextResult) -> dict:
    row = json.loads(result.to_json())
    kept = {name: row[name] for name in ("text", "lang", "confidence", "segments", "receipt")}
    return {"type": "transcript.final" if result.final else "transcript.partial"} | kept
