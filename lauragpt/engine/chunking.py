"""Audio of any length as chunks the model can read, cut where it is quiet; and the batches in which chunks are run.

In: a wave (N,) at 16 kHz. Out: `Chunk`s that cover it without gap or overlap, at most 20 s each, cut on multiples of the codec's hop,
so that enhanced chunks put end to end have every sample in its place.
"""

from dataclasses import dataclass

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.errors import LauraError

HOP = 640  # samples a codec token: strides 8 * 5 * 4 * 2 * 2
TOKENS_PER_SECOND = SAMPLE_RATE // HOP  # 25
SHORTEST, LONGEST = 8.0, 20.0  # seconds of a chunk of long audio
PAUSE = 1.0  # seconds without a sound that end an utterance
UTTERANCE = 5.0  # seconds of a chunk, at least, that ends in a pause: the model tells speech from other sounds better in a long one
BEAT = HOP // 2  # samples over which a pause is looked for: 20 ms
QUIET = 0.03  # RMS in a pause, of the loudest half second's before it (-30 dB)
NEAR, FADED = 4.0, 0.1  # or, in noise: power at most 6 dB over the softest 100 ms before it, and 10 dB under the loudest half second
SILENCE = 3e-4  # RMS (-70 dBFS) under which the loudest 100 ms count as no sound at all


@dataclass(frozen=True)
class Span:
    """Where a chunk stands in its recording, in samples."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Chunk:
    """A part of a recording that the model reads at once."""

    item: int  # which of the recordings
    span: Span
    wave: np.ndarray  # (n,) at 16 kHz
    number: int = 0  # which of its recording's chunks

    @property
    def seconds(self) -> float:
        return len(self.wave) / SAMPLE_RATE

    @property
    def start(self) -> float:
        """Seconds from the start of the recording."""
        return self.span.start / SAMPLE_RATE

    @property
    def end(self) -> float:
        return self.span.end / SAMPLE_RATE


def cut(wave: np.ndarray, shortest: float = SHORTEST, longest: float = LONGEST, pause: float | None = None) -> list[Span]:
    """The spans of a whole wave's chunks, as `Chunker` makes them."""
    chunker = Chunker(shortest, longest, pause)
    return [span for span, _ in [*chunker.feed(wave), *chunker.finish()]]


def cut_all(waves: list[np.ndarray], pause: float | None = None) -> list[Chunk]:
    """The chunks of several recordings (N,), one recording after the other."""
    return [
        Chunk(item, span, wave[span.start : span.end], number)
        for item, wave in enumerate(waves)
        for number, span in enumerate(cut(wave, pause=pause))
    ]


def cut_shorter(chunk: Chunk, shortest: float, longest: float) -> list[Chunk]:
    """A chunk in shorter ones of `shortest` to `longest` seconds; [the chunk itself] when it is short."""
    spans, start = cut(chunk.wave, shortest, longest), chunk.span.start
    if len(spans) == 1:
        return [chunk]
    return [Chunk(chunk.item, Span(start + s.start, start + s.end), chunk.wave[s.start : s.end], chunk.number) for s in spans]


class Chunker:
    """A wave that comes in pieces -> its chunks, as spans and samples, each as soon as nothing that is still to come can move its end, so
    that a recording is cut the same however it comes. Of a stream it holds less than `longest` + `shortest` seconds.

    A chunk of UTTERANCE seconds or more ends in a pause of `pause` seconds (None: pauses are not looked for), any after `shortest` to
    `longest` seconds at the quietest 100 ms that this leaves open; what is left at the end is not shorter than `shortest`, unless it
    follows a pause or is all there is."""

    def __init__(self, shortest: float = SHORTEST, longest: float = LONGEST, pause: float | None = None):
        if not 0 < 2 * shortest <= longest:
            raise LauraError(
                f"chunks of {shortest:g} to {longest:g} s: the longest must be at least twice the shortest, or some length cannot be cut"
            )
        self.shortest, self.longest = int(shortest * SAMPLE_RATE), int(longest * SAMPLE_RATE)
        self.pause = None if pause is None else round(pause * SAMPLE_RATE / BEAT)
        self.start, self.open = 0, np.zeros(0, dtype=np.float32)  # where the open chunk starts, and what there is of it

    def feed(self, wave: np.ndarray) -> list[tuple[Span, np.ndarray]]:
        """More of the wave (n,) -> the chunks whose ends are known now, with their samples."""
        self.open = np.concatenate([self.open, wave]) if len(self.open) else wave
        return self._take(ended=False)

    def finish(self) -> list[tuple[Span, np.ndarray]]:
        """The rest."""
        chunks = self._take(ended=True)
        if len(self.open):
            chunks.append((Span(self.start, self.start + len(self.open)), self.open))
            self.start, self.open = self.start + len(self.open), self.open[:0]
        return chunks

    def _take(self, ended: bool) -> list[tuple[Span, np.ndarray]]:
        chunks = []
        while (end := self._end(ended)) is not None:
            chunks.append((Span(self.start, self.start + end), self.open[:end]))
            self.start, self.open = self.start + end, self.open[end:]
        return chunks

    def _end(self, ended: bool) -> int | None:
        """Where the open chunk ends, in its own samples; None when that is not known yet, or is the end of the wave."""
        pause = None if self.pause is None else first_pause(self.open[: self.longest], self.pause, int(UTTERANCE * SAMPLE_RATE))
        if pause is not None:
            return pause
        if len(self.open) <= self.longest or (not ended and len(self.open) < self.longest + self.shortest):
            return None
        return quietest(self.open, self.shortest, min(self.longest, len(self.open) - self.shortest))


def first_pause(wave: np.ndarray, beats: int, earliest: int = 0) -> int | None:
    """The middle, a multiple of HOP, of the first so many quiet beats of 20 ms behind a sound, where it is not before `earliest`; None
    where there is no such pause. Only what came before says what is quiet, so that more of the wave never changes the answer."""
    wave = wave[: len(wave) // BEAT * BEAT]
    if len(wave) < beats * BEAT:
        return None
    energy = wave.reshape(-1, BEAT).astype(np.float64).var(axis=1)  # an offset is no sound
    near, loudest = mean_before(energy, 5), np.maximum.accumulate(mean_before(energy, 25))
    softest = np.minimum.accumulate(np.where((np.arange(len(near)) < 4) | (near < SILENCE**2), np.inf, near))  # digital silence is no noise
    begun = loudest >= SILENCE**2
    quiet = begun & ((energy < np.maximum(SILENCE**2, QUIET**2 * loudest)) | (near < np.minimum(NEAR * softest, FADED * loudest)))
    last_loud = np.maximum.accumulate(np.where(quiet, -1, np.arange(len(quiet))))
    run = np.where(begun, np.arange(len(quiet)) - last_loud, 0)  # quiet beats in a row up to and with each
    middles = (np.arange(len(quiet)) + 1) * BEAT - beats * BEAT // 2
    pauses = middles[(run >= beats) & (middles >= earliest)]
    return -(-int(pauses[0]) // HOP) * HOP if len(pauses) else None


def mean_before(values: np.ndarray, count: int) -> np.ndarray:
    """(n,): the mean of each value and the `count` - 1 before it, 0 before the first."""
    sums = np.concatenate([np.zeros(count), np.cumsum(values)])
    return (sums[count:] - sums[:-count]) / count


def is_silent(wave: np.ndarray) -> bool:
    """No 100 ms of the wave are louder than -70 dBFS."""
    minute = 60 * SAMPLE_RATE  # one at a time: the squares of an hour would be the most that is ever held
    return all(_energy(wave[at : at + minute], SAMPLE_RATE // 10).max() < SILENCE**2 for at in range(0, len(wave), minute))


def batches(sizes: list[int], most: int, rows: int = 32) -> list[list[int]]:
    """Indices grouped so that rows * longest <= `most` and at most `rows` a batch, like sizes together. Every index is in one batch."""
    groups: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        if groups and len(groups[-1]) < rows and (len(groups[-1]) + 1) * sizes[groups[-1][0]] <= most:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def quietest(wave: np.ndarray, earliest: int, latest: int) -> int:
    """The multiple of HOP between two samples around which 100 ms carry the least energy; the latest of equals."""
    earliest, latest = -(-earliest // HOP) * HOP, latest // HOP * HOP
    half = SAMPLE_RATE // 20
    squares = np.concatenate([[0.0], np.cumsum(wave[earliest - half : latest + half].astype(np.float64) ** 2)])
    places = np.arange(0, latest - earliest + 1, HOP)
    # Rounded, because the running sum's last digits would else choose among equal silences.
    energy = np.round(squares[places + 2 * half] - squares[places], 9)
    return earliest + int(places[len(places) - 1 - energy[::-1].argmin()])


def _energy(wave: np.ndarray, window: int) -> np.ndarray:
    """Mean square of consecutive windows; a tail shorter than a window is averaged over what it has."""
    starts = np.arange(0, len(wave), window)
    squares = np.add.reduceat(wave.astype(np.float64) ** 2, starts)
    return squares / np.minimum(window, len(wave) - starts)
