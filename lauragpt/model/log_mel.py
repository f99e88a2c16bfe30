"""Waveform (B, N) at 16 kHz -> stacked log-mel frames (B, T, stack * bins), one per `skip` * 10 ms: Kaldi's in FunASR's low-frame-rate
front end, or Whisper's.

What they are stands in lauragpt/features.py. Held to kaldi-native-fbank and to transformers' feature extractor by tests.

B batch, N samples, F 10 ms frames, T stacked frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.features import (
    EMPHASIS,
    FFT,
    FLOOR,
    HOP,
    WINDOW,
    FeatureConfig,
    hann_window,
    mel_triangles,
    povey_window,
    slaney_triangles,
)


class Features(nn.Module):
    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.from_numpy(povey_window()).float(), persistent=False)
        self.register_buffer("mel", torch.from_numpy(mel_triangles(config.bins)).float(), persistent=False)

    def log_mel(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, F, 80), F = 1 + (N - 400) // 160; a clip shorter than a window is padded to one."""
        wave = F.pad(wave.float(), (0, max(0, WINDOW - wave.shape[1]))) * 32768
        frames = wave.unfold(1, WINDOW, HOP)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        power = torch.fft.rfft((frames - EMPHASIS * before) * self.window, FFT).abs().square()
        return (power @ self.mel).clamp(min=FLOOR).log()

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
        starts, offsets = torch.arange(int(lengths.max()), device=wave.device) * skip, torch.arange(stack, device=wave.device)
        at = starts[:, None] + offsets - (stack - 1) // 2
        at = at[None].clamp(min=0).minimum(last[:, None, None])  # (B, T, stack)
        rows = torch.arange(len(wave), device=wave.device)[:, None, None]
        return log_mel[rows, at].flatten(2), lengths



class WhisperFeatures(nn.Module):
    def __init__(self, config: FeatureConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.from_numpy(hann_window()).float(), persistent=False)
        self.register_buffer("mel", torch.from_numpy(slaney_triangles(config.bins)).float(), persistent=False)

    def log_mel(self, wave: Tensor) -> Tensor:
        """(B, N), N a multiple of skip * 160, silent behind each clip -> (B, N / 160, bins)."""
        wave = F.pad(F.pad(wave.float()[:, None], (WINDOW // 2, 0), mode="reflect")[:, 0], (0, WINDOW // 2))
        frames = wave.unfold(1, WINDOW, HOP)[:, :-1] * self.window
        log_mel = (torch.fft.rfft(frames).abs().square() @ self.mel).clamp(min=1e-10).log10()
        return (log_mel.maximum(log_mel.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def lengths(self, samples: Tensor) -> Tensor:
        """Samples (B,) -> stacked frames (B,)."""
        return (-(-samples // (HOP * self.config.skip))).clamp(min=1)

    def forward(self, wave: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N), (B,) -> (B, T, width), (B,)."""
        lengths, hop = self.lengths(samples), HOP * self.config.skip
        size = int(lengths.max()) * hop
        inside = torch.arange(size, device=wave.device) < samples[:, None]
        wave = F.pad(wave, (0, max(0, size - wave.shape[1])))[:, :size] * inside
        with torch.autocast(wave.device.type, enabled=False):
            return self.log_mel(wave).unflatten(1, (-1, self.config.skip)).flatten(2), lengths


def make_features(config: FeatureConfig) -> Features | WhisperFeatures:
    return WhisperFeatures(config) if config.kind == "whisper" else Features(config)
