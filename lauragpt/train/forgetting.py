"""What a fine-tuning gained and lost: the rows of an evaluation before it and after it.

In: two lists of `Row`s of the same examples. Out: one `Change` for each, a table of them, and those that fell.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from lauragpt.evaluate.report.tables import Row, add_verdicts, number

POINTS = {"STOI": 100.0, "CIDEr-D": 10.0}  # of a metric's unit, so that all are of about 100; 1 for those in per cent and for chrF


@dataclass(frozen=True)
class Change:
    before: Row | None  # None where the checkpoint could not be asked: a task or a language is new
    after: Row | None  # None where it can no longer be asked

    @property
    def row(self) -> Row:
        return self.after or self.before

    @property
    def gain(self) -> float:
        """In points, above 0 where it became better; nan where there is nothing to compare."""
        if self.before is None or self.after is None:
            return math.nan
        change = self.after.score.value - self.before.score.value
        return (-change if self.row.lower_is_better else change) * POINTS.get(self.row.metric, 1.0)

    def fell(self, tolerance: float) -> bool:
        """Whether it lost more than `tolerance` points, or cannot be measured any more."""
        if self.before is None or math.isnan(self.before.score.value):
            return False
        lost = self.after is None or math.isnan(self.after.score.value)
        return lost or self.gain < -tolerance

    def line(self) -> str:
        row, before = self.row, self.before.score.value if self.before else math.nan
        after = self.after.score.value if self.after else math.nan
        said = f"{row.task} {row.data}: {row.metric} {number(before)} before, {number(after)} after"
        verdict = self.after.verdict if self.after else None
        if verdict is not None and verdict.word == "cannot tell":
            said += f" (of {row.n} examples, which may be chance: --limit measures more)"
        return said


def changes(before: Iterable[Row], after: Sequence[Row], seed: int = 0) -> list[Change]:
    """Row by row, without those that tell nothing of the checkpoint. Sets the verdicts of `after`."""
    before = list(before)
    add_verdicts(list(after), before, seed)

    def key(row: Row) -> tuple[str, str, str]:
        return row.task, row.data, row.examples[0].lang if row.examples else ""

    old, new = {key(row): row for row in before if not row.is_reference}, {key(row): row for row in after if not row.is_reference}
    return [Change(old.get(each), new.get(each)) for each in dict.fromkeys([*new, *old])]


def table(found: Sequence[Change], title: str) -> Table:
    made = Table(title=title, header_style="bold")
    for name in ("task", "data", "n", "metric", "before", "after", "95 % of the change", ""):
        made.add_column(name, justify="right" if name in ("n", "before", "after") else "left", no_wrap=name in ("task", "before", "after"))
    for change in found:
        row, verdict = change.row, change.after.verdict if change.after else None
        values = [number(each.score.value) if each else "" for each in (change.before, change.after)]
        interval = f"{number(verdict.low)} to {number(verdict.high)}" if verdict and not math.isnan(verdict.low) else ""
        word = "new" if change.before is None else verdict.word if verdict else ""
        made.add_row(row.task, row.data, str(row.n), row.metric, *values, interval, word)
    return made


def to_dict(found: Sequence[Change], tolerance: float) -> list[dict]:
    """As plain data; None for what was not measured."""

    def value(row: Row | None) -> float | None:
        return row.score.value if row is not None and math.isfinite(row.score.value) else None

    return [
        {"task": change.row.task, "data": change.row.data, "n": change.row.n, "metric": change.row.metric, "before": value(change.before),
         "after": value(change.after), "fell": change.fell(tolerance)}
        for change in found
    ]  # fmt: skip
