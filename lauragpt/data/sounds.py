"""What a recording is, without knowing what is said in it: length, rate, loudness, clipping, bandwidth, and whether another is the same.

In: `audio` of examples, whole recordings or parts (spans.py). Out: `SoundFacts`. A recording is decoded once, a second at a time, whatever
its length and however many parts of it are asked for; several are decoded at a time, and no more than that is ever held.
"""

import hashlib
import io
import os
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from lauragpt.containers import Source
from lauragpt.data.shards import member_of
from lauragpt.data.spans import split_span
from lauragpt.decoders import READABLE, Decoder
from lauragpt.errors import LauraError, LauraWarning

FULL_SCALE, FLAT = 0.99, 3  # clipping: so many samples in a row at full scale
EQUAL, LOUD = 5, 0.1  # or so many equal ones at a block's peak, where that is loud: what was clipped, then turned down
BEAT = 10  # windows a second in which loudness is measured
PAUSE_DB = 35.0  # a window so much softer than the loudest is a pause
FRAME, HOP = 0.064, 0.032  # seconds of a spectrum, and between two
EDGES = np.geomspace(150, 3800, 10)  # Hz, of the nine bands of a print
CELLS = 17  # parts of a recording, one after the other, of a print
FAINT = 1e-6  # of the strongest power: what is weaker says nothing about a print or a bandwidth
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class SoundFacts:
    """`error`: why the recording cannot be read; all else is then 0."""

    seconds: float = 0.0
    rate: int = 0  # Hz, as the file has it
    channels: int = 0
    loudest: float = 0.0  # RMS of the loudest 100 ms, 1 is full scale
    sounding: float = 0.0  # seconds that are no pause
    clipped: float = 0.0  # share of the samples
    bandwidth: float = 0.0  # Hz: nothing is above it
    digest: bytes = b""  # of the samples: recordings with the same are the same
    print: tuple[int, int] | None = None  # 128 bits, of which another copy of a recording has nearly all; None: too little sound for one
    truncated: bool = False
    error: str = ""


def sound_facts(
    audio: Iterable[str], workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, SoundFacts]:
    """The facts of each. workers: recordings decoded at a time; None: one for each core. progress: called with (done, all)."""
    parts: dict[str, list[str]] = defaultdict(list)
    for name in audio:
        parts[split_span(name)[0]].append(name)
    facts: dict[str, SoundFacts] = {}
    for done, found in enumerate(ahead(lambda path: _facts(path, list(dict.fromkeys(parts[path]))), parts, workers), start=1):
        facts |= found
        if progress is not None:
            progress(done, len(parts))
    return facts


def ahead(work: Callable[[Item], Answer], items: Iterable[Item], workers: int | None = None) -> Iterator[Answer]:
    """`map` in threads, in order, at most four items a thread ahead of what is used. For work that leaves the interpreter's lock."""
    workers = workers or os.cpu_count() or 1
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def _facts(path: str, names: list[str]) -> dict[str, SoundFacts]:
    meters = {name: Meter(*split_span(name)[1:]) for name in names}
    try:
        member = member_of(path)
        with io.BytesIO(member.read()) if member else open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", LauraWarning)
            decoder, at = Decoder(Source(file), path), 0.0
            for block in decoder:
                if not np.isfinite(block.samples).all():
                    raise LauraError(f"{path} holds NaN or infinite samples: they cannot be played or read")
                for meter in meters.values():
                    meter.feed(block.samples, block.rate, at)
                at += len(block.samples) / block.rate
    except FileNotFoundError:
        return dict.fromkeys(names, SoundFacts(error=f"{path}: no such file"))
    except IsADirectoryError:
        return dict.fromkeys(names, SoundFacts(error=f"{path} is a folder: a recording is one file ({READABLE})"))
    except (LauraError, OSError, ValueError) as error:
        said = str(error) if isinstance(error, LauraError) else f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        return dict.fromkeys(names, SoundFacts(error=said))
    return {name: meter.facts(path, at, decoder.truncated) for name, meter in meters.items()}


@dataclass
class Meter:
    """A recording, or its part from `start` to `end` seconds, a block at a time -> its facts."""

    start: float = 0.0
    end: float | None = None
    rate: int = 0
    channels: int = 0
    frames: int = 0
    flat: int = 0  # samples that are clipped
    hash: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    levels: list[np.ndarray] = field(default_factory=list)  # mean squares of windows
    bands: list[np.ndarray] = field(default_factory=list)  # (n, 9) powers of spectra
    power: np.ndarray | None = None  # mean spectrum, summed

    def feed(self, samples: np.ndarray, rate: int, at: float) -> None:
        """samples (n, C) float32 at `rate` Hz that begin `at` seconds into the recording."""
        if self.start or self.end is not None:
            first = max(0, round((self.start - at) * rate))
            last = len(samples) if self.end is None else max(0, round((self.end - at) * rate))
            samples = samples[first:last]
        if not len(samples):
            return
        if self.rate and self.rate != rate:
            self.power = None  # a stream that changes its rate has no one bandwidth
        self.rate, self.channels = rate, max(self.channels, samples.shape[1])
        self.frames += len(samples)
        self.flat += clipped(samples)
        self.hash.update(np.round(samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
        mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
        window = max(1, rate // BEAT)
        starts = np.arange(0, len(mono), window)
        squares = np.add.reduceat((mono - mono.mean()).astype(np.float64) ** 2, starts)
        self.levels.append(squares / np.minimum(window, len(mono) - starts))
        size, hop = round(FRAME * rate), round(HOP * rate)
        if len(mono) >= size:
            frames = np.lib.stride_tricks.sliding_window_view(mono, size)[::hop] * np.hanning(size).astype(np.float32)
            spectra = np.abs(np.fft.rfft(frames, axis=1)) ** 2
            places = np.searchsorted(np.fft.rfftfreq(size, 1 / rate), np.minimum(EDGES, rate / 2 * 0.99))
            sums = np.concatenate([np.zeros((len(spectra), 1)), np.cumsum(spectra, axis=1)], axis=1)
            self.bands.append((sums[:, places[1:]] - sums[:, places[:-1]]) / size**2)
            total = spectra.sum(axis=0)
            self.power = total if self.power is None or len(self.power) != len(total) else self.power + total

    def facts(self, path: str, seconds: float, truncated: bool) -> SoundFacts:
        """seconds: of all of the recording."""
        if not self.frames:
            return SoundFacts(error=f"{path} is {seconds:.2f} s long: it has nothing from {self.start:g} s on")
        level = np.sqrt(np.concatenate(self.levels))
        loudest = float(level.max())
        own = self.frames / self.rate
        sounding = own * float((level > loudest * 10 ** (-PAUSE_DB / 20)).mean())
        shares = self.flat / self.frames / self.channels, self._bandwidth()
        prints = print_of(np.concatenate(self.bands)) if self.bands else None
        return SoundFacts(own, self.rate, self.channels, loudest, sounding, *shares, self.hash.digest(), prints, truncated)

    def _bandwidth(self) -> float:
        if self.power is None or not self.power.max():
            return self.rate / 2
        strong = np.flatnonzero(self.power > FAINT * self.power.max())
        return float(strong[-1] + 1) / len(self.power) * self.rate / 2


def clipped(samples: np.ndarray) -> int:
    """How many of the samples (n, C) stand in flat tops."""
    count = 0
    for channel in samples.T:
        loud, peak = np.abs(channel), float(np.abs(channel).max())
        if peak >= FULL_SCALE:
            count += in_runs(loud >= FULL_SCALE, FLAT)
        elif peak >= LOUD:
            count += in_runs(loud == peak, EQUAL)
    return count


def in_runs(marked: np.ndarray, least: int) -> int:
    """How many of the marked (n,) bool stand in runs of at least so many."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    lengths = steps[1::2] - steps[::2]
    return int(lengths[lengths >= least].sum())


def print_of(bands: np.ndarray) -> tuple[int, int] | None:
    """bands (n, 9) powers -> 128 bits: whether the step from a band to the next grows from a cell of time to the next, after Haitsma and
    Kalker (2002). None where the sound is too short or too even for that."""
    if len(bands) < 2 * CELLS:
        return None
    starts = np.arange(CELLS) * len(bands) // CELLS
    cells = np.add.reduceat(bands, starts, axis=0) / np.diff(np.append(starts, len(bands)))[:, None]
    if not cells.max():
        return None
    levels = np.log(cells + FAINT * cells.max())
    change = np.diff(np.diff(levels, axis=1), axis=0)
    if (np.abs(change) > 0.1).mean() < 0.8:  # silence, tones and noise differ too little from others
        return None
    bits = np.packbits(change.ravel() > 0).tobytes()
    return int.from_bytes(bits[:8], "big"), int.from_bytes(bits[8:], "big")
