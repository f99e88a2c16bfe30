"""Text -> what the CTC head might say of it, frame by frame, put together from what it did say of recordings: unit selection, as in concatenative speech
synthesis (Hunt and Black 1996), of letter probabilities in place of sound.

So the GPT learns from text alone how the head errs: which letters it takes for which where, how sure it is when it is wrong, and what else it
thought likely. Noise of one's own making (data/spelling.py) shows none of it, and teaches that what is not the likeliest tells nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

from lauragpt.engine.alignment import align
from lauragpt.text import CtcUnits

LONGEST = 12  # letters of a snippet: longer ones would be words of the recording again
EDGE = "\n"  # before and after a recording
_REACH = LONGEST + 1


class Snippets:
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

    def spelled(self, units: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """(T, U) float32, rows sum to 1: snippets of up to LONGEST letters one after the other, each the longest that there is up to a length drawn."""
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
