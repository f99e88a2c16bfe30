"""The paper's codec network: SEANet convolutions with a two-layer LSTM (EnCodec, arXiv 2210.13438), weight norm, causal.

encoder: waveform (B, N) -> latents (B, T, D), T = N / hop; decoder: (B, T, D) -> waveform (B, T * hop).
All padding is zeros on the left, so that a frame never sees what comes after it: a clip has the same codes alone, padded in
a batch, or streamed.

B batch, N samples, T frames, C channels, D latent width.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lauragpt.streaming import windowed


@dataclass(frozen=True)
class SEANetConfig:
    filters: int = 32  # channels at 16 kHz; doubled at each stride
    kernel: int = 7  # of the first and the last convolution
    residual_kernel: int = 3
    residual_layers: int = 1
    lstm_layers: int = 2


class CausalConv(nn.Module):
    """(B, C, N) -> (B, C', N / stride): zeros on the left only."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.stride, self.left = stride, (kernel - 1) * dilation - (stride - 1)
        self.convolution = weight_norm(nn.Conv1d(in_channels, out_channels, kernel, stride, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.pad(x, (self.left, 0)))


class CausalUpsample(nn.Module):
    """(B, C, T) -> (B, C', T * stride): a transposed convolution two strides wide, its tail cut off."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.convolution = weight_norm(nn.ConvTranspose1d(in_channels, out_channels, 2 * stride, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)[..., : x.shape[-1] * self.stride]


class ResidualLayer(nn.Module):
    def __init__(self, channels: int, kernel: int, dilation: int):
        super().__init__()
        hidden = max(channels // 2, 1)
        self.layers = nn.Sequential(
            nn.ELU(), CausalConv(channels, hidden, kernel, dilation=dilation), nn.ELU(), CausalConv(hidden, channels, 1)
        )
        self.shortcut = CausalConv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.layers(x)


class SkipLSTM(nn.Module):
    """(B, C, T) -> (B, C, T), with a shortcut around it."""

    def __init__(self, channels: int, layers: int):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.lstm(x.transpose(1, 2))[0].transpose(1, 2)

    def stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces (n, C) -> pieces (n, C): the state is carried from one to the next."""
        state = None
        for x in pieces:
            with torch.no_grad():
                y, state = self.lstm(x[None], state)
            yield x + y[0]


def stream_layers(layers: nn.Sequential, pieces: Iterable[Tensor], frame: int = 1, out: int = 1) -> Iterator[Tensor]:
    """Pieces (n, C) -> (m, C'). frame, out: positions a latent frame in what goes in and in what comes out. Before and after the LSTM the
    context is finite and lies in the past."""

    def part(chosen: nn.Sequential, pieces: Iterable[Tensor], frame: int, out: int) -> Iterator[Tensor]:
        @torch.no_grad()
        def run(x: Tensor) -> Tensor:
            return chosen(F.pad(x.transpose(1, 2), (0, -x.shape[1] % frame))).transpose(1, 2)

        return windowed(run, pieces, (math.ceil(reach(chosen, frame)), 0), frame, out, torch.cat)

    at = next((i for i, layer in enumerate(layers) if isinstance(layer, SkipLSTM)), None)
    if at is None:
        return part(layers, pieces, frame, out)
    return part(layers[at + 1 :], layers[at].stream(part(layers[:at], pieces, frame, 1)), 1, out)


def reach(layers: Iterable[nn.Module], rate: float) -> float:
    """How far into the past the layers see, in frames; `rate`: positions a frame in what goes in."""
    total = 0.0
    for layer in layers:
        if isinstance(layer, CausalUpsample):
            total += 2 / rate  # a position is made of its own and of the one before
            rate *= layer.stride
        elif isinstance(layer, CausalConv):
            total += layer.left / rate
            rate /= layer.stride
        elif isinstance(layer, ResidualLayer):
            total += reach(layer.layers, rate)
    return total


class SEANetEncoder(nn.Module):
    """wave (B, T * hop) -> latents (B, T, D). `strides` in the decoder's order, as papers list them."""

    def __init__(self, config: SEANetConfig, strides: tuple[int, ...], dim: int):
        super().__init__()
        self.hop = math.prod(strides)
        channels = config.filters
        layers: list[nn.Module] = [CausalConv(1, channels, config.kernel)]
        for stride in reversed(strides):
            layers += [ResidualLayer(channels, config.residual_kernel, 2**i) for i in range(config.residual_layers)]
            layers += [nn.ELU(), CausalConv(channels, 2 * channels, 2 * stride, stride)]
            channels *= 2
        if config.lstm_layers:
            layers.append(SkipLSTM(channels, config.lstm_layers))
        self.layers = nn.Sequential(*layers, nn.ELU(), CausalConv(channels, dim, config.kernel))

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`lengths` changes nothing: a causal network cannot see the padding behind a row's own frames."""
        return self.layers(wave[:, None]).transpose(1, 2)

    def stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of a wave (n,) -> pieces of its latents (m, D)."""
        return stream_layers(self.layers, (piece[:, None] for piece in pieces), frame=self.hop)


class SEANetDecoder(nn.Module):
    """latents (B, T, D) -> wave (B, T * hop)."""

    def __init__(self, config: SEANetConfig, strides: tuple[int, ...], dim: int):
        super().__init__()
        self.hop = math.prod(strides)
        channels = config.filters * 2 ** len(strides)
        layers: list[nn.Module] = [CausalConv(dim, channels, config.kernel)]
        if config.lstm_layers:
            layers.append(SkipLSTM(channels, config.lstm_layers))
        for stride in strides:
            layers += [nn.ELU(), CausalUpsample(channels, channels // 2, stride)]
            channels //= 2
            layers += [ResidualLayer(channels, config.residual_kernel, 2**i) for i in range(config.residual_layers)]
        self.layers = nn.Sequential(*layers, nn.ELU(), CausalConv(channels, 1, config.kernel))

    def forward(self, latents: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.layers(latents.transpose(1, 2))[:, 0].float()

    def stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of latents (n, D) -> pieces of the wave (n * hop,)."""
        return (piece[:, 0].float() for piece in stream_layers(self.layers, pieces, out=self.hop))
