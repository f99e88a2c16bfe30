"""The statistics of claims: intervals that cover under both chances, pairing, words, sentences."""

import json

import numpy as np
import pytest

from lauragpt.claims.judge import CANNOT_TELL, FAILS, HOLDS, IN_PART, UNJUDGED, interval, judge, sentence, summary, verdict_of
from lauragpt.evaluate.tally import mean


def drawn(rng, difference: float, seeds: int = 3, examples: int = 60, of_seeds: float = 0.1, of_examples: float = 0.3):
    """Tallies of two arms: examples differ much, arms little, and each training by chance."""
    hard = rng.normal(size=examples)

    def arm(at: float) -> list:
        return [mean(hard + at + of_seeds * rng.normal() + of_examples * rng.normal(size=examples)) for _ in range(seeds)]

    return arm(difference), arm(0)


@pytest.mark.parametrize(("of_seeds", "of_examples"), [(0.0, 0.3), (0.2, 0.3), (0.3, 0.01)])
def test_intervals_cover_the_true_difference(of_seeds, of_examples):
    hits, rng = 0, np.random.default_rng(0)
    for _ in range(100):
        found = judge(*drawn(rng, 0.5, of_seeds=of_seeds, of_examples=of_examples), True, draws=100)
        hits += found.low <= 0.5 <= found.high
    assert hits >= 91  # 95 % in the long run


def test_one_chance_alone_gives_its_own_interval():
    from scipy import stats

    values = np.array([1.0, 1.4, 2.1])
    low, high = interval(values.mean(), 0.0, 59, values.var(ddof=1) / 3, 2)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, values.mean(), stats.sem(values)))
    rng = np.random.default_rng(1)
    better, worse = drawn(rng, 0.2, seeds=1, examples=400, of_seeds=0.0)
    each = better[0].counts[:, 0] - worse[0].counts[:, 0]
    found = judge(better, worse, True, trained=False, draws=4000)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 399, each.mean(), stats.sem(each)), abs=0.006)


def test_a_claim_holds_or_not_by_its_direction():
    rng = np.random.default_rng(2)
    better, worse = drawn(rng, 1.0)
    assert judge(better, worse, True).word == HOLDS and judge(better, worse, False).word == FAILS
    assert judge(worse, better, False).word == HOLDS
    same = judge(better, better, True)
    assert same.word == CANNOT_TELL and same.difference == same.low == same.high == 0
    found = judge(better, worse, True)
    assert found.better - found.worse == pytest.approx(found.difference) == pytest.approx(np.mean(found.by_seed)) and found.n == 60


def test_seeds_that_disagree_show_nothing():
    """Each seed alone would be sure, over its examples; together they are not."""
    hard = np.random.default_rng(3).normal(size=200)
    worse, better = [mean(hard)] * 3, [mean(hard + gain) for gain in (1.0, 0.8, -0.9)]
    assert all(judge([a], [b], True, trained=False).word in (HOLDS, FAILS) for a, b in zip(better, worse))
    assert judge(better, worse, True).word == CANNOT_TELL


def test_what_proves_nothing_is_not_judged():
    better, worse = drawn(np.random.default_rng(4), 5.0)
    assert judge(better[:1], worse[:1], True).word == UNJUDGED and "one seed" in judge(better[:1], worse[:1], True).why
    few = judge([tally.of([0, 1]) for tally in better], [tally.of([0, 1]) for tally in worse], True)
    assert few.word == UNJUDGED and "2 examples" in few.why
    assert judge([mean([])] * 2, [mean([])] * 2, True).word == UNJUDGED
    with pytest.raises(ValueError, match="paired"):
        judge(better, worse[:2], True)


def test_words_of_a_claim():
    assert verdict_of([HOLDS, CANNOT_TELL, UNJUDGED]) == HOLDS and verdict_of([FAILS, CANNOT_TELL]) == FAILS
    assert verdict_of([HOLDS, FAILS]) == IN_PART and verdict_of([UNJUDGED, CANNOT_TELL]) == CANNOT_TELL
    assert verdict_of([UNJUDGED]) == verdict_of([]) == UNJUDGED


def test_sentences_have_the_numbers():
    row = {
        "task": "asr", "data": ["digits"], "variant": "", "metric": "WER %", "better": "layer", "worse": "batch", "better_value": 12.0,
        "worse_value": 15.5, "n": 60, "by_seed": [-3.0, -4.0], "low": -5.0, "high": -2.0, "verdict": HOLDS, "why": "",
    }  # fmt: skip
    assert sentence(row) == (
        "asr on digits, WER %: layer 12.0, batch 15.5: the claim holds (60 examples, two seeds, 95 % of the difference -5.00 to -2.00)."
    )
    lost = row | {"better_value": None, "verdict": UNJUDGED, "why": "nothing was run"}
    assert sentence(lost) == "asr on digits, WER %: not judged, since nothing was run."
    assert summary("Norms", [row, lost]) == "Norms: holds (of 2 comparisons: holds in 1, not judged in 1)."
    assert json.dumps(row)
