"""When each letter of a transcript is said: the rotary position at which the GPT reads it while it writes the next.

In: what the CTC head makes of the frames, its best unit each. Out: a frame for each letter, as it is written. A letter that stood behind all
frames, at its place, would leave it to attention to find how far the recording has been written down: where that is lost, words come twice
or never. What is written is the GPT's own all the same: the CTC head says when, not what.
"""

from collections.abc import Iterable, Sequence

from lauragpt.model.sequence import PACE
from lauragpt.text import CtcUnits, Tokenizer

WINDOW = 12  # places of the draft around the expected one in which what was written is looked for
REACH = (0, 1, 3, WINDOW)  # how far away a place may be that agrees in the last 0, 1, 2, 3 letters: fewer may agree by chance


def follow(draft: Sequence[int], expected: int, written: Sequence[int]) -> int:
    """Where in a draft the last of the tokens written stands: the expected place where that has it, else the place that agrees best in the
    last three of them, the nearest of equals; the expected one where none does."""
    if expected < len(draft) and draft[expected] == written[-1]:
        return expected
    best = (0, 0, expected)
    for place in range(max(0, expected - WINDOW), min(len(draft), expected + WINDOW + 1)):
        agree = 0
        while agree < min(3, place + 1, len(written)) and draft[place - agree] == written[-1 - agree]:
            agree += 1
        if abs(place - expected) <= REACH[agree]:
            best = max(best, (agree, -abs(place - expected), place))
    return best[2]


class Clock:
    """Follows what is written along a draft: letters, and the frame at which each was heard."""

    def __init__(self, draft: Sequence[int], frames: Sequence[float]):
        self.draft, self.frames = draft, frames
        self.written: list[int] = []
        self.expected = [0]  # the draft's place of the next letter, after so many letters

    @classmethod
    def of(cls, tokenizer: Tokenizer, best: Sequence[int]) -> "Clock":
        """best (T,): the best CTC unit of each frame."""
        draft, frames, last = [], [], CtcUnits.blank
        for frame, unit in enumerate(best):
            if unit not in (last, CtcUnits.blank):
                ids = tokenizer.encode(CtcUnits.letters[unit - 1])  # a letter with an accent may take two
                draft += ids
                frames += [float(frame)] * len(ids)
            last = unit
        return cls(draft, frames)

    def times(self, begun: int, ids: Sequence[int]) -> list[float]:
        """When ids are said that are written behind the first `begun`; what was written behind those before is forgotten."""
        del self.expected[begun + 1 :], self.written[begun:]
        found = []
        for letter in ids:
            self.written.append(letter)
            at = follow(self.draft, self.expected[-1], self.written)
            found.append(self._time(at))
            self.expected.append(at + 1)
        return found

    def copy(self) -> "Clock":
        other = Clock(self.draft, self.frames)
        other.written, other.expected = list(self.written), list(self.expected)
        return other

    def _time(self, place: int) -> float:
        """Behind the draft's end letters go on at their usual pace."""
        if place < len(self.draft):
            return self.frames[place]
        return (self.frames[-1] if self.frames else 0.0) + PACE * (place + 1 - len(self.draft))


def times_said(clocks: Sequence[Clock], written: Iterable[int], ids: Sequence[Sequence[int]]) -> list[list[float]]:
    """When ids (B, n) are said that each row writes behind so many others."""
    return [clock.times(begun, row) for clock, begun, row in zip(clocks, written, ids, strict=True)]


def picked(clocks: Sequence[Clock] | None, rows: Sequence[int]) -> list[Clock] | None:
    """Those of some rows, each of which goes on by itself."""
    return None if clocks is None else [clocks[row].copy() for row in rows]
