"""Text -> posteriors that the CTC head might give it, frame by frame, so that the GPT learns from text alone to read them.

`PosteriorBank` joins snippets of what the head gave recordings: unit selection, as in concatenative speech synthesis (Hunt and Black
1996), of probabilities in place of sound. They show which units the head confuses, how sure it is when it is wrong, and what else it
found likely. `random_posteriors` makes errors by chance instead, which show none of this: for languages without recordings.

T frames, U CTC units.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from lauragpt.ctc import align
from lauragpt.ctc_units import Units
from lauragpt.text import CtcUnits

LONGEST = 12  # units of a snippet: longer ones would be words of the recording again
_REACH = LONGEST + 1
LAST = chr(0x10FFFF)  # comes behind every unit


class PosteriorBank:
    """Recordings, cut anywhere between two units. Units are characters of one long string, and the blank marks where a recording begins
    and ends."""

    def __init__(self, recordings: Iterable[tuple[str, np.ndarray]], ctc_units: Units = CtcUnits()):
        """Text in spoken form and log-probabilities (T, U) of each. A recording that cannot be aligned is left out."""
        self.blank, self.size = ctc_units.blank, ctc_units.size
        texts, rows, ends, frames = [chr(self.blank)], [], [0], 0
        for text, log_probs in recordings:
            units = ctc_units.encode(text)
            spans = align(log_probs, units, self.blank)
            if spans is None:
                continue
            texts.append("".join(map(chr, units)) + chr(self.blank))
            rows.append(np.exp(log_probs).astype(np.float16))
            ends += [frames + int(last) + 1 for last in spans[:, 1]]
            frames += len(log_probs)
            ends.append(frames)
        self.text, self.ends = "".join(texts), ends
        self.rows = np.concatenate(rows) if rows else np.zeros((0, self.size), np.float16)
        self.order = sorted(range(len(self.text)), key=lambda at: self.text[at : at + _REACH])  # a suffix array, as far as it is looked at
        self.keys = [self.text[at : at + _REACH] for at in self.order]

    def __bool__(self) -> bool:
        return len(self.rows) > 0

    def places(self, units: str) -> range:
        """Where in `order` the units begin."""

        return range(bisect_left(self.keys, units), bisect_left(self.keys, units + LAST))

    def sample(self, units: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """(T, U) float32, rows sum to 1: snippets of up to LONGEST units one after the other, each the longest that there is up to a
        length drawn."""
        text = chr(self.blank) + "".join(map(chr, units)) + chr(self.blank)
        start, parts = 1, []
        while start < len(text):
            size, snippet = self._snippet(text, start, min(int(rng.integers(2, LONGEST + 1)), len(text) - start), rng)
            if snippet is not None:
                parts.append(snippet)
            start += size
        rows = np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, self.size), np.float32)
        if not len(rows):
            rows = np.eye(self.size, dtype=np.float32)[[self.blank]]
        return rows / rows.sum(1, keepdims=True)

    def _snippet(self, text: str, start: int, longest: int, rng: np.random.Generator) -> tuple[int, np.ndarray | None]:
        """How many units from `start` on were found together, and the frames of one place where they stand: after the same unit as here,
        if there is such a place, since neighbours change how a letter sounds. A unit that no recording has is passed over."""
        for size in range(longest, 0, -1):
            for before in (1, 0):
                if found := self.places(text[start - before : start + size]):
                    at = self.order[found[int(rng.integers(len(found)))]] + before
                    return size, self.rows[self.ends[at - 1] : self.ends[at + size - 1]]
        return 1, None


# Letters that recognisers confuse.
ALIKE = ("aeiouyäöü", "bdgptkcq", "szcxß", "fvwh", "mnlr", "jgy", " '")


@cache
def confusions(size: int) -> np.ndarray:
    """(U, U): the chance of each wrong unit, given the right one. Of letters, half of it goes to those that sound alike; any two subwords
    are confused as easily."""
    table = np.full((size, size), 0.5 / size)
    for group in ALIKE if size == CtcUnits.size else ():
        units = [1 + CtcUnits.letters.index(letter) for letter in group]
        for unit in units:
            table[unit, units] += 0.5 / len(units)
    table[:, CtcUnits.blank] = 0
    return table / table.sum(1, keepdims=True)


@cache
def _cumulative(size: int) -> np.ndarray:
    return confusions(size).cumsum(1)


def _confuse(units: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.random((len(units), 1))
    return np.minimum((_cumulative(size)[units] < drawn).sum(1), size - 1)


def random_posteriors(units: Sequence[int], rng: np.random.Generator, worst: float = 0.45, size: int = CtcUnits.size) -> np.ndarray:
    """(T, U) float32, rows sum to 1. `worst`: the highest share of units that are wrong; each text draws its own up to that. `size`: U."""
    errors, units = worst * rng.random(), np.asarray(units, dtype=np.int64)
    fate = rng.random(len(units))
    # Of the errors 60 % are confusions, 25 % losses, 15 % additions.
    units = np.where(fate < 0.6 * errors, _confuse(units, size, rng), units)[fate < 1 - 0.25 * errors]
    added = rng.random(len(units)) < 0.15 * errors
    units = np.insert(units, np.flatnonzero(added), _confuse(units[added], size, rng)) if len(units) else units

    lengths = 1 + (rng.random(len(units)) < 0.15)
    repeated = np.append(units[1:] == units[:-1], False)
    blanks = np.maximum(np.where(rng.random(len(units)) < 0.5, 0, rng.geometric(0.6, len(units))), repeated)
    before, after = rng.integers(0, 8, 2)
    frames = np.concatenate(
        [np.zeros(before, np.int64), *(np.r_[np.full(n, u), np.zeros(b, np.int64)] for u, n, b in zip(units, lengths, blanks, strict=True)),
         np.zeros(after + 1, np.int64)]
    )  # fmt: skip

    # The fewer errors, the surer. The rest of a frame's probability goes to the blank and to units that are easily confused with its own.
    T, sure = len(frames), 1 - (0.1 + 1.2 * errors) * rng.random(len(frames)) ** 2
    rows, every = np.zeros((T, size), np.float32), np.arange(T)
    rows[every, frames] += sure
    rows[every, CtcUnits.blank] += 0.5 * (1 - sure)
    for _ in range(2):
        rows[every, _confuse(frames, size, rng)] += 0.25 * (1 - sure)
    return rows
