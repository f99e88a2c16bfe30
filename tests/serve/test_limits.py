"""What a request may have: bytes, seconds, time. What is beyond is refused while it comes, and nothing of it is kept or opened."""

import logging
import struct
import sys

import numpy as np
import pytest
from fastapi.testclient import TestClient
from servers import clip, encoded, http, serving

from lauragpt.errors import LauraError
from lauragpt.serve.app import make_app
from lauragpt.serve.problems import Left, Problem
from lauragpt.serve.settings import Limits, Settings
from lauragpt.serve.uploads import decode
from lauragpt.serve.worker import Worker

CLIP = clip("digits-4")
SMALL = Limits(upload_bytes=200_000, held_bytes=500_000, seconds=20, held_seconds=50)


@pytest.fixture(scope="module")
def small():
    with serving(Settings(limits=SMALL)) as (address, service):
        yield f"{address}/v1/audio/transcriptions", service


def bomb(minutes: int) -> bytes:
    """Silence as FLAC: a few kB that unfold to `minutes`."""
    return encoded(np.zeros(minutes * 60 * 16000, dtype=np.int16), format="FLAC")


def test_bytes_that_the_header_tells(small):
    answer = http.post(small[0], files={"file": bytes(300_000)})
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"
    assert "0.190735 MiB" in answer.json()["error"]["message"]


def test_bytes_that_no_header_tells(small):
    """A body in pieces is refused as soon as it is too large; what still comes is thrown away."""

    def pieces():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(500):
            yield bytes(10_000)

    answer = http.post(small[0], content=pieces(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413
    assert http.post(small[0], files={"file": CLIP}).json()["text"] == "four"


def test_a_bomb_is_not_unfolded(small):
    data = bomb(60)
    assert len(data) < SMALL.upload_bytes
    answer = http.post(small[0], files={"file": data})
    assert answer.status_code == 413 and "longer than 20 s" in answer.json()["error"]["message"]
    ticket = Worker(None, SMALL).ticket()
    with pytest.raises(Problem, match="longer than 20 s"):
        decode(data, ticket)
    assert ticket.seconds == 20  # no more was held
    ticket.close()
    assert ticket.worker.held == 0


def test_decoding_stops_when_nobody_waits():
    ticket = Worker(None, Limits()).ticket()
    ticket.close()
    with pytest.raises(Left):
        decode(bomb(1), ticket)
    late = Worker(None, Limits(request_seconds=1e-9)).ticket()
    with pytest.raises(Problem, match="longer than 1e-09 s"):
        decode(bomb(1), late)


def test_seconds_of_all_requests_are_bounded():
    worker = Worker(None, SMALL)
    tickets = [worker.ticket() for _ in range(3)]
    for ticket in tickets[:2]:
        decode(encoded(np.zeros(16000 * 20)), ticket)
    with pytest.raises(Problem) as caught:
        decode(encoded(np.zeros(16000 * 20)), tickets[2])
    assert caught.value.status_code == 429 and int(caught.value.headers["Retry-After"]) >= 1
    for ticket in tickets[:2]:
        ticket.close()
    tickets[2].close()
    assert worker.held == 0
    with worker.ticket() as ticket:
        decode(encoded(np.zeros(16000 * 20)), ticket)


def lying(channels: int = 1, rate: int = 16000, size: int | None = None, bits: int = 16) -> bytes:
    """A WAV of 8000 samples whose header says something else."""
    size = 16000 if size is None else size
    align = channels * bits // 8
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", (36 + size) % 2**32, b"WAVE", b"fmt ", 16, 1, channels, rate,
                         rate * align % 2**32, align % 2**16, bits, b"data", size)  # fmt: skip
    return header + bytes(16000)


@pytest.mark.parametrize("lie", [
    {"channels": 1000, "rate": 48000}, {"channels": 0}, {"channels": 65535}, {"rate": 0}, {"rate": 2**32 - 1}, {"rate": 1}, {"bits": 0},
    {"bits": 9999}, {"channels": 1024, "rate": 768_000},
], ids=str)  # fmt: skip
def test_headers_that_lie_are_refused(address, lie):
    answer = http.post(f"{address}/v1/audio/transcriptions", files={"file": lying(**lie)})
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


def test_a_header_that_promises_a_hundred_hours(address):
    form = {"response_format": "verbose_json"}
    answer = http.post(f"{address}/v1/audio/transcriptions", files={"file": lying(size=2**32 - 100)}, data=form)
    assert answer.status_code == 200 and answer.json()["duration"] == 0.5


def test_a_thousand_channels_do_not_fill_the_memory():
    """The block of a second that they would need is never made."""
    import tracemalloc

    with Worker(None, Limits()).ticket() as ticket:
        tracemalloc.start()
        with pytest.raises(LauraError, match="1,000 channels at 48,000 Hz"):
            decode(lying(channels=1000, rate=48000), ticket)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10_000_000


OPENED, WATCHING = [], []


def watch(event: str, arguments: tuple) -> None:
    if WATCHING and event in ("open", "socket.connect", "os.mkdir", "os.rename", "subprocess.Popen"):
        OPENED.append((event, *arguments))


sys.addaudithook(watch)
TRAPS = {
    "a name that exists": ("/etc/passwd", CLIP),
    "a name that climbs": ("../../pyproject.toml", CLIP),
    "a URL as a name": ("http://127.0.0.1:9/a.wav", CLIP),
    "a large recording": ("large.wav", encoded(np.zeros(16000 * 120))),
    "a playlist": ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
    "a list of files": ("list.ffconcat", b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "a session": ("a.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n"),
    "an image": ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
}


@pytest.fixture(scope="module")
def inside():
    """A server in this process and this thread's reach, so that all that it opens is seen."""
    with TestClient(make_app(Settings()), base_url="http://127.0.0.1") as client:
        assert client.post("/v1/audio/transcriptions", files={"file": CLIP}).json()["text"] == "four"  # what is read once is read
        yield client


@pytest.mark.parametrize("trap", TRAPS)
def test_nothing_of_a_request_is_opened_or_written(inside, trap):
    name, data = TRAPS[trap]
    WATCHING.append(trap)
    try:
        answer = inside.post("/v1/audio/transcriptions", files={"file": (name, data)})
    finally:
        WATCHING.clear()
    seen = [each for each in OPENED if not (each[0] == "open" and str(each[1]).endswith((".py", ".pyc", ".so")))]  # modules
    OPENED.clear()
    assert seen == [] and answer.status_code in (200, 400)


def test_the_log_has_no_content(inside, caplog):
    with caplog.at_level(logging.DEBUG):
        form = {"prompt": "a secret word", "language": "en", "response_format": "text"}
        answer = inside.post("/v1/audio/transcriptions?note=a-secret-word", files={"file": ("secret-name.opus", CLIP)}, data=form)
        inside.post("/v1/audio/transcriptions", files={"file": ("secret-name.opus", b"a secret")}, data=form)
        inside.get("/secret-path")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(("lauragpt", "uvicorn"))]
    assert len(lines) == 3 and lines[0].startswith("POST /v1/audio/transcriptions 200") and lines[0].endswith("s of sound")
    assert answer.text.strip() == "four" and not any(word in line for line in lines for word in ("secret", "four"))


def test_a_body_that_never_ends_is_given_up():
    import socket

    with serving(Settings(limits=Limits(request_seconds=1.0))) as (address, _):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
                         b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")  # fmt: skip
            assert b" 408 " in slow.recv(1000)


@pytest.mark.parametrize("given", [{"seconds": 100, "held_seconds": 50}, {"upload_bytes": 10, "held_bytes": 5}, {"seconds": 0}])
def test_limits_under_which_nothing_could_be_answered(given):
    with pytest.raises(LauraError):
        Limits(**given)
