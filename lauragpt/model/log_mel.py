"""Waveform (B, N) at 16 kHz -> stacked log-mel frames (B, T, stack * 80), one per `skip` * 10 ms. FunASR's low-frame-rate front end.

What they are stands in lauragpt/features.py. Held to kaldi-native-fbank by a test.

B batch, N samples, F 10 ms frames, T stacked frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.features import EMPHASIS, FFT, FLOOR, HOP, WINDOW, FeatureConfig, mel_triangles, povey_window


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

