"""Text -> what the CTC head might say of it, frame by frame, put together from what it did say of recordings: unit selection, as in concatenative speech
synthesis (Hunt and Black 1996), of letter probabilities in place of sound.

So the GPT learns from text alone how the head errs: which letters it takes for which where, how sure it is when it is wrong, and what else it
thought likely. Noise of one's own making (data/posteriors.py) shows none of it, and teaches that what is not the likeliest tells nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

from lauragpt.ctc import align
from lauragpt.text import CtcUnits

LONGEST = 12  # letters of a snippet: longer ones would be words of the recording again
EDGE = "\n"  # before and after a recording
_REACH = LONGEST + 1


class PosteriorBank:
    """Recordings, cut anywhere between two letters."""

    def __init__(self, recordings: Iterable[tuple[str, np.ndarray]]):
        """Text in spoken form and log-probabilities (T, U) of each. What cannot be aligned is left out."""
        known, texts, rows, ends, past = CtcUnits(), [EDGE], [], [0], 0
        for text, log_probs in recordings:
            units = known.encode(text)
            spans = align(log_probs, units)
            if spans is None:
                continue
            texts.append("".join(known.letters[unit - 1] for unit in units) + EDGE)
            rows.append(np.exp(log_probs).astype(np.float16))
            ends += [past + int(last) + 1 for last in spans[:, 1]]
            past += len(log_probs)
            ends.append(past)
        self.text, self.rows, self.ends = "".join(texts), np.concatenate(rows) if rows else np.zeros((0, CtcUnits.size), np.float16), ends
        self.order = sorted(range(len(self.text)), key=lambda at: self.text[at : at + _REACH])  # a suffix array, as far as it is looked at

    def __bool__(self) -> bool:
        return len(self.rows) > 0

    def places(self, letters: str) -> range:
        """Where in `order` the letters begin."""
        def key(at: int) -> str:
            return self.text[at : at + len(letters)]

        return range(bisect_left(self.order, letters, key=key), bisect_right(self.order, letters, key=key))

    def sample(self, units: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """(T, U) float32, rows sum to 1: posterior_bank of up to LONGEST letters one after the other, each the longest that there is up to a length drawn."""
        text = EDGE + "".join(CtcUnits.letters[unit - 1] for unit in units) + EDGE
        begun, parts = 1, []
        while begun < len(text):
            # With the letter before, where that can be had: a letter sounds as its neighbours let it.
            for size in range(min(int(rng.integers(2, LONGEST + 1)), len(text) - begun), 0, -1):
                for before in (1, 0):
                    found = self.places(text[begun - before : begun + size])
                    if found:
                        break
                if found:
                    at = self.order[found[int(rng.integers(len(found)))]] + before
                    parts.append(self.rows[self.ends[at - 1] : self.ends[at + size - 1]])
                    break
            begun += size  # a letter that was never heard is not heard here either
        rows = np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, CtcUnits.size), np.float32)
        if not len(rows):
            rows = np.eye(CtcUnits.size, dtype=np.float32)[[CtcUnits.blank]]
        return rows / rows.sum(1, keepdims=True)


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


def random_posteriors(units: Sequence[int], rng: np.random.Generator, worst: float = 0.45) -> np.ndarray:
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
