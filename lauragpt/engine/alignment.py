"""When each word was said: the letters of a transcript laid along the CTC head's frames (forced alignment by Viterbi, as in CTC-segmentation,
arXiv 2007.09127).

In: log-probabilities (T, U) of frames of 40 ms or so, and the text. Out: seconds.
"""

import numpy as np

from lauragpt.text import CtcUnits

IMPOSSIBLE = -1e30


def align(log_probs: np.ndarray, units: list[int], blank: int = CtcUnits.blank) -> np.ndarray | None:
    """log_probs (T, U), units (n,) -> the first and the last frame of each unit (n, 2), by the likeliest path; None where T frames are too few."""
    n, T = len(units), len(log_probs)
    states = np.full(2 * n + 1, blank)
    states[1::2] = units
    if not n or T < n + sum(a == b for a, b in zip(units, units[1:])):
        return None
    skips = np.zeros(len(states), dtype=bool)  # a unit may follow the one before without a blank, unless they are the same
    skips[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(len(states), IMPOSSIBLE)
    score[:2] = log_probs[0, states[:2]]
    came = np.zeros((T, len(states)), dtype=np.int8)  # by how many states the path moved
    for t in range(1, T):
        moves = np.full((3, len(states)), IMPOSSIBLE)
        moves[0], moves[1, 1:] = score, score[:-1]
        moves[2, 2:] = np.where(skips[2:], score[:-2], IMPOSSIBLE)
        came[t] = moves.argmax(axis=0)
        score = moves.max(axis=0) + log_probs[t, states]
    state = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    spans = np.full((n, 2), -1)
    for t in range(T - 1, -1, -1):
        if state % 2:
            unit = state // 2
            spans[unit] = t, max(t, spans[unit, 1])
        state -= int(came[t, state])
    return spans


def word_times(log_probs: np.ndarray, words: list[str], seconds: float, frame: float) -> list[tuple[float, float]] | None:
    """Start and end of each word, in seconds of a clip that is `seconds` long, of frames `frame` seconds apart. CTC says a letter in one frame of those in which it sounds,
    so that a word begins a little before its first and ends a little after its last, half-way to its neighbour's at most. None where the
    words cannot lie in so few frames."""
    known = CtcUnits()
    spelled = [known.encode(word) for word in words]
    space, units, owner = known.encode(" ")[0], [], []
    for index, letters in enumerate(spelled):
        if units and letters:
            units, owner = [*units, space], [*owner, -1]
        units, owner = [*units, *letters], [*owner, *([index] * len(letters))]
    spans = align(log_probs, units, known.blank)
    if spans is None:
        return None
    starts, ends, last = [], [], 0.0
    for index in range(len(words)):
        own = [span for span, word in zip(spans, owner) if word == index]
        starts.append(own[0][0] * frame if own else last)
        ends.append((own[-1][1] + 1) * frame if own else last)
        last = ends[-1]
    times = []
    for index, (start, end) in enumerate(zip(starts, ends)):
        before = ends[index - 1] if index else 0.0
        after = starts[index + 1] if index + 1 < len(words) else seconds
        start, end = start - min(LEAD, max(0.0, start - before) / 2), end + min(LAG, max(0.0, after - end) / 2)
        times.append((max(0.0, start), min(seconds, end)))
    return times


LEAD, LAG = 0.04, 0.06  # seconds by which a word sounds before its first letter's frame and after its last one's
