"""A connection as uvicorn speaks HTTP/1.1, with an end to its patience.

uvicorn by itself waits for ever for a header that does not end, and for a client that does not read its answer. Each such connection holds
memory and a place, and a client may open thousands.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lauragpt.serve.problems import Problem, response
from lauragpt.serve.settings import Limits


class Connection(H11Protocol):
    def __init__(self, limits: Limits, **given: object):
        super().__init__(**given)
        self.limits = limits
        self.header: asyncio.TimerHandle | None = None  # runs while a header is not whole
        self.stall: asyncio.TimerHandle | None = None  # runs while the client leaves unread what was sent

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._await_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_header()
        elif self.header is None:  # the beginning of the next request
            self._await_header()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_stall()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_header()
        self._stop_stall()
        super().connection_lost(error)

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(400, "this is no request of HTTP/1.1, or its header is too large"))

    def _await_header(self) -> None:
        limit = self.limits.header_seconds
        late = Problem(408, f"the header of the request was not sent within {limit:g} s: send it faster")
        self.header = self.loop.call_later(limit, self._refuse, late)

    def _await_reading(self) -> None:
        """Nothing is written while writing is paused, so what is not read yet can only shrink."""
        self.stall = self.loop.call_later(self.limits.stall_seconds, self._check_reading, self.transport.get_write_buffer_size())

    def _check_reading(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._await_reading()
        else:
            self.transport.abort()  # closing would wait until all is read

    def _refuse(self, problem: Problem) -> None:
        answer = response(problem)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer has begun
            head = h11.Response(status_code=answer.status_code, headers=[*answer.raw_headers, (b"connection", b"close")])
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _stop_header(self) -> None:
        if self.header is not None:
            self.header.cancel()
            self.header = None

    def _stop_stall(self) -> None:
        if self.stall is not None:
            self.stall.cancel()
            self.stall = None
