"""Sums and what they mean: intervals that cover, subsets, pairs."""

import math

import numpy as np
import pytest

from lauragpt.evaluate.tally import Tally, compare, mean, ratio


def test_intervals_are_seeded_and_cover_the_truth():
    hits = 0
    for trial in range(100):
        score = mean(np.random.default_rng(trial).random(60)).score(seed=trial)
        hits += score.low <= 0.5 <= score.high
    assert hits >= 85  # 95 % in the long run
    values = mean(np.random.default_rng(0).random(30))
    assert values.score(3) == values.score(3) != values.score(4)


def test_the_interval_is_that_of_a_plain_bootstrap():
    rng, errors, words = np.random.default_rng(1), np.random.default_rng(2).integers(0, 9, 200), np.full(200, 10)
    slow = [errors[rows].sum() / words[rows].sum() for rows in (rng.integers(0, 200, 200) for _ in range(4000))]
    score = ratio(errors, words).score(draws=4000)
    assert score.value == pytest.approx(errors.sum() / 2000) and score.n == 200
    assert (score.low, score.high) == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.006)


def test_sums_by_hand():
    assert ratio([1, 2], [4, 4]).total == pytest.approx(3 / 8)
    assert mean([1, 0, 0, 1], 100).total == 50
    assert mean([1, 0, 0, 1]).of([0, 3, 3]).total == 1
    assert math.isnan(ratio([1], [0]).total)


def test_nothing_measured_is_nan_and_one_example_has_no_interval():
    assert math.isnan(mean([]).score().value) and mean([]).score().n == 0
    one = mean([3.0]).score()
    assert (one.value, one.n) == (3.0, 1) and math.isnan(one.low)


def test_a_value_of_sums_need_not_be_a_mean():
    peak = Tally(np.array([[1.0, 0], [0, 5], [2, 0]]), lambda sums: float(sums.max()))
    assert peak.total == 5 and peak.of([0, 2]).total == 3


def test_two_systems_are_paired_by_example():
    rng = np.random.default_rng(0)
    hard = rng.random(100)  # examples differ much more than the systems do: only pairing can tell them apart
    first, second = mean(hard), mean(hard - 0.02 - 0.01 * rng.random(100))
    verdict = compare(first, second, higher_is_better=False)
    assert verdict.word == "better" and verdict.low < verdict.difference < verdict.high < 0 and verdict.n == 100
    assert first.score().low < second.score().value  # unpaired intervals overlap
    assert compare(first, second, higher_is_better=True).word == "worse"
    assert compare(second, first, higher_is_better=True).word == "better"


def test_what_cannot_be_told_apart_is_said_so():
    values = np.random.default_rng(0).random(40)
    assert compare(mean(values), mean(values), True).word == "cannot tell"
    assert compare(mean([]), mean([]), True).word == "cannot tell"
    assert compare(mean([1.0]), mean([0.0]), True).word == "cannot tell"  # one example says nothing of the next
    noise = np.random.default_rng(1).normal(size=40)
    assert compare(mean(values), mean(values + noise - noise.mean()), True).word == "cannot tell"
    with pytest.raises(ValueError, match="3 and 2"):
        compare(mean([1, 2, 3]), mean([1, 2]), True)


def test_equal_systems_are_seldom_told_apart():
    wrong = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        wrong += compare(mean(rng.normal(size=50)), mean(rng.normal(size=50)), True, seed=trial, draws=300).word != "cannot tell"
    assert wrong <= 12  # 5 in the long run
