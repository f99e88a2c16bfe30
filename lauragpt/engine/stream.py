"""Speech that is still being spoken -> its transcript, chunk by chunk.

In: pieces of a wave (n,) at 16 kHz, of any size, as they come. Out: `Result`s, one a chunk (engine/chunking.py), whose text never changes
and is that of the same chunk when the whole recording is given at once; between them, if wanted, what the open chunk would give by now.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from lauragpt.audio import SAMPLE_RATE, check_length, check_piece
from lauragpt.engine.chunking import LONGEST, PAUSE, Chunk, Chunker, Span
from lauragpt.engine.recognise import ChunkResult, check_confidence, join, recognise, shorter_chunks
from lauragpt.engine.runtime import Runtime
from lauragpt.errors import LauraError
from lauragpt.result import TextResult

PARTIAL_SHARE = 0.5  # of the time, at most, is spent on partial answers, so that a slow machine does not fall behind


def transcribe_stream(
    runtime: Runtime,
    pieces: Iterable[np.ndarray],
    lang: str | None = None,
    min_confidence: float = 0.0,
    every: float | None = 1.0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[TextResult]:
    """`every`: seconds of new sound after which there is a partial answer to the open chunk, more where an answer takes long by `clock`,
    which tells seconds; None waits for the chunk's end. LauraError, before anything is read, for options that are wrong; for a piece that
    is no sound, behind the answer to what came before it; and for less than 0.1 s in all."""
    check_confidence(min_confidence)
    if every is not None and not every > 0:
        raise LauraError(f"every is {every}: give a number of seconds above 0, or None")
    return _results(runtime, pieces, lang, min_confidence, every, clock)


def _results(
    runtime: Runtime, pieces: Iterable[np.ndarray], lang: str | None, min_confidence: float, every: float | None, clock: Callable[[], float]
) -> Iterator[TextResult]:
    transcript, source = Transcript(runtime, lang, min_confidence, every, clock), Gathered(pieces)

    def told(result: TextResult) -> TextResult:
        result.receipt["truncated"] = getattr(pieces, "truncated", False)  # known when its last piece has come
        return result

    for piece in source:
        yield from map(told, transcript.feed(piece))
    yield from map(told, transcript.finish(complete=source.failure is None))
    if source.failure is not None:
        raise source.failure


class Transcript:
    """The transcript of a stream whose pieces are handed over. Arguments as of `transcribe_stream`. Each result is computed when it is
    asked for; a piece's are to be taken before the next piece is given. `soon`: the first chunk may be answered in several results, so
    that the first words of what is given at once are there earlier."""

    def __init__(
        self,
        runtime: Runtime,
        lang: str | None = None,
        min_confidence: float = 0.0,
        every: float | None = 1.0,
        clock: Callable[[], float] = time.monotonic,
        soon: bool = False,
    ):
        self.runtime, self.lang, self.min_confidence, self.every, self.clock = runtime, lang, min_confidence, every, clock
        self.soon = soon
        self.chunker = Chunker(pause=PAUSE)
        self.cache: dict[Span, ChunkResult] = {}  # what is open was read in part by the last partial answer
        self.answered, self.cost = 0, 0.0  # the sample up to which there was an answer; seconds that the last partial one took

    def feed(self, piece: np.ndarray) -> Iterator[TextResult]:
        """The results of the chunks that a piece (n,) ends, and perhaps a partial one."""
        for span, wave in self.chunker.feed(piece):
            yield from self._finals(span, wave)
            self.answered = span.end
        start = self.chunker.start
        end = start + min(len(self.chunker.open), int(LONGEST * SAMPLE_RATE))
        if self.every is not None and end - self.answered >= max(self.every, self.cost / PARTIAL_SHARE) * SAMPLE_RATE:
            began = self.clock()
            result = self._answer(Span(start, end), self.chunker.open[: end - start], False)
            self.cost, self.answered = self.clock() - began, end
            yield result

    def finish(self, complete: bool = True) -> Iterator[TextResult]:
        """The results of the rest. LauraError where all of a `complete` stream is less than 0.1 s."""
        for span, wave in self.chunker.finish():
            if not span.start and complete:
                check_length(wave, "the stream")
            yield from self._finals(span, wave)

    def _finals(self, span: Span, wave: np.ndarray) -> Iterator[TextResult]:
        chunks = [Chunk(0, span, wave)]
        if self.soon and not span.start:
            chunks, *_ = shorter_chunks(self.runtime, "asr", chunks, self.lang)
        for chunk in chunks:
            yield self._answer(chunk.span, chunk.wave, True)

    def _answer(self, span: Span, wave: np.ndarray, final: bool) -> TextResult:
        results = recognise(self.runtime, "asr", [Chunk(0, span, wave)], self.lang, self.cache)
        return replace(join(self.runtime, "asr", results, self.lang, self.min_confidence), final=final)


class Gathered:
    """Pieces of any size as copies of 100 ms and more. Where they fail, `failure` says how, and what came before is given all the same."""

    LEAST = SAMPLE_RATE // 10

    def __init__(self, pieces: Iterable[np.ndarray]):
        self.pieces = pieces
        self.failure: LauraError | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        kept, count = [], 0
        try:
            for piece in self.pieces:
                if np.size(piece):
                    kept.append(np.array(check_piece(piece, "a piece of the stream")))  # the caller may use its memory again
                    count += len(kept[-1])
                if count >= self.LEAST:
                    yield np.concatenate(kept)
                    kept, count = [], 0
        except LauraError as error:
            self.failure = error
        if kept:
            yield np.concatenate(kept)
