"""Losses that several stages share: CTC over both heads of the encoder, and how much each output token counts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lauragpt.model.encoder import EncoderOutput
from lauragpt.sequence import Layout


def ctc_loss(output: EncoderOutput, rows: Sequence[int], units: Sequence[Sequence[int]], middle_weight: float) -> Tensor:
    """Mean CTC loss a unit over those rows of the batch whose units are given; the middle layer's (arXiv 2102.03216) counts
    `middle_weight`."""
    device = output.lengths.device
    targets, counts = torch.tensor([unit for text in units for unit in text]), torch.tensor([len(text) for text in units])
    rows, loss = torch.tensor(rows), torch.zeros((), device=device)
    for log_probs, weight in ((output.ctc_log_probs, 1.0), (output.middle_log_probs, middle_weight)):
        if log_probs is not None:
            each = nn.functional.ctc_loss(
                log_probs[rows].transpose(0, 1).cpu(), targets, output.lengths[rows].cpu(), counts, reduction="none", zero_infinity=True
            )
            loss = loss + weight * each.sum().to(device) / counts.clamp(min=1).sum()
    return loss


def token_weights(layouts: Sequence[Layout], sequence_weights: Sequence[float] | None = None) -> list[float]:
    """What each output token counts in the loss, together 1. A sequence of n tokens counts as the root of n times its weight, so that a
    second of sound, 25 tokens, does not drown an emotion, of whose few tokens one says which it is."""
    counts = [sum(layout.targets) for layout in layouts]
    weights = [weight * count**0.5 for weight, count in zip(sequence_weights or [1.0] * len(layouts), counts, strict=True)]
    return [weight / sum(weights) / count for weight, count in zip(weights, counts, strict=True) for _ in range(count)]
