"""A server on a free port of this machine, and the recordings that it is sent."""

import contextlib
import io
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2 as httpx
import numpy as np
import soundfile
import uvicorn

from lauragpt.serve.app import make_app
from lauragpt.serve.run import config_of
from lauragpt.serve.settings import Settings

# No time is looked at: a test must not depend on how busy the machine is.
http = httpx.Client(timeout=None, limits=httpx.Limits(max_keepalive_connections=0))
CLIPS = Path(__file__).parents[2] / "lauragpt" / "assets" / "demo"


def clip(name: str) -> bytes:
    """The bytes of a recording that ships, by the beginning of its name."""
    [path] = CLIPS.glob(f"{name}*.opus")
    return path.read_bytes()


@contextlib.contextmanager
def serving(settings: Settings, buffer: int | None = None):
    """The address of a server that is ready, and the service behind it. `buffer`: bytes that its sockets hold for clients."""
    app, listener = make_app(settings), socket.create_server(("127.0.0.1", 0))
    if buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    server = uvicorn.Server(config_of(app, settings.limits))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        service = app.state.service
        while not service.ready and service.worker.failure is None:
            time.sleep(0.02)
        assert service.ready, service.worker.failure
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", service
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def started(*words: str, cwd: Path | None = None, port: str = "0"):
    """`laura serve` in a process of its own, on a free port, and its address, once it is ready."""
    command = [sys.executable, "-m", "lauragpt", "serve", *words, "--port", port]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=cwd)
    try:
        line = process.stderr.readline()
        assert "listening on http://127.0.0.1:" in line, line + process.stderr.read()
        address = line.split()[-1]
        while http.get(f"{address}/ready").status_code != 200:
            time.sleep(0.05)
        yield process, address
    finally:
        process.terminate()
        process.communicate()


def encoded(wave: np.ndarray, rate: int = 16000, format: str = "WAV", subtype: str | None = None) -> bytes:
    """A wave (N,) or (N, C) as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, subtype, format=format)
    return file.getvalue()
