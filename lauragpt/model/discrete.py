"""Discrete input, to compare with an encoder's frames: the GPT reads a recording as the codec's codes (the paper's "Discrete IO").

    waves (B, N) -> codec -> codes of its first K quantizers, one behind the other (B, K T) -> a table of their own -> (B, K T, D)

There is no encoder between, and so no CTC head: no draft, no times of letters, no embedded posteriors.

B batch, N samples, K quantizers, T frames of 40 ms, V codes a quantizer, D the GPT's width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from lauragpt.codec import Codec
from lauragpt.errors import LauraError
from lauragpt.features import FeatureConfig
from lauragpt.model.encoder import EncoderOutput

if TYPE_CHECKING:
    from lauragpt.model.lauragpt import LauraConfig


@dataclass(frozen=True)
class CodesConfig:
    kind: str = "codes"
    quantizers: int = 4  # K
    size: int = 1024  # V
    output: int = 256  # the GPT's width
    units: ClassVar[int] = 33  # letters, in which the data are still spelled, though no CTC head tells them

    @property
    def width(self) -> int:
        return self.output

    @property
    def features(self) -> FeatureConfig:
        """What stands in the place of log-mel features."""
        return FeatureConfig(kind="codes", bins=1, stack=self.quantizers)


def check_codes(config: "LauraConfig") -> None:
    """LauraError where a model that reads codes is to have what it cannot."""
    if not 1 <= (count := config.encoder.quantizers) <= (most := config.codec.quantizer.n_quantizers):
        raise LauraError(f"model.encoder.quantizers is {count}, and the codec has {most}: give 1 to {most}")
    if config.posteriors or config.time_aligned:
        raise LauraError("model: codes have no CTC head, of which posteriors and time_aligned make use: set both to false")


class Codes:
    """Waves (B, N), (B,) -> what `CodeEmbedding` reads (B, K T): of each frame its K codes, all counted through; and how many (B,).

    It is no module, since the codec is a part of the model already."""

    def __init__(self, config: FeatureConfig, codec: Codec):
        self.config, self.codec = config, codec

    def lengths(self, samples: Tensor) -> Tensor:
        """How many codes, K a frame, so many samples make: (B,) -> (B,)."""
        return self.config.stack * -(-samples // self.codec.config.hop)

    def __call__(self, waves: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(waves.device.type, enabled=False):
            codes = self.codec.eval().encode(waves, samples, self.config.stack)  # (B, K, T)
        first = self.codec.config.quantizer.codebook_size * torch.arange(self.config.stack, device=codes.device)
        lengths = self.lengths(samples)
        return (codes + first[:, None]).transpose(1, 2).flatten(1)[:, : int(lengths.max())], lengths


class CodeEmbedding(nn.Module):
    """A table of all codes in the place of an encoder (model/encoder.py), of which there are no layers."""

    intermediate = output = ctc = None

    def __init__(self, config: CodesConfig):
        super().__init__()
        self.config, self.layers = config, nn.ModuleList()
        self.table = nn.Embedding(config.quantizers * config.size, config.output)
        nn.init.normal_(self.table.weight, std=0.02)  # as small as the embeddings of the tokens that the GPT reads behind them

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        """Codes (B, K T), as `Codes` counts them, of which `lengths` (B,) are real -> their rows of the table (B, K T, D), and no letters
        (B, K T, 0)."""
        embeddings = self.table(features)
        return EncoderOutput(embeddings, lengths, embeddings.new_zeros(*features.shape, 0))
