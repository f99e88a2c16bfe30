"""The encoder, of any kind, behind one interface: stacked log-mel frames (B, T, F) -> frames at the GPT's width (B, T, D) and CTC
log-probabilities (B, T, U), masked so that padding and batch never change an output.

    conformer   model/conformer.py: trained from nothing, as in the paper
    whisper     model/whisper.py: begins with the weights of a published Whisper
    codes       model/discrete.py: no encoder but the codec's codes, to compare with; U is 0
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass
class EncoderOutput:
    embeddings: Tensor  # (B, T, D) for the GPT
    lengths: Tensor  # (B,) frames
    ctc_log_probs: Tensor  # (B, T, U)
    middle_log_probs: Tensor | None = None  # (B, T, U) of the middle layer, in training (intermediate CTC, arXiv 2102.03216)


class Encoder(Protocol):
    layers: nn.ModuleList
    output: nn.Linear | None  # to the GPT's width
    ctc: nn.Linear | None  # to the units
    intermediate: nn.Module | None  # what the GPT hears of layers below the last, standardised: `mean`, `deviation` (0 until measured)

    def __call__(self, features: Tensor, lengths: Tensor) -> EncoderOutput: ...

    def frames(self, features: Tensor, lengths: Tensor, depth: int) -> Tensor:
        """The frames of layer `depth`, counted from 1, (B, T, C)."""
        ...

    def intermediate_frames(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What `intermediate` reads (B, T', ...)."""
        ...
