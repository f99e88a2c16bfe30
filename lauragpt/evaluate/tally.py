"""A metric in additive form: counts of each example, and a function of their sum. Intervals and comparisons then only need sums.

In: counts (n, k), one row an example, and a function of their sum (k,). Out: the metric with its interval, for all or some examples, and
whether one system beats another on the same examples. WER is (errors, words) -> errors / words; BLEU is its n-gram counts -> BLEU.

n examples, k counts, d bootstrap draws.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 5  # examples: with fewer, resampling says nothing
DRAWS = 1000  # bootstrap resamples: 25 of them lie beyond each end of a 95 % interval
Value = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Score:
    value: float  # nan if nothing could be measured
    low: float = math.nan  # 95 % bootstrap interval over the examples
    high: float = math.nan
    n: int = 0


@dataclass(frozen=True)
class Verdict:
    """A comparison of two systems on the same examples."""

    difference: float  # second minus first
    low: float  # 95 % interval of the difference
    high: float
    n: int
    word: str  # better, worse, cannot tell


@dataclass(frozen=True)
class Tally:
    counts: np.ndarray  # (n, k)
    value: Value  # (k,) -> the metric

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def total(self) -> float:
        """The metric of all examples; nan if there are none."""
        return float(self.value(self.counts.sum(0))) if len(self) else math.nan

    def of(self, rows: Sequence[int] | np.ndarray) -> "Tally":
        """A part of the examples: one speaker's, the long ones."""
        return Tally(self.counts[np.asarray(rows, dtype=np.int64)], self.value)

    def score(self, seed: int = 0, draws: int = DRAWS) -> Score:
        """The metric and its 2.5 and 97.5 percentiles over resamples of the examples with replacement (Efron 1979)."""
        n = len(self)
        value = self.total
        if n < FEWEST or math.isnan(value):
            return Score(value, n=n)
        low, high = _ends(self._resampled(_weights(n, seed, draws)))
        return Score(value, low, high, n)

    def _resampled(self, weights: np.ndarray) -> np.ndarray:
        """(d, n) -> (d,)"""
        return np.array([self.value(sums) for sums in weights @ self.counts])


def resampled(tally: Tally, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """(d,): the metric of resamples of the examples, which are the same for all tallies of as many examples."""
    return tally._resampled(_weights(len(tally), seed, draws))


def compare(first: Tally, second: Tally, higher_is_better: bool, seed: int = 0, draws: int = DRAWS) -> Verdict:
    """Paired bootstrap (Koehn 2004): both systems are measured on the same resamples; row i of both is the same example. The second is
    better or worse if the 95 % interval of the difference excludes 0. Identical answers, or fewer than FEWEST, give "cannot tell".
    ValueError if the two do not hold the same number of examples."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} examples cannot be paired")
    n = len(first)
    if n == 0:
        return Verdict(math.nan, math.nan, math.nan, 0, "cannot tell")
    difference = second.total - first.total
    weights = _weights(n, seed, draws)
    low, high = _ends(second._resampled(weights) - first._resampled(weights))
    significant = n >= FEWEST and (low > 0 or high < 0)
    word = ("better" if (difference > 0) == higher_is_better else "worse") if significant else "cannot tell"
    return Verdict(difference, low, high, n, word)


def _weights(n: int, seed: int, draws: int) -> np.ndarray:
    """(draws, n): how often each example is in each resample."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)


def _ends(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (math.nan, math.nan)
    return float(low), float(high)


def mean(values: Sequence[float], times: float = 1.0) -> Tally:
    """The mean over examples; `times` is 100 for per cent."""
    array = np.asarray(values, dtype=np.float64)
    return ratio(array, np.ones_like(array), times)


def ratio(numerators: Sequence[float], denominators: Sequence[float], times: float = 1.0) -> Tally:
    """Sum over sum, like corpus WER. nan if the denominators sum to 0."""
    counts = np.stack([np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)], 1)
    return Tally(counts, lambda sums: times * float(sums[0] / sums[1]) if sums[1] else math.nan)
