"""Audio -> text: recognition, translation, captions, emotions, orders. One path for all of them.

In: waves (N,) of any length, cut into chunks; chunks without sound are answered with nothing, the others run in batches,
`[frames, <task>, <lang>, text, <eos>]`. Each gives a `ChunkResult`. Out: one `Result` a wave, with a segment a chunk, put together as the
task's row says (`Task.joining`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import compress
from numbers import Real

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.ctc import CtcAligner, word_times
from lauragpt.engine.backend import EncoderOutput
from lauragpt.engine.chunking import PAUSE, Chunk, Span, batches, cut_all, cut_shorter, is_silent
from lauragpt.engine.decoding import Decoded, Row, score
from lauragpt.engine.progress import Meter, Progress, share_of
from lauragpt.engine.runtime import Runtime
from lauragpt.errors import LauraError
from lauragpt.result import Segment, TextResult, Word, confidence_of
from lauragpt.tasks import TASKS, text_to_slu
from lauragpt.text import Tokenizer

BATCH_SAMPLES = 120 * SAMPLE_RATE  # padded audio of a batch, less with beam search; a backend may encode part of it at a time
PROBE_TOKENS = 2  # enough to tell speech, which is then read in shorter chunks, from what holds no words
PROBE_SHARE = 0.25  # of the time that the probes take, about


@dataclass(frozen=True, eq=False)
class ChunkResult:
    """What the model made of a chunk."""

    chunk: Chunk
    lang: str | None = None  # None: nothing sounds in it, and the model did not see it
    text: str = ""  # without what was rejected
    decoded: Decoded = field(default_factory=lambda: Decoded(finish="empty"))  # all of it
    scores: np.ndarray | None = None  # (labels,) probabilities, of a task with labels
    ctc_log_probs: np.ndarray | None = None  # (T, units), of a transcript: they tell when each word was spoken
    confidence: float | None = None  # of a cascade, both steps together; None: as `decoded` tells
    kept: tuple[bool, ...] | None = None  # which of a transcript's words were not rejected; None: words were not looked at
    rejected: int = 0  # words of a transcript, or answers, of less confidence than was asked for


def listen(
    runtime: Runtime,
    task: str,
    waves: list[np.ndarray],
    lang: str | None = None,
    min_confidence: float = 0.0,
    progress: Progress | None = None,
) -> list[TextResult]:
    """The answer of an audio -> text task to each wave (N,). `lang` None: the GPT chooses each chunk's own. What has less confidence than
    `min_confidence` is left out, and counted in the receipt. LauraError for a confidence outside 0 to 1."""
    check_confidence(min_confidence)
    chunks = cut_all(waves, PAUSE if TASKS[task].transcript else None)
    results = recognise(runtime, task, chunks, lang, progress=progress)
    return [join(runtime, task, results_of, lang, min_confidence) for results_of in by_item(results, len(waves))]


def check_confidence(min_confidence: float) -> None:
    if not isinstance(min_confidence, Real) or not 0 <= min_confidence <= 1:
        raise LauraError(f"min_confidence is {min_confidence!r}: give a number from 0 (answer always) to 1")


def by_item(results: Iterable[ChunkResult], items: int) -> list[list[ChunkResult]]:
    """The results of each recording."""
    groups: list[list[ChunkResult]] = [[] for _ in range(items)]
    for result in results:
        groups[result.chunk.item].append(result)
    return groups


def recognise(
    runtime: Runtime,
    task: str,
    chunks: list[Chunk],
    lang: str | None,
    cache: dict[Span, ChunkResult] | None = None,
    progress: Progress | None = None,
) -> list[ChunkResult]:
    """The results of chunks, in their order; a checkpoint may read a chunk in shorter ones (`CheckpointInfo.chunks`), each with its own
    result.

    `cache`: earlier results of one recording by span, which are not computed again. Afterwards it holds the results of these chunks and
    of later ones."""
    cache = {} if cache is None else cache
    chunks, probes, progress = shorter_chunks(runtime, task, chunks, lang, progress)
    earlier = {chunk: cache.get(chunk.span) or probes.get(chunk) for chunk in chunks}
    done = {chunk: result for chunk, result in earlier.items() if result is not None and result.lang is not None}
    new = [chunk for chunk in chunks if chunk not in done]
    done |= dict(zip(new, _recognise(runtime, task, new, lang, progress=progress)))
    results = [done[chunk] for chunk in chunks]
    end = max((chunk.span.end for chunk in chunks), default=0)
    later = {span: result for span, result in cache.items() if span.start >= end}
    cache.clear()
    cache.update(later | {result.chunk.span: result for result in results if result.lang})
    return results


def shorter_chunks(
    runtime: Runtime, task: str, chunks: list[Chunk], lang: str | None, progress: Progress | None = None
) -> tuple[list[Chunk], dict[Chunk, ChunkResult], Progress | None]:
    """The chunks as the checkpoint is to read them: those in which a first look finds words in shorter ones. With them what was seen of the
    others, and the progress that is left to tell."""
    if task not in runtime.info.chunks:
        return chunks, {}, progress
    parts, probes = [cut_shorter(chunk, *runtime.info.chunks[task]) for chunk in chunks], {}
    long = [chunk for chunk, several in zip(chunks, parts) if len(several) > 1]
    if long:
        seconds = sum(chunk.seconds for chunk in chunks)
        share = share_of(progress, 0.0, PROBE_SHARE, seconds)
        probes = dict(zip(long, _recognise(runtime, task, long, lang, PROBE_TOKENS, share)))
        progress = share_of(progress, PROBE_SHARE, 1.0, seconds)
    has_words = {chunk: bool(probe.text) for chunk, probe in probes.items()}
    read = [part for chunk, several in zip(chunks, parts) for part in (several if has_words.get(chunk, True) else [chunk])]
    return read, probes, progress


def _recognise(
    runtime: Runtime, task: str, chunks: list[Chunk], lang: str | None, max_tokens: int | None = None, progress: Progress | None = None
) -> list[ChunkResult]:
    """Chunks as they are, in batches. `max_tokens`: of each answer, in place of the task's own limit."""
    results = {chunk: ChunkResult(chunk) for chunk in chunks}
    loud = [chunk for chunk in chunks if not is_silent(chunk.wave)]
    meter = Meter(progress, sum(chunk.seconds for chunk in chunks))
    meter.add(meter.total - sum(chunk.seconds for chunk in loud))
    for group in batches([len(chunk.wave) for chunk in loud], runtime.at_once(BATCH_SAMPLES)):
        batch = [loud[index] for index in group]
        results |= dict(zip(batch, _recognise_batch(runtime, task, batch, lang, max_tokens)))
        meter.add(sum(chunk.seconds for chunk in batch))
    return list(results.values())


def _recognise_batch(runtime: Runtime, task: str, chunks: list[Chunk], lang: str | None, max_tokens: int | None) -> list[ChunkResult]:
    table = TASKS[task]
    encoded = runtime.backend.encode([chunk.wave for chunk in chunks])
    lettered = table.letters and encoded.ctc_log_probs.shape[2] == runtime.info.ctc_units.size  # else nothing says what they are
    aligners = ctc_aligners(runtime, encoded) if lettered else None
    prompts = [[runtime.vocabulary.task(task)]] * len(chunks)
    session, langs = runtime.begin(encoded, prompts, [lang] * len(chunks), aligners if runtime.info.time_aligned else None)
    read = session.lengths.tolist()
    if table.labels:
        candidates = [[*runtime.tokenizer.encode(label), runtime.vocabulary.eos] for label in table.labels]
        labelled = [_labelled(table.labels, *each) for each in zip(chunks, langs, _softmax(score(session, candidates)))]
        runtime.counted(task, langs, read, [result.decoded for result in labelled])
        for result in labelled:
            result.decoded.sequences[0]["output"] = len(runtime.tokenizer.encode(result.text))
        return labelled
    rows = [Row(maximum=max_tokens or table.most_tokens(chunk.seconds)) for chunk in chunks]
    drafts = [aligner.draft for aligner in aligners] if aligners else None  # greedy decoding checks one in a few steps
    decoded = runtime.counted(task, langs, read, runtime.write(task, session, rows, drafts, beams=1 if max_tokens else None))
    texts = [runtime.tokenizer.decode(each.ids).strip() for each in decoded]
    results = [ChunkResult(*each) for each in zip(chunks, langs, texts, decoded)]
    if not (table.transcript and lettered):
        return results
    frames = (row[:length] for row, length in zip(encoded.ctc_log_probs, encoded.lengths))
    return [replace(result, ctc_log_probs=ctc) for result, ctc in zip(results, frames)]


def _softmax(scores: np.ndarray) -> np.ndarray:
    """(B, C) log-probabilities as shares of 1."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _labelled(labels: tuple[str, ...], chunk: Chunk, lang: str, scores: np.ndarray) -> ChunkResult:
    """The likeliest label of a chunk; scores (labels,)."""
    best = int(scores.argmax())
    decoded = Decoded(log_probs=[math.log(max(scores[best], 1e-300))], finish="eos")
    return ChunkResult(chunk, lang, labels[best], decoded, scores)


def ctc_aligners(runtime: Runtime, encoded: EncoderOutput) -> list[CtcAligner]:
    """The CTC head's draft of each row, letter by letter, with its times."""
    best = (row[:length].argmax(axis=1).tolist() for row, length in zip(encoded.ctc_log_probs, encoded.lengths))
    return [CtcAligner.of(runtime.tokenizer, row, runtime.info.ctc_units) for row in best]


def reject(runtime: Runtime, task: str, result: ChunkResult, min_confidence: float) -> ChunkResult:
    """The result without what has less confidence: single words of a transcript, whole answers of all other tasks."""
    if not result.text or min_confidence == 0:
        return result
    words, confidences = result.text.split(), word_confidences(runtime.tokenizer, result.decoded)
    if TASKS[task].transcript and result.lang != "zh" and len(words) == len(confidences):
        kept = tuple(confidence >= min_confidence for confidence in confidences)
        return replace(result, text=" ".join(compress(words, kept)), kept=kept, rejected=kept.count(False))
    if (answer_confidence(runtime, task, [result]) or 0.0) >= min_confidence:
        return result
    return replace(result, text="", rejected=1)


def join(runtime: Runtime, task: str, results: list[ChunkResult], lang: str | None, min_confidence: float = 0.0) -> TextResult:
    """The answer to a recording from the results of its chunks."""
    table = TASKS[task]
    if not table.labels:  # a label's confidence is that of the mean
        results = [reject(runtime, task, result, min_confidence) for result in results]
    answer = _concatenate(runtime, task, results, lang or longest_language(results) or runtime.info.langs[0])
    texts = [result for result in results if result.text]
    if table.joining == "unique":  # a sound that goes on for several chunks is named once
        answer.text = "; ".join(dict.fromkeys(result.text for result in texts))
    elif table.joining == "best":
        best = max(texts, key=lambda result: answer_confidence(runtime, task, [result]) or 0.0, default=None)
        answer.text, answer.confidence = (best.text, answer_confidence(runtime, task, [best])) if best else ("", None)
    elif table.joining == "mean scores" and texts:
        mean = np.average([result.scores for result in texts], axis=0, weights=[result.chunk.seconds for result in texts])
        answer.scores = dict(zip(table.labels, mean.tolist()))
        answer.text, answer.confidence = table.labels[int(mean.argmax())], float(mean.max())
        if answer.confidence < min_confidence:
            answer.text, answer.receipt["rejected"] = "", 1
            for segment in answer.segments:
                segment.text = ""
    if table.slots:
        answer.intent, answer.slots = text_to_slu(answer.text)
    return answer


def _concatenate(runtime: Runtime, task: str, results: list[ChunkResult], lang: str) -> TextResult:
    """The chunks' texts one after the other."""
    seconds = sum(result.chunk.seconds for result in results)
    rejected = sum(result.rejected for result in results)
    decoded = [result.decoded for result in results]
    return TextResult(
        task=task,
        lang=lang,
        text=joined_text(results, lang),
        segments=[
            Segment(
                start=round(result.chunk.start, 3),
                end=round(result.chunk.end, 3),
                text=result.text,
                confidence=answer_confidence(runtime, task, [result]),
                words=words_of(runtime, result),
            )
            for result in results
            if result.lang
        ],
        confidence=answer_confidence(runtime, task, results),
        receipt=runtime.receipt(seconds, seconds, len(results), decoded, **({"rejected": rejected} if rejected else {})),
    )


def longest_language(results: list[ChunkResult]) -> str | None:
    """The language of most seconds; None where nothing sounds."""
    seconds = {result.lang: 0.0 for result in results if result.lang}
    for result in results:
        if result.lang:
            seconds[result.lang] += result.chunk.seconds
    return max(seconds, key=lambda lang: seconds[lang], default=None)


def joined_text(results: list[ChunkResult], lang: str | None) -> str:
    return ("" if lang == "zh" else " ").join(result.text for result in results if result.text)


def answer_confidence(runtime: Runtime, task: str, results: list[ChunkResult]) -> float | None:
    """The GPT's confidence in its answer to some chunks, as `Segment.confidence` defines it; None where there is none."""
    weighted = [(result.confidence, result.chunk.seconds) for result in results if result.confidence is not None]
    if weighted:
        return sum(confidence * seconds for confidence, seconds in weighted) / sum(seconds for _, seconds in weighted)
    written, table = [result for result in results if result.decoded.log_probs], TASKS[task]
    if table.whole:
        values = [math.exp(sum(result.decoded.log_probs)) for result in written]
    elif table.letters and all(result.lang != "zh" for result in results):  # Chinese has no spaces to tell words by
        values = [value for result in written for value in _kept_confidences(runtime.tokenizer, result)]
    else:
        values = []
    if values:
        return sum(values) / len(values)
    if any(result.rejected and result.kept for result in written):  # every word was left out
        return None
    return confidence_of([log_prob for result in written for log_prob in result.decoded.log_probs])


def _kept_confidences(tokenizer: Tokenizer, result: ChunkResult) -> Iterable[float]:
    confidences = word_confidences(tokenizer, result.decoded)
    return confidences if result.kept is None else compress(confidences, result.kept)


def words_of(runtime: Runtime, result: ChunkResult) -> list[Word]:
    """The words of a transcript with their times in the recording; none where they cannot be aligned."""
    if result.ctc_log_probs is None or not result.text:
        return []
    words = runtime.tokenizer.decode(result.decoded.ids).split()  # those that were rejected too: they sound in it all the same
    times = word_times(result.ctc_log_probs, words, result.chunk.seconds, runtime.backend.frame, runtime.info.ctc_units)
    if times is None:
        return []
    confidences: list = word_confidences(runtime.tokenizer, result.decoded)
    if len(confidences) != len(words):
        confidences = [None] * len(words)
    offset = result.chunk.start
    timed = [
        Word(round(float(offset + start), 3), round(float(offset + end), 3), word, confidence)
        for (start, end), word, confidence in zip(times, words, confidences)
    ]
    return timed if result.kept is None else list(compress(timed, result.kept))


def word_confidences(tokenizer: Tokenizer, decoded: Decoded) -> list[float]:
    """Of each word that was written: the probability of all tokens that spell it, with the space before it."""
    log_probs: list[float] = []
    inside, space = False, 0.0
    for token, log_prob in zip(decoded.ids, decoded.log_probs):
        text = tokenizer.decode([token])
        if not text.strip():
            inside, space = False, space + log_prob
            continue
        if not inside or text[0].isspace():
            log_probs.append(space)
            space = 0.0
        log_probs[-1] += log_prob
        inside = not text[-1].isspace()
    return [math.exp(log_prob) for log_prob in log_probs]
