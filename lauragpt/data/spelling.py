"""Text -> what the CTC head might say of it, frame by frame, so that the GPT learns to read the encoder from text alone.

In: the units of a text (`CtcUnits.encode`) and a generator. Out: (T, U) float32, a distribution over CTC units a frame: peaks with
blanks between them, letters that are confused, lost or added, silence at both ends. Text injection as in JOIST (arXiv 2210.07353).
"""

from collections.abc import Sequence

import numpy as np

from lauragpt.text import CtcUnits

# Letters that recognisers take for each other.
ALIKE = ("aeiouyäöü", "bdgptkcq", "szcxß", "fvwh", "mnlr", "jgy", " '")


def _confusions() -> np.ndarray:
    """(U, U): the chance of each wrong unit, given the right one. Half of it goes to letters that sound alike."""
    size = CtcUnits.size
    table = np.full((size, size), 0.5 / size)
    for group in ALIKE:
        units = [1 + CtcUnits.letters.index(letter) for letter in group]
        for unit in units:
            table[unit, units] += 0.5 / len(units)
    table[:, CtcUnits.blank] = 0
    return table / table.sum(1, keepdims=True)


CONFUSIONS = _confusions()
_CUMULATED = CONFUSIONS.cumsum(1)


def _confuse(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.random((len(units), 1))
    return np.minimum((_CUMULATED[units] < drawn).sum(1), CtcUnits.size - 1)


def spelled(units: Sequence[int], rng: np.random.Generator, worst: float = 0.45) -> np.ndarray:
    """(T, U) float32, rows sum to 1. `worst`: the highest share of letters that are wrong; each text draws its own up to that."""
    errors, units = worst * rng.random(), np.asarray(units, dtype=np.int64)
    fate = rng.random(len(units))
    said = np.where(fate < 0.6 * errors, _confuse(units, rng), units)[fate < 1 - 0.25 * errors]  # the last quarter of the errors is lost
    added = rng.random(len(said)) < 0.15 * errors
    said = np.insert(said, np.flatnonzero(added), _confuse(said[added], rng)) if len(said) else said

    held = 1 + (rng.random(len(said)) < 0.15)
    again = np.append(said[1:] == said[:-1], False)
    silent = np.maximum(np.where(rng.random(len(said)) < 0.5, 0, rng.geometric(0.6, len(said))), again)
    before, after = rng.integers(0, 8, 2)
    frames = np.concatenate(
        [np.zeros(before, np.int64), *(np.r_[np.full(h, u), np.zeros(s, np.int64)] for u, h, s in zip(said, held, silent, strict=True)),
         np.zeros(after + 1, np.int64)]
    )  # fmt: skip

    # Surer where there are fewer errors. What a frame is not sure of goes to the blank and to letters that sound alike.
    T, sure = len(frames), 1 - (0.1 + 1.2 * errors) * rng.random(len(frames)) ** 2
    rows = np.zeros((T, CtcUnits.size), np.float32)
    every = np.arange(T)
    rows[every, frames] += sure
    rows[every, CtcUnits.blank] += 0.5 * (1 - sure)
    for _ in range(2):
        rows[every, _confuse(frames, rng)] += 0.25 * (1 - sure)
    return rows
