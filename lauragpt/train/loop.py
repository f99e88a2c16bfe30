"""The only training loop. A stage hands over its modules, its optimizers and one step; the loop does the rest.

For every step: rate, batch (or several, `accumulate`), step, log. A checkpoint is saved on a timer and at the end; dev is measured every
`evaluate_every` steps and at the end, and the weights that did best are kept beside the last ones (state.py). `--hours`, Ctrl-C and SIGTERM
end it at the next step with a valid checkpoint; whoever interrupts does not wait for a validation. The randomness of a batch comes from
(seed, its number), and batches are numbered over all processes: going on equals never having stopped, wherever the program was killed, and
also on another number of processes that together read as many batches a step.
"""

import math
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lauragpt.data.loader import own_numbers
from lauragpt.errors import LauraError
from lauragpt.train import state
from lauragpt.train.average import Average
from lauragpt.train.prefetch import batches_ahead
from lauragpt.train.stage import Stage
from lauragpt.train.update import Update

if TYPE_CHECKING:
    from lauragpt.train.sharding import Sharding

LOG_EVERY = 50  # steps between two lines, where the output is no terminal


def run(
    stage: Stage, folder: Path, accelerator: Accelerator, seed: int = 0, resume: bool = False, until: float | None = None,
    learning_rate: Callable[[int], float] | None = None, clock: Callable[[], float] = time.monotonic,
) -> bool:  # fmt: skip
    """Trains a stage to its last step, or until its patience ends. False when stopped before (at `until`, by `clock`) or interrupted in it.
    `learning_rate`: step -> rate, in place of the configuration's. LauraError where too many steps in a row had to be left out."""
    config, main, count = stage.config, accelerator.is_main_process, stage.config.accumulate
    sharding = sharding_of(stage, folder, accelerator)
    joins = main or sharding is not None  # whoever validates and saves
    gathered, anywhere = (sharding.gathered, sharding.anywhere) if sharding else (nullcontext, bool)
    before = state.load(folder, stage.modules, stage.optimizers) if resume and state.exists(folder) else None
    if before is None and main:
        state.forget_best(folder)
    done = step = before["step"] if before else 0
    consumed = before.get("batches", done * count) if before else 0  # by all processes; versions before 0.3 did not save it
    numbers = own_numbers(consumed, config.steps - done, count, accelerator.process_index, accelerator.num_processes)
    each = count * accelerator.num_processes  # batches of a step
    if sharding and before:
        sharding.saved = done
    average = Average(stage.modules, config.ema) if config.ema else None
    update = Update(stage, accelerator, learning_rate or config.learning_rate, sharded=sharding is not None)
    if before:
        update.guard.load(before)
        if average:
            state.load_average(folder, average.tensors)
    folder.mkdir(parents=True, exist_ok=True)
    saved, anew = time.monotonic(), before is None
    planned = lambda step: step >= config.steps or (config.evaluate_every > 0 and step % config.evaluate_every == 0)  # noqa: E731
    measured = done if before and before.get("validated") and planned(done) else -1  # the last step that was

    def save(validated: bool) -> None:
        nonlocal saved, anew
        saved = time.monotonic()
        about = {"validated": validated, "batches": consumed + (step - done) * each, **update.guard.state()}
        if sharding:
            sharding.save(step, about, average and average.tensors, config.keep_last, anew)
        else:
            state.save(folder, stage, step, about, average and average.tensors, config.keep_last, anew)
        anew = False

    def measure() -> None:
        nonlocal measured
        with average.in_use() if average else nullcontext():
            evaluate(stage, folder, step, log, main, sharding)
        if sharding:
            sharding.finish()
        if main:
            state.note(folder, step, {"validated": True})
        measured = step

    with ExitStack() as stack:
        if sharding:
            stack.enter_context(sharding)
        interruption = stack.enter_context(Interruption(accelerator, until, clock))
        if config.workers and step < config.steps:
            stage.batch.prepare(config.workers)
        pin = accelerator.device.type == "cuda"
        make = lambda number: stage.batch(number, done + (number - consumed) // each)  # noqa: E731
        batches = stack.enter_context(batches_ahead(make, numbers, config.workers, pin))
        log = stack.enter_context(Log(stage, folder, done))
        update.tell = log.say if main else update.tell
        stage.modules.train()
        if joins and before:
            if not before.get("validated", True) and planned(step) and step < config.steps:
                measure()  # the program was killed while it did
                stage.modules.train()
            interruption.finished = state.out_of_patience(folder, config, step)
        while step < config.steps and not interruption.stops(main and time.monotonic() - saved > 60 * config.save_minutes):
            asked = time.monotonic()
            drawn = [next(batches) for _ in range(count)]
            log.waited += time.monotonic() - asked
            update.begin(step, drawn)
            parts = []
            for update.batch, batch in enumerate(drawn):
                number = numbers[(step - done) * count + update.batch]
                torch.manual_seed(seed * 1_000_003 + number)
                random.seed(seed * 1_000_003 + number)
                # No cache of cast weights: all threads share it, and the one that makes the next batch would empty it at any time.
                with accelerator.autocast(AutocastKwargs(cache_enabled=False)), gathered():
                    parts.append(stage.step(batch, step, update))
            if average:
                average.update(step)
            step += 1
            log.losses(parts, step)
            if sharding:
                sharding.finish(wait=False)
            if joins and interruption.due and not update.guard.skipping:
                save(validated=not planned(step))
            if joins and planned(step) and step < config.steps and not anywhere(interruption.signals):
                measure()
                stage.modules.train()
                interruption.finished = state.out_of_patience(folder, config, step)
        if joins:
            save(validated=measured == step)
        if sharding:
            sharding.finish()
        interruption.stops()  # it may have been interrupted in the last step
        ended = (step >= config.steps or interruption.finished) and not interruption.interrupted
        if joins and not interruption.interrupted and measured != step:
            measure()
        if update.guard.skipped:
            log.say(f"{stage.name}: {update.guard.skipped} of {step} steps were left out")
    stage.modules.eval()
    if config.keep_best and ended:
        accelerator.wait_for_everyone()
        state.load_best(folder, stage.modules)
    elif average and ended:
        average.settle()
    return ended


def sharding_of(stage: Stage, folder: Path, accelerator: Accelerator) -> "Sharding | None":
    """The stage divided among the processes, in place; None where it is not to be, or where there is one process."""
    if not getattr(stage.config, "shard", False) or accelerator.num_processes == 1:
        return None
    from lauragpt.train.sharding import Sharding  # takes a second

    return Sharding(stage, folder, accelerator)


def evaluate(stage: Stage, folder: Path, step: int, log: "Log", main: bool, sharding: "Sharding | None") -> None:
    """Measures dev, and saves the weights if they are the best so far by `best_by`. LauraError where dev has no such loss, or what was
    saved as the best is damaged. Where weights are divided, all processes do so together."""
    best = state.best(folder) if stage.config.evaluate_every else None  # before anyone waits: where it is damaged all of them say so
    stage.modules.eval()
    with sharding.gathered() if sharding else nullcontext():
        losses = stage.validate()
    if main:
        log.dev(losses, step)
    if not stage.config.evaluate_every:
        return
    name = stage.config.best_by
    if name not in losses:
        raise LauraError(f"{stage.name}.best_by: dev has no loss {name!r}: choose from {', '.join(losses) or 'none: dev has no examples'}")
    about = {"step": step, name: losses[name]}
    better = main and math.isfinite(losses[name]) and (best is None or losses[name] < best[name])
    if sharding and sharding.anywhere(better):
        sharding.save_best(about)
    elif better and not sharding:
        state.save_best(folder, stage, about)


class Interruption:
    """Ctrl-C, SIGTERM, the time limit and patience, over all processes."""

    def __init__(self, accelerator: Accelerator, until: float | None, clock: Callable[[], float] = time.monotonic):
        self.accelerator, self.until, self.clock, self.signals = accelerator, until, clock, []
        self.interrupted = self.due = False  # due: a checkpoint, which the main process wants
        self.finished = False  # dev has not become better for long, which the main process finds

    def __enter__(self) -> "Interruption":
        self.handlers = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _receive(self, number: int, frame: object) -> None:
        self.signals.append(number)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def stops(self, due: bool = False) -> bool:
        """Whether any process was told to stop: all stop at the same step, or those that go on would wait for ever. `due`: whether this
        one wants a checkpoint of the next step."""
        late = self.until is not None and self.clock() >= self.until
        asked = torch.tensor([float(bool(self.signals)), float(late), float(self.finished), float(due)])
        if self.accelerator.num_processes > 1:
            asked = asked.to(self.accelerator.device)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        self.interrupted, self.finished, self.due = bool(asked[0]), bool(asked[2]), bool(asked[3])
        return bool(asked[:3].any())


class Log:
    """Losses for TensorBoard, and for people: a progress bar on a terminal, else a line now and then."""

    def __init__(self, stage: Stage, folder: Path, done: int):
        self.name, self.steps = stage.name, stage.config.steps
        self.writer, self.console = SummaryWriter(folder / "log"), Console(stderr=True)
        self.waiting: tuple[Sequence[dict[str, float | Tensor]], int] | None = None
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

    def losses(self, losses: Sequence[dict[str, float | Tensor]], step: int) -> None:
        """Of each batch of a step. Shows the step before: to read the losses of this one would wait for the device, which is still at
        it."""
        self._show()
        self.waiting = losses, step

    def say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False)

    def _show(self) -> None:
        if self.waiting is None:
            return
        (batches, step), self.waiting = self.waiting, None
        values = {name: [float(losses[name]) for losses in batches if name in losses] for losses in batches for name in losses}
        losses = {name: sum(several) / len(several) for name, several in values.items()}
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
