"""Finite scalar quantization (arXiv 2309.15505): a few numbers a frame, each rounded to one of its levels, together are a code.

No codebook is learnt, so none collapses. In: numbers (..., G), unbounded. `levels` says how many steps each of the G has.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def rounded(numbers: Tensor, levels: Sequence[int]) -> Tensor:
    """(..., G) -> (..., G): the level of each number, counted from the middle. The gradient passes the rounding as if there were none."""
    values = _bounded(numbers, levels)
    return values + (values.round() - values).detach()


def code_of(numbers: Tensor, levels: Sequence[int]) -> Tensor:
    """(..., G) -> codes (...,) int64, 0 to the product of the levels - 1."""
    steps = _bounded(numbers, levels).round().long() + torch.tensor([level // 2 for level in levels], device=numbers.device)
    weights = torch.tensor([math.prod(levels[at + 1 :]) for at in range(len(levels))], device=numbers.device)
    return (steps * weights).sum(-1)


def _bounded(numbers: Tensor, levels: Sequence[int]) -> Tensor:
    """Between -level / 2 and level / 2 - 1 of an even number of levels, and symmetric of an odd one; 0 stays 0."""
    count = torch.tensor(levels, dtype=numbers.dtype, device=numbers.device)
    half, offset = (count - 1) * 0.5005, (count % 2 == 0) * 0.5  # a little more than half, so that the outermost levels are reached
    return (numbers + (offset / half).atanh()).tanh() * half - offset
