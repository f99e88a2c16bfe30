"""Spellings that stand for what the CTC head says."""

import numpy as np
import pytest

from lauragpt.data.posteriors import confusions, random_posteriors
from lauragpt.text import CtcUnits

UNITS = CtcUnits()
TEXTS = ["", "a", "aa", "all's well", "the quick brown fox", "schöne grüße", "committee"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("seed", range(5))
def test_without_errors_the_best_path_is_the_text(text, seed):
    rows = random_posteriors(UNITS.encode(text), np.random.default_rng(seed), worst=0.0)
    assert UNITS.decode(rows.argmax(1)) == text


@pytest.mark.parametrize("worst", [0.0, 0.2, 0.45])
def test_every_frame_is_a_distribution(worst):
    rows = random_posteriors(UNITS.encode("to be or not to be"), np.random.default_rng(1), worst)
    assert rows.dtype == np.float32 and rows.shape[1] == CtcUnits.size and (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)


def test_the_generator_decides():
    units = UNITS.encode("good morning")
    same = [random_posteriors(units, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], random_posteriors(units, np.random.default_rng(4)))


def test_more_errors_are_more_wrong_letters():
    from jiwer import cer

    text = "it was the best of times it was the worst of times"

    def wrong(worst: float) -> float:
        said = [UNITS.decode(random_posteriors(UNITS.encode(text), np.random.default_rng(seed), worst).argmax(1)) for seed in range(40)]
        return cer([text] * 40, said)

    few, many = wrong(0.1), wrong(0.45)
    assert 0.01 < few < 0.1 and 0.12 < many < 0.35  # a text draws its share evenly from 0 to the worst


def test_letters_that_sound_alike_are_confused_more():
    at = {letter: 1 + UNITS.letters.index(letter) for letter in UNITS.letters}
    table = confusions(UNITS.size)
    assert table[at["b"], at["p"]] > 5 * table[at["b"], at["o"]] > 0
    np.testing.assert_allclose(table.sum(1), 1)
