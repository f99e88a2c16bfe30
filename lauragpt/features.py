"""Log-mel features in numpy, and what the torch ones (model/log_mel.py) share with them: sizes, window, filters.

Log-mel as Kaldi computes it (no dither): 25 ms frames every 10 ms, DC removed, pre-emphasis .97, Povey window, FFT 512, 80 mel
triangles from 20 Hz, log of the power of 16-bit samples; then stacked, FunASR's low-frame-rate front end.

N samples, F 10 ms frames, T stacked frames.
"""

from dataclasses import dataclass

import numpy as np

WINDOW, HOP, FFT = 400, 160, 512
EMPHASIS, FLOOR = 0.97, 1.1920929e-07
SPAN = 2048  # frames that are transformed at once


@dataclass(frozen=True)
class FeatureConfig:
    bins: int = 80
    stack: int = 7  # frames put side by side
    skip: int = 4  # 10 ms frames between two outputs: 4 is 40 ms, the paper's 6 is 60 ms
    mean: float = 11.0  # of the log-mel of speech, 16-bit samples
    scale: float = 0.25

    @property
    def width(self) -> int:
        return self.bins * self.stack

    @property
    def seconds(self) -> float:
        """The time from one output frame to the next, in seconds."""
        return self.skip * HOP / 16000

    def length(self, samples: int) -> int:
        """The number of stacked frames that `samples` make."""
        return -(-(1 + max(0, samples - WINDOW) // HOP) // self.skip)


def povey_window() -> np.ndarray:
    """(WINDOW,) float64"""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))) ** 0.85


def mel(hertz: float | np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)


def mel_edges(bins: int, low: float = 20.0, high: float = 8000.0) -> np.ndarray:
    """(bins + 2,), in mel: the corners of the triangles. Bin b begins at b, peaks at b + 1 and ends at b + 2."""
    return np.linspace(mel(low), mel(high), bins + 2)


def mel_triangles(bins: int, low: float = 20.0, high: float = 8000.0) -> np.ndarray:
    """(257, bins): Kaldi's mel filters, triangles in mel = 1127 ln(1 + f / 700)."""
    edges = mel_edges(bins, low, high)
    at = mel(np.arange(FFT // 2 + 1) * 16000 / FFT)[:, None]
    return np.minimum((at - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - at) / (edges[2:] - edges[1:-1])).clip(min=0)


class NumpyFeatures:
    def __init__(self, config: FeatureConfig):
        self.config, self.window = config, povey_window().astype(np.float32)
        self.mel = mel_triangles(config.bins).astype(np.float32)

    def log_mel(self, wave: np.ndarray) -> np.ndarray:
        """(N,) -> (F, 80), F = 1 + (N - 400) // 160; a clip shorter than a window is padded to one."""
        wave = np.pad(wave.astype(np.float32), (0, max(0, WINDOW - len(wave)))) * np.float32(32768)
        frames, parts = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP], []
        for start in range(0, len(frames), SPAN):
            part = frames[start : start + SPAN]
            part = part - part.mean(axis=1, keepdims=True)
            part = (part - np.float32(EMPHASIS) * np.concatenate([part[:, :1], part[:, :-1]], axis=1)) * self.window
            power = np.square(np.abs(np.fft.rfft(part, FFT))).astype(np.float32)
            parts.append(np.log(np.maximum(power @ self.mel, np.float32(FLOOR))))
        return np.concatenate(parts)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """(N,) -> (T, stack * 80). The edges repeat the first and the last frame."""
        stack, skip = self.config.stack, self.config.skip
        log_mel = (self.log_mel(wave) - np.float32(self.config.mean)) * np.float32(self.config.scale)
        at = np.arange(self.config.length(len(wave)))[:, None] * skip + np.arange(stack) - (stack - 1) // 2
        return log_mel[at.clip(0, len(log_mel) - 1)].reshape(len(at), -1)
