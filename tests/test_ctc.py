"""Letters find their frames by what the CTC head heard, also where it heard others, too many or too few."""

import numpy as np
import pytest
import torch

from lauragpt.ctc import LAG, CtcAligner, align, follow
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.sequence import PACE, layout, times_of
from lauragpt.text import CtcUnits, Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["a dog runs", "äpfel"], 300)


def heard(text: str, frames: list[int], length: int) -> list[int]:
    best = [CtcUnits.blank] * length
    for frame, unit in zip(frames, CtcUnits().encode(text), strict=True):
        best[frame] = unit
    return best


@pytest.mark.parametrize("said, written, wanted", [
    ("the dog", "the dog", [1, 3, 5, 7, 9, 11, 13]),
    ("the dog", "tha dog", [1, 3, 5, 7, 9, 11, 13]),  # another letter
    ("te dog", "the dog", [1, 3, 3, 5, 7, 9, 11]),  # one that was not heard
    ("thhe dog", "the dog", [1, 3, 7, 9, 11, 13, 15]),  # one that was not said
    ("the fox ran", "the quick fox ran", [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 11, 13, 15, 17, 19, 21]),
    ("the quick fox ran", "the fox ran", [1, 3, 5, 7, 9, 23, 25, 27, 29, 31, 33]),
    ("do", "dogs", [1, 3, 3 + PACE, 3 + 2 * PACE]),
    ("", "a b", [PACE, 2 * PACE, 3 * PACE]),
])  # fmt: skip
def test_a_letter_stands_where_it_was_heard(tokenizer, said, written, wanted):
    aligner = CtcAligner.of(tokenizer, heard(said, list(range(1, 1 + 2 * len(said), 2)), 40))
    ids = tokenizer.encode(written, letters=True)
    assert aligner.times(0, ids) == wanted
    for cut in range(len(ids)):  # in pieces, and again behind fewer
        assert aligner.times(0, ids[:cut]) + aligner.times(cut, ids[cut:]) == wanted
        assert aligner.times(cut, ids[cut:]) == wanted[cut:]


def test_repeats_count_once_and_a_letter_of_two_tokens_stands_at_one_frame(tokenizer):
    best = heard("äa", [2, 6], 10)
    best[3] = best[2]
    aligner, ids = CtcAligner.of(tokenizer, best), tokenizer.encode("äa", letters=True)
    assert aligner.draft == ids and aligner.times(0, ids) == [2.0] * (len(ids) - 1) + [6.0]


def test_a_copy_goes_on_by_itself(tokenizer):
    aligner = CtcAligner.of(tokenizer, heard("abc", [1, 2, 3], 5))
    ids = tokenizer.encode("abc", letters=True)
    aligner.times(0, ids[:1])
    other = aligner.copy()
    other.times(1, tokenizer.encode("ccc", letters=True))
    assert aligner.times(1, ids[1:]) == [2.0, 3.0]


def test_training_reads_each_letter_when_it_is_said():
    model = LauraModel(PRESETS["debug"])
    row = layout(model.vocabulary, "asr", "en", [5, 6, 7], frames=9)
    align_letters = type(row)(**{**vars(row), "said": (1.0, 2.5, 8.0)})
    assert times_of(model.vocabulary, row) == [*range(9), 9, 10, 11, 12, 13, 14]
    assert times_of(model.vocabulary, align_letters) == [*range(9), 9, 10, 1.0, 2.5, 8.0, 14]
    frames = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 9, 32)).astype(np.float32))
    with torch.no_grad():
        plain, moved = (model.loss([each], frames) for each in (row, align_letters))
    assert torch.equal(plain[:2], moved[:2]) and not torch.allclose(plain[2:], moved[2:])  # <lang> and the first letter are said before


def spelled(units: list[int], frames: list[int], length: int, sure: float = 6.0, size: int = 9, seed: int = 0) -> np.ndarray:
    """Log-probabilities (length, size) that say units at their frames, and blank, the last of them, elsewhere; with some noise."""
    logits = np.random.default_rng(seed).normal(size=(length, size))
    best = np.full(length, size - 1)
    best[frames] = units
    logits[np.arange(length), best] += sure
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_each_frame_follows_the_text():
    log_probs = spelled([3, 5, 5, 1], [2, 5, 8, 12], 16)
    wanted = [-1, -1, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert follow(log_probs, [3, 5, 5, 1], 8).tolist() == wanted
    spans = align(log_probs, [3, 5, 5, 1], 8)
    assert [wanted.index(unit) for unit in range(4)] == spans[:, 0].tolist()


def test_what_was_told_of_a_frame_never_changes():
    rng = np.random.default_rng(1)
    units = rng.integers(8, size=30).tolist()
    log_probs = spelled(units, sorted(rng.choice(90, 30, replace=False).tolist()), 90, sure=2.0)
    whole = follow(log_probs, units, 8)
    assert (np.diff(whole) >= 0).all() and whole[-1] > 20
    for length in range(1, 90):
        known = follow(log_probs[:length], units, 8)[: max(0, length - LAG)]
        assert known.tolist() == whole[: len(known)].tolist()


def test_a_text_may_be_longer_than_what_is_said_or_empty():
    log_probs = spelled([3, 5], [1, 3], 5)
    assert follow(log_probs, [3, 5, 1, 1, 1, 1, 1], 8).tolist() == [-1, 0, 0, 1, 1]
    assert follow(log_probs, [], 8).tolist() == [-1] * 5
    assert follow(log_probs[:0], [3], 8).tolist() == []
