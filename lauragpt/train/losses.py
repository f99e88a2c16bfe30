"""Losses that several stages share: CTC over both heads of the encoder, and how much each output token counts."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.lauragpt import to_device
from lauragpt.sequence import Layout


def ctc_loss(output: EncoderOutput, rows: Sequence[int], units: Sequence[Sequence[int]], middle_weight: float) -> Tensor:
    """Mean CTC loss a unit over those rows of the batch whose units are given; the middle layer's (arXiv 2102.03216) counts
    `middle_weight`."""
    device = output.lengths.device
    targets, counts = torch.tensor([unit for text in units for unit in text]), torch.tensor([len(text) for text in units])
    lengths, loss = output.lengths.cpu()[list(rows)], torch.zeros((), device=device)
    rows = to_device(np.array(rows), device)
    for log_probs, weight in ((output.ctc_log_probs, 1.0), (output.middle_log_probs, middle_weight)):
        if log_probs is not None:
            chosen = log_probs[rows].transpose(0, 1)
            chosen = chosen if device.type == "cuda" else chosen.cpu()  # others lack the operation
            each = nn.functional.ctc_loss(chosen, targets.to(chosen.device), lengths, counts, reduction="none", zero_infinity=True)
            loss = loss + weight * each.sum().to(device) / counts.clamp(min=1).sum()
    return loss


def ctc_size(units: Iterable[Sequence[int]]) -> int:
    """What `ctc_loss` is a mean over."""
    return sum(max(1, len(text)) for text in units)


def sequence_shares(layouts: Sequence[Layout], sequence_weights: Sequence[float] | None = None) -> list[float]:
    """How much each sequence counts in the loss: of n tokens, the root of n times its weight."""
    weights = sequence_weights or [1.0] * len(layouts)
    return [weight * sum(row.targets) ** 0.5 for weight, row in zip(weights, layouts, strict=True)]


def token_weights(layouts: Sequence[Layout], sequence_weights: Sequence[float] | None = None) -> list[float]:
    """What each output token counts in the loss, together 1. A sequence of n tokens counts as the root of n times its weight, so that a
    second of sound, 25 tokens, does not drown an emotion, of whose few tokens one says which it is."""
    counts = [sum(layout.targets) for layout in layouts]
    weights = sequence_shares(layouts, sequence_weights)
    return [weight / sum(weights) / count for weight, count in zip(weights, counts, strict=True) for _ in range(count)]


def means_by_name(losses: Tensor, layouts: Sequence[Layout], names: Sequence[str]) -> dict[str, Tensor]:
    """The mean loss of the sequences of each name, of a sequence that of its tokens; `losses` of all tokens (n,)."""
    kinds, counts = list(dict.fromkeys(names)), [sum(layout.targets) for layout in layouts]
    if not kinds:
        return {}
    share = np.repeat([1 / (count * names.count(name)) for name, count in zip(names, counts, strict=True)], counts)
    kind = np.repeat([kinds.index(name) for name in names], counts)
    device = losses.device
    weighted = losses.detach() * to_device(share.astype(np.float32), device)
    means = torch.zeros(len(kinds), device=device).index_add(0, to_device(kind, device), weighted)
    return dict(zip(kinds, means.unbind(), strict=True))
