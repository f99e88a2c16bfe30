"""Clients that are slow, or leave, and servers that are killed: nobody else notices, and nothing is held for them."""

import contextlib
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from servers import clip, encoded, http, serving, started

from lauragpt.audio import decode_audio
from lauragpt.serve.settings import Limits, Settings

CLIP = clip("digits-4")
TALK = clip("librispeech-2136")
LONG = "This is a sentence that takes a while. And here is another one, which is longer."


def connect(address: str, buffer: int | None = None) -> socket.socket:
    """`buffer`: bytes that this side holds of what it has not read."""
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    host, port = address.removeprefix("http://").split(":")
    client.connect((host, int(port)))
    return client


def rest(client: socket.socket) -> bytes:
    """All that comes until the server closes or resets the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(2**16):
            data += piece
    return data


def post(path: str, kind: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def form(data: bytes, path: str = "/v1/audio/transcriptions", **fields: str) -> bytes:
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n--x--\r\n"
    return post(path, "multipart/form-data; boundary=x", b"".join([*parts, file]))


def transcript(address: str, data: bytes = CLIP) -> str:
    return http.post(f"{address}/v1/audio/transcriptions", files={"file": data}).json()["text"]


@pytest.fixture(scope="module")
def impatient():
    """A server with little patience, and with little room for what clients do not read."""
    with serving(Settings(limits=Limits(header_seconds=0.5, stall_seconds=0.5)), buffer=4096) as (address, service):
        yield address, service


LINES = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BEGINNINGS = {
    "nothing": b"", "half a line": LINES[:9], "a line": LINES[:22], "no end": LINES, "the next request": LINES + b"\r\n" + LINES[:9],
}  # fmt: skip


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_header_that_does_not_end_is_given_up(impatient, beginning):
    with connect(impatient[0]) as client:
        client.sendall(BEGINNINGS[beginning])
        if beginning == "the next request":  # the first one is answered; what waits behind it counts from its next byte
            while b'"ok"' not in client.recv(2**16):
                pass
            client.sendall(b"a")
        head, _, body = rest(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ") and b"connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == "request_timeout" and "header" in json.loads(body)["error"]["message"]


def test_bytes_that_drip_do_not_buy_time(impatient):
    """A hundred slow clients are given up, and others are answered meanwhile."""
    slow = [connect(impatient[0]) for _ in range(100)]
    for client in slow:
        client.sendall(LINES)
    assert transcript(impatient[0]) == "four"
    answers = []
    for client in slow:
        with client:
            client.settimeout(0.02)
            while True:
                try:
                    client.sendall(b"X-A: b\r\n")
                    answers.append(client.recv(2**16))
                    break
                except TimeoutError:
                    continue
                except OSError:  # it has been given up, and its end is closed
                    answers.append(b"")
                    break
    assert len(answers) == 100 and any(b" 408 " in answer for answer in answers)


def test_what_is_no_http_is_refused_in_the_same_shape(impatient):
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)  # of TLS
    for data in (hello + b"\r\n\r\n", b"GET /" + b"a" * 2**17, b"GET / HTTP/9\r\n\r\n"):
        with connect(impatient[0]) as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(data)
            answer = rest(client)
        if answer:  # what it had not read yet may make the system reset the connection, and take the answer with it
            assert answer.startswith(b"HTTP/1.1 400 ") and json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["param"] is None
    assert transcript(impatient[0]) == "four"


def test_a_body_that_breaks_off_in_its_encoding(impatient):
    with connect(impatient[0]) as client:
        client.sendall(b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
                       b"Content-Type: multipart/form-data; boundary=x\r\n\r\n5\r\n--x\r\n\r\nnot a number\r\n")  # fmt: skip
        assert rest(client).startswith(b"HTTP/1.1 400 ")
    assert transcript(impatient[0]) == "four"


def test_an_answer_that_is_not_read_is_given_up(impatient):
    """A whole one of 320 kB, of which the sockets hold some; the connection is reset, where closing would wait for ever."""
    noise = encoded(np.random.default_rng(0).normal(0, 0.05, 160_000))
    with connect(impatient[0], buffer=4096) as client:
        client.sendall(form(noise, "/v1/audio/enhancements"))
        while b"\r\n" not in client.recv(64, socket.MSG_PEEK):
            pass
        process = psutil.Process()
        port = client.getsockname()[1]
        while any(each.raddr and each.raddr.port == port for each in process.net_connections("tcp")):
            time.sleep(0.02)
        head, _, body = rest(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and len(body) < 320_000
    assert transcript(impatient[0]) == "four"


def test_a_stream_that_is_not_read_holds_nothing_for_long(impatient):
    address, service = impatient
    body = json.dumps({"input": LONG, "voice": "slt", "response_format": "wav", "stream_format": "audio"}).encode()
    with connect(address, buffer=4096) as client:
        client.sendall(post("/v1/audio/speech", "application/json", body))
        while not service.worker.held:
            time.sleep(0.01)
        while service.worker.held:
            time.sleep(0.01)
        assert b"0\r\n\r\n" not in rest(client)[-5:]  # it did not come to its end


def test_a_slow_reader_gets_all(impatient):
    """What is read bit by bit is no stall."""
    known = http.post(f"{impatient[0]}/v1/audio/enhancements", files={"file": TALK}).content
    with connect(impatient[0], buffer=4096) as client:
        client.sendall(form(TALK, "/v1/audio/enhancements").replace(b"Host", b"Connection: close\r\nHost", 1))
        data = b""
        while piece := client.recv(2**14):
            data += piece
            time.sleep(0.05)
    assert data.partition(b"\r\n\r\n")[2] == known and len(known) > 80_000


def test_a_client_that_leaves_in_the_middle_of_its_transcript(server):
    """Of the events that it asked for it reads the first."""
    address, service = server
    talk = encoded(np.tile(decode_audio(clip("librispeech-6272")), 6))
    with connect(address) as client:
        client.sendall(form(talk, stream="true"))
        data = b""
        while b"transcript.text.delta" not in data:
            data += client.recv(2**16)
        assert service.worker.held > 0
    while service.worker.held:
        time.sleep(0.01)
    assert b"transcript.text.done" not in data and transcript(address) == "four"


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


def test_a_server_that_is_killed_starts_again_where_it_was(tmp_path, laura):
    """Clients see that their answer is not whole; the port is free at once, and the voices are there, whole."""
    port, voice = free_port(), {"name": "anna", "consent": "yes", "text": "The night was calm and snowy.", "language": "en"}
    words = ("--voices", str(tmp_path), "--threads", "1")
    talk = encoded(np.tile(decode_audio(TALK), 20))
    with started(*words, port=port) as (process, address), ThreadPoolExecutor(4) as pool:
        assert http.post(f"{address}/v1/voices", files={"audio_sample": clip("kathleen")}, data=voice).status_code == 200

        def ask(number: int) -> str:
            try:
                return transcript(address, talk)
            except Exception as error:
                return type(error).__name__

        asked = [pool.submit(ask, number) for number in range(4)]
        while "laura_held_seconds 0.0" in http.get(f"{address}/metrics").text:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert all(future.result() in ("RemoteProtocolError", "ReadError", "ConnectError") for future in asked)
    (tmp_path / "voice_0123456789abcdef.wav").write_bytes(b"half")  # as an upload leaves it that is killed between its two files
    with started(*words, port=port) as (_, again):
        assert again == address and transcript(again) == "four"
        assert [row["name"] for row in http.get(f"{again}/v1/voices").json()["data"]][-1] == "anna"
        assert http.post(f"{again}/v1/audio/speech", json={"input": "One.", "voice": "anna"}).status_code == 200


def spawned(process) -> set[int]:
    """The worker processes of a server that are alive."""
    found = set()
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):  # it has ended
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def test_a_worker_that_is_killed_is_replaced():
    with started("--workers", "2", "--threads", "1") as (process, address):
        killed, other = spawned(process)
        os.kill(killed, signal.SIGKILL)
        while len(spawned(process) - {killed}) < 2:
            time.sleep(0.05)
        assert other in spawned(process)
        for _ in range(4):
            assert transcript(address) == "four"
