"""What the CTC head says of a text, put together from what it said of recordings."""

import numpy as np
import pytest

from lauragpt.data.posteriors import LONGEST, PosteriorBank
from lauragpt.text import CtcUnits

UNITS = CtcUnits()
SAID = ["the quick brown fox jumps over the lazy dog", "all's well that ends well", "it was the best of times it was the worst of times"]


def heard(text: str, seed: int = 0, wrong: dict[str, str] | None = None) -> tuple[str, np.ndarray]:
    """A recording's text and log-probabilities: two or three frames a letter, blank but for the last, the likeliest of each at about 0.6;
    the letters in `wrong` are taken for another, and stand second."""
    rng, blank, frames = np.random.default_rng(seed), np.eye(CtcUnits.size)[CtcUnits.blank], []
    for unit in UNITS.encode(text):
        letter = UNITS.letters[unit - 1]
        taken = UNITS.encode((wrong or {}).get(letter, letter))
        frames += [blank] * int(rng.integers(1, 3)) + [0.3 * np.eye(CtcUnits.size)[unit] + 0.6 * np.eye(CtcUnits.size)[taken[0]]]
    rows = 0.9 * np.stack([*frames, blank]) + 0.1 / CtcUnits.size
    return text, np.log(rows / rows.sum(1, keepdims=True))


@pytest.fixture(scope="module")
def posterior_bank():
    return PosteriorBank(heard(text, seed) for seed, text in enumerate(SAID))


@pytest.mark.parametrize("text", [*SAID, "the fox was well", "best dog", "lazy", "a"])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_path_of_what_was_heard_well_is_the_text(posterior_bank, text, seed):
    rows = posterior_bank.sample(UNITS.encode(text), np.random.default_rng(seed))
    assert UNITS.decode(rows.argmax(1)) == text


@pytest.mark.parametrize("text", ["", "the fox was well", "ß"])
def test_every_frame_is_a_distribution(posterior_bank, text):
    rows = posterior_bank.sample(UNITS.encode(text), np.random.default_rng(0))
    assert rows.dtype == np.float32 and rows.shape[1] == CtcUnits.size and len(rows) and (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)


def test_the_generator_decides(posterior_bank):
    units = UNITS.encode("the worst of dogs was over all the times")
    same = [posterior_bank.sample(units, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    others = [posterior_bank.sample(units, np.random.default_rng(seed)) for seed in range(4, 12)]
    assert any(other.shape != same[0].shape or not np.array_equal(other, same[0]) for other in others)


def test_it_errs_as_the_head_does_and_what_is_right_stands_second():
    posterior_bank = PosteriorBank(heard(text, seed, {"t": "d"}) for seed, text in enumerate(SAID))
    rows = posterior_bank.sample(UNITS.encode("the times"), np.random.default_rng(0))
    assert UNITS.decode(rows.argmax(1)) == "dhe dimes"
    t, d = UNITS.encode("t")[0], UNITS.encode("d")[0]
    for row in rows[rows.argmax(1) == d]:
        assert row.argsort()[-2] == t


def test_no_snippet_is_longer_than_it_may_be(posterior_bank):
    """A whole recording's frames come back only where every cut happens to go on in the same place."""
    text = SAID[2]
    assert len(text) > 3 * LONGEST
    own = np.exp(heard(text, 2)[1]).astype(np.float16).astype(np.float32)
    found = [posterior_bank.sample(UNITS.encode(text), np.random.default_rng(seed)) for seed in range(20)]
    assert any(len(rows) != len(own) for rows in found)


def test_what_cannot_be_aligned_is_left_out():
    assert not PosteriorBank([("far too many letters", np.log(np.full((3, CtcUnits.size), 1 / CtcUnits.size)))])
    assert not PosteriorBank([])


def test_what_was_never_heard_is_left_out_of_what_is_said(posterior_bank):
    rows = posterior_bank.sample(UNITS.encode("the ößä fox"), np.random.default_rng(0))
    assert UNITS.decode(rows.argmax(1)).replace("  ", " ") == "the fox"
