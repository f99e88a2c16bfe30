"""Channels that hold against each other are not lost, and ordinary ones are mixed to their mean, in any pieces."""

import numpy as np
import pytest
from sounds import RATE, encoded, noise, tone

from lauragpt.audio import load_audio, read_audio, stream_audio
from lauragpt.mixing import Downmix, mean_of


def bursts(seconds: float = 6.3, rate: int = RATE) -> np.ndarray:
    """Noise that comes and goes, as speech does."""
    time = np.arange(int(seconds * rate)) / rate
    return noise(seconds, rate) * (np.sin(2 * np.pi * 0.7 * time) ** 2).astype(np.float32)


def power(wave: np.ndarray) -> float:
    return float(np.var(wave, dtype=np.float64))


def both(tmp_path, samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    """The mixed wave: from samples, from a file, and streamed in any pieces it is the same."""
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(samples, rate, format="WAV", subtype="FLOAT"))
    whole = load_audio(path)
    for seconds in (0.03, 0.25, 1, 3.7, 60):
        assert np.array_equal(np.concatenate(list(stream_audio(path, seconds))), whole)
    assert np.array_equal(read_audio((samples, rate)), whole) and np.array_equal(read_audio((samples.T.copy(), rate)), whole)
    return whole


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_sides_that_cancel_become_the_louder_one(tmp_path, rate):
    wave = bursts(rate=rate)
    assert power(both(tmp_path, np.stack([wave, -wave], axis=1), rate)) > 0.3 * power(wave)  # resampling takes the upper band of noise away
    if rate == RATE:
        assert np.array_equal(both(tmp_path, np.stack([wave, -wave], axis=1)), wave)
        np.testing.assert_allclose(both(tmp_path, np.stack([0.8 * -wave, wave], axis=1)), wave)
        offset = both(tmp_path, np.stack([wave + 0.1, 0.1 - 0.9 * wave], axis=1))
        np.testing.assert_allclose(offset, wave + 0.1, atol=1e-6)  # the offset, which does not cancel, is no sound


@pytest.mark.parametrize("make", [
    lambda w: np.stack([w, w], 1), lambda w: np.stack([w, 0 * w], 1), lambda w: np.stack([w, bursts()[::-1]], 1),
    lambda w: np.stack([w, -0.4 * w], 1), lambda w: np.stack([w, w, 0 * w], 1), lambda w: np.stack([0 * w, 0 * w], 1),
])  # fmt: skip
def test_other_sides_become_their_mean(tmp_path, make):
    samples = make(bursts())
    assert np.array_equal(both(tmp_path, samples), samples.mean(axis=1))


def test_sides_that_cancel_in_a_part_change_over_without_a_click(tmp_path):
    wave = tone(9)
    right = wave.copy()
    right[3 * RATE : 6 * RATE] *= -1
    mixed = both(tmp_path, np.stack([wave, right], axis=1))
    mixed[3 * RATE : 3 * RATE + RATE // 100] = wave[3 * RATE : 3 * RATE + RATE // 100]  # where one fades into the other
    np.testing.assert_allclose(mixed, wave, atol=1e-6)  # the left side and the mean are the same where the sides agree
    quiet = 0.5 * wave
    quiet[3 * RATE : 6 * RATE] *= -2
    mixed = both(tmp_path, np.stack([quiet, wave], axis=1))
    assert np.abs(np.diff(mixed)).max() < 1.5 * np.abs(np.diff(wave)).max() and power(mixed[3 * RATE : 6 * RATE]) > 0.9 * power(wave)


def test_the_side_in_use_stays_while_none_is_much_louder():
    first, mix = noise(1), Downmix()
    for gain, chosen in ((0.9, 0), (1.2, 0), (1.6, 1), (1.1, 1), (0.8, 1), (0.5, 0)):
        mix(np.stack([first, -gain * first], axis=1))
        assert mix.channel == chosen, gain
    mix(np.zeros((RATE, 2), np.float32))
    assert mix.channel == 0  # silence decides nothing
    mix(np.stack([first, first], axis=1))
    assert mix.channel is None


@pytest.mark.parametrize("channels", range(2, 12))
def test_the_mean_is_numpys_to_the_bit(channels):
    block = noise(0.5, RATE, channels)
    assert np.array_equal(mean_of(block), block.mean(axis=1))
