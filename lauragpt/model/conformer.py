"""The encoder of the paper (model/encoder.py says what it gives), for training from nothing.

A Conformer (arXiv 2005.08100) with LayerNorm in place of BatchNorm in the convolution module, since BatchNorm causes endless-loop
decoding (LauraGPT, appendix), sinusoidal positions, and masks, so that padding and batch never change an output.

B batch, T frames, C encoder width, D GPT width, U CTC units.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.errors import LauraError
from lauragpt.model.attention import attend
from lauragpt.model.encoder import EncoderOutput

NORMS = ("layer", "batch")


@dataclass(frozen=True)
class ConformerConfig:
    """LauraError for a norm that there is not."""

    kind: str = "conformer"
    input: int = 560  # features a frame
    width: int = 192
    layers: int = 8
    heads: int = 4
    ffn: int = 768
    kernel: int = 15  # of the depthwise convolution
    output: int = 256  # the GPT's width
    units: int = 33  # of the CTC head
    drop_layer: float = 0.0  # stochastic depth of the last layer; it grows linearly from 0 at the first
    norm: str = "layer"  # of the convolution module: "layer", or "batch", which the paper replaced, to compare with
    intermediate_layer: int = 0  # the layer, from 1, that the GPT reads beside the last; 0 is none

    def __post_init__(self):
        if self.norm not in NORMS:
            raise LauraError(f"encoder.norm is {self.norm!r}: choose {' or '.join(NORMS)}")


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """(length, width): sine and cosine positions (arXiv 1706.03762, section 3.5)."""
    return sinusoids_at(torch.arange(length, device=device), width)


def sinusoids_at(times: Tensor, width: int) -> Tensor:
    """(...) -> (..., width): the same between whole positions too."""
    rate = torch.exp(torch.arange(0, width, 2, device=times.device) * (-math.log(10000.0) / width))
    at = times[..., None] * rate
    return torch.cat([torch.sin(at), torch.cos(at)], -1)


class FeedForward(nn.Sequential):
    def __init__(self, width: int, ffn: int):
        super().__init__(nn.LayerNorm(width), nn.Linear(width, ffn), nn.SiLU(), nn.Linear(ffn, width))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, C); mask: bool, broadcasts to (B, heads, T, T), True where a frame may look."""
        B, T, C = x.shape
        q, k, v = self.qkv(self.norm(x)).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(attend(q, k, v, mask).transpose(1, 2).reshape(B, T, C))


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of x (B, T, C) over real frames alone, so that padding does not move its statistics."""

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        if not self.training:
            return (x - self.running_mean) * (self.running_var + self.eps).rsqrt() * self.weight + self.bias
        inside = real[..., 0] > 0
        return x.masked_scatter(inside[..., None], super().forward(x[inside]).to(x.dtype))


class Convolution(nn.Module):
    def __init__(self, width: int, kernel: int, norm: str = "layer"):
        super().__init__()
        self.norm, self.gate = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.inner = MaskedBatchNorm(width) if norm == "batch" else nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """real (B, T, 1): padding must be zero where the convolution reads it."""
        x = F.glu(self.gate(self.norm(x)), -1) * real
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.out(F.silu(self.inner(x, real) if isinstance(self.inner, MaskedBatchNorm) else self.inner(x)))


class ConformerLayer(nn.Module):
    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.before, self.after = FeedForward(config.width, config.ffn), FeedForward(config.width, config.ffn)
        self.attention = Attention(config.width, config.heads)
        self.convolution = Convolution(config.width, config.kernel, config.norm)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, real: Tensor, mask: Tensor) -> Tensor:
        x = x + 0.5 * self.before(x)
        x = x + self.attention(x, mask)
        x = x + self.convolution(x, real)
        return self.norm(x + 0.5 * self.after(x))


class IntermediateLayer(nn.Module):
    """A middle layer's frames for the GPT. They tell sounds apart better than the last layer's, which CTC has made all blank.

    They are standardised by the mean and deviation that `measure` finds when joint training begins: what tells sounds apart is
    small beside what all frames have in common, and the GPT's RMSNorm would leave it so.
    """

    def __init__(self, width: int, output: int):
        super().__init__()
        self.linear = nn.Linear(width, output, bias=False)
        nn.init.normal_(self.linear.weight, std=0.02)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.zeros(width))  # 0 until it is measured

    def measure(self, frames: Tensor) -> None:
        """frames (n, C): of this layer, from many recordings."""
        self.mean.copy_(frames.mean(0))
        self.deviation.copy_(frames.std(0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, D)"""
        return self.linear((x - self.mean) / torch.where(self.deviation > 0, self.deviation, 1.0))


class Conformer(nn.Module):
    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.config = config
        self.input = nn.Linear(config.input, config.width)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.layers))
        self.output = nn.Linear(config.width, config.output)
        self.intermediate = IntermediateLayer(config.width, config.output) if config.intermediate_layer else None
        self.ctc = nn.Linear(config.width, config.units)

    def embed(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the first layer reads: frames (B, T, C), 1 where they are real (B, T, 1), the attention mask (B, 1, 1, T)."""
        T = features.shape[1]
        inside = torch.arange(T, device=features.device) < lengths[:, None]
        mask, real = inside[:, None, None, :], inside[..., None].to(features.dtype)
        x = self.input(features)
        return (x + sinusoids(T, x.shape[-1], x.device).to(x.dtype)) * real, real, mask

    def frames(self, features: Tensor, lengths: Tensor, depth: int) -> Tensor:
        """The frames of layer `depth`, counted from 1, (B, T, C)."""
        x, real, mask = self.embed(features, lengths)
        for layer in self.layers[:depth]:
            x = layer(x, real, mask)
        return x

    def intermediate_frames(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, C) of the layer that `intermediate` reads."""
        return self.frames(features, lengths, self.config.intermediate_layer)

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        x, real, mask = self.embed(features, lengths)
        middle, intermediate = None, 0.0
        for depth, layer in enumerate(self.layers):
            if not self.training or torch.rand(()).item() >= self.config.drop_layer * depth / len(self.layers):
                x = layer(x, real, mask)
            if self.training and depth == len(self.layers) // 2 - 1:
                middle = self.ctc(x).float().log_softmax(-1)
            if depth == self.config.intermediate_layer - 1:
                intermediate = self.intermediate(x)
        return EncoderOutput(self.output(x) + intermediate, lengths, self.ctc(x).float().log_softmax(-1), middle)
