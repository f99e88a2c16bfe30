"""From the GPT's logits to tokens: greedy or sampled, bounded, guarded against loops. Numpy only; it knows no backend.

In: an open `Session` (B rows), which tokens are allowed (V,), and each row's bounds. Out: one `Decoded` a row.
Rows share nothing: each stops on its own and is dropped from the session, and the noise of sampling is a function of
(seed, row key, position), so a row draws the same alone and in any batch, on any backend.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lauragpt.ctc import TokenAligner
from lauragpt.engine.backend import Session
from lauragpt.errors import LauraError


@dataclass(frozen=True)
class Loop:
    """When a tail counts as a loop: one n-gram, `repeats` times or more in a row, over at least `span` tokens."""

    longest: int = 32  # n-gram lengths looked at
    repeats: int = 4
    span: int = 12


TEXT_LOOP = Loop()
# Codec tokens of a pause repeat honestly: only three seconds of it are a loop.
SPEECH_LOOP = Loop(longest=25, repeats=3, span=75)


@dataclass(frozen=True)
class Options:
    temperature: float = 0.0  # 0 is greedy
    top_k: int = 25  # 0 keeps all
    top_p: float = 1.0
    seed: int = 0
    loop: Loop | None = TEXT_LOOP

    def __post_init__(self):
        if not (self.temperature >= 0 and np.isfinite(self.temperature)):
            raise LauraError(f"temperature is {self.temperature}: give 0 (the most likely token) or more, 1 is the model's own")
        if self.top_k < 0:
            raise LauraError(f"top_k is {self.top_k}: give 0 (keep all) or more")
        if not 0 < self.top_p <= 1:
            raise LauraError(f"top_p is {self.top_p}: give a share above 0 and at most 1")
        if not 0 <= self.seed < 2**63:
            raise LauraError(f"seed is {self.seed}: give a whole number from 0 to 2^63 - 1")


@dataclass(frozen=True)
class Row:
    """Bounds of a row, in tokens without <eos>, and the key of its noise (the number of the chunk in its recording, of the sentence in its
    text). `begun`: tokens of the output that it was opened with, so that those to come draw what their places draw."""

    maximum: int
    minimum: int = 0
    key: int = 0
    begun: int = 0


@dataclass
class Decoded:
    ids: list[int] = field(default_factory=list)  # without <eos>
    log_probs: list[float] = field(default_factory=list)  # of each id under the model, <eos> included when it came
    finish: str = "length"  # eos | length | guard
    guards: list[str] = field(default_factory=list)
    sequences: list[dict] = field(default_factory=list)  # what the GPT read and wrote, counted (runtime.py)


# Worst first: an answer of several parts has the finish of its worst one.
FINISHES = ("guard", "length", "eos", "empty")


def joined(parts: list[Decoded]) -> Decoded:
    """Several parts of an answer as one."""
    finishes = {part.finish for part in parts}
    finish = next((finish for finish in FINISHES if finish in finishes), "empty")
    ids, log_probs, guards, sequences = (
        [each for part in parts for each in getattr(part, name)] for name in ("ids", "log_probs", "guards", "sequences")
    )
    return Decoded(ids, log_probs, finish, guards, sequences)


def decode(
    session: Session, rows: list[Row], allowed: np.ndarray, eos: int, options: Options = Options(), drafts: list[list[int]] | None = None
) -> list[Decoded]:
    """Writes until every row has ended by <eos>, by its maximum or by the guard. `allowed` (V,) bool: tokens that may be written; <eos> may
    come from `minimum` on. A row with minimum == maximum gets exactly that many tokens.

    drafts: guesses of each row's tokens. The session reads some of them at once and keeps those that it would have written itself, so
    that a good draft saves steps and a bad one changes nothing but the order of float32 sums (speculative decoding, arXiv 2211.17192,
    with a draft that costs nothing)."""
    *_, decoded = steps(session, rows, allowed, eos, options, drafts)
    return decoded


def steps(
    session: Session, rows: list[Row], allowed: np.ndarray, eos: int, options: Options = Options(), drafts: list[list[int]] | None = None
) -> Iterator[list[Decoded]]:
    """`decode` step by step: always the same list, one `Decoded` a row, which grows until all rows have ended."""
    decoded = [Decoded() for _ in rows]
    live = [index for index, row in enumerate(rows) if row.maximum > 0]
    if len(live) < len(rows) and live:
        session.select(live)
    guesses = [Draft(draft) for draft in drafts] if drafts else [Draft([]) for _ in rows]
    choose = Choice(allowed, eos, options)

    def write(indices: list[int], logits: np.ndarray) -> list[int]:
        """The next token of some rows, by logits (n, V)."""
        chosen, log_probs = choose(logits, [rows[index] for index in indices], [len(decoded[index].ids) for index in indices])
        for index, token, log_prob in zip(indices, chosen, log_probs):
            _write(decoded[index], token, log_prob, rows[index], eos, options)
            guesses[index].advance(token)
        return chosen

    def ended(index: int, token: int) -> bool:
        return _ended(decoded[index], token, rows[index], eos)

    tokens = write(live, session.logits) if live else []
    yield decoded
    while live:
        stay = [place for place, index in enumerate(live) if not ended(index, tokens[place])]
        if len(stay) < len(live):
            live, tokens = [live[place] for place in stay], [tokens[place] for place in stay]
            if not live:
                break
            session.select(stay)
        ahead = [guesses[index].ahead() for index in live]
        block = np.zeros((len(live), 1 + max(map(len, ahead))), dtype=np.int64)
        for place, guess in enumerate(ahead):
            block[place, : 1 + len(guess)] = [tokens[place], *guess]
        before = session.lengths.copy()
        after = session.extend(block)  # (B, n, V)
        tokens = write(live, after[:, 0])
        for place, index in enumerate(live):
            read = 1
            for guess in ahead[place]:
                if tokens[place] != guess or ended(index, guess):
                    break
                tokens[place] = write([index], after[place, read : read + 1])[0]
                read += 1
            before[place] += read
        if block.shape[1] > 1:
            session.rollback(before)
        yield decoded


class Draft:
    """A guess of a row's tokens, and the place in it that the row has come to."""

    FEWEST, MOST = 1, 16  # tokens of the draft that are read at once

    def __init__(self, ids: list[int]):
        self.ids, self.aligner, self.size = ids, TokenAligner(ids), self.FEWEST

    def advance(self, token: int) -> None:
        """The row has written a token: more of the draft is read at once as long as it is right."""
        expected = self.aligner.expected
        right = self.aligner.wrote(token) == (expected, True)
        self.size = min(self.MOST, self.size + 1) if right else self.FEWEST

    def ahead(self) -> list[int]:
        """The tokens of the draft to read next."""
        return self.ids[self.aligner.expected : self.aligner.expected + self.size]


def choose_one(session: Session, allowed: list[int]) -> list[int]:
    """The most likely of a few tokens in every row. How <lang> is predicted."""
    return np.array(allowed)[session.logits[:, allowed].argmax(axis=1)].tolist()


def score(session: Session, candidates: list[list[int]]) -> np.ndarray:
    """Summed log-probability (B, C) of each candidate continuation, teacher-forced. The session's length is left as it was."""
    start, first = session.lengths.copy(), log_softmax(session.logits)
    scores = np.zeros((len(start), len(candidates)))
    for column, ids in enumerate(candidates):
        scores[:, column] = first[:, ids[0]]
        if len(ids) > 1:
            block = np.tile(np.array(ids[:-1], dtype=np.int64), (len(start), 1))
            after = log_softmax(session.extend(block))  # (B, n - 1, V)
            scores[:, column] += after[:, np.arange(len(ids) - 1), ids[1:]].sum(axis=1)
            session.rollback(start)
    return scores


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def noise(seed: int, key: int, position: int, size: int) -> np.ndarray:
    """Gumbel noise (size,): a pure function of its arguments. Philox is counter-based, so no draw depends on an earlier one."""
    bits = np.random.Philox(key=np.array([seed, key], dtype=np.uint64), counter=np.array([0, 0, 0, position], dtype=np.uint64))
    return -np.log(-np.log(np.clip(np.random.Generator(bits).random(size), 1e-300, 1 - 1e-16)))


def find_loop(ids: list[int], loop: Loop) -> tuple[int, int] | None:
    """(period, repeats) of the loop that `ids` end in, or None. The shortest period wins."""
    for period in range(1, min(loop.longest, len(ids) - 1) + 1):
        if ids[-1] != ids[-1 - period]:  # so it is with nearly all, and this is asked for every token
            continue
        needed = max(loop.repeats, -(-loop.span // period))
        if period * needed > len(ids):
            continue
        tail = ids[-period:]
        repeats = 1
        while ids[len(ids) - (repeats + 1) * period : len(ids) - repeats * period] == tail:
            repeats += 1
        if repeats >= needed:
            return period, repeats
    return None


class Choice:
    """Tokens and their log-probabilities among what is allowed, before temperature and top-k."""

    def __init__(self, allowed: np.ndarray, eos: int, options: Options):
        self.columns = np.flatnonzero(allowed | (np.arange(len(allowed)) == eos))  # what may be written; the rest is not looked at
        self.eos, self.size, self.options = int(np.searchsorted(self.columns, eos)), len(allowed), options

    def __call__(self, logits: np.ndarray, rows: list[Row], positions: list[int]) -> tuple[list[int], list[float]]:
        """logits (n, V), the rows they belong to and how many tokens each has written."""
        # Row by row in memory, so that sums have one order alone and in any batch
        scores, options = np.take(logits, self.columns, axis=1).astype(np.float64, order="C"), self.options
        for place, (row, position) in enumerate(zip(rows, positions)):
            if position < row.minimum:
                scores[place, self.eos] = -np.inf
        log_probs = log_softmax(scores)
        if options.temperature == 0:
            best = log_probs.argmax(axis=1)
        else:
            best = [self._draw(each, row.key, row.begun + position) for each, row, position in zip(log_probs, rows, positions)]
        return self.columns[best].tolist(), log_probs[np.arange(len(rows)), best].tolist()

    def _draw(self, log_probs: np.ndarray, key: int, position: int) -> int:
        options = self.options
        kept = _nucleus(_top(log_probs / options.temperature, options.top_k), options.top_p)
        # Gumbel-max: the argmax of log-probability plus Gumbel noise is a draw from the distribution.
        return int((kept + noise(options.seed, key, position, self.size)[self.columns]).argmax())


def _top(scores: np.ndarray, k: int) -> np.ndarray:
    if not 0 < k < len(scores):
        return scores
    return np.where(scores >= np.partition(scores, -k)[-k], scores, -np.inf)


def _nucleus(scores: np.ndarray, p: float) -> np.ndarray:
    """The smallest set of tokens whose probabilities sum to at least p."""
    if p >= 1:
        return scores
    order = np.argsort(-scores, kind="stable")
    probs = np.exp(log_softmax(scores[order]))
    cut = order[np.cumsum(probs) - probs >= p]
    kept = scores.copy()
    kept[cut] = -np.inf
    return kept


def _write(row_done: Decoded, token: int, log_prob: float, row: Row, eos: int, options: Options) -> None:
    row_done.log_probs.append(log_prob)
    if token == eos:
        row_done.finish = "eos"
        return
    row_done.ids.append(token)
    if options.loop and row.minimum < row.maximum:  # a row of exact length says what it must: nothing to guard
        cut_loop(row_done, options.loop)


def cut_loop(written: Decoded, loop: Loop) -> None:
    """Cuts the loop that a text ends in, if it does, to one round: that may have been meant."""
    tail = find_loop(written.ids, loop)
    if tail:
        period, repeats = tail
        keep = len(written.ids) - (repeats - 1) * period
        written.ids, written.log_probs = written.ids[:keep], written.log_probs[:keep]
        written.finish, written.guards = "guard", [f"loop of {period} tokens, {repeats} times, cut to one"]


def _ended(row_done: Decoded, token: int, row: Row, eos: int) -> bool:
    if row_done.finish == "length" and row.minimum == row.maximum and len(row_done.ids) == row.maximum:
        row_done.finish = "eos"  # as long as was asked for: nothing was cut
    return token == eos or row_done.finish == "guard" or len(row_done.ids) >= row.maximum
