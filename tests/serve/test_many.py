"""Many clients at once: each gets the answer that it would get alone; a full server says so; one that ends finishes what it holds."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest
from servers import clip, encoded, http, serving, started

from lauragpt.audio import decode_audio
from lauragpt.serve.settings import Limits, Settings

NAMES = ("digits-4", "digits-7", "librispeech-2136", "kathleen", "kerstin", "barista-458")


def number(page: str, name: str) -> float:
    return float(re.search(rf"^{name} (\S+)$", page, re.MULTILINE)[1])


@pytest.mark.slow
def test_answers_given_together_are_those_given_alone(server, laura):
    """With times and confidences, in every kind that comes at once."""
    address, service = server
    clips = {name: clip(name) for name in NAMES}
    known = {(name, lang): laura.transcribe(clips[name], lang=lang) for name in NAMES for lang in (None, "en")}
    before = [number(service.metrics.page().decode(), f"laura_batch_jobs_{what}") for what in ("count", "sum")]

    def ask(key):
        name, lang = key
        form = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]} | ({"language": lang} if lang else {})
        return key, http.post(f"{address}/v1/audio/transcriptions", files={"file": clips[name]}, data=form).json()

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, list(known) * 3))
    for key, answer in answers:
        result = known[key]
        assert answer["text"] == result.text and answer["receipt"] == result.receipt
        assert [(word["word"], word["start"], word["end"]) for word in answer["words"]] == [
            (word.text, word.start, word.end) for segment in result.segments for word in segment.words
        ]
    after = [number(service.metrics.page().decode(), f"laura_batch_jobs_{what}") for what in ("count", "sum")]
    calls, jobs = after[0] - before[0], after[1] - before[1]
    assert jobs == 36 and calls < 24  # they were not answered one by one
    assert service.worker.held == 0


@contextlib.contextmanager
def at_work(request_seconds: float = 600):
    """A server whose model is at work until `free` is set."""
    with serving(Settings(limits=Limits(seconds=20, held_seconds=50, request_seconds=request_seconds))) as (address, service):
        free, begun = threading.Event(), threading.Event()
        ticket = service.worker.ticket()
        ticket.deadline += 600  # this one may wait
        service.worker.call(lambda _: (begun.set(), free.wait()), ticket)
        begun.wait()
        try:
            yield address, service, free
        finally:
            free.set()


@pytest.fixture
def busy():
    with at_work() as server:
        yield server


def test_a_full_server_says_when_to_ask_again(busy):
    address, service, free = busy
    silence, client = encoded(np.zeros(16000 * 20)), openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)

    def ask():
        return client.audio.transcriptions.create(model="mini", file=("silence.wav", silence)).text

    with ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(ask) for _ in range(2)]
        while service.worker.waiting() < 2:
            time.sleep(0.01)
        with pytest.raises(openai.RateLimitError) as caught:
            ask()
        assert int(caught.value.response.headers["retry-after"]) >= 1 and caught.value.type == "rate_limit_error"
        free.set()
        assert [future.result() for future in accepted] == ["", ""]
    assert ask() == "" and service.worker.held == 0


def test_a_request_that_takes_too_long():
    with at_work(request_seconds=1) as (address, service, _):
        answer = http.post(f"{address}/v1/audio/transcriptions", files={"file": clip("digits-4")})
        assert answer.status_code == 504 and answer.headers["x-should-retry"] == "false" and service.worker.held == 0


def request_bytes(data: bytes) -> bytes:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n--x--\r\n"
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + body


def test_a_client_that_leaves_is_not_waited_for(busy):
    """In the middle of its upload, and while it waits."""
    address, service, free = busy
    host, port = address.removeprefix("http://").split(":")
    whole = request_bytes(clip("librispeech-2136"))
    with socket.create_connection((host, int(port))) as client:
        client.sendall(whole[: len(whole) // 2])
    with socket.create_connection((host, int(port))) as client:
        client.sendall(whole)
        while not service.worker.waiting():
            time.sleep(0.01)
        assert service.worker.held == pytest.approx(2.59)
    while service.worker.held:
        time.sleep(0.01)
    free.set()
    assert http.post(f"{address}/v1/audio/transcriptions", files={"file": clip("digits-4")}).json()["text"] == "four"
    assert 'status="499"' in service.metrics.page().decode()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_ended_finishes_what_it_holds(laura, signal_number):
    data = encoded(np.tile(decode_audio(clip("librispeech-2136")), 6))
    with started() as (process, address), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(http.post, f"{address}/v1/audio/transcriptions", files={"file": data})
        while not number(http.get(f"{address}/metrics").text, "laura_held_seconds"):
            time.sleep(0.01)
        process.send_signal(signal_number)
        assert answer.result().json()["text"] == laura.transcribe(data).text
        assert process.wait(60) == 0
        rest = process.stderr.read()
    assert "Traceback" not in rest and "POST /v1/audio/transcriptions 200" in rest


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([sys.executable, "-m", "lauragpt", "serve", "--port", port], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"laura: 127.0.0.1, port {port}, cannot be listened on (Address already in use)")


def test_what_is_wrong_is_told_before_anything_listens(tmp_path):
    for words, reason in (
        (["nothing"], "no checkpoint 'nothing'"),
        (["--api-key-file", str(tmp_path / "none")], "cannot be read"),
        (["--max-seconds", "60", "--queue-seconds", "10"], "less than what one may have"),
    ):
        done = subprocess.run([sys.executable, "-m", "lauragpt", "serve", "--port", "0", *words], capture_output=True, text=True)
        assert done.returncode == 1 and reason in done.stderr and done.stderr.count("\n") == 1


def test_a_checkpoint_that_is_damaged_ends_the_server(tmp_path):
    import shutil

    from lauragpt.checkpoint import find_checkpoint

    broken = shutil.copytree(find_checkpoint("mini"), tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"damaged")
    done = subprocess.run([sys.executable, "-m", "lauragpt", "serve", "--port", "0", str(broken)], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr and done.stderr.splitlines()[-1].startswith("laura: ")


def test_packages_that_are_missing():
    """One line says how to get them."""
    code = "import sys; sys.modules['fastapi'] = None; from lauragpt.cli.app import app; app(['serve'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "laura: fastapi is missing: run pip install -e '.[serve]' in the clone of lauragpt\n"


def test_several_workers_share_the_voices_and_the_numbers_alone():
    with started("--workers", "2", "--threads", "1") as (process, address):
        with ThreadPoolExecutor(4) as pool:
            url = f"{address}/v1/audio/transcriptions"
            answers = pool.map(lambda _: http.post(url, files={"file": clip("digits-4")}), range(8))
        assert [answer.json()["text"] for answer in answers] == ["four"] * 8
        counted = 'laura_requests_total{method="POST",path="/v1/audio/transcriptions",status="200"} 8.0'
        while counted not in (page := http.get(f"{address}/metrics").text):  # whichever worker answers; it counts behind its answer
            time.sleep(0.05)
        assert number(page, "laura_held_seconds") == number(page, "laura_waiting_jobs") == 0
        form = {"name": "anna", "consent": "yes", "text": "The night was calm and snowy.", "language": "en"}
        assert http.post(f"{address}/v1/voices", files={"audio_sample": clip("kathleen")}, data=form).status_code == 200
        for _ in range(10):
            assert http.get(f"{address}/v1/voices").json()["data"][-1]["name"] == "anna"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
