"""Waveform (B, N) at 16 kHz -> stacked log-mel frames (B, T, stack * 80), one per `skip` * 10 ms. FunASR's low-frame-rate front end.

Log-mel as Kaldi computes it (no dither): 25 ms frames every 10 ms, DC removed, pre-emphasis .97, Povey window, FFT 512, 80 mel
triangles from 20 Hz, log of the power of 16-bit samples. Held to kaldi-native-fbank by a test.

B batch, N samples, F 10 ms frames, T stacked frames.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW, HOP, FFT = 400, 160, 512


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


class Features(nn.Module):
    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        time = torch.arange(WINDOW, dtype=torch.float64)
        povey = (0.5 - 0.5 * torch.cos(2 * math.pi * time / (WINDOW - 1))) ** 0.85
        self.register_buffer("window", povey.float(), persistent=False)
        self.register_buffer("mel", mel_triangles(config.bins).float(), persistent=False)

    def log_mel(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, F, 80), F = 1 + (N - 400) // 160; a clip shorter than a window is padded to one."""
        wave = F.pad(wave.float(), (0, max(0, WINDOW - wave.shape[1]))) * 32768
        frames = wave.unfold(1, WINDOW, HOP)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        power = torch.fft.rfft((frames - 0.97 * before) * self.window, FFT).abs().square()
        return (power @ self.mel).clamp(min=1.1920929e-07).log()

    def lengths(self, samples: Tensor) -> Tensor:
        """Samples (B,) -> stacked frames (B,)."""
        frames = 1 + (samples - WINDOW).clamp(min=0) // HOP
        return -(-frames // self.config.skip)

    def forward(self, wave: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N), (B,) -> (B, T, width), (B,). The edges repeat the first and the clip's own last frame (FunASR's LFR)."""
        stack, skip = self.config.stack, self.config.skip
        with torch.autocast(wave.device.type, enabled=False):
            log_mel = (self.log_mel(wave) - self.config.mean) * self.config.scale
        lengths = self.lengths(samples)
        last = (samples - WINDOW).clamp(min=0) // HOP  # index of each row's last frame
        at = torch.arange(int(lengths.max()), device=wave.device)[:, None] * skip + torch.arange(stack, device=wave.device) - (stack - 1) // 2
        at = at[None].clamp(min=0).minimum(last[:, None, None])  # (B, T, stack)
        rows = torch.arange(len(wave), device=wave.device)[:, None, None]
        return log_mel[rows, at].flatten(2), lengths


def mel_triangles(bins: int, low: float = 20.0, high: float = 8000.0) -> Tensor:
    """(257, bins): Kaldi's mel filters, triangles in mel = 1127 ln(1 + f / 700)."""
    mel = lambda f: 1127.0 * torch.log1p(torch.as_tensor(f, dtype=torch.float64) / 700.0)  # noqa: E731
    edges = torch.linspace(float(mel(low)), float(mel(high)), bins + 2, dtype=torch.float64)
    at = mel(torch.arange(FFT // 2 + 1, dtype=torch.float64) * 16000 / FFT)[:, None]
    up = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return torch.minimum(up, down).clamp(min=0)
