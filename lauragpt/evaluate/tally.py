"""A measure in additive form: counts an example, and what their sum means. Everything statistical is then a sum.

In: counts (n, k), one row an example, and a function of their sum (k,). Out: the measure with its interval, of all or of some examples,
and whether one system beats another on the same examples. WER is (errors, words) -> errors / words; BLEU is its n-gram counts -> BLEU.

n examples, k counts, d bootstrap draws.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 5  # examples that resampling can say something of
DRAWS = 1000  # bootstrap resamples: the ends of a 95 % interval are then 25 draws deep
Value = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Score:
    value: float  # nan where nothing could be measured
    low: float = math.nan  # 95 % bootstrap interval over the examples
    high: float = math.nan
    n: int = 0


@dataclass(frozen=True)
class Verdict:
    """Of two systems on the same examples: how far the second is from the first, and what can be said of it."""

    difference: float
    low: float  # 95 % interval of the difference
    high: float
    n: int
    word: str  # better, worse, cannot tell


@dataclass(frozen=True)
class Tally:
    counts: np.ndarray  # (n, k)
    value: Value  # (k,) -> the measure

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def total(self) -> float:
        """The measure of all examples; nan where there are none."""
        return float(self.value(self.counts.sum(0))) if len(self) else math.nan

    def of(self, rows: Sequence[int] | np.ndarray) -> "Tally":
        """Some of the examples: a speaker's, the long ones."""
        return Tally(self.counts[np.asarray(rows, dtype=np.int64)], self.value)

    def score(self, seed: int = 0, draws: int = DRAWS) -> Score:
        """The measure and its 2.5 and 97.5 percentiles over resamples of the examples with replacement (Efron 1979)."""
        n = len(self)
        value = self.total
        if n < FEWEST or math.isnan(value):
            return Score(value, n=n)
        low, high = _ends(self._resampled(_weights(n, seed, draws)))
        return Score(value, low, high, n)

    def _resampled(self, weights: np.ndarray) -> np.ndarray:
        """(d, n) -> (d,)"""
        return np.array([self.value(sums) for sums in weights @ self.counts])


def compare(first: Tally, second: Tally, higher_is_better: bool, seed: int = 0, draws: int = DRAWS) -> Verdict:
    """Paired bootstrap (Koehn 2004): both systems are measured on the same resamples, row i of both being the same example. Better or
    worse where the 95 % interval of the difference leaves out 0; identical answers, and fewer than five, cannot be told apart. ValueError where the two
    do not hold the same number of examples."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} examples cannot be paired")
    n = len(first)
    if n == 0:
        return Verdict(math.nan, math.nan, math.nan, 0, "cannot tell")
    difference = second.total - first.total
    weights = _weights(n, seed, draws)
    low, high = _ends(second._resampled(weights) - first._resampled(weights))
    sure = n >= FEWEST and (low > 0 or high < 0)
    word = ("better" if (difference > 0) == higher_is_better else "worse") if sure else "cannot tell"
    return Verdict(difference, low, high, n, word)


def _weights(n: int, seed: int, draws: int) -> np.ndarray:
    """(draws, n): how often each example is in each resample."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)


def _ends(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (math.nan, math.nan)
    return float(low), float(high)


def mean(values: Sequence[float], times: float = 1.0) -> Tally:
    """The mean of a value an example, `times` 100 for per cent."""
    array = np.asarray(values, dtype=np.float64)
    return ratio(array, np.ones_like(array), times)


def ratio(tops: Sequence[float], bottoms: Sequence[float], times: float = 1.0) -> Tally:
    """Sum over sum, as corpus WER is. nan where the bottoms sum to 0."""
    counts = np.stack([np.asarray(tops, dtype=np.float64), np.asarray(bottoms, dtype=np.float64)], 1)
    return Tally(counts, lambda sums: times * float(sums[0] / sums[1]) if sums[1] else math.nan)
