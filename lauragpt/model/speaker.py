"""A speaker encoder: waves (B, N) -> unit vectors (B, E). The cosine of two vectors says how alike two voices are.

A small time-delay network with attentive statistics pooling (x-vectors, Snyder et al. 2018; Okabe et al., arXiv 1803.10963).

B batch, N samples at 16 kHz, F 10 ms frames, C channels, E embedding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from lauragpt.features import FeatureConfig
from lauragpt.model.log_mel import Features


@dataclass(frozen=True)
class SpeakerConfig:
    channels: int = 192
    dilations: tuple[int, ...] = (1, 2, 3, 4)
    embedding: int = 128


class Layer(nn.Module):
    """Context of +-dilation frames, added to its input. Padding is zero, so that it never changes an output."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.around = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x (B, F, C), real (B, F, 1)"""
        around = self.around((self.norm(x) * real).transpose(1, 2)).transpose(1, 2)
        return x + self.out(nnf.silu(around))


class SpeakerEncoder(nn.Module):
    def __init__(self, config: SpeakerConfig = SpeakerConfig()):
        super().__init__()
        self.features = Features(FeatureConfig(stack=1, skip=1))
        self.input = nn.Linear(80, config.channels)
        self.layers = nn.ModuleList(Layer(config.channels, dilation) for dilation in config.dilations)
        self.attention = nn.Sequential(nn.Linear(config.channels, 64), nn.Tanh(), nn.Linear(64, config.channels))
        self.pooled = nn.BatchNorm1d(2 * config.channels)  # what all voices share says nothing; its running sums make each answer its own
        self.output = nn.Linear(2 * config.channels, config.embedding)

    def forward(self, waves: Tensor, samples: Tensor) -> Tensor:
        """(B, N), (B,) -> (B, E), of length 1."""
        x, lengths = self.features(waves, samples)
        real = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
        mean = (x * real).sum(1, keepdim=True) / lengths[:, None, None]
        x = self.input((x - mean) * real)  # what a microphone adds to all frames says nothing of the speaker
        for layer in self.layers:
            x = layer(x, real)
        weights = self.attention(x).float().masked_fill(~real, float("-inf")).softmax(1)
        x = x.float()
        mean = (weights * x).sum(1)
        spread = ((weights * x.square()).sum(1) - mean.square()).clamp(min=1e-6).sqrt()
        return nnf.normalize(self.output(self.pooled(torch.cat([mean, spread], -1))).float(), dim=-1)
