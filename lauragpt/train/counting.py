"""How much a computation multiplies and what it keeps for the backward pass, counted on tensors that have a shape and no memory.

The networks themselves run on PyTorch's meta device, forward and backward, so that nothing is estimated from their sizes: operations are
those of all matrix products and convolutions, bytes those of all that autograd keeps. Two things differ on the device that will train, and
are done here as there: autocast, which computes matrix products in bf16 from copies of weights and inputs, and fused attention, which
keeps no matrix of positions by positions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from lauragpt.model.attention import attend_written_out
from lauragpt.train.activations import layers_of

IN_BF16 = {
    F.linear, F.conv1d, F.conv2d, F.conv_transpose1d, torch.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.bmm,
}  # of autocast's lists those operations that the networks have
IN_FLOAT32 = {
    F.softmax, F.log_softmax, F.layer_norm, F.cross_entropy, torch.softmax, torch.log_softmax, Tensor.softmax, Tensor.log_softmax,
    Tensor.exp, Tensor.pow, Tensor.log,
}  # fmt: skip


@dataclass
class Count:
    flops: float = 0.0  # forward and backward
    kept: float = 0.0  # bytes for the backward pass
    layers: list[float] = field(default_factory=list)  # of them those of each layer, whenever it is called
    inputs: list[float] = field(default_factory=list)  # bytes of what each of these reads, if it keeps anything
    again: float = 0.0  # operations of their forward pass

    @property
    def checkpointed(self) -> float:
        """Bytes where each layer keeps what it reads and computes the rest again: one layer at a time has all of its own."""
        return min(self.kept, self.kept - sum(self.layers) + sum(self.inputs) + max(self.layers, default=0.0))

    def with_layers_checkpointed(self) -> "Count":
        return replace(self, flops=self.flops + self.again, kept=self.checkpointed, layers=[], inputs=[], again=0.0)


def count(modules: nn.Module, compute: Callable[[], Tensor], bf16: bool = True, fused: bool = True) -> Count:
    """`compute` gives a loss, of modules and inputs on the meta device; gradients are those of parameters that are trained.
    `fused`: attention as GPUs have it, else as the CPU does (model/attention.py)."""
    found, own = Count(), {each.untyped_storage()._cdata for each in (*modules.parameters(), *modules.buffers())}
    kept: dict[int, Tensor] = {}  # alive until the end, as a storage's address may be given again
    inside: list[tuple[int, int]] = []  # of the layer that is at work its place in `found.layers`, and the operations before it
    counter = FlopCounterMode(display=False)

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and storage._cdata not in kept:
            kept[storage._cdata] = tensor
            found.kept += storage.nbytes()
            if inside:
                found.layers[inside[-1][0]] += storage.nbytes()
        return tensor

    def enter(layer: nn.Module, inputs: tuple) -> None:
        if torch.is_grad_enabled():
            inside.append((len(found.layers), counter.get_total_flops()))
            found.layers.append(0.0)
            found.inputs.append(0.0)

    def leave(layer: nn.Module, inputs: tuple, output: object) -> None:
        if inside:
            at, before = inside.pop()
            if found.layers[at]:  # else it is frozen, and what it reads as well: it is not computed again
                found.inputs[at] = float(inputs[0].nbytes)
                found.again += counter.get_total_flops() - before

    hooks = [hook for layer in layers_of(modules) for hook in (layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave))]
    recurrent = [module for module in modules.modules() if isinstance(module, nn.RNNBase)]  # in float32: they refuse what autocast gives
    hooks += [module.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(), *inputs[1:])) for module in recurrent]
    try:
        with counter, Device(bf16, fused):
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = compute()
            loss.backward()
    finally:
        for hook in hooks:
            hook.remove()
    modules.zero_grad(set_to_none=True)
    found.flops = float(counter.get_total_flops())
    return found


class Device(TorchFunctionMode):
    """Autocast and attention of the device that will train, which tensors without memory do not have."""

    def __init__(self, bf16: bool, fused: bool):
        super().__init__()
        self.bf16, self.fused = bf16, fused

    def __enter__(self) -> "Device":
        self.autocast, torch.autocast = torch.autocast, self.without_autocast  # which refuses the meta device
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        torch.autocast = self.autocast
        super().__exit__(*error)

    @contextmanager
    def without_autocast(self, device: str, enabled: bool = True) -> Iterator[None]:
        """In place of torch.autocast, where a network computes a part in float32."""
        before, self.bf16 = self.bf16, self.bf16 and enabled
        try:
            yield
        finally:
            self.bf16 = before

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            q, k, v = (cast(each, torch.bfloat16) if self.bf16 else each for each in args[:3])
            return FusedAttention.apply(q, k, v) if self.fused else attend_written_out(q, k, v, kwargs["attn_mask"])
        if self.bf16 and func in IN_BF16 | IN_FLOAT32:
            kind = torch.bfloat16 if func in IN_BF16 else torch.float32
            args = tuple(cast(each, kind) for each in args)
            kwargs = {name: cast(each, kind) for name, each in kwargs.items()}
        return func(*args, **kwargs)


def cast(value: object, kind: torch.dtype) -> object:
    """A tensor of floats as another kind of floats; anything else as it is."""
    floats = isinstance(value, Tensor) and value.dtype in (torch.float32, torch.bfloat16)
    return value.to(kind) if floats else value


class FusedAttention(torch.autograd.Function):
    """What fused attention keeps: q, k, v, the result and one number a position; and its six products."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        result = (q @ k.transpose(-1, -2)) @ v
        ctx.save_for_backward(q, k, v, result, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return result

    @staticmethod
    def backward(ctx, gradient: Tensor):
        q, k, v, *_ = ctx.saved_tensors
        weights = gradient @ v.transpose(-1, -2)  # the shape alone counts
        return weights @ k, weights.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ gradient
