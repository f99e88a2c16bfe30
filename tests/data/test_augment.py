"""Augmentation: levels are measured, the colour of noise is compared with its spectrum, and each seed gives the same again."""

import numpy as np
import pytest

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data import augment
from lauragpt.data.augment import NoiseConfig, Noisifier
from lauragpt.errors import LauraError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def speechlike(seconds: float = 1.0, seed: int = 1) -> np.ndarray:
    n = int(seconds * SAMPLE_RATE)
    return (0.3 * rng(seed).standard_normal(n) * np.abs(np.sin(np.arange(n) / 2000))).astype(np.float32)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5])
def test_the_snr_is_the_one_asked_for(snr):
    clean, noise = speechlike(), 7 * rng(2).standard_normal(SAMPLE_RATE)
    added = augment.mix_at_snr(clean, noise, snr) - clean
    assert 20 * np.log10(augment.rms(clean) / augment.rms(added)) == pytest.approx(snr, abs=0.01)
    np.testing.assert_allclose(added / augment.rms(added), noise / augment.rms(noise), atol=1e-4)  # scaled, not changed


def test_silence_has_no_snr_and_lengths_must_agree():
    clean = speechlike()
    np.testing.assert_array_equal(augment.mix_at_snr(clean, np.zeros_like(clean), 0), clean)
    assert not augment.mix_at_snr(np.zeros_like(clean), clean, 0).any()
    with pytest.raises(LauraError, match="fit it first"):
        augment.mix_at_snr(clean, clean[:-1], 0)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_the_colour_of_noise_is_its_slope(slope):
    noise = augment.coloured_noise(2**17, slope, rng())
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE)
    band = (hertz > 100) & (hertz < 7000)
    fitted, _ = np.polyfit(np.log(hertz[band]), np.log(power[band]), 1)
    assert fitted == pytest.approx(-slope, abs=0.05)
    assert augment.rms(noise) == pytest.approx(1, abs=1e-3)


def test_hum_is_mains():
    wave = augment.hum(SAMPLE_RATE * 2, rng(5))
    loudest = np.abs(np.fft.rfft(wave)).argmax() / 2
    assert min(loudest % 50, 50 - loudest % 50, loudest % 60, 60 - loudest % 60) <= 1


def test_fit_takes_a_piece_or_repeats():
    wave = np.arange(10.0)
    piece = augment.fit(wave, 4, rng())
    np.testing.assert_array_equal(np.diff(piece), 1)
    longer = augment.fit(wave, 25, rng())
    assert len(longer) == 25 and set(np.diff(longer)) == {1, -9}
    with pytest.raises(LauraError, match="without samples"):
        augment.fit(wave[:0], 4, rng())


def test_two_sounds_are_both_heard():
    low, high = (np.sin(2 * np.pi * f * np.arange(n) / SAMPLE_RATE) for f, n in ((200, 16000), (3000, 12000)))
    mixed = augment.mix_sounds(low, 0.001 * high, rng())
    assert len(mixed) == 16000 and np.abs(mixed).max() <= 1
    spectrum = np.abs(np.fft.rfft(mixed))
    assert 0.2 < spectrum[3000] / spectrum[200] < 5


def test_clipping_gain_and_speed():
    wave = speechlike()
    clipped = augment.clip_peaks(wave, 0.5)
    limit = 0.5 * np.abs(wave).max()
    np.testing.assert_array_equal(clipped[np.abs(wave) < limit], wave[np.abs(wave) < limit])
    assert np.abs(clipped).max() == pytest.approx(limit)
    assert augment.rms(augment.gain(wave, -6)) / augment.rms(wave) == pytest.approx(0.501, abs=1e-3)
    tone = np.sin(2 * np.pi * 500 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    faster = augment.change_speed(tone, 1.25)
    assert len(faster) == pytest.approx(12800, abs=1)
    assert np.abs(np.fft.rfft(faster)).argmax() * SAMPLE_RATE / len(faster) == pytest.approx(625, abs=2)
    with pytest.raises(LauraError, match="a speed of 0 is not supported"):
        augment.change_speed(tone, 0)


def test_the_noisifier_keeps_length_is_seeded_and_never_passes_one():
    noisifier = Noisifier([3 * speechlike(2.0, 7)])
    clean = speechlike()
    seen, lagged = set(), np.zeros(2 * SAMPLE_RATE)
    for seed in range(60):
        noisy = noisifier.noisy(clean, rng(seed))
        assert noisy.shape == clean.shape and noisy.dtype == np.float32 and np.abs(noisy).max() <= 1
        np.testing.assert_array_equal(noisy, noisifier.noisy(clean, rng(seed)))
        lagged += np.fft.irfft(np.fft.rfft(noisy, 2 * SAMPLE_RATE) * np.fft.rfft(clean, 2 * SAMPLE_RATE).conj())
        seen.add(noisy.tobytes())
    assert len(seen) == 60
    assert lagged.argmax() == 0  # still aligned with the clean speech, to the sample


def test_the_noisifier_stays_within_its_range_without_recordings():
    noisifier = Noisifier(config=NoiseConfig(snr_db=(3, 9), second=0, clipped=0))
    clean = 0.1 * speechlike()
    for seed in range(30):
        added = noisifier.noisy(clean, rng(seed)) - clean
        assert 2.99 < 20 * np.log10(augment.rms(clean) / augment.rms(added)) < 9.01
