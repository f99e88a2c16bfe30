"""What the experiments share: a stage trained for so many minutes, however many steps that makes; the rate falls over the last of them."""

import time
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from lauragpt.train import loop
from lauragpt.train.precision import precision
from lauragpt.train.stage import Stage

DECAY = 0.4  # share of the time over which the rate falls


def train_for(stage: Stage, minutes: float, folder: Path) -> int:
    """Trains in place; returns the number of steps it came to."""
    config, steps = stage.config, 0
    stage.config = replace(config, steps=10**7)
    until = time.monotonic() + 60 * minutes

    def learning_rate(step: int) -> float:
        nonlocal steps
        steps = step + 1
        left = (until - time.monotonic()) / (DECAY * 60 * minutes)
        return config.lr * min(1.0, steps / max(1, config.warmup), max(config.lr_floor, left))

    loop.run(stage, folder, Accelerator(mixed_precision=precision(), cpu=True), until=until, learning_rate=learning_rate)
    return steps
