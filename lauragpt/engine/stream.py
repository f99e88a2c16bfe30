"""Speech that is still being spoken -> its transcript, chunk by chunk.

In: pieces of a wave (n,) at 16 kHz, of any size, as they come. Out: `Result`s, one a chunk (engine/chunking.py), whose text never changes
and is that of the same chunk when the whole recording is given at once; between them, if wanted, what the open chunk would give by now.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from lauragpt.audio import SAMPLE_RATE, check_length, check_piece
from lauragpt.engine.chunking import LONGEST, PAUSE, Chunk, Chunker
from lauragpt.engine.recognise import Piece, check_confidence, hear, in_order
from lauragpt.engine.runtime import Runtime
from lauragpt.errors import LauraError
from lauragpt.result import Result


def transcribe_stream(
    runtime: Runtime, pieces: Iterable[np.ndarray], lang: str | None = None, min_confidence: float = 0.0, every: float | None = 1.0
) -> Iterator[Result]:
    """`every`: seconds of new sound after which the open chunk is heard so far, more where hearing takes long; None waits for its end.
    LauraError, before anything is heard, for options that are wrong; for a piece that is no sound behind the answer to what came before it,
    and for less than 0.1 s in all."""
    check_confidence(min_confidence)
    if every is not None and not every > 0:
        raise LauraError(f"every is {every}: give a number of seconds above 0, or None")
    return _results(runtime, pieces, lang, min_confidence, every)


def _results(runtime: Runtime, pieces: Iterable[np.ndarray], lang: str | None, min_confidence: float, every: float | None) -> Iterator[Result]:
    known: dict[Chunk, Piece] = {}  # what was heard of what is open

    def answer(chunk: Chunk, wave: np.ndarray, final: bool) -> Result:
        result = in_order(runtime, "asr", hear(runtime, "asr", [Piece(0, chunk, wave)], lang, min_confidence, known), lang)
        result.receipt["truncated"] = getattr(pieces, "truncated", False)  # known when its last piece has come
        return replace(result, final=final)

    # heard: the sample up to which there was an answer; cost: seconds that the last unfinished one took
    chunker, source, heard, cost = Chunker(pause=PAUSE), Gathered(pieces), 0, 0.0
    for piece in source:
        for chunk, wave in chunker.feed(piece):
            yield answer(chunk, wave, True)
            heard = chunk.end
        there = chunker.start + min(len(chunker.open), int(LONGEST * SAMPLE_RATE))
        # What is unfinished takes half of the time at most, so that a slow machine does not fall behind.
        if every is not None and there - heard >= max(every, 2 * cost) * SAMPLE_RATE:
            began = time.monotonic()
            result = answer(Chunk(chunker.start, there), chunker.open[: there - chunker.start], False)
            cost, heard = time.monotonic() - began, there
            yield result
    for chunk, wave in chunker.finish():
        if not chunk.start and source.failed is None:
            check_length(wave, "the stream")
        yield answer(chunk, wave, True)
    if source.failed is not None:
        raise source.failed


class Gathered:
    """Pieces of any size as copies of 100 ms and more. When they fail, `failed` says how, and what came before is given all the same."""

    LEAST = SAMPLE_RATE // 10

    def __init__(self, pieces: Iterable[np.ndarray]):
        self.pieces, self.failed = pieces, None

    def __iter__(self) -> Iterator[np.ndarray]:
        kept, count = [], 0
        try:
            for piece in self.pieces:
                if np.size(piece):
                    kept.append(np.array(check_piece(piece, "a piece of the stream")))  # whoever gives it may use its place again
                    count += len(kept[-1])
                if count >= self.LEAST:
                    yield np.concatenate(kept)
                    kept, count = [], 0
        except LauraError as error:
            self.failed = error
        if kept:
            yield np.concatenate(kept)
