"""Audio of any length as chunks the model can read, cut where it is quiet; and the batches in which chunks are run.

In: a wave (N,) at 16 kHz. Out: `Chunk`s that cover it without gap or overlap, at most 20 s each, cut on multiples of the codec's hop,
so that enhanced chunks put end to end have every sample in its place.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lauragpt.audio import SAMPLE_RATE, check_wave, decode_audio, load_audio
from lauragpt.errors import LauraError

HOP = 640  # samples a codec token: strides 8 * 5 * 4 * 2 * 2
SHORTEST, LONGEST = 8.0, 20.0  # seconds of a chunk of long audio
BRIEFEST = 0.1  # seconds: less holds neither a word nor a sound to name
SILENCE = 3e-4  # RMS (-70 dBFS) under which the loudest 100 ms count as no sound at all


@dataclass(frozen=True)
class Chunk:
    start: int  # samples
    end: int


def read_audio(audio: str | Path | bytes | np.ndarray) -> np.ndarray:
    """A path, the bytes of a file, or samples at 16 kHz, as (N,) float32; LauraError when it cannot be read or is under 0.1 s."""
    if isinstance(audio, (str, Path)):
        wave, name = load_audio(audio), str(audio)
    else:
        name = "the audio"
        wave = decode_audio(audio, name) if isinstance(audio, bytes) else check_wave(audio, name)
    if len(wave) < BRIEFEST * SAMPLE_RATE:
        raise LauraError(f"{name} is {len(wave) / SAMPLE_RATE * 1000:.0f} ms long: give at least {BRIEFEST * 1000:.0f} ms")
    return wave


def cut(wave: np.ndarray, shortest: float = SHORTEST, longest: float = LONGEST) -> list[Chunk]:
    """Chunks of `shortest` to `longest` seconds, each ending at the quietest 100 ms that this leaves open; a wave of up to `longest` is
    one chunk."""
    shortest, longest = int(shortest * SAMPLE_RATE), int(longest * SAMPLE_RATE)
    chunks, start = [], 0
    while len(wave) - start > longest:
        # The rest must not be shorter than a chunk may be.
        latest = min(start + longest, len(wave) - shortest)
        end = quietest(wave, start + shortest, latest)
        chunks.append(Chunk(start, end))
        start = end
    return [*chunks, Chunk(start, len(wave))]


def is_silent(wave: np.ndarray) -> bool:
    """No 100 ms of the wave are louder than -70 dBFS."""
    return len(wave) == 0 or float(_energy(wave, SAMPLE_RATE // 10).max()) < SILENCE**2


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
