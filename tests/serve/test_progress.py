"""/v1/progress: events while a request is answered, from its waiting to its end."""

import json
import threading

import numpy as np
import pytest
from servers import clip, encoded, http

from lauragpt.audio import decode_audio


def asked(address, name, told):
    """A thread that writes down what is told of a request until it ends; it is watching when this returns."""
    watching = threading.Event()

    def watch():
        with http.stream("GET", f"{address}/v1/progress/{name}") as answer:
            for line in answer.iter_lines():
                if line:
                    told.append(json.loads(line.removeprefix("data: "))["done"])
                    watching.set()

    thread = threading.Thread(target=watch)
    thread.start()
    assert watching.wait(60)
    return thread


def test_the_share_grows_until_the_answer_is_there(address):
    speech = decode_audio(clip("librispeech-6272"))
    talk = encoded(np.concatenate([speech, np.zeros(12000)] * 12))
    told = []
    thread = asked(address, "long talk", told)
    form = {"response_format": "verbose_json"}
    answer = http.post(f"{address}/v1/audio/translations", files={"file": talk}, data=form, headers={"X-Request-Id": "long talk"})
    thread.join()
    assert answer.status_code == 200
    assert told[0] is None and told[1:] == sorted(told[1:]) and all(0 <= share <= 1 for share in told[1:])


@pytest.mark.parametrize("name, path, request_", [
    ("a talk", "transcriptions", {"files": {"file": clip("librispeech-2136")}, "data": {"stream": "true"}}),
    ("a speech", "speech", {"json": {"input": "One.", "stream_format": "audio", "response_format": "wav"}}),
])  # fmt: skip
def test_answers_that_are_streamed_are_watched_to_their_end(address, name, path, request_):
    told = []
    thread = asked(address, name, told)
    answer = http.post(f"{address}/v1/audio/{path}", headers={"X-Request-Id": name}, **request_)
    thread.join()
    assert answer.status_code == 200 and told[0] is None and told[-1] is not None


def test_requests_that_fail_end_their_progress(address):
    told = []
    thread = asked(address, "no sound", told)
    answer = http.post(f"{address}/v1/audio/captions", files={"file": b"no sound"}, headers={"X-Request-Id": "no sound"})
    thread.join()
    assert answer.status_code == 400 and told[0] is None


def test_what_the_worker_tells(laura):
    """Each job of a batch hears how far all of it has come."""
    from lauragpt.serve.settings import Limits
    from lauragpt.serve.worker import Worker

    seen = []

    class Count:
        def __call__(self, laura, inputs, progress):
            for done in (1, 2, 4):
                progress(done, 4)
                seen.append([ticket.share for ticket in tickets])
            return inputs

    worker = Worker(lambda: laura, Limits())
    tickets, kind = [worker.ticket(), worker.ticket()], Count()
    assert [ticket.share for ticket in tickets] == [None, None]
    futures = [worker.ask(kind, number, ticket) for number, ticket in enumerate(tickets)]
    worker.start()
    assert [future.result() for future in futures] == [0, 1]
    worker.stop()
    assert seen == [[0.25, 0.25], [0.5, 0.5], [1.0, 1.0]]
