"""The statistics of a comparison: the same dev examples answered by two arms, each trained with several seeds -> a verdict.

In: of each arm one `Tally` a seed, row i of all of them being the same example. Out: a `Judgement`: both values, their difference with its
95 % interval, and whether the claim holds.

Two things are chance: which examples dev holds, and with which seed an arm was trained. The first is measured by a paired bootstrap over
the examples (evaluate/tally.py), which draws the same examples for both arms and all seeds; the second by how much the differences of the
seeds scatter. Their variances are added, and Student's t with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946) makes the
interval: three seeds alone are few, and widen it.

S seeds, n examples, d draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lauragpt.evaluate.metrics import need
from lauragpt.evaluate.report.tables import number
from lauragpt.evaluate.tally import DRAWS, FEWEST, Tally, resampled

HOLDS, FAILS, CANNOT_TELL, UNJUDGED = "holds", "does not hold", "no difference could be shown", "not judged"
IN_PART = "holds in part"  # a claim, some of whose comparisons hold and others do not
WORDS = ("no", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Judgement:
    """better, worse: the arms by the claim, not by what was found. difference: better minus worse."""

    better: float
    worse: float
    difference: float
    low: float  # 95 %
    high: float
    n: int  # examples
    by_seed: tuple[float, ...]  # the difference of each seed
    word: str
    why: str = ""  # of what was not judged


def judge(better: Sequence[Tally], worse: Sequence[Tally], higher_is_better: bool, trained: bool = True, draws: int = DRAWS) -> Judgement:
    """better, worse: a tally a seed. trained: whether the seeds are those of trainings, of which one alone proves nothing. ValueError
    where the tallies are not of as many seeds and examples."""
    counts = {len(tally) for tally in (*better, *worse)}
    if len(better) != len(worse) or len(counts) != 1:
        raise ValueError(f"{len(better)} and {len(worse)} seeds of {sorted(counts)} examples cannot be paired")
    n, S = counts.pop(), len(better)
    values = np.array([[tally.total for tally in better], [tally.total for tally in worse]])  # (2, S)
    differences = values[0] - values[1]
    means, difference = values.mean(1), float(differences.mean())

    def made(low: float, high: float, word: str, why: str = "") -> Judgement:
        return Judgement(float(means[0]), float(means[1]), difference, low, high, n, tuple(map(float, differences)), word, why)

    if not math.isfinite(difference):
        return made(math.nan, math.nan, UNJUDGED, "a value is undefined")
    if n < FEWEST:
        return made(math.nan, math.nan, UNJUDGED, f"{n} examples are too few")
    drawn = np.mean([resampled(a, draws=draws) - resampled(b, draws=draws) for a, b in zip(better, worse, strict=True)], 0)  # (d,)
    by_example = float(np.nanvar(drawn, ddof=1))
    by_seed = float(differences.var(ddof=1)) / S if S > 1 else 0.0
    low, high = interval(difference, by_example, n - 1, by_seed, S - 1)
    if trained and S < 2:
        return made(low, high, UNJUDGED, "one seed tells nothing of the chance in training")
    if low <= 0 <= high:
        return made(low, high, CANNOT_TELL)
    return made(low, high, HOLDS if (difference > 0) == higher_is_better else FAILS)


def interval(middle: float, by_example: float, examples_free: int, by_seed: float, seeds_free: int) -> tuple[float, float]:
    """The 95 % interval of a sum of two variances, each with its degrees of freedom."""
    variance = by_example + by_seed
    if variance == 0:
        return middle, middle
    parts = [(by_example, examples_free), (by_seed, seeds_free)]
    free = variance**2 / sum(part**2 / count for part, count in parts if part > 0)
    half = float(need("scipy.stats", "scipy").t.ppf(0.975, free)) * math.sqrt(variance)
    return middle - half, middle + half


def verdict_of(words: Sequence[str]) -> str:
    """That of a claim, from those of its comparisons."""
    found = {word for word in words if word in (HOLDS, FAILS)}
    if len(found) == 2:
        return IN_PART
    return found.pop() if found else CANNOT_TELL if CANNOT_TELL in words else UNJUDGED


def sentence(row: dict) -> str:
    """One sentence on a comparison, from its row in the result's JSON."""
    what = f"{row['task']}{' on ' + ', '.join(row['data']) if row['data'] else ''}{', ' + row['variant'] if row['variant'] else ''}"
    if row["better_value"] is None:
        return f"{what}, {row['metric']}: not judged, since {row['why']}."
    said = f"{what}, {row['metric']}: {row['better']} {shown(row['better_value'])}, {row['worse']} {shown(row['worse_value'])}"
    measured = f"{row['n']} examples, {seeds(len(row['by_seed']))}"
    interval = f", 95 % of the difference {shown(row['low'])} to {shown(row['high'])}" if row["low"] is not None else ""
    word = row["verdict"] if not row["why"] else f"{UNJUDGED}, since {row['why']}"
    word = f"the claim {word}" if word in (HOLDS, FAILS) else word
    return f"{said}: {word} ({measured}{interval})."


def summary(title: str, rows: Sequence[dict]) -> str:
    """One sentence on a claim."""
    counts = {word: sum(row["verdict"] == word for row in rows) for word in (HOLDS, FAILS, CANNOT_TELL, UNJUDGED)}
    tail = ", ".join(f"{word} in {count}" for word, count in counts.items() if count)
    return f"{title}: {verdict_of([row['verdict'] for row in rows])} (of {len(rows)} comparisons: {tail})."


def seeds(count: int) -> str:
    return f"{WORDS[count] if count < len(WORDS) else count} seed{'' if count == 1 else 's'}"


def shown(value: float | None) -> str:
    return "none" if value is None else number(value)
