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


class Follower:
    """Where in a draft the tokens stand that are written, one after the other: a token at the expected place where that has it, else at the place
    that agrees best in the last three tokens, the nearest of equals; at the expected place where none does. What was surely found (by three) is
    not found again, so that who writes the same again and again is led on."""

    def __init__(self, draft: Sequence[int]):
        self.draft, self.written = draft, []
        self.states = [(0, -1, -1)]  # after so many tokens: the place of the next; the last place that was found, and that was surely found

    @property
    def expected(self) -> int:
        return self.states[-1][0]

    def forget(self, begun: int) -> None:
        """What was written behind the first `begun`."""
        del self.states[begun + 1 :], self.written[begun:]

    def wrote(self, token: int) -> tuple[int, bool]:
        """The token's place, and whether the draft has it there."""
        expected, found, sure = self.states[-1]
        self.written.append(token)
        place, agree = expected, self._agree(expected)
        if not agree:
            for other in range(max(sure + 1, expected - WINDOW), min(len(self.draft), expected + WINDOW + 1)):
                more = self._agree(other)
                near = abs(other - expected) <= REACH[more] and (other > found or more == 3)
                if near and (more, -abs(other - expected)) > (agree, -abs(place - expected)):
                    place, agree = other, more
        self.states.append((place + 1, place if agree else found, place if agree == 3 else sure))
        return place, bool(agree)

    def _agree(self, place: int) -> int:
        """How many of the last tokens written the draft has up to a place, three at most."""
        agree = 0
        while agree < min(3, place + 1, len(self.written)) and place < len(self.draft) and self.draft[place - agree] == self.written[-1 - agree]:
            agree += 1
        return agree


class Clock:
    """When what is written is said: a draft's letters, and the frame at which each was heard."""

    def __init__(self, draft: Sequence[int], frames: Sequence[float]):
        self.draft, self.frames, self.follower = draft, frames, Follower(draft)

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
        self.follower.forget(begun)
        return [self._time(self.follower.wrote(letter)[0]) for letter in ids]

    def copy(self) -> "Clock":
        other = Clock(self.draft, self.frames)
        other.follower.written, other.follower.states = list(self.follower.written), list(self.follower.states)
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
