"""What stands before every request: who may ask, how many bytes a body may have, and the line in the log about it.

Two ASGI layers. Nothing of what was sent or answered is logged: a line has the method, the path as it is in the code, the status, the time
and the seconds of sound.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from lauragpt.serve.keys import is_known, key_of_socket
from lauragpt.serve.problems import LEFT, Left, Problem, response, too_many_bytes
from lauragpt.serve.settings import Settings

OPEN = ("/health", "/ready", "/")  # to everybody: what watches the server has no key, and the page asks for one
OPEN_BELOW = "/page/"
METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "WEBSOCKET")
LOCAL = ("localhost", "127.0.0.1", "::1")
log = logging.getLogger("lauragpt.serve")


class Guard:
    """Refuses what comes from the wrong place, without a key, or is too large."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings, self.held = app, settings, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        mine, whole, limit = 0, scope["type"] == "websocket", self.settings.limits.request_seconds
        end = time.monotonic() + limit

        async def counted() -> Message:
            nonlocal mine, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except asyncio.TimeoutError:
                raise Problem(408, f"the request was not sent within {limit:g} s: send it faster, or less") from None
            if message["type"] == "http.request":
                size, whole = len(message.get("body", b"")), not message.get("more_body", False)
                mine, self.held = mine + size, self.held + size
                self._check_size(mine)
            return message

        try:
            headers = Headers(scope=scope)
            self._check_place(headers)
            self._check_key(headers, scope["path"])
            length = headers.get("content-length", "")
            self._check_size(int(length) if length.isdecimal() else 0)
        except Problem as problem:
            return await response(problem)(scope, receive, send)
        try:
            await self.app(scope, counted, send)
        finally:
            self.held -= mine

    def _check_size(self, size: int) -> None:
        limits = self.settings.limits
        if size > limits.upload_bytes:
            raise too_many_bytes(limits.upload_bytes)
        if self.held > limits.held_bytes:
            raise Problem(429, "the server holds too many uploads already: ask again in 5 s", headers={"Retry-After": "5"})

    def _check_place(self, headers: Headers) -> None:
        """A page that a browser has open may not use a server on the same machine: its requests name another origin or host."""
        origin = headers.get("origin")
        try:
            host, other = urlsplit(f"//{headers.get('host', '')}"), urlsplit(origin or "")
        except ValueError:
            raise Problem(400, "the header Host or Origin is no address") from None
        if self.settings.local and not self.settings.keys and host.hostname not in LOCAL:
            raise Problem(403, "this server answers to localhost alone: ask http://127.0.0.1, or start it with --host and --api-key-file")
        if origin is not None and not self.settings.keys and other.netloc != host.netloc:
            raise Problem(403, "pages of other origins may not use this server")

    def _check_key(self, headers: Headers, path: str) -> None:
        shown = headers.get("authorization") or key_of_socket(headers.get("sec-websocket-protocol", ""))
        is_open = path in OPEN or path.startswith(OPEN_BELOW)
        if self.settings.keys and not is_open and not is_known(self.settings.keys, shown):
            way = "send the header Authorization: Bearer KEY"
            raise Problem(401, f"the key is missing or not known: {way}", headers={"WWW-Authenticate": "Bearer"})


class Log:
    """A line a request. What fails without being foreseen gets the place where it did, and not the message, which may hold a text."""

    def __init__(self, app: ASGIApp, watch: Callable[[str, str, int, float], None]):
        self.app, self.watch = app, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        began, status = time.monotonic(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except (Left, WebSocketDisconnect):
            status = LEFT
        except Exception as error:
            tell(error)
            if not status:
                await response(error)(scope, receive, noted)
        finally:
            took, path = time.monotonic() - began, path_of(scope)
            method = scope.get("method", "WEBSOCKET")
            method = method if method in METHODS else "(other)"  # a client may send any word
            self.watch(method, path, status, took)
            seconds = scope.get("state", {}).get("seconds")
            log.info("%s %s %s %.3f s%s", method, path, status or LEFT, took, f", {seconds:.1f} s of sound" if seconds else "")


def tell(error: BaseException) -> None:
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("%s at %s", type(error).__name__, " < ".join(reversed(places[-6:])))


def path_of(scope: Scope) -> str:
    """The path as it is in the code: a client's own may hold anything."""
    return getattr(scope.get("route"), "path", "(none)")
