"""A server from its start to its end: the port, the log, the signals.

In: `Settings` and a port. SIGTERM and Ctrl-C end it: no new request is taken, and what it holds is finished first.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import python_multipart  # noqa: F401  (what needs it only says so at the first request)
import uvicorn
import websockets  # noqa: F401
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from lauragpt.checkpoint import find_checkpoint
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.serve import metrics
from lauragpt.serve.app import make_app
from lauragpt.serve.connection import Connection
from lauragpt.serve.private import in_use, private_folder
from lauragpt.serve.settings import Limits, Settings

DRAIN = 600  # seconds, at most, until what is held is finished
log = logging.getLogger("lauragpt.serve")


def serve(settings: Settings, port: int, workers: int = 1) -> None:
    """Returns when the server was told to end. LauraError where the port cannot be had or the model cannot be loaded."""
    prepare_log()
    find_checkpoint(settings.model)  # or LauraError, before anything listens
    listener = listen(settings.host, port)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("listening on http://%s:%d", name, listener.getsockname()[1])
    if not settings.local and not settings.keys:
        log.warning("every machine that reaches this one may use the server: --api-key-file asks for a key")
    if workers == 1:
        return serve_alone(settings, listener)
    with private_folder("voices", "numbers") as folder:
        if settings.voices is None:
            settings = replace(settings, voices=folder / "voices")
        os.environ[metrics.FOLDER] = str(folder / "numbers")  # read by the workers
        app = partial(one_of_several, settings, folder)
        config = config_of(app, settings.limits, factory=True, workers=workers, timeout_worker_healthcheck=60)
        Multiprocess(config, sockets=[listener]).run()


def serve_alone(settings: Settings, listener: socket.socket) -> None:
    app = make_app(settings)
    server, worker = uvicorn.Server(config_of(app, settings.limits)), app.state.service.worker

    def fail() -> None:
        server.should_exit = True

    worker.on_failure = fail
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has ended in order, and raises the signal again
        server.run(sockets=[listener])
    if worker.failure is not None:
        raise worker.failure


def one_of_several(settings: Settings, folder: Path) -> FastAPI:
    """The application of a worker process, which nothing but the folders of voices and of numbers binds to the others."""
    prepare_log()
    threading.Thread(target=end_with, args=[multiprocessing.parent_process()], daemon=True).start()
    app = make_app(settings)
    app.state.service.private.enter_context(in_use(folder))
    worker = app.state.service.worker
    worker.on_failure = lambda: log.error("the model cannot be loaded: %s", worker.failure)
    return app


def end_with(parent: multiprocessing.Process) -> None:
    """Where the process that started this one is killed, this one finishes what it holds and ends as well: else it would keep the port."""
    parent.join()
    signal.raise_signal(signal.SIGTERM)


def config_of(app: FastAPI | Callable[[], FastAPI], limits: Limits, **more: object) -> uvicorn.Config:
    return uvicorn.Config(
        app, **more, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=DRAIN, ws_max_size=2**20,
        timeout_keep_alive=30, ws="websockets-sansio", http=partial(Connection, limits), loop="asyncio", lifespan="on",
    )  # fmt: skip


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. LauraError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise LauraError(f"{host}, port {port}, cannot be listened on ({error.strerror}): choose another --port or --host") from None
    return listener


def prepare_log() -> None:
    """Lines on stderr, of this package alone. Warnings of LauraGPT may hold what a client sent: its receipt tells the client."""
    warnings.filterwarnings("ignore", category=LauraWarning)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("laura: %(asctime)s %(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
