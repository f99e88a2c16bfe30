"""Where nobody speaks nothing is written: the checkpoint that ships, on sounds that are made here and that it was not trained on."""

import numpy as np
import pytest

from lauragpt import Laura

RATE = 16000


def noise(count: int, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose magnitude falls with the frequency to the power of `slope`."""
    spectrum = np.fft.rfft(rng.normal(size=count)) / np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20) ** slope
    return np.fft.irfft(spectrum, count)


def fan(count: int, rng: np.random.Generator) -> np.ndarray:
    """Air, the harmonics of a motor, and its blades going by."""
    time, turns, air = np.arange(count) / RATE, rng.uniform(20, 60), noise(count, rng, 0.8)
    hum = sum(np.sin(2 * np.pi * turns * k * time + 6 * rng.random()) / k for k in range(1, 9))
    return 0.7 * air / np.abs(air).max() + 0.2 * hum * (1 + 0.3 * np.sin(6 * np.pi * time))


def music(count: int, rng: np.random.Generator) -> np.ndarray:
    """Notes and chords that fade, as of a piano."""
    sound, at = np.zeros(count), 0
    while at < count:
        root = rng.choice([0, 2, 4, 5, 7, 9, 11]) + rng.choice([45, 57, 69])
        for note in (root, root + 4, root + 7)[: rng.integers(1, 4)]:
            time = np.arange(min(int(1.2 * RATE), count - at)) / RATE
            tones = sum(np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * k * time) / k**1.3 for k in range(1, 7))
            sound[at : at + len(time)] += tones * np.exp(-time * rng.uniform(2, 6))
        at += int(rng.uniform(0.15, 0.6) * RATE)
    return sound


SOUNDS = {
    "white noise": lambda count, rng: noise(count, rng, 0.0),
    "pink noise": lambda count, rng: noise(count, rng, 0.5),
    "brown noise": lambda count, rng: noise(count, rng, 1.0),
    "a fan": fan,
    "music": music,
}


LIKE_OTHERS = ("white noise", "pink noise", "brown noise", "a fan", "music")  # each takes ten seconds or more


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name for name in SOUNDS])
def test_what_is_no_speech_gives_no_words(name):
    laura, waves = Laura.load("mini"), []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sound = SOUNDS[name](int(rng.uniform(2, 15) * RATE), rng)
        waves.append((10 ** (-rng.uniform(3, 45) / 20) * sound / np.abs(sound).max()).astype(np.float32))
    invented = {round(len(wave) / RATE, 1): result.text for wave, result in zip(waves, laura.transcribe(waves), strict=True) if result.text}
    assert len(invented) <= (1 if name == "music" else 0), invented
