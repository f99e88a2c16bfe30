"""The WebSocket: what is spoken into it is transcribed as `transcribe_stream` does, for many at once, and it says what is wrong."""

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soxr
from servers import clip, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connected

from lauragpt.audio import decode_audio
from lauragpt.serve.keys import read_keys
from lauragpt.serve.settings import Limits, Settings

TALK = np.concatenate([decode_audio(clip("librispeech-6272")), np.zeros(24000, np.float32), decode_audio(clip("digits-7"))])


def samples(wave: np.ndarray, rate: int = 16000) -> bytes:
    wave = wave if rate == 16000 else soxr.resample(wave, 16000, rate)
    return (wave * 32767).round().astype("<i2").tobytes()


def connect(url: str, **how):
    """Waits as long as a busy machine takes."""
    return connected(url, open_timeout=None, ping_interval=None, **how)


def stream_of(address: str) -> str:
    return address.replace("http", "ws") + "/v1/audio/stream"


def hear(address: str, data: bytes, query: str = "", size: int = 3333, end: str = '{"type": "end"}') -> list[dict]:
    """All that comes for samples that are sent `size` bytes at a time."""
    url = stream_of(address) + query
    with connect(url) as socket:
        for at in range(0, len(data), size):
            socket.send(data[at : at + size])
        socket.send(end)
        rows = []
        try:
            while True:
                rows.append(json.loads(socket.recv(600)))
        except ConnectionClosed:
            return rows


def finals(rows: list[dict]) -> list[tuple[str, list]]:
    return [(row["text"], row["segments"]) for row in rows if row["type"] == "transcript.final"]


@pytest.fixture(scope="module")
def known(laura):
    wave = np.frombuffer(samples(TALK), "<i2").astype(np.float32) / 32768
    results = laura.transcribe_stream(iter([wave]), every=None)
    return [(row["text"], row["segments"]) for row in (json.loads(result.to_json()) for result in results)]


@pytest.mark.parametrize("size", [3333, 1, 900_000])
def test_the_transcript_of_a_stream(address, known, size):
    """Whatever the messages hold, a sample is not lost, and half a one is not either."""
    data = samples(TALK) if size > 1 else samples(TALK[:4000])
    rows = hear(address, data, "?interval=0", size)
    if size > 1:
        assert finals(rows) == known and len(known) == 2
    assert rows[-1]["type"] == "transcript.done" and rows[-1]["receipt"]["seconds_given"] == round(len(data) / 32000, 3)
    assert rows[-1]["text"] == " ".join(text for text, _ in finals(rows) if text)


def test_partial_answers_come_before_final_ones(address, known):
    rows = hear(address, samples(TALK), "?interval=2&language=en")
    assert [row["type"] for row in rows].index("transcript.partial") == 0 and rows[-1]["type"] == "transcript.done"
    assert [text for text, _ in finals(rows)] == [text for text, _ in known]


def test_another_rate(address, known):
    rows = hear(address, samples(TALK, 24000), "?interval=0&sample_rate=24000")
    assert abs(rows[-1]["receipt"]["seconds_given"] - len(TALK) / 16000) < 0.01 and len(finals(rows)) == len(known)


def test_fifty_at_once(server):
    digits = [decode_audio(clip(name)) for name in ("digits-4", "digits-7")]
    words = ["four", "seven"]
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(hear, server[0], samples(digits[number % 2]), "?interval=0&language=en") for number in range(50)]
        assert [future.result()[-1]["text"] for future in asked] == words * 25
    while server[1].worker.held:
        time.sleep(0.01)


def test_nothing_and_half_a_sample(address):
    assert [row["type"] for row in hear(address, b"")] == ["transcript.done"]
    assert hear(address, b"\0" * 3201)[-1]["receipt"]["halved"] is True


@pytest.mark.parametrize("query, end, reason", [
    ("?sample_rate=1", '{"type": "end"}', "sample_rate"), ("?language=xx", '{"type": "end"}', "unknown language"),
    ("?model=gpt-9", '{"type": "end"}', "model"), ("", "no json", "binary messages"), ("", '{"type": "start"}', "binary messages"),
    ("", "[]", "binary messages"), ("?interval=-1", "", "interval"),
])  # fmt: skip
def test_what_is_wrong(address, query, end, reason):
    url = stream_of(address) + query
    with connect(url) as socket:
        with contextlib.suppress(ConnectionClosed):  # it may be told before the client has sent anything
            socket.send(end)
        assert reason in json.loads(socket.recv(600))["error"]["message"]
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(600)
    assert caught.value.rcvd.code == 1008


def test_a_message_that_is_too_large_ends_it(address):
    with connect(stream_of(address)) as socket:
        socket.send(bytes(2_000_000))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(600)
    assert caught.value.rcvd.code == 1009


def test_a_client_that_leaves_holds_nothing(server):
    with connect(stream_of(server[0])) as socket:
        socket.send(samples(TALK[:16000]))
        while not server[1].worker.held:
            time.sleep(0.01)
    while server[1].worker.held:
        time.sleep(0.01)


def test_a_full_server():
    with serving(Settings(limits=Limits(seconds=30, held_seconds=30))) as (address, service):
        url = stream_of(address)
        with connect(url):
            while not service.worker.held:
                time.sleep(0.01)
            with connect(url) as second:
                assert json.loads(second.recv(600))["error"]["code"] == "server_busy"
                with pytest.raises(ConnectionClosed) as caught:
                    second.recv(600)
                assert caught.value.rcvd.code == 1013


def test_a_client_that_sends_nothing():
    with serving(Settings(limits=Limits(request_seconds=1))) as (address, _), connect(stream_of(address)) as socket:
        assert "nothing came for 1 s" in json.loads(socket.recv(600))["error"]["message"]


def test_who_may_not(address, tmp_path):
    url = stream_of(address)
    with pytest.raises(InvalidStatus) as caught, connect(url, origin="https://example.com"):
        pass
    assert caught.value.response.status_code == 403
    (tmp_path / "keys").write_text("a-key-of-this-test\n")
    with serving(Settings(keys=read_keys(tmp_path / "keys"))) as (keyed, _):
        url = stream_of(keyed)
        with pytest.raises(InvalidStatus) as caught, connect(url):
            pass
        assert caught.value.response.status_code == 401
        with connect(url, additional_headers={"Authorization": "Bearer a-key-of-this-test"}) as socket:
            socket.send('{"type": "end"}')
            assert json.loads(socket.recv(600))["type"] == "transcript.done"
