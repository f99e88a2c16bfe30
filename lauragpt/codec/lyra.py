"""The networks of Lyra v2, which is SoundStream (arXiv 2107.03312) made small: causal convolutions, 16 kHz, 50 vectors a second.

encoder: waveform (B, N) -> vectors (B, T, D), T = ceil(N / 320); decoder: vectors (B, T, D) -> waveform (B, T * 320). Several vectors may
stand side by side as one frame: the codec's frames are two of them. `lauragpt/codec/lyra_tflite.py` reads the published weights. The
networks can be trained further, or from nothing.

A whole recording and a stream take the same way: a network is given a state and returns the next one, and a recording begins with zeros.
The state is a list of tensors, one for each layer that needs the past, in the order in which these layers run.

B batch, N samples, T frames, D width of a vector, C channels, n positions.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = list[Tensor]
FAR = 60000.0  # no limit: more than any value, and still a number in 16 bits


@dataclass(frozen=True)
class LyraConfig:
    """Its defaults are the sizes of the published weights."""

    channels: int = 64  # after the first convolution; doubled at each stride
    strides: tuple[int, ...] = (16, 5, 2, 2)  # in the encoder's order; their product is the hop
    dilations: tuple[int, ...] = (1, 3, 9)  # of a stage's residual units
    dim: int = 64
    stack: int = 1  # vectors that stand side by side as one frame

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self.stack * math.prod(self.strides)

    @property
    def stages(self) -> list[tuple[int, int, int]]:
        """(channels at the finer rate, stride, groups) of each stage, in the encoder's order: groups are as wide as the first stage."""
        return [(self.channels * 2**i, stride, 2**i) for i, stride in enumerate(self.strides[1:])]


class Limit(nn.Module):
    """Keeps values in a range. The published networks compute partly in 8 bits and were trained so. What exceeds a layer's range is cut
    off there, and without that loud speech comes out far too loud. A network from nothing has no limits."""

    def __init__(self):
        super().__init__()
        self.register_buffer("range", torch.tensor([-FAR, FAR]))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.range[0], self.range[1])


class Activation(Limit):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.leaky_relu(x, 0.3))


class CausalConv(nn.Conv1d):
    """(B, C, n) -> (B, C', n / stride). Its state is the end of what it was given."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1, bias: bool = True):
        super().__init__(channels, out, kernel, stride, dilation=dilation, groups=groups, bias=bias)
        self.past = (channels, (kernel - 1) * dilation + 1 - stride)

    def forward(self, x: Tensor, state: State) -> Tensor:
        x = torch.cat([state.pop(0), x], dim=2)
        state.append(x[..., x.shape[2] - self.past[1] :])
        return super().forward(x)


class CausalUpsample(nn.ConvTranspose1d):
    """(B, C, n) -> (B, C', n * stride). Its state is what lies beyond the end, to which the next positions add."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1):
        super().__init__(channels, out, kernel, stride, groups=groups)
        self.past = (out, kernel - stride)

    def forward(self, x: Tensor, state: State) -> Tensor:
        end = x.shape[2] * self.stride[0]
        y = F.conv_transpose1d(x, self.weight, None, self.stride, groups=self.groups) + F.pad(state.pop(0), (0, end))
        state.append(y[..., end:])
        return y[..., :end] + self.bias[:, None]


class ResidualUnit(nn.Module):
    """(B, C, n) -> (B, C, n)."""

    def __init__(self, channels: int, dilation: int, groups: int):
        super().__init__()
        self.first_activation = Activation()
        self.depthwise = CausalConv(channels, channels, 3, dilation=dilation, groups=channels, bias=False)
        self.pointwise = nn.Conv1d(channels, channels, 1)
        self.second_activation = Activation()
        self.output = nn.Conv1d(channels, channels, 1, groups=groups)

    def forward(self, x: Tensor, state: State) -> Tensor:
        y = self.pointwise(self.depthwise(self.first_activation(x), state))
        return x + self.output(self.second_activation(y))


class Downsampling(nn.Module):
    """A stage of the encoder: (B, C, n) -> (B, 2 C, n / stride)."""

    def __init__(self, channels: int, stride: int, groups: int, dilations: tuple[int, ...]):
        super().__init__()
        self.units = nn.ModuleList(ResidualUnit(channels, dilation, groups) for dilation in dilations)
        self.activation = Activation()
        self.convolution = CausalConv(channels, 2 * channels, 2 * stride, stride, groups=groups)

    def forward(self, x: Tensor, state: State) -> Tensor:
        for unit in self.units:
            x = unit(x, state)
        return self.convolution(self.activation(x), state)


class Upsampling(nn.Module):
    """A stage of the decoder: (B, 2 C, n) -> (B, C, n * stride)."""

    def __init__(self, channels: int, stride: int, groups: int, dilations: tuple[int, ...]):
        super().__init__()
        self.activation = Activation()
        self.convolution = CausalUpsample(2 * channels, channels, 2 * stride, stride, groups)
        self.units = nn.ModuleList(ResidualUnit(channels, dilation, groups) for dilation in dilations)

    def forward(self, x: Tensor, state: State) -> Tensor:
        x = self.convolution(self.activation(x), state)
        for unit in self.units:
            x = unit(x, state)
        return x


class LyraNetwork(nn.Module, ABC):
    """What both networks share. `frame`: how many positions of what goes in make a frame; `inner`: and of what the first layer reads.
    `stack`: vectors a frame."""

    frame: int
    inner: int
    stack: int
    input: nn.Module
    stages: nn.ModuleList
    activation: Activation
    output: nn.Module
    limit: Limit

    def start(self, batch: int = 1) -> State:
        """The state before anything was given."""
        weight = self.input.weight
        return [weight.new_zeros(batch, *layer.past) for layer in self.modules() if isinstance(layer, CausalConv | CausalUpsample)]

    @property
    def context(self) -> tuple[int, int]:
        """How many frames before a frame, and how many after it, its result depends on."""
        share, reach = 1 / self.inner, 0.0  # what a position is of a frame; frames
        for layer in self.modules():
            if isinstance(layer, CausalConv):
                reach += layer.past[1] * share
                share *= layer.stride[0]
            elif isinstance(layer, CausalUpsample):
                reach += math.ceil(layer.past[1] / layer.stride[0]) * share
                share /= layer.stride[0]
        return math.ceil(reach), 0

    def layers(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, C, n) -> (B, C', m), and the state after it."""
        state = list(state)  # each layer takes its own tensor from the front and puts the next one at the end
        x = self.input(x, state)
        for stage in self.stages:
            x = stage(x, state)
        return self.limit(self.output(self.activation(x), state)), state

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The next frames and the state before them -> their result and the state after them."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`lengths` changes nothing: a causal network cannot see the padding behind a row's own frames."""
        return self.step(x, self.start(len(x)))[0]

    def stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of one row, of any size -> pieces of what `forward` gives, each frame as soon as it is complete."""
        state, rest = self.start(), None
        for piece in pieces:
            rest = piece if rest is None else torch.cat([rest, piece])
            ready = len(rest) // self.frame * self.frame
            if ready:
                y, state = self._silently(rest[:ready], state)
                rest = rest[ready:]
                yield y
        if rest is not None and len(rest):
            yield self._silently(rest, state)[0]

    @torch.no_grad()
    def _silently(self, row: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.step(row[None], state)
        return y[0], state


class LyraEncoder(LyraNetwork):
    """wave (B, N) -> vectors (B, T, D). A last frame that is not complete is filled up with zeros."""

    def __init__(self, config: LyraConfig = LyraConfig()):
        super().__init__()
        self.frame, self.inner, self.stack, first = config.hop, config.hop, config.stack, config.strides[0]
        self.input = CausalConv(1, config.channels, 4 * first, first)
        self.stages = nn.ModuleList(Downsampling(*stage, config.dilations) for stage in config.stages)
        channels, _, groups = config.stages[-1]
        self.activation = Activation()
        self.output = CausalConv(2 * channels, config.dim, 3, groups=groups)
        self.limit = Limit()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        vectors, state = self.layers(F.pad(x, (0, -x.shape[1] % self.frame))[:, None], state)
        return vectors.transpose(1, 2).unflatten(1, (-1, self.stack)).flatten(2), state


class LyraDecoder(LyraNetwork):
    """vectors (B, T, D) -> wave (B, T * hop)."""

    def __init__(self, config: LyraConfig = LyraConfig()):
        super().__init__()
        self.frame, self.inner, self.stack, first = 1, config.stack, config.stack, config.strides[0]
        channels, _, groups = config.stages[-1]
        self.input = CausalConv(config.dim, 2 * channels, 3, groups=groups)
        self.stages = nn.ModuleList(Upsampling(*stage, config.dilations) for stage in reversed(config.stages))
        self.activation = Activation()
        self.output = CausalUpsample(config.channels, 1, 4 * first, first)
        self.limit = Limit()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        wave, state = self.layers(x.unflatten(2, (self.stack, -1)).flatten(1, 2).transpose(1, 2), state)
        return wave[:, 0], state
