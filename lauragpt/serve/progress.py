"""/v1/progress/{name}: how far a request has come, told while it is answered.

In: the name that the request gave itself in its header X-Request-Id, another one each time. Out: server-sent events `progress`, with
`done` from 0 to 1, null while the request waits for its turn. They end with it.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from lauragpt.serve.service import Service, service_of
from lauragpt.serve.shapes import event

router = APIRouter()
EVERY = 0.1  # seconds between two looks
ARRIVAL = 20.0  # seconds within which the request must come


@router.get("/v1/progress/{name}")
async def progress(request: Request, name: str) -> StreamingResponse:
    """How far a request has come that this process answers. It may be asked for before the request itself arrives."""
    return StreamingResponse(events(service_of(request), name), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def events(service: Service, name: str) -> AsyncIterator[bytes]:
    begun, told, ticket = time.monotonic(), (), service.tickets.get(name)
    while time.monotonic() < begun + (ARRIVAL if ticket is None else service.settings.limits.request_seconds):
        ticket = ticket or service.tickets.get(name)
        share = ticket.share if ticket is not None else None
        if (share,) != told:
            told = (share,)
            yield event({"type": "progress", "done": share})
        if ticket is not None and ticket.closed:
            return
        await asyncio.sleep(EVERY)
