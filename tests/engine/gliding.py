"""A sound whose pitch glides, with some noise, for codecs of which nothing has been trained."""

import numpy as np


def gliding(samples: int) -> np.ndarray:
    """(samples,) float32, 16 kHz; another one for each length."""
    rng, time = np.random.default_rng(samples), np.arange(samples) / 16000
    return (0.2 * np.sin(900 * time + 40 * np.sin(9 * time)) + 0.05 * rng.normal(size=samples)).astype(np.float32)
