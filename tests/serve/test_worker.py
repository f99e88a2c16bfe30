"""The queue and the thread behind it: what is answered together, what is not begun, what is stopped."""

import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest
from servers import clip

from lauragpt.audio import read_recording
from lauragpt.errors import LauraError
from lauragpt.serve.problems import Left, Problem
from lauragpt.serve.settings import Limits
from lauragpt.serve.worker import MOST, Ask, Worker


class Gate:
    """A worker that is busy until `open` is set."""

    def __init__(self, laura, limits=None):
        self.calls, self.open = [], threading.Event()
        self.worker = Worker(lambda: laura, limits or Limits(), watch=lambda *call: self.calls.append(call))
        self.worker.start()
        busy = threading.Event()
        self.worker.call(lambda _: (busy.set(), self.open.wait()), self.worker.ticket())
        busy.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.open.set()
        self.worker.stop()


class Noted:
    """A kind that notes what came together, and fails where it is told to."""

    def __init__(self, fail=None):
        self.fail, self.seen = fail, []

    def __call__(self, laura, inputs, progress):
        self.seen.append(inputs)
        if self.fail in inputs:
            raise LauraError(f"{self.fail} is wrong")
        return [2 * each for each in inputs]


def test_jobs_of_one_kind_are_one_call(laura):
    one, other = Noted(), Noted()
    with Gate(laura) as gate:
        futures = [gate.worker.ask(one if n % 3 else other, n, gate.worker.ticket()) for n in range(12)]
        gate.open.set()
        assert [future.result() for future in futures] == [2 * n for n in range(12)]
    assert other.seen == [[0, 3, 6, 9]] and one.seen == [[1, 2, 4, 5, 7, 8, 10, 11]]
    assert [jobs for jobs, _, _ in gate.calls] == [1, 4, 8]


def test_at_most_so_many_at_once_and_so_many_seconds(laura):
    kind = Noted()
    with Gate(laura) as gate:
        futures = [gate.worker.ask(kind, n, gate.worker.ticket()) for n in range(MOST + 3)]
        for n in range(3):
            ticket = gate.worker.ticket()
            ticket.reserve(250)
            futures.append(gate.worker.ask(kind, 100 + n, ticket))
        gate.open.set()
        assert len([future.result() for future in futures]) == MOST + 6
    assert [len(inputs) for inputs in kind.seen] == [MOST, 5, 1]


def test_a_wrong_one_does_not_spoil_the_others(laura):
    kind = Noted(fail=1)
    with Gate(laura) as gate:
        futures = [gate.worker.ask(kind, n, gate.worker.ticket()) for n in range(3)]
        gate.open.set()
        assert futures[0].result() == 0 and futures[2].result() == 4
        with pytest.raises(LauraError, match="1 is wrong"):
            futures[1].result()
    assert kind.seen == [[0, 1, 2], [0], [1], [2]]


def test_what_nobody_waits_for_is_not_begun(laura):
    kind = Noted()
    with Gate(laura, Limits(request_seconds=600)) as gate:
        left, late, cancelled, wanted = (gate.worker.ticket() for _ in range(4))
        futures = [gate.worker.ask(kind, n, ticket) for n, ticket in enumerate((left, late, cancelled, wanted))]
        left.close()
        late.deadline = 0
        futures[2].cancel()
        gate.open.set()
        assert futures[3].result() == 6
        for future, error in zip(futures, (Left, Problem, CancelledError)):
            with pytest.raises(error):
                future.result()
    assert kind.seen == [[3]]


def test_work_stops_when_the_client_leaves(laura):
    """A long recording ends at its next chunk; a batch goes on as long as one of its clients waits."""
    long = read_recording(np.tile(read_recording(clip("librispeech-2136")).wave, 60))
    steps = []

    def kind(laura, inputs, progress):
        def leave(done, total):
            steps.append(done / total)
            gone.close()
            progress(done, total)

        return laura.transcribe(audio=inputs, progress=leave)

    worker = Worker(lambda: laura, Limits())
    worker.start()
    gone = worker.ticket()
    with pytest.raises(Left):
        worker.ask(kind, long, gone).result()
    assert len(steps) == 1 and steps[0] < 1
    with Gate(laura) as gate:
        gone, waiting = gate.worker.ticket(), gate.worker.ticket()
        short = read_recording(clip("digits-4"))
        futures = [gate.worker.ask(kind, short, ticket) for ticket in (gone, waiting)]
        gate.open.set()
        assert futures[1].result().text == "four"
    worker.stop()


def test_a_worker_that_ends_finishes_what_is_queued_and_takes_no_more(laura):
    kind = Noted()
    with Gate(laura) as gate:
        futures = [gate.worker.ask(kind, n, gate.worker.ticket()) for n in range(3)]
        ending = threading.Thread(target=gate.worker.stop)
        ending.start()
        while not gate.worker.stopping:
            time.sleep(0.01)
        with pytest.raises(Problem) as caught:
            gate.worker.ask(kind, 9, gate.worker.ticket())
        assert caught.value.status_code == 503
        gate.open.set()
        ending.join()
        assert [future.result() for future in futures] == [0, 2, 4]


def test_asks_of_one_kind_are_equal():
    assert Ask.of("transcribe", lang="en", min_confidence=0.0) == Ask.of("transcribe", min_confidence=0.0, lang="en")
    assert len({Ask.of("transcribe", lang="en"), Ask.of("transcribe", lang="de"), Ask.of("caption")}) == 3


def test_nothing_held_is_nothing():
    """Sums of floats leave a residue when they are taken apart again."""
    worker = Worker(None, Limits())
    for seconds in [0.1] * 3 + [-0.1] * 3:
        worker.hold(seconds)
    assert worker.held == 0
