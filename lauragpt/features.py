"""Log-mel features in numpy, and what the torch ones (model/log_mel.py) share with them: sizes, window, filters.

Log-mel as Kaldi computes it (no dither): 25 ms frames every 10 ms, DC removed, pre-emphasis .97, Povey window, FFT 512, 80 mel
triangles from 20 Hz, log of the power of 16-bit samples; then stacked, FunASR's low-frame-rate front end. Or as Whisper computes it:
Hann window, FFT 400, 80 or 128 mel triangles of equal area (Slaney's scale), log10 of the power, at most 8 below the clip's loudest;
four frames side by side. A clip is not padded to 30 s: its frames are the first ones of the clip so padded.

N samples, F 10 ms frames, T stacked frames.
"""

from dataclasses import dataclass

import numpy as np

from lauragpt.errors import LauraError

WINDOW, HOP, FFT = 400, 160, 512
EMPHASIS, FLOOR = 0.97, 1.1920929e-07
SPAN = 2048  # frames that are transformed at once


@dataclass(frozen=True)
class FeatureConfig:
    kind: str = "kaldi"  # or whisper; or codes: no features, but the codec's codes of its first `stack` quantizers (model/discrete.py)
    bins: int = 80
    stack: int = 7  # frames put side by side
    skip: int = 4  # 10 ms frames between two outputs: 4 is 40 ms, the paper's 6 is 60 ms
    mean: float = 11.0  # of the log-mel of speech, 16-bit samples
    scale: float = 0.25

    def __post_init__(self):
        if self.kind not in ("kaldi", "whisper", "codes"):
            raise LauraError(f"features.kind is {self.kind!r}: choose kaldi or whisper")
        if self.kind == "whisper" and self.stack != self.skip:
            raise LauraError("features: Whisper's frames are put side by side once each: stack and skip must be equal")

    @property
    def width(self) -> int:
        return self.bins * self.stack

    @property
    def seconds(self) -> float:
        """The time from one output frame to the next, in seconds."""
        return self.skip * HOP / 16000 / self.parts

    @property
    def parts(self) -> int:
        """How many the GPT reads of each 40 ms: a frame, or its codes one behind the other."""
        return self.stack if self.kind == "codes" else 1

    def length(self, samples: int) -> int:
        """The number of stacked frames, or of codes, that `samples` make."""
        if self.kind == "codes":
            return self.stack * -(-samples // (HOP * self.skip))
        if self.kind == "whisper":
            return max(1, -(-samples // (HOP * self.skip)))
        return -(-(1 + max(0, samples - WINDOW) // HOP) // self.skip)

    def mel(self, hertz: float | np.ndarray) -> np.ndarray:
        """Hertz on the scale on which the bins lie evenly."""
        return slaney_mel(hertz) if self.kind == "whisper" else mel(hertz)

    @property
    def centres(self) -> np.ndarray:
        """(bins,), in Hz: where each bin peaks."""
        if self.kind == "whisper":
            return slaney_edges(self.bins)[1:-1]
        return 700 * np.expm1(mel_edges(self.bins)[1:-1] / 1127)


WHISPER_FEATURES = {"kind": "whisper", "stack": 4, "skip": 4}
LISTENER_FEATURES = FeatureConfig(**WHISPER_FEATURES)  # of the codec's listener


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


def slaney_mel(hertz: float | np.ndarray) -> np.ndarray:
    """Slaney's scale (Auditory Toolbox): linear up to 1 kHz, 15 mel there, and 27 mel for each factor of 6.4 above."""
    hertz = np.asarray(hertz, dtype=np.float64)
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + np.log(np.maximum(hertz, 1000) / 1000) * 27 / np.log(6.4))


def slaney_edges(bins: int, high: float = 8000.0) -> np.ndarray:
    """(bins + 2,), in Hz: the corners of the triangles, evenly on Slaney's scale from 0 Hz."""
    places = np.linspace(0, slaney_mel(high), bins + 2)
    return np.where(places < 15, places * 200 / 3, 1000 * np.exp((places - 15) * np.log(6.4) / 27))


def slaney_triangles(bins: int) -> np.ndarray:
    """(201, bins): Whisper's mel filters, triangles in Hz of the same area."""
    edges, at = slaney_edges(bins), np.linspace(0, 8000, WINDOW // 2 + 1)[:, None]
    rise = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return np.minimum(rise, fall).clip(min=0) * 2 / (edges[2:] - edges[:-2])


def hann_window() -> np.ndarray:
    """(WINDOW,) float64, periodic."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


def numpy_features(config: FeatureConfig) -> "NumpyFeatures | NumpyWhisperFeatures":
    return NumpyWhisperFeatures(config) if config.kind == "whisper" else NumpyFeatures(config)


class NumpyWhisperFeatures:
    def __init__(self, config: FeatureConfig):
        self.config, self.window = config, hann_window().astype(np.float32)
        self.mel = slaney_triangles(config.bins).astype(np.float32)

    def log_mel(self, wave: np.ndarray) -> np.ndarray:
        """(N,) -> (F, bins), F = T * skip; beyond the clip there is silence, before it its mirror image."""
        count, parts = self.config.length(len(wave)) * self.config.skip, []
        wave = np.pad(wave.astype(np.float32), (0, count * HOP - len(wave) + WINDOW // 2))
        wave = np.concatenate([wave[WINDOW // 2 : 0 : -1], wave])
        frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP][:count]
        for start in range(0, count, SPAN):
            power = np.square(np.abs(np.fft.rfft(frames[start : start + SPAN] * self.window))).astype(np.float32)
            parts.append(np.log10(np.maximum(power @ self.mel, np.float32(1e-10))))
        log_mel = np.concatenate(parts)
        return (np.maximum(log_mel, log_mel.max() - 8) + 4) / 4

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """(N,) -> (T, stack * bins)"""
        return self.log_mel(wave).reshape(-1, self.config.width)


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
