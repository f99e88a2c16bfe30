"""The time of each letter of a transcript, by the CTC head: where rotary attention places it, and when each word was spoken.

In: the CTC head's best unit, or log-probabilities (T, U), of each frame. Out: a frame for each letter as it is written, or seconds for each
word. Without it letters would stand behind all frames, and attention alone would have to find how far the recording has been written
down: where that is lost, words come twice or never. The text is the GPT's own all the same: CTC says when, not what.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from lauragpt.ctc_units import Units
from lauragpt.sequence import PACE
from lauragpt.text import CtcUnits, Tokenizer

WINDOW = 12  # places of the draft around the expected one in which what was written is looked for
REACH = (0, 1, 3, WINDOW)  # how far away a place may be that agrees in the last 0, 1, 2, 3 letters: fewer may agree by chance


class TokenAligner:
    """The place in a draft of each token as it is written: the expected place where the draft has the token there; else the place that
    agrees best in the last three tokens, the nearest of equals; else the expected place. A place that was found by three tokens is not
    found again, so that a repetition moves on through the draft."""

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
        """How many of the last tokens written, three at most, stand in the draft up to a place."""
        agree = 0
        while (
            agree < min(3, place + 1, len(self.written))
            and place < len(self.draft)
            and self.draft[place - agree] == self.written[-1 - agree]
        ):
            agree += 1
        return agree


class CtcAligner:
    """The time of each token of a transcript: a draft's letters, and the frame at which CTC emitted each."""

    def __init__(self, draft: Sequence[int], frames: Sequence[float]):
        self.draft, self.frames, self.aligner = draft, frames, TokenAligner(draft)

    @classmethod
    def of(cls, tokenizer: Tokenizer, best: Sequence[int], units: Units = CtcUnits()) -> "CtcAligner":
        """best (T,): the best CTC unit of each frame. All letters of a subword stand at its one frame."""
        draft, frames, last = [], [], units.blank
        for frame, unit in enumerate(best):
            if unit not in (last, units.blank):
                text = units.piece(unit)
                # The space before the first word is of no transcript. A letter with an accent may take two tokens.
                ids = tokenizer.encode(text if draft or len(text) == 1 else text.lstrip(), letters=True)
                draft += ids
                frames += [float(frame)] * len(ids)
            last = unit
        return cls(draft, frames)

    def times(self, begun: int, ids: Sequence[int]) -> list[float]:
        """The times of ids that are written behind the first `begun` tokens; what was written there before is forgotten."""
        self.aligner.forget(begun)
        return [self._time(self.aligner.wrote(letter)[0]) for letter in ids]

    def copy(self) -> "CtcAligner":
        other = CtcAligner(self.draft, self.frames)
        other.aligner.written, other.aligner.states = list(self.aligner.written), list(self.aligner.states)
        return other

    def _time(self, place: int) -> float:
        """Behind the draft's end letters go on at their usual pace."""
        if place < len(self.draft):
            return self.frames[place]
        return (self.frames[-1] if self.frames else 0.0) + PACE * (place + 1 - len(self.draft))


def token_times(aligners: Sequence[CtcAligner], written: Iterable[int], ids: Sequence[Sequence[int]]) -> list[list[float]]:
    """The times of ids (B, n), of which row b is written behind the first `written[b]` tokens."""
    return [aligner.times(begun, row) for aligner, begun, row in zip(aligners, written, ids, strict=True)]


def select_aligners(aligners: Sequence[CtcAligner] | None, rows: Sequence[int]) -> list[CtcAligner] | None:
    """Copies of the rows' aligners."""
    return None if aligners is None else [aligners[row].copy() for row in rows]


IMPOSSIBLE = -1e30
LEAD, TAIL = 0.04, 0.06  # seconds by which a word sounds before its first letter's frame and after its last one's
LAG = 4  # frames that `follow` hears of what comes


def align(log_probs: np.ndarray, units: list[int], blank: int = CtcUnits.blank) -> np.ndarray | None:
    """log_probs (T, U), units (n,) -> the first and the last frame of each unit (n, 2), by the likeliest path; None where T frames are
    too few."""
    n, T = len(units), len(log_probs)
    if not n or n + sum(a == b for a, b in pairwise(units)) > T:
        return None
    path = CtcPath(units, blank)
    for frame in log_probs:
        path.go_on(frame)
    spans = np.full((n, 2), -1)
    state = path.size - 1 if path.score[-1] >= path.score[-2] else path.size - 2
    for t in range(T - 1, -1, -1):
        if state % 2:
            unit = state // 2
            spans[unit] = t, max(t, spans[unit, 1])
        state -= int(path.moves[t][state])
    return spans


def follow(log_probs: np.ndarray, units: Sequence[int], blank: int, lag: int = LAG) -> np.ndarray:
    """log_probs (T, U), units (n,) -> which unit is being said at each frame (T,) int64, -1 before the first: by the likeliest path up to
    `lag` frames later, so that frames to come after these change nothing. It never goes back."""
    said = np.full(len(log_probs), -1)
    if not len(units) or not len(log_probs):
        return said
    path, reached = CtcPath(units, blank), 0
    for t in range(len(log_probs) + lag):
        if t < len(log_probs):
            path.go_on(log_probs[t])
        if t < lag:
            continue
        state = int(path.score.argmax())
        for earlier in range(len(path.moves) - 1, t - lag, -1):
            state -= int(path.moves[earlier][state])
        reached = max(reached, state)
        said[t - lag] = (reached - 1) // 2
    return said


def follow_rows(log_probs: np.ndarray, lengths: Sequence[int], texts: Sequence[Sequence[int]]) -> np.ndarray:
    """`follow` in each row of log_probs (B, T, U), of which `lengths` (B,) frames are real and whose last unit is the blank: (B, T)."""
    said = np.full(log_probs.shape[:2], -1)
    for row, spelled, length, text in zip(said, log_probs, lengths, texts, strict=True):
        row[:length] = follow(spelled[:length], text, log_probs.shape[2] - 1)
    return said


class CtcPath:
    """The likeliest path through a text's units with blanks between them, frame by frame (Viterbi)."""

    def __init__(self, units: Sequence[int], blank: int):
        self.states = np.full(2 * len(units) + 1, blank)
        self.states[1::2] = units
        self.skips = np.zeros(self.size, dtype=bool)  # a unit may follow the one before without a blank, unless they are the same
        self.skips[3::2] = self.states[3::2] != self.states[1:-2:2]
        self.score: np.ndarray = np.zeros(0)  # of the best path to each state
        self.moves: list[np.ndarray] = []  # of each frame, by how many states the best path to each moved

    @property
    def size(self) -> int:
        return len(self.states)

    def go_on(self, log_probs: np.ndarray) -> None:
        """By a frame (U,)."""
        heard = log_probs[self.states]
        if not self.moves:
            self.score = np.where(np.arange(self.size) < 2, heard, IMPOSSIBLE)
            self.moves.append(np.zeros(self.size, dtype=np.int64))
            return
        moves = np.full((3, self.size), IMPOSSIBLE)
        moves[0], moves[1, 1:] = self.score, self.score[:-1]
        moves[2, 2:] = np.where(self.skips[2:], self.score[:-2], IMPOSSIBLE)
        self.moves.append(moves.argmax(axis=0))
        self.score = moves.max(axis=0) + heard


def word_times(
    log_probs: np.ndarray, words: list[str], seconds: float, frame: float, ctc_units: Units = CtcUnits()
) -> list[tuple[float, float]] | None:
    """log_probs (T, U) -> start and end of each word, in seconds, of a clip of `seconds` whose frames are `frame` seconds apart. CTC
    emits a unit in one of the frames in which it sounds, so a word begins a little before its first unit's frame and ends a little after
    its last one's, half-way to its neighbour at most. None where there are too few frames for the words. Forced alignment as in
    CTC-segmentation (arXiv 2007.09127)."""
    space, units, owner = ctc_units.encode(" "), [], []  # subwords have no unit of its own between words
    for index, word in enumerate(words):
        spelling = ctc_units.encode(word)
        if units and spelling:
            units, owner = [*units, *space], [*owner, *([-1] * len(space))]
        units, owner = [*units, *spelling], [*owner, *([index] * len(spelling))]
    spans = align(log_probs, units, ctc_units.blank)
    if spans is None:
        return None
    starts, ends, last = [], [], 0.0
    for index in range(len(words)):
        letters = [span for span, word in zip(spans, owner) if word == index]
        starts.append(letters[0][0] * frame if letters else last)
        ends.append((letters[-1][1] + 1) * frame if letters else last)
        last = ends[-1]
    times = []
    for index, (start, end) in enumerate(zip(starts, ends)):
        before = ends[index - 1] if index else 0.0
        after = starts[index + 1] if index + 1 < len(words) else seconds
        start, end = start - min(LEAD, max(0.0, start - before) / 2), end + min(TAIL, max(0.0, after - end) / 2)
        times.append((max(0.0, start), min(seconds, end)))
    return times
