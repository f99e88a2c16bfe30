"""From the GPT's logits to the likeliest of several hypotheses: beam search. Numpy only; it knows no backend.

In: an open `Session` (B rows), the tokens allowed (V,), each row's bounds, the number of hypotheses. Out: one `Decoded` a row. Greedy
decoding that takes a word for one that sounds alike, or leaves one out, must go on from there; here the following words decide.
"""

from dataclasses import dataclass, field

import numpy as np

from lauragpt.engine.backend import Session
from lauragpt.engine.decoding import TEXT_LOOP, Decoded, Loop, Row, cut_loop, find_loop, log_softmax
from lauragpt.errors import LauraError

SCORE_MARGIN = 1.0  # by which an ended hypothesis must be likelier than all open ones, whose scores the bonus still raises
REPEAT = Loop(longest=32, repeats=2, span=6)  # something written twice in a row


@dataclass(frozen=True)
class Beams:
    width: int  # hypotheses
    bonus: float = 0.0  # added to a hypothesis's log-probability for each token: the likeliest of all tends to leave words out
    loop: Loop | None = TEXT_LOOP

    def __post_init__(self):
        if not (isinstance(self.width, int) and 1 <= self.width <= 64):
            raise LauraError(f"beams is {self.width!r}: give a whole number from 1 (the likeliest token each time) to 64")


@dataclass
class Hypothesis:
    """A text, open or ended."""

    score: float = 0.0  # its log-probability and the bonus of its tokens
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)  # of each id, and of <eos> when it came

    def extended(self, token: int, log_prob: float, score: float) -> "Hypothesis":
        return Hypothesis(score, [*self.ids, token], [*self.log_probs, log_prob])

    def ended(self, log_prob: float) -> "Hypothesis":
        return Hypothesis(self.score + log_prob, self.ids, [*self.log_probs, log_prob])


def search(session: Session, rows: list[Row], allowed: np.ndarray, eos: int, beams: Beams) -> list[Decoded]:
    """A row ends when its best hypothesis that has ended by <eos> is likelier by SCORE_MARGIN than all open ones, or at its maximum. A
    hypothesis that falls into a loop is dropped. `allowed` (V,) bool: tokens that may be written; <eos> may come at any time, so the rows'
    minima are 0."""
    columns = np.flatnonzero(allowed | (np.arange(len(allowed)) == eos))  # of the tokens that may be written: no others are looked at
    end = int(np.searchsorted(columns, eos))
    results = [Best() for _ in rows]
    live = {index: [Hypothesis()] for index, row in enumerate(rows) if row.maximum > 0}  # best first
    if 0 < len(live) < len(rows):
        session.select(list(live))
    while live:
        log_probs = log_softmax(np.take(session.logits, columns, axis=1).astype(np.float64, order="C"))  # (hypotheses, columns)
        parents, tokens, open_rows, first = [], [], {}, 0
        for index, hypotheses in live.items():
            best, row_log_probs = results[index], log_probs[first : first + len(hypotheses)]
            successors = _step(hypotheses, row_log_probs, columns, end, beams, best)
            if successors and len(successors[0][1].ids) >= rows[index].maximum:
                best.offer("stopped", successors[0][1])
            elif successors and not best.settled(successors[0][1].score):
                open_rows[index] = [hypothesis for _, hypothesis in successors]
                parents += [first + parent for parent, _ in successors]
                tokens += [hypothesis.ids[-1] for _, hypothesis in successors]
            first += len(hypotheses)
        live = open_rows
        if live:
            if parents != list(range(first)):
                session.select(parents)
            session.extend(np.array(tokens)[:, None])
    decoded = [best.decoded() for best in results]
    for each in decoded:
        if each.finish == "guard" and beams.loop:
            cut_loop(each, beams.loop)
    return decoded


@dataclass
class Best:
    """The best hypothesis of a row for each way to end."""

    ended: Hypothesis | None = None
    stopped: Hypothesis | None = None  # by the row's maximum
    looped: Hypothesis | None = None

    def offer(self, kind: str, hypothesis: Hypothesis) -> None:
        best = getattr(self, kind)
        if best is None or hypothesis.score > best.score:
            setattr(self, kind, hypothesis)

    def settled(self, score: float) -> bool:
        """Whether the open hypotheses, the best of which has this score, come too late."""
        return self.ended is not None and self.ended.score >= score + SCORE_MARGIN

    def decoded(self) -> Decoded:
        """The one that ended, unless the one stopped is likelier by SCORE_MARGIN; the one that looped where all did."""
        if self.stopped and (self.ended is None or self.stopped.score > self.ended.score + SCORE_MARGIN):
            return Decoded(self.stopped.ids, self.stopped.log_probs, "length")
        for hypothesis, finish in ((self.ended, "eos"), (self.looped, "guard")):
            if hypothesis:
                return Decoded(hypothesis.ids, hypothesis.log_probs, finish)
        return Decoded()


def _step(
    hypotheses: list[Hypothesis], log_probs: np.ndarray, columns: np.ndarray, end: int, beams: Beams, best: Best
) -> list[tuple[int, Hypothesis]]:
    """The successors of a row's hypotheses, best first, each with the place of its parent; those that end or loop go to `best`. log_probs
    (hypotheses, columns); columns: the token of each; end: the column of <eos>."""
    scores = np.array([hypothesis.score for hypothesis in hypotheses])[:, None] + log_probs + beams.bonus
    scores[:, end] -= beams.bonus  # <eos> is no token of the text
    if not hypotheses[0].ids:  # the empty text, likelier than most, is the answer only where no first token is likelier
        if log_probs[0].argmax() == end:
            best.offer("ended", hypotheses[0].ended(float(log_probs[0, end])))
            return []
        scores[0, end] = -np.inf
    flat = scores.ravel()
    successors: list[tuple[int, Hypothesis]] = []
    candidates = np.argpartition(-flat, 2 * beams.width)[: 2 * beams.width] if len(flat) > 2 * beams.width else np.arange(len(flat))
    for rank, at in enumerate(candidates[np.lexsort((candidates, -flat[candidates]))].tolist()):
        if flat[at] == -np.inf or len(successors) == beams.width:
            break
        parent, column = divmod(at, len(columns))
        log_prob = float(log_probs[parent, column])
        if column == end:
            if rank < beams.width:
                best.offer("ended", hypotheses[parent].ended(log_prob))
            continue
        hypothesis = hypotheses[parent].extended(int(columns[column]), log_prob, float(flat[at]))
        if beams.loop and find_loop(hypothesis.ids, beams.loop):
            best.offer("looped", hypothesis)
            continue
        if beams.bonus and find_loop(hypothesis.ids, REPEAT):  # or another round of a loop would pay
            hypothesis.score -= beams.bonus
        successors.append((parent, hypothesis))
    return sorted(successors, key=lambda pair: -pair[1].score)
