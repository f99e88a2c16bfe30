"""The application: all paths, what stands before them, and the model behind them.

In: `Settings`. Out: the application, which opens the model when it starts and finishes what is queued when it stops.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lauragpt import __version__
from lauragpt.errors import LauraError
from lauragpt.serve import live, metrics, page, problems, progress, regenerations, speech, texts, transcriptions, verbs, voices
from lauragpt.serve.guard import Guard, Log
from lauragpt.serve.problems import Problem
from lauragpt.serve.service import Service, service_of
from lauragpt.serve.settings import Settings

ABOUT = "The verbs of LauraGPT over HTTP. Clients of OpenAI's audio API work as they are."


def make_app(settings: Settings) -> FastAPI:
    """LauraError where there is no such checkpoint."""
    service = Service(settings)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="LauraGPT", version=__version__, description=ABOUT, lifespan=life, docs_url=None, redoc_url=None,  # they load from elsewhere
    )  # fmt: skip
    app.state.service = service
    for error in (HTTPException, RequestValidationError, LauraError, UnicodeError, MemoryError):
        app.add_exception_handler(error, told)
    for part in (page, transcriptions, speech, regenerations, verbs, texts, voices, live, progress):
        app.include_router(part.router)
    paths = {"/health": health, "/ready": ready, "/metrics": numbers, "/v1/models": models, "/v1/models/{name}": model}
    for path, answer in paths.items():
        app.add_api_route(path, answer)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Log, watch=service.metrics.requested)
    return app


async def told(request: Request, error: Exception) -> JSONResponse:
    return problems.response(error)


async def health() -> dict:
    """That the server is there."""
    return {"status": "ok", "version": __version__}


async def ready(request: Request) -> dict:
    """Whether the model is loaded and has answered once. 503 before."""
    if not service_of(request).ready:
        raise Problem(503, "the model is being loaded: ask again in a few seconds", headers={"Retry-After": "1"})
    return {"status": "ready", "model": service_of(request).name}


async def numbers(request: Request) -> Response:
    """For Prometheus."""
    return Response(service_of(request).metrics.page(), media_type=metrics.CONTENT_TYPE)


def row(service: Service) -> dict:
    made = int((service.folder / "config.json").stat().st_mtime)
    return {"id": service.name, "object": "model", "created": made, "owned_by": "lauragpt"}


async def models(request: Request) -> dict:
    """The one checkpoint that is served."""
    return {"object": "list", "data": [row(service_of(request))]}


async def model(request: Request, name: str) -> dict:
    service = service_of(request)
    service.check_model(name)
    return row(service) | {"id": name}
