"""The one thread that owns the model, and the queue in front of it.

In: `Job`s of many requests at once. Those of one kind that wait together are one call of the list API. Out: each job's future. What all
requests hold together is bounded in seconds of sound; a job whose client left, or whose time is up, is not begun, or stopped at its next
chunk.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from lauragpt.engine.api import Laura
from lauragpt.engine.progress import Progress
from lauragpt.serve.problems import Left, Problem, late
from lauragpt.serve.settings import Limits

MOST = 16  # jobs that are answered together
MOST_SECONDS = 600.0  # of their sound, unless one has more


class Kind(Protocol):
    """What is to be done with inputs of one kind, together. Equal kinds are equal objects."""

    def __call__(self, laura: Laura, inputs: list, progress: Progress) -> list: ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Ask:
    """A verb of `Laura` with its options."""

    verb: str
    options: tuple[tuple[str, Hashable], ...] = ()

    @classmethod
    def of(cls, verb: str, **options: Hashable) -> "Ask":
        return cls(verb, tuple(sorted(options.items())))

    def __call__(self, laura: Laura, inputs: list, progress: Progress) -> list:
        return getattr(laura, self.verb)(audio=inputs, progress=progress, **dict(self.options))


class Ticket:
    """What one request holds of the server: seconds of sound, and time. Closed when it is answered or its client has left."""

    def __init__(self, worker: "Worker"):
        self.worker, self.seconds, self.closed = worker, 0.0, False
        self.share: float | None = None  # of the work that is done; None while it waits
        self.deadline = time.monotonic() + worker.limits.request_seconds

    def __enter__(self) -> "Ticket":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def reserve(self, seconds: float) -> None:
        """Problem 429 where all requests together would hold too much."""
        self.worker.hold(seconds)
        self.seconds += seconds

    def check(self) -> None:
        """Left or Problem 504 where nobody waits any longer."""
        if self.closed:
            raise Left
        if time.monotonic() > self.deadline:
            raise late(self.worker.limits.request_seconds)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.worker.hold(-self.seconds)


@dataclass(eq=False)
class Job:
    kind: Kind
    input: object
    ticket: Ticket
    alone: bool = False  # it has no equals
    future: Future = field(default_factory=Future)

    def settle(self, result: object = None, error: BaseException | None = None) -> None:
        with suppress(InvalidStateError):  # it was cancelled meanwhile
            self.future.set_result(result) if error is None else self.future.set_exception(error)


class Worker:
    """`load` opens the model, in the thread. `watch(jobs, seconds of sound, seconds it took)` hears of each call."""

    def __init__(
        self, load: Callable[[], Laura], limits: Limits, window: float = 0.0, watch: Callable[[int, float, float], None] | None = None
    ):
        self.load, self.limits, self.window, self.watch = load, limits, window, watch
        self.laura: Laura | None = None
        self.failure: BaseException | None = None  # why it could not be loaded
        self.on_failure: Callable[[], None] = lambda: None
        self.on_hold: Callable[[float], None] = lambda seconds: None
        self.on_queue: Callable[[int], None] = lambda jobs: None
        self.held, self.pace = 0.0, 0.1  # seconds of sound held; seconds that answering one second takes
        self.stopping = False
        self._jobs: deque[Job] = deque()
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="laura-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when what is queued is done."""
        with self._change:
            self.stopping = True
            self._change.notify_all()
        self._thread.join()

    def ticket(self) -> Ticket:
        return Ticket(self)

    def ask(self, kind: Kind, input: object, ticket: Ticket) -> Future:
        """The answer to one input, which may be computed with others of its kind."""
        return self._add(Job(kind, input, ticket))

    def call(self, function: Callable[[Laura], object], ticket: Ticket) -> Future:
        """What a function of the model gives, such as the next step of a stream."""
        return self._add(Job(lambda laura, inputs, progress: [function(laura)], None, ticket, alone=True))

    def hold(self, seconds: float) -> None:
        """Problem 429 where that would be too much."""
        with self._change:
            if seconds > 0 and self.held + seconds > self.limits.held_seconds:
                wait = max(1, math.ceil(self.held * self.pace))
                held = f"the server holds {self.held:.0f} s of sound already"
                raise Problem(429, f"{held}: ask again in {wait} s", headers={"Retry-After": str(wait)})
            self.held = max(0.0, round(self.held + seconds, 9))  # or a residue would stay where nothing is held
            self.on_hold(self.held)

    def waiting(self) -> int:
        return len(self._jobs)

    def _add(self, job: Job) -> Future:
        with self._change:
            if self.stopping:
                raise Problem(503, "the server is going down: ask again later", code="going_down")
            self._jobs.append(job)
            self.on_queue(len(self._jobs))
            self._change.notify_all()
        return job.future

    def _run(self) -> None:
        try:
            self.laura = self.load()
        except Exception as error:
            self.failure = error
            self.on_failure()
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> list[Job]:
        """The first job and all that wait with it and are of its kind; none when the worker is to end."""
        with self._change:
            while True:
                self._change.wait_for(lambda: self._jobs or self.stopping)
                if not self._jobs:
                    return []
                first = self._jobs[0]
                if not first.alone and len(self._jobs) == 1 and not self.stopping:  # others may be about to come
                    self._change.wait_for(lambda: len(self._jobs) >= MOST or self.stopping, self.window)
                batch, seconds = [], 0.0
                for job in list(self._jobs):
                    if job is first or (not job.alone and job.kind == first.kind):
                        if batch and (len(batch) == MOST or seconds + job.ticket.seconds > MOST_SECONDS):
                            break
                        self._jobs.remove(job)
                        if job.future.set_running_or_notify_cancel() and self._is_wanted(job):
                            batch.append(job)
                            seconds += job.ticket.seconds
                self.on_queue(len(self._jobs))
                if batch:
                    return batch

    def _is_wanted(self, job: Job) -> bool:
        try:
            job.ticket.check()
        except (Left, Problem) as reason:
            job.settle(error=reason)
            return False
        return True

    def _answer(self, batch: list[Job]) -> None:
        """Where a batch fails as a whole each of its jobs is tried alone, so that one does not spoil the others."""
        if self.laura is None:
            for job in batch:
                job.settle(error=Problem(503, "the model could not be loaded: the server's log says why"))
            return
        began, seconds = time.monotonic(), sum(job.ticket.seconds for job in batch if not job.alone)

        def progress(done: float, total: float) -> None:
            for job in batch:
                job.ticket.share = done / total if total else 1.0
            if not [job for job in batch if not job.ticket.closed and time.monotonic() <= job.ticket.deadline]:
                batch[0].ticket.check()

        try:
            progress(0.0, 1.0)
            results = batch[0].kind(self.laura, [job.input for job in batch], progress)
        except Exception as error:
            if len(batch) == 1 or isinstance(error, (Left, Problem)):
                for job in batch:
                    job.settle(error=error)
            else:
                for job in batch:
                    self._answer([job])
            return
        took = time.monotonic() - began
        if seconds:
            self.pace += 0.2 * (took / seconds - self.pace)
        if self.watch is not None:
            self.watch(len(batch), seconds, took)
        for job, result in zip(batch, results, strict=True):
            job.settle(result)
