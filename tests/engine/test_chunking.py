"""Chunks cover the audio, end in pauses, and batches hold every index once."""

from itertools import pairwise

import numpy as np
import pytest

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.augment import coloured_noise
from lauragpt.engine.chunking import HOP, LONGEST, PAUSE, SHORTEST, Chunker, batches, cut, is_silent
from lauragpt.errors import LauraError


@pytest.mark.parametrize("seconds", [0.1, 5, 20, 20.01, 27.9, 28, 36.5, 61.7, 300.123])
def test_chunks_cover_every_sample_within_bounds(seconds):
    wave = np.random.default_rng(0).normal(size=int(seconds * SAMPLE_RATE)).astype(np.float32) * 0.1
    chunks = cut(wave)
    assert chunks[0].start == 0 and chunks[-1].end == len(wave)
    assert all(left.end == right.start and left.end % HOP == 0 for left, right in pairwise(chunks))
    lengths = [(chunk.end - chunk.start) / SAMPLE_RATE for chunk in chunks]
    assert max(lengths) <= LONGEST
    if len(chunks) > 1:
        assert min(lengths) >= SHORTEST - HOP / SAMPLE_RATE
    else:
        assert seconds <= LONGEST


def test_cuts_fall_into_the_pauses():
    wave = np.random.default_rng(0).normal(size=50 * SAMPLE_RATE).astype(np.float32) * 0.1
    for pause in (13.0, 29.5):
        wave[int((pause - 0.2) * SAMPLE_RATE) : int((pause + 0.2) * SAMPLE_RATE)] *= 1e-3
    ends = [chunk.end / SAMPLE_RATE for chunk in cut(wave)][:-1]
    assert len(ends) >= 2
    assert ends[0] == pytest.approx(13.0, abs=0.2) and ends[1] == pytest.approx(29.5, abs=0.2)


def test_silence_is_told_from_a_short_quiet_sound():
    wave = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    assert is_silent(wave) and is_silent(wave[:0]) and is_silent(wave + 1e-4)
    wave[20000:20800] = 0.01 * np.sin(np.arange(800))
    assert not is_silent(wave)


def test_batches_hold_every_index_once_within_the_bound():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(1, 100, rng.integers(0, 60)).tolist()
        groups = batches(sizes, most=200, rows=5)
        assert sorted(index for group in groups for index in group) == list(range(len(sizes)))
        for group in groups:
            assert len(group) <= 5
            assert len(group) == 1 or len(group) * max(sizes[i] for i in group) <= 200


def spoken(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise with pauses of 0.2 to 2 s in it."""
    rng, parts = np.random.default_rng(seed), []
    while sum(map(len, parts)) < seconds * SAMPLE_RATE:
        parts.append(0.1 * rng.normal(size=int(rng.uniform(0.3, 25) * SAMPLE_RATE)))
        parts.append(1e-4 * rng.normal(size=int(rng.uniform(0.2, 2) * SAMPLE_RATE)))
    return np.concatenate(parts)[: int(seconds * SAMPLE_RATE)].astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pause", [None, PAUSE])
def test_chunks_do_not_depend_on_how_the_wave_comes(seed, pause):
    wave, rng = spoken(95.37, seed), np.random.default_rng(seed)
    chunker, found, at, most = Chunker(pause=pause), [], 0, 0
    while at < len(wave):
        size = int(rng.choice([1, 100, 4000, 16000, 400_000]))
        found += chunker.feed(wave[at : at + size])
        most, at = max(most, len(chunker.open)), at + size
    found += chunker.finish()
    assert [chunk for chunk, _ in found] == cut(wave, pause=pause)
    assert all(np.array_equal(samples, wave[chunk.start : chunk.end]) for chunk, samples in found)
    assert found[0][0].start == 0 and found[-1][0].end == len(wave)
    assert all(left[0].end == right[0].start and left[0].end % HOP == 0 for left, right in pairwise(found))
    assert max(chunk.end - chunk.start for chunk, _ in found) <= LONGEST * SAMPLE_RATE
    assert most < (LONGEST + SHORTEST) * SAMPLE_RATE


def test_a_pause_ends_what_is_said_as_soon_as_it_has_lasted():
    loud = 0.1 * np.random.default_rng(0).normal(size=4 * SAMPLE_RATE).astype(np.float32)
    quiet = np.zeros(SAMPLE_RATE * 21 // 20, dtype=np.float32)
    chunker = Chunker(pause=PAUSE)
    assert not chunker.feed(np.concatenate([quiet, quiet, loud, quiet[: SAMPLE_RATE * 9 // 10]]))  # silence before it is no pause
    ((chunk, _),) = chunker.feed(quiet[: SAMPLE_RATE // 5])
    assert chunk.end / SAMPLE_RATE == pytest.approx(2 * 1.05 + 4 + 0.5, abs=0.05)
    assert len(cut(np.concatenate([loud, quiet, loud]))) == 1
    (first, _second) = cut(np.concatenate([loud[:SAMPLE_RATE], *[quiet] * 5, loud]), pause=PAUSE)  # short: silence goes with it
    assert first.end / SAMPLE_RATE == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize("slope", [0, 1, 2])
def test_a_pause_is_found_in_steady_noise_and_noise_alone_holds_none(slope):
    rng = np.random.default_rng(slope)
    noise = 0.01 * coloured_noise(30 * SAMPLE_RATE, slope, rng).astype(np.float32)
    time = np.arange(len(noise)) / SAMPLE_RATE
    beats = np.abs(np.sin(2 * np.pi * 2 * time))  # four a second, 17 dB over the noise
    speech = (0.1 * np.sin(2 * np.pi * 200 * time) * beats).astype(np.float32)
    speech[7 * SAMPLE_RATE : 17 * SAMPLE_RATE // 2] = 0
    first = cut(noise + speech, pause=PAUSE)[0]
    assert 7 * SAMPLE_RATE <= first.end <= 17 * SAMPLE_RATE // 2
    behind = cut(np.concatenate([np.zeros(SAMPLE_RATE // 5, dtype=np.float32), noise + speech]), pause=PAUSE)[0]
    assert abs(behind.end - first.end - SAMPLE_RATE // 5) <= HOP  # digital silence in front hides none
    clicked = speech[: 7 * SAMPLE_RATE].copy() * 0.2
    clicked[:160] += 0.5
    assert len(cut(clicked, pause=PAUSE)) == 1  # nor does a click make all that follows a pause
    assert cut(noise, pause=PAUSE) == cut(noise)


@pytest.mark.parametrize("shortest, longest", [(8.0, 14.0), (0.0, 4.0), (-1.0, 4.0)])
def test_lengths_that_cannot_be_kept_are_refused(shortest, longest):
    with pytest.raises(LauraError, match="at least twice the shortest"):
        Chunker(shortest, longest)
