"""Augmentation of recordings: noise, speed and level here; narrow bands, codecs and clipping in channel.py.

In: `clean (N,)` float32 at 16 kHz and a `np.random.Generator`. Out: (N,) float32 of the same length, aligned to the sample, so that
enhancement can still compare with the clean recording. All randomness comes from the generator: when it is seeded by
(seed, epoch, id), the same augmentation can be made again. Masking of spectrograms is in the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from lauragpt.audio import SAMPLE_RATE
from lauragpt.errors import LauraError

Wave = np.ndarray


def rms(wave: Wave) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if len(wave) else 0.0


def fit(wave: Wave, length: int, rng: np.random.Generator) -> Wave:
    """(length,) samples of a wave: a random part of a longer one; a shorter one is repeated from a random phase. LauraError if empty."""
    if not len(wave):
        raise LauraError("a noise without samples cannot be mixed in")
    if len(wave) >= length:
        start = int(rng.integers(len(wave) - length + 1))
        return wave[start : start + length]
    return np.resize(np.roll(wave, -int(rng.integers(len(wave)))), length)


def mix_at_snr(clean: Wave, noise: Wave, snr_db: float) -> Wave:
    """clean + noise, scaled so that 10 log10(power of clean / power of noise) = snr_db. If either is silent, clean is returned
    unchanged."""
    if len(clean) != len(noise):
        raise LauraError(f"the noise has {len(noise)} samples, the speech {len(clean)}: fit it first")
    speech_level, noise_level = rms(clean), rms(noise)
    if speech_level == 0 or noise_level == 0:
        return clean.astype(np.float32)
    return (clean + noise * (speech_level / noise_level * 10 ** (-snr_db / 20))).astype(np.float32)


def mix_sounds(first: Wave, second: Wave, rng: np.random.Generator, spread_db: float = 5.0) -> Wave:
    """Two sounds at once. Their levels differ by at most `spread_db`, so both are audible. As long as the longer one; peak at most 1."""
    length = max(len(first), len(second))
    first, second = (np.pad(wave, (0, length - len(wave))) for wave in (first, second))
    return unclip(mix_at_snr(first, second, rng.uniform(-spread_db, spread_db)))


def unclip(wave: Wave, peak: float = 1.0) -> Wave:
    """The wave, scaled down to `peak` if it is louder."""
    highest = float(np.abs(wave).max(initial=0.0))
    return (wave * (peak / highest)).astype(np.float32) if highest > peak else wave.astype(np.float32)


def coloured_noise(length: int, slope: float, rng: np.random.Generator) -> Wave:
    """Noise whose power falls as frequency ** slope: 0 is white, 1 pink, 2 brown. rms 1."""
    spectrum = rng.standard_normal(length // 2 + 1) + 1j * rng.standard_normal(length // 2 + 1)
    frequency = np.arange(len(spectrum), dtype=np.float64)
    spectrum *= np.maximum(frequency, max(1.0, 20 * length / SAMPLE_RATE)) ** (-slope / 2)  # flat below 20 Hz: no drift
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, length)
    return (noise / (rms(noise) or 1.0)).astype(np.float32)


def hum(length: int, rng: np.random.Generator) -> Wave:
    """Mains hum: 50 or 60 Hz and weaker harmonics. rms 1."""
    base = rng.choice((50.0, 60.0)) * rng.uniform(0.998, 1.002)
    time = np.arange(length) / SAMPLE_RATE
    wave = sum(
        rng.uniform(0.3, 1.0) / k * np.sin(2 * np.pi * base * k * time + rng.uniform(0, 2 * np.pi))
        for k in range(1, int(rng.integers(3, 12)))
    )
    return (wave / (rms(wave) or 1.0)).astype(np.float32)


def clip_peaks(wave: Wave, share: float) -> Wave:
    """An overdriven recording: everything above `share` of the peak is cut off."""
    limit = share * float(np.abs(wave).max(initial=0.0))
    return np.clip(wave, -limit, limit).astype(np.float32)


def gain(wave: Wave, decibels: float) -> Wave:
    return (wave * 10 ** (decibels / 20)).astype(np.float32)


def change_speed(wave: Wave, speed: float) -> Wave:
    """(N,) -> (N / speed,): 1.1 is faster and higher, like a tape played too fast. LauraError outside 0.5 to 2."""
    if not 0.5 <= speed <= 2:
        raise LauraError(f"a speed of {speed} is not supported: choose 0.5 to 2")
    return wave.astype(np.float32) if speed == 1 else soxr.resample(wave.astype(np.float32), SAMPLE_RATE * speed, SAMPLE_RATE)


@dataclass(frozen=True)
class NoiseConfig:
    """How often and how much. The weights of the kinds of noise need not sum to 1; a kind without recordings is never drawn."""

    snr_db: tuple[float, float] = (-2.0, 20.0)  # of the main noise
    recorded: float = 0.55  # weights of the kinds of main noise, this one and the next two
    coloured: float = 0.25
    hum: float = 0.05
    second: float = 0.25  # probability of another noise, 5 to 15 dB weaker
    clipped: float = 0.05  # probability


@dataclass
class Noisifier:
    """Makes clean speech noisy. `noises` are recordings of noise, a list of (N,) waves that may be empty."""

    noises: Sequence[Wave] = ()
    config: NoiseConfig = NoiseConfig()

    def noisy(self, clean: Wave, rng: np.random.Generator) -> Wave:
        """(N,) -> (N,), aligned with `clean`; at most 1 in peak."""
        config, length = self.config, len(clean)
        snr = rng.uniform(*config.snr_db)
        wave = mix_at_snr(clean, self.draw_noise(length, rng), snr)
        if rng.random() < config.second:
            wave = mix_at_snr(wave, self.draw_noise(length, rng), snr + rng.uniform(5, 15))
        if rng.random() < config.clipped:
            wave = clip_peaks(wave, rng.uniform(0.3, 0.8))
        return unclip(wave)

    def draw_noise(self, length: int, rng: np.random.Generator) -> Wave:
        """(length,) of one kind of noise, by the configured weights."""
        config = self.config
        weights = {"coloured": config.coloured, "hum": config.hum} | ({"recorded": config.recorded} if self.noises else {})
        weight = np.array(list(weights.values()))
        kind = rng.choice(list(weights), p=weight / weight.sum())
        if kind == "recorded":
            return fit(self.noises[int(rng.integers(len(self.noises)))], length, rng)
        return hum(length, rng) if kind == "hum" else coloured_noise(length, rng.uniform(0, 2), rng)
