"""Words laid along the CTC head's frames, against paths found by trying all of them and against speech whose times are known."""

import itertools
import shutil
import subprocess

import numpy as np
import pytest

from lauragpt.audio import load_audio
from lauragpt.ctc import align, word_times
from lauragpt.engine.api import Laura
from lauragpt.text import CtcUnits


def likeliest(log_probs: np.ndarray, units: list[int]) -> float:
    """The score of the best path that spells `units`, by trying all."""
    T, U = log_probs.shape
    best = -np.inf
    for path in itertools.product(range(U), repeat=T):
        if [unit for unit, _ in itertools.groupby(path) if unit] == units:
            best = max(best, sum(log_probs[t, unit] for t, unit in enumerate(path)))
    return best


@pytest.mark.parametrize("units", [[1], [1, 2], [2, 2], [1, 2, 1], [1, 1, 2]])
def test_the_path_is_the_likeliest(units):
    for seed in range(5):
        log_probs = np.log(np.random.default_rng(seed).dirichlet([0.5] * 3, size=6))
        spans = align(log_probs, units)
        assert all(first <= last for first, last in spans) and all(a[1] < b[0] for a, b in itertools.pairwise(spans))
        path = np.zeros(6, dtype=int)
        for unit, (first, last) in zip(units, spans, strict=True):
            path[first : last + 1] = unit
        assert log_probs[np.arange(6), path].sum() == pytest.approx(likeliest(log_probs, units))


def test_what_cannot_be_laid_down_says_so():
    log_probs = np.full((3, 3), np.log(1 / 3))
    assert align(log_probs, [1, 1, 2]) is None and align(log_probs, []) is None and align(log_probs, [1, 2, 1]) is not None
    assert word_times(log_probs, ["abc", "de"], 0.12, 0.04) is None


def test_words_keep_their_order_and_stay_in_the_clip():
    units = CtcUnits()
    log_probs = np.full((20, units.size), -20.0)
    log_probs[:, 0] = -0.1
    for frame, letter in ((3, "a"), (5, "b"), (9, " "), (12, "c")):
        log_probs[frame, units.encode(letter)[0]] = 0.0
    times = word_times(log_probs, ["ab", "…", "c"], 0.8, 0.04)
    assert times[0] == pytest.approx((0.08, 0.24)) and times[2] == pytest.approx((0.44, 0.58), abs=0.05)
    assert times[0][1] <= times[1][0] <= times[1][1] <= times[2][0]


def test_words_of_synthetic_speech_are_found_where_they_are(tmp_path):
    """Words spoken one by one, put together at times that are known: half of their starts and ends within 80 ms."""
    words, parts, known, at = "seven three nine one eight five two six".split(), [np.zeros(4800, np.float32)], [], 0.3
    for number, word in enumerate(words):
        path = tmp_path / f"{word}.wav"
        subprocess.run([shutil.which("flite"), "-voice", "slt", "-t", word, "-o", str(path)], check=True)
        wave = load_audio(path)
        loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
        wave, pause = wave[loud[0] : loud[-1] + 1], 0.1 + 0.05 * (number % 3)
        known.append((at, at + len(wave) / 16000))
        parts += [wave, np.zeros(round(16000 * pause), np.float32)]
        at = known[-1][1] + pause
    result = Laura.load("mini").transcribe(np.concatenate(parts), lang="en")
    found = {word.text: (word.start, word.end) for segment in result.segments for word in segment.words}
    heard = [(span, found[word]) for word, span in zip(words, known, strict=True) if word in found]
    assert len(heard) >= 5, result.text
    off = np.abs([[a[0] - b[0], a[1] - b[1]] for a, b in heard])
    assert np.median(off) <= 0.08, off
    assert all(0 < word.confidence <= 1 for segment in result.segments for word in segment.words)


def test_a_long_text_has_its_place():
    """More states than a byte counts."""
    units = CtcUnits().encode("the quick brown fox jumps over the lazy dog " * 8)
    log_probs = np.full((4 * len(units), CtcUnits.size), -9.0)
    log_probs[np.arange(4 * len(units)), 0] = -0.01
    log_probs[4 * np.arange(len(units)) + 1, units] = 0.0
    assert np.array_equal(align(log_probs, units)[:, 0], 4 * np.arange(len(units)) + 1)
