"""The only training loop. A stage hands over its modules, its optimizers and one step; the loop does the rest.

For every step: rate, batch, step, log. A checkpoint is saved on a timer and at the end; dev is measured every `evaluate_every` steps and
at the end, and the weights that did best are kept beside the last ones (state.py). `--hours`, Ctrl-C and SIGTERM end it at the next step
with a valid checkpoint; whoever interrupts does not wait for a validation. A step's randomness comes from (seed, step), so going on
equals never having stopped.
"""

import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lauragpt.errors import LauraError
from lauragpt.train import state
from lauragpt.train.prefetch import batches_ahead
from lauragpt.train.stage import Stage

LOG_EVERY = 50  # steps between two lines, where the output is no terminal


def run(
    stage: Stage, folder: Path, accelerator: Accelerator, seed: int = 0, resume: bool = False, until: float | None = None,
    learning_rate: Callable[[int], float] | None = None, clock: Callable[[], float] = time.monotonic,
) -> bool:  # fmt: skip
    """Trains a stage to its last step. False when stopped before (at `until`, by `clock`) or interrupted in it. `learning_rate`: step ->
    rate, in place of the configuration's."""
    config, main = stage.config, accelerator.is_main_process
    done = step = state.load(folder, stage.modules, stage.optimizers)["step"] if resume and state.exists(folder) else 0
    if not done and main:
        state.forget_best(folder)
    update = Update(stage, accelerator, learning_rate or config.learning_rate)
    folder.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption(accelerator, until, clock))
        if config.workers and step < config.steps:
            stage.batch.prepare(config.workers)
        pin = accelerator.device.type == "cuda"
        batches = stack.enter_context(batches_ahead(stage.batch, range(step, config.steps), config.workers, pin))
        log = stack.enter_context(Log(stage, folder, done))
        stage.modules.train()
        while step < config.steps and not interruption.stops():
            asked = time.monotonic()
            batch = next(batches)
            log.waited += time.monotonic() - asked
            torch.manual_seed(seed * 1_000_003 + step)
            random.seed(seed * 1_000_003 + step)
            update.step = step
            # No cache of cast weights: all threads share it, and the one that makes the next batch would empty it at any time.
            with accelerator.autocast(AutocastKwargs(cache_enabled=False)):
                losses = stage.step(batch, step, update)
            step += 1
            log.losses(losses, step)
            if main and time.monotonic() - saved > 60 * config.save_minutes:
                state.save(folder, stage, step)
                saved = time.monotonic()
            if main and config.evaluate_every and step % config.evaluate_every == 0 and step < config.steps:
                evaluate(stage, folder, step, log)
                stage.modules.train()
        if main:
            state.save(folder, stage, step)
        interruption.stops()  # it may have been interrupted in the last step
        if main and not interruption.interrupted:
            evaluate(stage, folder, step, log)
    stage.modules.eval()
    if config.keep_best and step >= config.steps and not interruption.interrupted:
        accelerator.wait_for_everyone()
        state.load_best(folder, stage.modules)
    return step >= config.steps and not interruption.interrupted


def evaluate(stage: Stage, folder: Path, step: int, log: "Log") -> None:
    """Measures dev, and saves the weights if they are the best so far by `best_by`. LauraError where dev has no such loss."""
    stage.modules.eval()
    losses = stage.validate()
    log.dev(losses, step)
    if not stage.config.evaluate_every:
        return
    name = stage.config.best_by
    if name not in losses:
        raise LauraError(f"{stage.name}.best_by: dev has no loss {name!r}: choose from {', '.join(losses) or 'none: dev has no examples'}")
    best = state.best(folder)
    if best is None or losses[name] < best[name]:
        state.save_best(folder, stage, {"step": step, name: losses[name]})


class Update:
    """update(optimizer's name, loss): gradients, averaged over the processes and clipped, and a step of the optimizer."""

    def __init__(self, stage: Stage, accelerator: Accelerator, learning_rate: Callable[[int], float]):
        self.stage, self.accelerator, self.learning_rate, self.step = stage, accelerator, learning_rate, 0

    def __call__(self, name: str, loss: Tensor) -> None:
        optimizer = self.stage.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._average(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, self.stage.config.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step) * group.get("share", 1.0)
        optimizer.step()

    def _average(self, parameters: list[Tensor]) -> None:
        """Gradients averaged over the processes. Done here and not by a wrapper, since a step may call a module's parts one by one."""
        if self.accelerator.num_processes > 1:
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message: each costs a millisecond, whatever its size
            torch.distributed.all_reduce(flat)
            flat /= self.accelerator.num_processes
            for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                parameter.grad = gradient.view_as(parameter)


class Interruption:
    """Ctrl-C, SIGTERM and the time limit, over all processes."""

    def __init__(self, accelerator: Accelerator, until: float | None, clock: Callable[[], float] = time.monotonic):
        self.accelerator, self.until, self.clock, self.signals, self.interrupted = accelerator, until, clock, [], False

    def __enter__(self) -> "Interruption":
        self.handlers = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _receive(self, number: int, frame: object) -> None:
        self.signals.append(number)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def stops(self) -> bool:
        """Whether any process was told to stop: all stop at the same step, or those that go on would wait for ever."""
        asked = torch.tensor([float(bool(self.signals)), float(self.until is not None and self.clock() >= self.until)])
        if self.accelerator.num_processes > 1:
            asked = asked.to(self.accelerator.device)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        self.interrupted = bool(asked[0])
        return bool(asked.any())


class Log:
    """Losses for TensorBoard, and for people: a progress bar on a terminal, else a line now and then."""

    def __init__(self, stage: Stage, folder: Path, done: int):
        self.name, self.steps = stage.name, stage.config.steps
        self.writer, self.console = SummaryWriter(folder / "log"), Console(stderr=True)
        self.waiting: tuple[dict[str, float | Tensor], int] | None = None
        self.waited, self.told = 0.0, time.monotonic()  # seconds in which no batch was ready, since the line before
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, TextColumn("{task.fields[losses]}"), console=self.console, disable=not self.console.is_terminal)
        self.shown = self.bar.add_task(stage.name, total=self.steps, completed=done, losses="")

    def __enter__(self) -> "Log":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._show()
        self.bar.stop()
        self.writer.close()

    def losses(self, losses: dict[str, float | Tensor], step: int) -> None:
        """Shows the step before: to read the losses of this one would wait for the device, which is still at it."""
        self._show()
        self.waiting = losses, step

    def _show(self) -> None:
        if self.waiting is None:
            return
        (losses, step), self.waiting = self.waiting, None
        losses = {name: float(value) for name, value in losses.items()}
        text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self.bar.update(self.shown, completed=step, losses=text)
        for name, value in losses.items():
            self.writer.add_scalar(f"{self.name}/{name}", value, step)
        if step % LOG_EVERY == 0 and not self.console.is_terminal:
            now = time.monotonic()
            share = self.waited / max(1e-9, now - self.told)
            self.console.print(f"{self.name} {step}/{self.steps} {text} (waited for batches {share:.0%} of the time)", soft_wrap=True)
            self.waited, self.told = 0.0, now

    def dev(self, losses: dict[str, float], step: int) -> None:
        self._show()
        for name, value in losses.items():
            self.writer.add_scalar(f"{self.name}/dev/{name}", value, step)
            self.console.print(f"{self.name} dev {name} {value:.4f}")
