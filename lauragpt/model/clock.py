"""When each letter of a transcript is said: the rotary position at which the GPT reads it while it writes the next.

In: what the CTC head makes of the frames, its best unit each. Out: a frame for each letter, as it is written. A letter that stood behind all
frames, at its place, would leave it to attention to find how far the recording has been written down: where that is lost, words come twice
or never. What is written is the GPT's own all the same: the CTC head says when, not what.
"""

from collections.abc import Sequence

from lauragpt.model.sequence import PACE
from lauragpt.text import CtcUnits, Tokenizer

NEAR = (0, 1, -1, 2, -2, 3, -3)  # places of the draft, from the expected one, at which a letter is looked for


class Clock:
    """Follows what is written along a draft: letters, and the frame at which each was heard."""

    def __init__(self, draft: Sequence[int], frames: Sequence[float]):
        self.draft, self.frames = draft, frames
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
        del self.expected[begun + 1 :]
        found = []
        for letter in ids:
            at = self._place(self.expected[-1], letter)
            found.append(self._time(at))
            self.expected.append(at + 1)
        return found

    def copy(self) -> "Clock":
        other = Clock(self.draft, self.frames)
        other.expected = list(self.expected)
        return other

    def _place(self, expected: int, letter: int) -> int:
        """The nearest place of the draft that has the letter; the expected one where none has."""
        for away in NEAR:
            if 0 <= expected + away < len(self.draft) and self.draft[expected + away] == letter:
                return expected + away
        return expected

    def _time(self, place: int) -> float:
        """Behind the draft's end letters go on at their usual pace."""
        if place < len(self.draft):
            return self.frames[place]
        return (self.frames[-1] if self.frames else 0.0) + PACE * (place + 1 - len(self.draft))
