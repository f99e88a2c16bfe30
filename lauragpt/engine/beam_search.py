"""From the GPT's logits to the likeliest of several texts: beam search. Numpy only; it knows no backend.

In: an open `Session` (B rows), which tokens are allowed (V,), each row's bounds, how many texts are followed at once. Out: one `Decoded` a row. A
greedy writer that takes a word for its like-sounding neighbour, or leaves one out, has to go on from there; here what follows tells.
"""

from dataclasses import dataclass, field

import numpy as np

from lauragpt.engine.backend import Session
from lauragpt.engine.decoding import TEXT_LOOP, Decoded, Loop, Row, cut_loop, find_loop, log_softmax
from lauragpt.errors import LauraError

SCORE_MARGIN = 1.0  # by how much a text that has ended must be likelier than all that go on, which the bonus still raises
REPEAT = Loop(longest=32, repeats=2, span=6)  # what is said twice in a row


@dataclass(frozen=True)
class Beams:
    width: int  # texts that are followed at once
    bonus: float = 0.0  # what each token adds to the log-probability of a text: the likeliest text of all tends to be one that leaves words out
    loop: Loop | None = TEXT_LOOP

    def __post_init__(self):
        if not (isinstance(self.width, int) and 1 <= self.width <= 64):
            raise LauraError(f"beams is {self.width!r}: give a whole number from 1 (the likeliest token each time) to 64")


@dataclass
class Hypothesis:
    """A text that is being written, or was."""

    score: float = 0.0  # its log-probability and the bonus of its tokens
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)  # of each id, and of <eos> when it came

    def and_(self, token: int, log_prob: float, score: float) -> "Hypothesis":
        return Hypothesis(score, [*self.ids, token], [*self.log_probs, log_prob])

    def ended(self, log_prob: float) -> "Hypothesis":
        return Hypothesis(self.score + log_prob, self.ids, [*self.log_probs, log_prob])


def search(session: Session, rows: list[Row], allowed: np.ndarray, eos: int, beams: Beams) -> list[Decoded]:
    """Writes until, of every row, the best text that has ended by <eos> is likelier by SCORE_MARGIN than all that go on, or until its maximum. A text that
    falls into a loop is followed no further. `allowed` (V,) bool says what may be written; <eos> may be at any time, so that the rows' minima are 0."""
    columns = np.flatnonzero(allowed | (np.arange(len(allowed)) == eos))  # what may be written; the rest is not looked at
    end = int(np.searchsorted(columns, eos))
    found: list[Found] = [Found() for _ in rows]
    live = {index: [Hypothesis()] for index, row in enumerate(rows) if row.maximum > 0}  # best first
    if 0 < len(live) < len(rows):
        session.select(list(live))
    while live:
        log_probs = log_softmax(np.take(session.logits, columns, axis=1).astype(np.float64, order="C"))  # (texts, columns)
        parents, tokens, going, first = [], [], {}, 0
        for index, texts in live.items():
            own = log_probs[first : first + len(texts)]
            kept = _step(texts, own, columns, end, beams, found[index])
            if kept and len(kept[0][1].ids) >= rows[index].maximum:
                found[index].keep("stopped", kept[0][1])
            elif kept and not found[index].settled(kept[0][1].score):
                going[index] = [text for _, text in kept]
                parents += [first + parent for parent, _ in kept]
                tokens += [text.ids[-1] for _, text in kept]
            first += len(texts)
        live = going
        if live:
            if parents != list(range(first)):
                session.select(parents)
            session.extend(np.array(tokens)[:, None])
    done = [each.best() for each in found]
    for text in done:
        if text.finish == "guard":
            cut_loop(text, beams.loop)
    return done


@dataclass
class Found:
    """The best of what a row has come to."""

    ended: Hypothesis | None = None
    stopped: Hypothesis | None = None  # by the row's maximum
    looped: Hypothesis | None = None

    def keep(self, kind: str, text: Hypothesis) -> None:
        best = getattr(self, kind)
        if best is None or text.score > best.score:
            setattr(self, kind, text)

    def settled(self, score: float) -> bool:
        """Whether what goes on, the best of which has this score, comes too late."""
        return self.ended is not None and self.ended.score >= score + SCORE_MARGIN

    def best(self) -> Decoded:
        """What ended, unless what was stopped is likelier by SCORE_MARGIN; what looped where all did."""
        if self.stopped and (self.ended is None or self.stopped.score > self.ended.score + SCORE_MARGIN):
            return Decoded(self.stopped.ids, self.stopped.log_probs, "length")
        for text, finish in ((self.ended, "eos"), (self.looped, "guard")):
            if text:
                return Decoded(text.ids, text.log_probs, finish)
        return Decoded()


def _step(texts: list[Hypothesis], log_probs: np.ndarray, columns: np.ndarray, end: int, beams: Beams, found: Found) -> list[tuple[int, Hypothesis]]:
    """The texts that go on, best first, each with the place of the one that it goes on from; those that end are put to what was found."""
    scores = np.array([text.score for text in texts])[:, None] + log_probs + beams.bonus
    scores[:, end] -= beams.bonus  # <eos> is no token of the text
    if not texts[0].ids:  # nothing at all, which is likelier than most texts, is the answer only where no first token is likelier
        if log_probs[0].argmax() == end:
            found.keep("ended", texts[0].ended(float(log_probs[0, end])))
            return []
        scores[0, end] = -np.inf
    flat, kept = scores.ravel(), []
    likely = np.argpartition(-flat, 2 * beams.width)[: 2 * beams.width] if len(flat) > 2 * beams.width else np.arange(len(flat))
    for rank, at in enumerate(likely[np.lexsort((likely, -flat[likely]))].tolist()):
        if flat[at] == -np.inf or len(kept) == beams.width:
            break
        parent, column = divmod(at, len(columns))
        log_prob = float(log_probs[parent, column])
        if column == end:
            if rank < beams.width:
                found.keep("ended", texts[parent].ended(log_prob))
            continue
        text = texts[parent].and_(int(columns[column]), log_prob, float(flat[at]))
        if beams.loop and find_loop(text.ids, beams.loop):
            found.keep("looped", text)
            continue
        if beams.bonus and find_loop(text.ids, REPEAT):  # or to go round once more would pay
            text.score -= beams.bonus
        kept.append((parent, text))
    return sorted(kept, key=lambda pair: -pair[1].score)
