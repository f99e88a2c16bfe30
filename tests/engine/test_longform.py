"""Chunks cover the audio, end in pauses, and batches hold every index once."""

import numpy as np
import pytest

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine.longform import HOP, LONGEST, SHORTEST, batches, cut, is_silent


@pytest.mark.parametrize("seconds", [0.1, 5, 20, 20.01, 27.9, 28, 36.5, 61.7, 300.123])
def test_chunks_cover_every_sample_within_bounds(seconds):
    wave = np.random.default_rng(0).normal(size=int(seconds * SAMPLE_RATE)).astype(np.float32) * 0.1
    chunks = cut(wave)
    assert chunks[0].start == 0 and chunks[-1].end == len(wave)
    assert all(left.end == right.start and left.end % HOP == 0 for left, right in zip(chunks, chunks[1:]))
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
