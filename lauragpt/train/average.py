"""The moving average of a stage's weights, which does better than the last weights where the rate has not yet fallen."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lauragpt.train.pieces import held


class Average:
    """Of all that changes: parameters that are trained, and buffers of floats. At the beginning it forgets faster, so that the first
    weights, which know nothing, do not count for long."""

    def __init__(self, modules: nn.ModuleDict, decay: float):
        self.modules, self.decay = modules, decay
        self.tensors = {name: tensor.clone() for name, tensor in self._live().items()}

    def _live(self) -> dict[str, Tensor]:
        every = self.modules.state_dict(keep_vars=True)
        kept = {k: v for k, v in every.items() if v.is_floating_point() and (v.requires_grad or not isinstance(v, nn.Parameter))}
        return {name: tensor.detach() for name, tensor in kept.items()}

    def update(self, step: int) -> None:
        """Behind step number `step`, from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        live = self._live()
        own = [held(tensor) for tensor in self.tensors.values()]
        torch._foreach_lerp_(own, [held(live[name]) for name in self.tensors], 1 - decay)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The modules have the averaged weights here, and their own behind it."""
        own = {name: tensor.clone() for name, tensor in self._live().items()}
        self.settle()
        try:
            yield
        finally:
            for name, tensor in self._live().items():
                tensor.copy_(own[name])

    def settle(self) -> None:
        """The modules have the averaged weights from here on."""
        for name, tensor in self._live().items():
            tensor.copy_(self.tensors[name])
