"""Layers that are computed again in the backward pass, in place of keeping their activations (arXiv 1604.06174).

In: the modules that a stage trains. Of each of their layers what it reads is kept, and nothing that it makes of it. Outside training, and
where no gradient is wanted, a layer is called as ever.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def layers_of(modules: nn.Module) -> list[nn.Module]:
    """What stands in lists of the name `layers`, but for layers within layers."""
    found: dict[str, nn.Module] = {}
    for name, module in modules.named_modules():
        if name.rpartition(".")[2] == "layers" and not any(name.startswith(f"{outer}.") for outer in found):
            found |= {f"{name}.{own}": layer for own, layer in module.named_children()}
    return list(found.values())


def checkpoint_layers(layers: Iterable[nn.Module]) -> None:
    """Has layers computed again. Their `forward` is replaced and not the layers, so that parameters keep their names."""
    for layer in layers:
        layer.forward = partial(forward_checkpointed, layer, layer.forward)


def forward_checkpointed(layer: nn.Module, forward: Callable[..., Tensor], *inputs: object) -> Tensor:
    if not (layer.training and torch.is_grad_enabled()):
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), without_statistics(layer)))


@contextmanager
def without_statistics(layer: nn.Module) -> Iterator[None]:
    """BatchNorm has counted the batch when it was computed first."""
    norms = [module for module in layer.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked -= 1
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
