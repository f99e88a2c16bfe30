"""The encoder that begins with a published Whisper's weights (arXiv 2212.04356); model/encoder.py says what it gives.

Whisper's own network: two convolutions, of which the second halves the rate to 50 frames a second, sinusoidal positions, and transformer
layers. Unlike Whisper's own code it needs no padding to 30 s, and masks what is padded in a batch. Behind its last layer stand two
convolutions, of which the first halves the rate to 25 frames a second: the CTC head and the GPT read these. Beside them the GPT hears
some layers below the last, by which sounds and emotions are told apart best.

B batch, T frames of 40 ms, F features a frame, C encoder width, K heard layers, D GPT width, U CTC units.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.errors import LauraError
from lauragpt.model.attention import attend
from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.published import damaged, read_published_config, read_published_tensors


@dataclass(frozen=True)
class WhisperConfig:
    kind: str = "whisper"
    input: int = 320  # features a frame: four spectra of 10 ms
    bins: int = 80
    width: int = 512
    layers: int = 6
    heads: int = 8
    ffn: int = 2048
    output: int = 256  # the GPT's width
    units: int = 33  # of the CTC head
    drop_layer: float = 0.0  # stochastic depth of the last layer; it grows linearly from 0 at the first
    heard: tuple[int, ...] = (2, 4)  # the layers, from 1, that the GPT hears beside the last


def positions(length: int, width: int, device: torch.device) -> Tensor:
    """(length, width): Whisper's sines, then cosines, of wavelengths from 2 pi to 20,000 pi."""
    rate = torch.exp(torch.arange(width // 2, device=device) * (-math.log(10000.0) / (width // 2 - 1)))
    at = torch.arange(length, device=device)[:, None] * rate
    return torch.cat([at.sin(), at.cos()], -1)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k_proj, self.v_proj = nn.Linear(width, width, bias=False), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (p(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))


class WhisperLayer(nn.Module):
    """Its parts are named as in transformers."""

    def __init__(self, width: int, heads: int, ffn: int):
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = SelfAttention(width, heads), nn.LayerNorm(width)
        self.fc1, self.fc2, self.final_layer_norm = nn.Linear(width, ffn), nn.Linear(ffn, width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, S, C); mask: bool (B, 1, 1, S), True where a frame is real."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class HeardLayers(nn.Module):
    """Frames of some layers, two side by side, at the GPT's width.

    Each channel of a layer is standardised first by the mean and deviation that `measure` finds: a few channels are a hundred times as
    large as the others and say little.
    """

    def __init__(self, layers: int, width: int, output: int):
        super().__init__()
        self.linear = nn.Linear(2 * layers * width, output, bias=False)
        nn.init.normal_(self.linear.weight, std=0.005)
        self.register_buffer("mean", torch.zeros(layers, width))
        self.register_buffer("deviation", torch.zeros(layers, width))  # 0 until it is measured

    def measure(self, frames: Tensor) -> None:
        """frames (n, K, C), from many recordings."""
        self.mean.copy_(frames.mean(0))
        self.deviation.copy_(frames.std(0))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 2 T, K, C) -> (B, T, D)"""
        scaled = (frames - self.mean) / torch.where(self.deviation > 0, self.deviation, 1.0)
        return self.linear(scaled.unflatten(1, (-1, 2)).flatten(2))


class Whisper(nn.Module):
    def __init__(self, config: WhisperConfig):
        super().__init__()
        width = config.width
        self.config = config
        self.conv1, self.conv2 = nn.Conv1d(config.bins, width, 3, padding=1), nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(WhisperLayer(width, config.heads, config.ffn) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(width)
        self.down, self.second = nn.Conv1d(width, width, 3, stride=2, padding=1), nn.Conv1d(width, width, 3, padding=1)
        self.head_norm = nn.LayerNorm(width)
        self.output, self.ctc = nn.Linear(width, config.output), nn.Linear(width, config.units)
        self.intermediate = HeardLayers(len(config.heard), width, config.output) if config.heard else None

    @property
    def published(self) -> list[nn.Parameter]:
        """The parameters that a published checkpoint fills."""
        modules = (self.conv1, self.conv2, self.layers, self.layer_norm)
        return [parameter for module in modules for parameter in module.parameters()]

    def freeze(self, depth: int) -> dict[str, Tensor]:
        """Keeps the convolutions and the first `depth` layers from being trained, and returns their tensors. LauraError where there are
        not so many layers."""
        if depth > len(self.layers):
            raise LauraError(f"frozen_layers is {depth}, and the encoder has {len(self.layers)} layers: give at most so many")
        frozen = nn.ModuleList([self.conv1, self.conv2, *self.layers[:depth]])
        frozen.requires_grad_(False)
        return frozen.state_dict()

    def embed(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the first layer reads: frames (B, 2 T, C), and where they are real (B, 2 T)."""
        T = features.shape[1]
        inside = torch.arange(T, device=features.device) < lengths[:, None]
        spectra, real = (features * inside[..., None]).unflatten(2, (-1, self.config.bins)).flatten(1, 2), inside.repeat_interleave(4, 1)
        x = F.gelu(self.conv1(spectra.transpose(1, 2))) * real[:, None]
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        return x + positions(x.shape[1], x.shape[2], x.device).to(x.dtype), inside.repeat_interleave(2, 1)

    def layer_frames(self, x: Tensor, real: Tensor, first: int, last: int) -> list[Tensor]:
        """Of each of the layers `first` to `last`, counted from 1, (B, 2 T, C). x: the frames of the layer before."""
        mask, frames = real[:, None, None], []
        for depth in range(first, last + 1):
            chance = self.config.drop_layer * (depth - 1) / len(self.layers)
            if not self.training or torch.rand(()).item() >= chance:
                x = self.layers[depth - 1](x, mask)
            frames.append(x)
        return frames

    def frames(self, features: Tensor, lengths: Tensor, depth: int) -> Tensor:
        """The frames of layer `depth`, counted from 1, two side by side (B, T, 2 C)."""
        return self.layer_frames(*self.embed(features, lengths), 1, depth)[-1].unflatten(1, (-1, 2)).flatten(2)

    def intermediate_frames(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, 2 T, K, C)"""
        frames = self.layer_frames(*self.embed(features, lengths), 1, max(self.config.heard))
        return torch.stack([frames[depth - 1] for depth in self.config.heard], 2)

    def head(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The last layer's frames (B, 2 T, C) -> what the CTC head and the GPT read (B, T, C)."""
        T = x.shape[1] // 2
        real = (torch.arange(T, device=x.device) < lengths[:, None])[:, None]
        x = F.gelu(self.down((self.layer_norm(x) * real.repeat_interleave(2, 2).transpose(1, 2)).transpose(1, 2))) * real
        return self.head_norm(F.gelu(self.second(x)).transpose(1, 2))

    def below(self, features: Tensor, lengths: Tensor, depth: int) -> Tensor:
        """The first `depth` layers: the frames (B, 2 T, n, C) of those that `layers_below` names."""
        frames = self.layer_frames(*self.embed(features, lengths), 1, depth)
        return torch.stack([frames[at - 1] for at in self.layers_below(depth)], 2)

    def layers_below(self, depth: int) -> list[int]:
        """Of the first `depth` layers those that are heard, and the last."""
        return sorted({*(at for at in self.config.heard if at <= depth), depth})

    def above(self, below: Tensor, lengths: Tensor, depth: int) -> EncoderOutput:
        """What `below` gave of the first `depth` layers through all others."""
        real = torch.arange(below.shape[1], device=below.device) < 2 * lengths[:, None]
        frames = dict(zip(self.layers_below(depth), below.unbind(2), strict=True))
        later = self.layer_frames(frames[depth], real, depth + 1, len(self.layers))
        frames |= dict(enumerate(later, depth + 1))
        x = self.head(frames[len(self.layers)], lengths)
        embeddings = self.output(x)
        if self.intermediate is not None:
            embeddings = embeddings + self.intermediate(torch.stack([frames[at] for at in self.config.heard], 2))
        return EncoderOutput(embeddings, lengths, self.ctc(x).float().log_softmax(-1))

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        return self.above(self.below(features, lengths, len(self.layers)), lengths, len(self.layers))


def whisper_sizes(folder: Path, config: WhisperConfig) -> WhisperConfig:
    """The configuration with the sizes of a published Whisper; the layers that are heard lie as deep, by their share. LauraError where the
    folder holds another model."""
    theirs = read_published_config(folder, ("whisper",), "the encoder")
    try:
        layers, bins = theirs["encoder_layers"], theirs["num_mel_bins"]
        return replace(
            config, width=theirs["d_model"], layers=layers, heads=theirs["encoder_attention_heads"], ffn=theirs["encoder_ffn_dim"],
            bins=bins, input=config.input // config.bins * bins,
            heard=tuple(max(1, depth * layers // config.layers) for depth in config.heard),
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise damaged(folder, error) from None


def begin_with_whisper(encoder: Whisper, folder: Path) -> None:
    """Fills the encoder, which is of the sizes that `whisper_sizes` gave, with a published Whisper's weights; the rest stays as it is.
    LauraError where tensors are missing or do not fit, before anything is changed."""
    published = ("conv1.", "conv2.", "layers.", "layer_norm.")  # its positions follow a formula
    own = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items() if name.startswith(published)}
    read_published_tensors(folder, own)
