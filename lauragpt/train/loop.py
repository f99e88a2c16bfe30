"""The only training loop. A stage hands over its modules, its optimizers and one step; the loop does the rest.

For every step: rate, batch, step, log; a checkpoint on a timer and at the end. `--hours`, Ctrl-C and SIGTERM end it at the next step
with a valid checkpoint; dev is measured unless it was interrupted. A step's randomness comes from (seed, step), so going on equals never having stopped.
"""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from lauragpt.train import state as stage_state
from lauragpt.train.config import StageConfig


class Stage(Protocol):
    name: str
    modules: nn.ModuleDict  # all that is saved
    optimizers: dict[str, torch.optim.Optimizer]

    def batch(self, step: int) -> dict: ...
    def step(self, batch: dict, update) -> dict[str, float]: ...
    def validate(self) -> dict[str, float]: ...


def precision(cuda: bool = False) -> str:
    """What autocast is to compute in, "bf16" or "no": bf16 where the processor multiplies in it. A server's that does not took four times as
    long as in float32."""
    if cuda:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    able = torch.cpu.get_capabilities() if torch.backends.mkldnn.is_available() else {}
    return "bf16" if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")) else "no"


def rate(config: StageConfig, step: int) -> float:
    """The learning rate of a step: linear warm-up, stable, linear decay to a hundredth."""
    left = (config.steps - step) / max(1.0, config.decay * config.steps)
    return config.lr * min(1.0, (step + 1) / max(1, config.warmup), max(0.01, left))


def run(stage: Stage, config: StageConfig, folder: Path, accelerator: Accelerator, seed: int = 0, resume: bool = False, until: float | None = None) -> bool:
    """Trains a stage to its last step. False when stopped before (`until` is a time.monotonic()) or interrupted in it."""
    step = stage_state.load(folder, stage.modules, stage.optimizers)["step"] if resume and (folder / "state.json").exists() else 0
    stopped: list[int] = []
    interrupted = False  # in whichever process: whoever interrupts wants the machine back, and not a validation first
    handlers = {n: signal.signal(n, lambda number, frame: stopped.append(number)) for n in (signal.SIGINT, signal.SIGTERM)}

    def update(name: str, loss: Tensor) -> None:
        optimizer = stage.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        _average(parameters, accelerator)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate(config, step)
        optimizer.step()

    def save() -> None:
        if accelerator.is_main_process:
            stage_state.save(folder, stage.modules, stage.optimizers, {"step": step, "stage": stage.name})

    def stop() -> bool:
        """Whether any process was told to stop: all stop at the same step, or those that go on would wait for ever."""
        nonlocal interrupted
        asked = torch.tensor([float(bool(stopped)), float(bool(until and time.monotonic() > until))])
        if accelerator.num_processes > 1:
            asked = asked.to(accelerator.device)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        interrupted = bool(asked[0])
        return bool(asked.any())

    folder.mkdir(parents=True, exist_ok=True)
    log, saved, console = SummaryWriter(folder / "log"), time.monotonic(), Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[losses]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar, ThreadPoolExecutor(1) as ahead:
        shown = bar.add_task(stage.name, total=config.steps, completed=step, losses="")
        stage.modules.train()
        coming = ahead.submit(stage.batch, step)
        while step < config.steps and not stop():
            batch = coming.result()
            if step + 1 < config.steps:
                coming = ahead.submit(stage.batch, step + 1)
            torch.manual_seed(seed * 1_000_003 + step)
            random.seed(seed * 1_000_003 + step)
            # No cache of cast weights: it belongs to all threads, and the one that makes the next batch would empty it at any time.
            with accelerator.autocast(AutocastKwargs(cache_enabled=False)):
                losses = stage.step(batch | {"step": step}, update)
            step += 1
            text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(shown, completed=step, losses=text)
            for name, value in losses.items():
                log.add_scalar(f"{stage.name}/{name}", value, step)
            if step % 50 == 0 and not console.is_terminal:
                console.print(f"{stage.name} {step}/{config.steps} {text}", soft_wrap=True)
            if time.monotonic() - saved > 60 * config.save_minutes:
                save()
                saved = time.monotonic()
    save()
    stop()  # it may have been interrupted in the last step
    for number, handler in handlers.items():
        signal.signal(number, handler)
    stage.modules.eval()
    for name, value in stage.validate().items() if accelerator.is_main_process and not interrupted else ():
        log.add_scalar(f"{stage.name}/dev/{name}", value, step)
        console.print(f"{stage.name} dev {name} {value:.4f}")
    log.close()
    return step >= config.steps and not interrupted


def _average(parameters: list[Tensor], accelerator: Accelerator) -> None:
    """Gradients averaged over the processes. Done here and not by a wrapper, since a step may call a module's parts one by one."""
    if accelerator.num_processes > 1:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])  # one message: each costs a millisecond, whatever its size
        torch.distributed.all_reduce(flat)
        flat /= accelerator.num_processes
        for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)
