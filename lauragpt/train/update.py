"""A step's losses -> new weights: gradients added up over batches, averaged over processes, clipped, and left out where they are wild.

The gradient of some batches, on some processes, is that of one batch as large as all of them together: each loss counts by what it is a
mean over, such as output tokens (`Stage.sizes`), among all that the step adds up.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from lauragpt.errors import LauraError
from lauragpt.train.stage import Stage

RECENT, ENOUGH = 100, 20  # steps whose gradients say what is usual, and how many of them must be there
SKIPS = 10  # steps left out one after the other, at which training ends


class Update:
    """update(optimizer's name, loss, or losses by name): behind the last batch of a step the weights change."""

    def __init__(
        self, stage: Stage, accelerator: Accelerator, learning_rate: Callable[[int], float],
        tell: Callable[[str], None] = lambda line: None, sharded: bool = False,
    ):  # fmt: skip
        """`tell`: is given a line for each step that is left out. `sharded`: the processes hold pieces of parameters and of their
        gradients, which are averaged in the backward pass (sharding.py)."""
        self.stage, self.accelerator, self.learning_rate, self.tell, self.sharded = stage, accelerator, learning_rate, tell, sharded
        self.guard, self.step, self.batch, self.count = Guard(stage.config.spike), 0, 0, 1
        self.scales: list[dict[str, float]] = [{}]

    def begin(self, step: int, batches: Sequence[Any]) -> None:
        """Before the first of the batches that make a step; `batch` is the index of the one that is at work."""
        self.step, self.batch, self.count = step, 0, len(batches)
        processes = self.accelerator.num_processes
        if self.count * processes == 1:
            self.scales = [{}]
            return
        sizes_of = getattr(self.stage, "sizes", lambda batch: {})
        sizes = [sizes_of(batch) for batch in batches]
        names = sorted(sizes[0])
        total = torch.tensor([sum(each[name] for each in sizes) for name in names], dtype=torch.float64)
        if processes > 1 and names:
            total = total.to(self.accelerator.device)
            torch.distributed.all_reduce(total)
        of = dict(zip(names, total.tolist(), strict=True))
        # The processes' gradients will be averaged: hence their number.
        self.scales = [{name: each[name] * processes / of[name] for name in names if of[name]} for each in sizes]

    def __call__(self, name: str, loss: Tensor | dict[str, Tensor]) -> None:
        optimizer = self.stage.optimizers[name]
        if self.batch == 0:
            optimizer.zero_grad(set_to_none=True)
        losses = loss if isinstance(loss, dict) else {"": loss}
        scales = self.scales[self.batch]
        scaled = [value * scales.get(key, 1 / self.count) for key, value in losses.items()] if scales or self.count > 1 else losses.values()
        self.accelerator.backward(sum(scaled))
        if self.batch < self.count - 1:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if not self.sharded:
            self._average(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.stage.config.grad_clip)
        norm = float(norm.full_tensor() if self.sharded else norm)  # of all pieces
        if wrong := self.guard.judge(name, norm):
            self.skip(name, wrong)
            return
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step) * group.get("share", 1.0)
        optimizer.step()

    def skip(self, name: str, wrong: str) -> None:
        """LauraError where too many steps were left out one after the other."""
        which = "" if len(self.stage.optimizers) == 1 else f" of its {name}"
        if self.guard.in_a_row[name] >= SKIPS:
            raise LauraError(
                f"{self.stage.name}: {SKIPS} steps{which} in a row were left out, the last, {self.step + 1}, since its gradient {wrong}: "
                "lower lr or warm up for longer, and look at the data that these steps read; --resume goes on from the last checkpoint"
            )
        self.tell(f"{self.stage.name}: step {self.step + 1}{which} is left out: its gradient {wrong} ({self.guard.skipped} so far)")

    def _average(self, parameters: list[Tensor]) -> None:
        """Gradients averaged over the processes. Done here and not by a wrapper, since a step may call a module's parts one by one."""
        if self.accelerator.num_processes > 1:
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message: each costs a millisecond, whatever its size
            torch.distributed.all_reduce(flat)
            flat /= self.accelerator.num_processes
            for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                parameter.grad = gradient.view_as(parameter)


class Guard:
    """Which gradients change nothing, by their norm: those that are not finite, or `spike` times as large as the median of the last."""

    def __init__(self, spike: float = 0.0):
        self.spike, self.skipped = spike, 0
        self.in_a_row: dict[str, int] = {}  # of an optimizer, the steps that were left out until now
        self.norms: dict[str, deque[float]] = {}  # of an optimizer, the last ones, where spikes are looked for

    def judge(self, name: str, norm: float) -> str:
        """What is wrong with a gradient, "" where nothing is."""
        recent, wrong = self.norms.setdefault(name, deque(maxlen=RECENT)), ""
        if not math.isfinite(norm):
            wrong = "is not finite"
        elif self.spike and len(recent) >= ENOUGH and norm > self.spike * median(recent):
            wrong = f"is {norm / median(recent):.0f} times as large as usual"
        elif self.spike:
            recent.append(norm)
        self.in_a_row[name] = self.in_a_row.get(name, 0) + 1 if wrong else 0
        self.skipped += bool(wrong)
        return wrong

    @property
    def skipping(self) -> bool:
        """Whether the last step was left out."""
        return any(self.in_a_row.values())

    def state(self) -> dict[str, object]:
        """To go on by, as JSON holds it."""
        norms = {"norms": {name: list(recent) for name, recent in self.norms.items()}} if self.spike else {}
        return {"skipped": self.skipped, **norms}

    def load(self, state: dict) -> None:
        self.skipped = state.get("skipped", 0)
        self.norms = {name: deque(recent, maxlen=RECENT) for name, recent in state.get("norms", {}).items()}
