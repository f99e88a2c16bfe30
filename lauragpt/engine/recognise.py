"""Audio -> text: recognition, translation, captions, emotions, orders. One path for all of them.

In: waves (N,) of any length. Each is cut into chunks; chunks that hold no sound are answered with nothing; the others run in
batches, `[frames, <task>, <lang>, text, <eos>]`. Out: one `Result` a wave, with a segment a chunk.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.ctc import CtcAligner, word_times
from lauragpt.engine.backend import EncoderOutput
from lauragpt.engine.chunking import PAUSE, Chunk, batches, cut, is_silent
from lauragpt.engine.decoding import Decoded, Row, score
from lauragpt.engine.runtime import Runtime
from lauragpt.errors import LauraError
from lauragpt.result import Result, Segment, Word, confidence_of
from lauragpt.tasks import EMOTIONS, TASKS, text_to_slu
from lauragpt.text import Tokenizer

AT_ONCE = 120 * SAMPLE_RATE  # padded audio of a batch, less where many texts are followed; a backend may listen to some of it at a time
# (tokens a second of audio, tokens on top) that a text may have. Fast speech has about 6 words, 30 letters a second.
LIMITS = {"asr": (30, 16), "s2tt": (15, 24), "aac": (0, 64), "slu": (2, 96)}


@dataclass
class Piece:
    """A chunk of an input and what was heard in it."""

    item: int
    chunk: Chunk
    wave: np.ndarray  # (n,)
    lang: str | None = None
    text: str = ""
    decoded: Decoded = field(default_factory=lambda: Decoded(finish="empty"))
    scores: np.ndarray | None = None  # (emotions,) probabilities
    rejected: bool = False  # written, but less surely than was asked for
    sure: float | None = None  # of what was made by way of a transcript: how sure both steps are
    ctc: np.ndarray | None = None  # (T, U) log-probabilities, of a transcript, which tell when each word was said

    @property
    def seconds(self) -> float:
        return len(self.wave) / SAMPLE_RATE


def listen(runtime: Runtime, task: str, waves: list[np.ndarray], lang: str | None = None, min_confidence: float = 0.0) -> list[Result]:
    """The answer of an audio -> text task to each wave. `lang` None: the GPT tells each chunk's own. What it is less sure of than
    `min_confidence` is left out, and counted in the receipt. LauraError for a confidence that is none."""
    check_confidence(min_confidence)
    pieces = hear(runtime, task, cut_all(waves, PAUSE if task == "asr" else None), lang, min_confidence)
    finish = {"ser": _emotion, "slu": _order, "aac": _caption}.get(task, in_order)
    results = [finish(runtime, task, [piece for piece in pieces if piece.item == item], lang) for item in range(len(waves))]
    for result in results:
        if task == "ser" and result.confidence is not None and result.confidence < min_confidence:
            result.text, result.receipt["rejected"] = "", 1
            for segment in result.segments:
                segment.text = ""
    return results


def check_confidence(min_confidence: float) -> None:
    if not 0 <= min_confidence <= 1:
        raise LauraError(f"min_confidence is {min_confidence}: give a number from 0 (answer always) to 1")


def hear(
    runtime: Runtime, task: str, pieces: list[Piece], lang: str | None, min_confidence: float = 0.0, known: dict[Chunk, Piece] | None = None
) -> list[Piece]:
    """Pieces with what was heard in them, some of them in several parts. `known`: what was heard before of one recording and is not heard
    again; it is left with what these pieces are made of, and with what is known of later ones."""
    known = {} if known is None else known
    if task in runtime.info.chunks:  # what has words is read in shorter pieces, which the checkpoint reads better
        parts = [_parts(piece, *runtime.info.chunks[task]) for piece in pieces]
        _hear_all(runtime, task, [piece for piece, several in zip(pieces, parts) if len(several) > 1], lang, most=2)
        pieces = [part for piece, several in zip(pieces, parts) for part in (several if piece.text or len(several) == 1 else [piece])]
    heard = [known.get(piece.chunk, piece) for piece in pieces]
    new = [piece for piece in heard if piece.lang is None]
    _hear_all(runtime, task, new, lang)
    for piece in new:
        reject(runtime, task, piece, min_confidence)
    end = max((piece.chunk.end for piece in pieces), default=0)
    later = {chunk: piece for chunk, piece in known.items() if chunk.start >= end}
    known.clear()
    known.update(later | {piece.chunk: piece for piece in heard if piece.lang})
    return heard


def reject(runtime: Runtime, task: str, piece: Piece, min_confidence: float) -> None:
    """Leaves a text out that is less sure."""
    piece.rejected = bool(piece.text) and (answer_confidence(runtime, task, [piece]) or 0.0) < min_confidence
    piece.text = "" if piece.rejected else piece.text


def cut_all(waves: list[np.ndarray], pause: float | None = None) -> list[Piece]:
    return [Piece(item, chunk, wave[chunk.start : chunk.end]) for item, wave in enumerate(waves) for chunk in cut(wave, pause=pause)]


def _parts(piece: Piece, shortest: float, longest: float) -> list[Piece]:
    """The piece in shorter ones, not heard yet; itself when it is short."""
    chunks, first = cut(piece.wave, shortest, longest), piece.chunk.start
    if len(chunks) == 1:
        return [piece]
    return [Piece(piece.item, Chunk(first + c.start, first + c.end), piece.wave[c.start : c.end]) for c in chunks]


def _hear_all(runtime: Runtime, task: str, pieces: list[Piece], lang: str | None, most: int | None = None) -> None:
    """`most`: tokens that are written of each at most."""
    loud = [piece for piece in pieces if not is_silent(piece.wave)]
    for group in batches([len(piece.wave) for piece in loud], runtime.at_once(AT_ONCE)):
        _hear(runtime, task, [loud[index] for index in group], lang, most)


def _hear(runtime: Runtime, task: str, pieces: list[Piece], lang: str | None, most: int | None) -> None:
    """Fills in one batch."""
    encoded = runtime.backend.encode([piece.wave for piece in pieces])
    lettered = TASKS[task].letters and encoded.ctc_log_probs.shape[2] == runtime.info.ctc_units.size  # else nothing says what they are
    aligners = ctc_aligners(runtime, encoded) if lettered else None
    given = aligners if runtime.info.time_aligned else None
    session, langs = runtime.begin(encoded, [[runtime.vocabulary.task(task)]] * len(pieces), [lang] * len(pieces), given)
    for piece, chosen in zip(pieces, langs):
        piece.lang = chosen
    if task == "ser":
        candidates = [[*runtime.tokenizer.encode(label), runtime.vocabulary.eos] for label in EMOTIONS]
        scores = score(session, candidates)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        for piece, row in zip(pieces, shares / shares.sum(axis=1, keepdims=True)):
            piece.scores, piece.decoded = row, Decoded(finish="eos")
        return
    a_second, more = LIMITS.get(task, (2, 96))
    rows = [Row(maximum=most or math.ceil(a_second * piece.seconds) + more) for piece in pieces]
    drafts = [aligner.draft for aligner in aligners] if aligners else None  # most of a transcript, which one beam then checks in a few steps
    for piece, decoded in zip(pieces, runtime.write(task, session, rows, drafts, beams=1 if most else None)):
        piece.decoded, piece.text = decoded, runtime.tokenizer.decode(decoded.ids).strip()
    if task == "asr" and lettered:
        for piece, row, length in zip(pieces, encoded.ctc_log_probs, encoded.lengths):
            piece.ctc = row[:length]


def ctc_aligners(runtime: Runtime, encoded: EncoderOutput) -> list[CtcAligner]:
    """What the CTC head makes of each row, letter by letter, and when."""
    best = (row[:length].argmax(axis=1).tolist() for row, length in zip(encoded.ctc_log_probs, encoded.lengths))
    return [CtcAligner.of(runtime.tokenizer, row, runtime.info.ctc_units) for row in best]


def heard_longest(pieces: list[Piece]) -> str | None:
    heard = {piece.lang: 0.0 for piece in pieces if piece.lang}
    for piece in pieces:
        if piece.lang:
            heard[piece.lang] += piece.seconds
    return max(heard, key=heard.get, default=None)


def text_of(pieces: list[Piece], lang: str | None) -> str:
    return ("" if lang == "zh" else " ").join(piece.text for piece in pieces if piece.text)


def in_order(runtime: Runtime, task: str, pieces: list[Piece], lang: str | None) -> Result:
    """Chunks' texts one after the other; the language is the one heard longest."""
    lang = lang or heard_longest(pieces) or runtime.info.langs[0]
    seconds = sum(piece.seconds for piece in pieces)
    rejected = sum(piece.rejected for piece in pieces)
    return Result(
        task=task,
        lang=lang,
        text=text_of(pieces, lang),
        segments=[
            Segment(
                start=round(piece.chunk.start / SAMPLE_RATE, 3),
                end=round(piece.chunk.end / SAMPLE_RATE, 3),
                text=piece.text,
                confidence=answer_confidence(runtime, task, [piece]),
                words=words_of(runtime, piece),
            )
            for piece in pieces
            if piece.lang
        ],
        confidence=answer_confidence(runtime, task, pieces),
        receipt=runtime.receipt(
            seconds, seconds, len(pieces), [piece.decoded for piece in pieces], **({"rejected": rejected} if rejected else {})
        ),
    )


def answer_confidence(runtime: Runtime, task: str, pieces: list[Piece]) -> float | None:
    """How sure the GPT is of what it made of some pieces (`Segment.confidence`), None where it made nothing."""
    told = [(piece.sure, piece.seconds) for piece in pieces if piece.sure is not None]
    if told:
        return sum(sure * seconds for sure, seconds in told) / sum(seconds for _, seconds in told)
    known, table = [piece.decoded for piece in pieces if piece.decoded.log_probs], TASKS[task]
    whole = [math.exp(sum(one.log_probs)) for one in known]
    spaced = table.letters and all(piece.lang != "zh" for piece in pieces)  # whose words can be told
    words = [word for one in known for word in word_confidences(runtime.tokenizer, one)] if spaced else []
    sure = whole if table.whole else words
    if sure:
        return sum(sure) / len(sure)
    return confidence_of([log_prob for one in known for log_prob in one.log_probs])


def words_of(runtime: Runtime, piece: Piece) -> list[Word]:
    """The words of a transcript with their times in the recording; none where they cannot be told."""
    words = piece.text.split()
    times = None
    if piece.ctc is not None and words:
        times = word_times(piece.ctc, words, piece.seconds, runtime.backend.frame, runtime.info.ctc_units)
    if times is None:
        return []
    start, sure = piece.chunk.start / SAMPLE_RATE, word_confidences(runtime.tokenizer, piece.decoded)
    sure = sure if len(sure) == len(words) else [None] * len(words)
    return [Word(round(start + a, 3), round(start + b, 3), word, own) for (a, b), word, own in zip(times, words, sure)]


def word_confidences(tokenizer: Tokenizer, decoded: Decoded) -> list[float]:
    """Of each word that was written: how likely are all of the tokens that spell it, with the space before it."""
    parts: list[float] = []
    inside, space = False, 0.0
    for token, log_prob in zip(decoded.ids, decoded.log_probs):
        text = tokenizer.decode([token])
        if not text.strip():
            inside, space = False, space + log_prob
            continue
        if not inside or text[0].isspace():
            parts.append(space)
            space = 0.0
        parts[-1] += log_prob
        inside = not text[-1].isspace()
    return [math.exp(part) for part in parts]


def _caption(runtime: Runtime, task: str, pieces: list[Piece], lang: str | None) -> Result:
    """A sound that goes on for several chunks is said once."""
    result = in_order(runtime, task, pieces, lang)
    result.text = "; ".join(dict.fromkeys(piece.text for piece in pieces if piece.text))
    return result


def _order(runtime: Runtime, task: str, pieces: list[Piece], lang: str | None) -> Result:
    """The intent and slots of the chunk the GPT is surest of; every chunk's own stand in the segments."""
    result = in_order(runtime, task, pieces, lang)
    spoken = [piece for piece in pieces if piece.text]
    best = max(spoken, key=lambda piece: answer_confidence(runtime, task, [piece]) or 0.0, default=None)
    result.text, result.confidence = (best.text, answer_confidence(runtime, task, [best])) if best else ("", None)
    result.intent, result.slots = text_to_slu(result.text)
    return result


def _emotion(runtime: Runtime, task: str, pieces: list[Piece], lang: str | None) -> Result:
    """The labels' probabilities under the GPT, averaged over the chunks by their length; the label is the likeliest."""
    scored = [piece for piece in pieces if piece.scores is not None]
    if scored:
        mean = np.average([piece.scores for piece in scored], axis=0, weights=[piece.seconds for piece in scored])
        for piece in scored:
            best = int(piece.scores.argmax())
            piece.text, piece.decoded.log_probs = EMOTIONS[best], [math.log(max(piece.scores[best], 1e-300))]
    result = in_order(runtime, task, pieces, lang)
    if scored:
        result.scores = dict(zip(EMOTIONS, (float(share) for share in mean)))
        result.text = EMOTIONS[int(mean.argmax())]
        result.confidence = float(mean.max())
    return result
