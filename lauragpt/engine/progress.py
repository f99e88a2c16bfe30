"""How far a long answer has come: a verb calls `progress(done, total)` whenever some chunks are finished, the last time with done == total.

The unit is seconds of sound where a recording is answered, and sentences where a text is.
"""

from collections.abc import Callable

Progress = Callable[[float, float], None]


class Meter:
    """Adds up what is done and reports it."""

    def __init__(self, progress: Progress | None, total: float):
        self.progress, self.total, self.done = progress, total, 0.0

    def add(self, amount: float) -> None:
        self.done += amount
        if self.done > self.total - 1e-6:  # the last digit of a sum of floats
            self.done = self.total
        if self.progress is not None:
            self.progress(self.done, self.total)


def share_of(progress: Progress | None, start: float, end: float, total: float | None = None) -> Progress | None:
    """The progress of one step of several, which fills the share from `start` to `end` (0 to 1) of the whole. `total`: of the whole,
    where it is not the step's own."""
    if progress is None:
        return None

    def report(done: float, step_total: float) -> None:
        whole = step_total if total is None else total
        progress(whole * (start + (end - start) * (done / step_total if step_total else 1.0)), whole)

    return report
