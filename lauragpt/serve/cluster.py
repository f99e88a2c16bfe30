"""`laura serve` on several machines, by Ray Serve: serve run lauragpt.serve.cluster:build voices=/srv/voices

In: requests, which the `Front` on the cluster's first machine takes. Out: the answers of `Replica`s on all machines; there are as many as
are needed at the time. A request is held in front until its answer begins, so that another replica answers where one is lost. Each is a
server with limits of its own (app.py), and all share the folder of voices. There is no WebSocket and no progress: both need one process.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel
from ray import serve
from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lauragpt.serve.app import make_app, told
from lauragpt.serve.guard import Guard
from lauragpt.serve.keys import read_keys
from lauragpt.serve.problems import LEFT, Problem
from lauragpt.serve.run import prepare_log
from lauragpt.serve.settings import Settings, make_voices_folder

LOST = (RayActorError, NodeDiedError, ObjectLostError)  # what is raised where a replica, or its machine, is gone
TRIES = 3  # of a request, which may itself be what ends its replicas
HEAD = {"node:__internal_head__": 0.001}  # a share of what Ray says the first machine has, and no other
AT_ONCE = 32  # requests of a replica, some of which are answered together
SENT = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "headers", "client", "server")
log = logging.getLogger("lauragpt.serve")


class Options(BaseModel):
    """What `serve run` is told, as NAME=VALUE."""

    voices: Path  # a folder that all machines share
    model: str = "mini"
    device: str | None = None
    threads: int = 2  # and processor cores, of a replica
    host: str = "127.0.0.1"  # where Ray Serve listens: serve start --http-host
    api_key_file: Path | None = None
    min_replicas: int = 1
    max_replicas: int = 4


def build(options: Options) -> serve.Application:
    """LauraError for a file of keys, or a folder of voices, that cannot be used."""
    make_voices_folder(options.voices)
    keys = read_keys(options.api_key_file) if options.api_key_file else ()
    settings = Settings(options.model, options.device, options.threads, host=options.host, keys=keys, voices=options.voices)
    scale = {"min_replicas": options.min_replicas, "max_replicas": options.max_replicas, "target_ongoing_requests": AT_ONCE / 2}
    needs = {"num_cpus": options.threads, "num_gpus": 1 if (options.device or "").startswith("cuda") else 0}
    replicas = Replica.options(autoscaling_config=scale, ray_actor_options=needs).bind(settings)
    return Front.bind(settings, replicas)


@serve.deployment(max_ongoing_requests=AT_ONCE)
class Replica:
    """A model, and the application in front of it. The deployment waits until it has answered once."""

    def __init__(self, settings: Settings):
        prepare_log()
        self.app = make_app(settings)
        self.service = self.app.state.service
        self.service.start()
        loaded = self.service.worker.call(lambda laura: None, self.service.worker.ticket())
        loaded.exception()
        if self.service.worker.failure is not None:
            raise self.service.worker.failure

    async def answer(self, scope: Scope, body: bytes) -> AsyncIterator[Message]:
        """What the application sends. It is stopped where nobody waits for more."""
        messages: asyncio.Queue[Message | None] = asyncio.Queue()
        request = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return request.pop() if request else await asyncio.Future()

        async def run() -> None:
            try:
                await self.app(dict(scope), receive, messages.put)
            finally:
                messages.put_nowait(None)

        running = asyncio.create_task(run())
        try:
            while (message := await messages.get()) is not None:
                yield message
            await running
        finally:
            running.cancel()

    def __del__(self):
        self.service.stop()


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0, "resources": HEAD})
@serve.ingress()
class Front:
    """Takes requests, and asks another replica where one is lost before its answer has begun."""

    def __init__(self, settings: Settings, replicas: DeploymentHandle):
        self.settings, self.replicas = settings, replicas.options(stream=True)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        app = Starlette(routes=[Mount("/", self.forward)], exception_handlers={HTTPException: told})
        app.add_middleware(Guard, settings=self.settings)
        return app

    async def forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise Problem(404, "a cluster has no WebSocket: laura serve, on one machine, has")
        body = await body_of(receive)
        asked = {name: scope[name] for name in SENT if name in scope}
        for attempt in range(1, TRIES + 1):
            head = None  # of the answer, until there is some of its body
            try:
                async for message in self.replicas.answer.remote(asked, body):
                    if message["type"] == "http.response.start":
                        head = message | {"headers": [*message["headers"], (b"x-laura-tries", str(attempt).encode())]}
                        continue
                    if body is not None:
                        await send(head)
                    body = None  # what has begun cannot be asked for again
                    await send(message)
                return
            except LOST:
                if body is None:  # the connection ends, so that the client sees that this is not all
                    raise
                log.warning("a replica was lost with a request: try %d of %d", attempt, TRIES)
        raise Problem(503, "the replicas that were asked are gone: ask again later", headers={"Retry-After": "5"})


async def body_of(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(LEFT, "the client has left")
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
