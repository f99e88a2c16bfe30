"""Speech that is still being spoken -> its transcript, chunk by chunk.

In: pieces of a wave (n,) at 16 kHz, of any size, as they come. Out: `Result`s, one a chunk (engine/longform.py), whose text never changes
and is that of the same chunk when the whole recording is given at once; between them, if wanted, what the open chunk would give by now.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from lauragpt.audio import SAMPLE_RATE, check_wave
from lauragpt.engine.core import Core
from lauragpt.engine.listening import Piece, check_confidence, hear, in_order
from lauragpt.engine.longform import BRIEFEST, PAUSE, Chunk, Chunker
from lauragpt.errors import LauraError
from lauragpt.result import Result


def transcribe_stream(
    core: Core, pieces: Iterable[np.ndarray], lang: str | None = None, min_confidence: float = 0.0, every: float | None = 1.0
) -> Iterator[Result]:
    """`every`: seconds of new sound after which the open chunk is heard so far; None waits for its end. LauraError, before anything is
    heard, for options that are wrong, and for a piece that is no sound."""
    check_confidence(min_confidence)
    if every is not None and not every > 0:
        raise LauraError(f"every is {every}: give a number of seconds above 0, or None")
    return _results(core, pieces, lang, min_confidence, every)


def _results(core: Core, pieces: Iterable[np.ndarray], lang: str | None, min_confidence: float, every: float | None) -> Iterator[Result]:
    def answer(chunk: Chunk, wave: np.ndarray, final: bool) -> Result:
        result = in_order(core, "asr", hear(core, "asr", [Piece(0, chunk, wave)], lang, min_confidence), lang)
        return replace(result, final=final)

    chunker, heard = Chunker(pause=PAUSE), 0  # heard: the sample up to which there was an answer
    for piece in pieces:
        for chunk, wave in chunker.feed(check_wave(piece, "a piece of the stream")):
            yield answer(chunk, wave, True)
            heard = chunk.end
        there = chunker.start + len(chunker.open)
        if every is not None and there - heard >= every * SAMPLE_RATE:
            yield answer(Chunk(chunker.start, there), chunker.open, False)
            heard = there
    for chunk, wave in chunker.finish():
        if chunk.start or len(wave) >= BRIEFEST * SAMPLE_RATE:
            yield answer(chunk, wave, True)
