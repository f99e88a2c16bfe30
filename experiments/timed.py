"""What the experiments share: a stage trained for so many minutes, its rate falling over the last of them, however many steps that makes."""

import time
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from lauragpt.train import loop
from lauragpt.train.config import StageConfig
from lauragpt.train.loop import Stage

DECAY = 0.4  # share of the time over which the rate falls


def train_for(stage: Stage, config: StageConfig, minutes: float, folder: Path) -> int:
    """Trains in place; the number of steps it came to."""
    began, steps = time.monotonic(), 0
    until = began + 60 * minutes

    def rate(config: StageConfig, step: int) -> float:
        nonlocal steps
        steps = step + 1
        left = (until - time.monotonic()) / (DECAY * 60 * minutes)
        return config.lr * min(1.0, steps / max(1, config.warmup), max(0.01, left))

    usual, loop.rate = loop.rate, rate
    try:
        loop.run(stage, replace(config, steps=10**7), folder, Accelerator(mixed_precision=loop.precision(), cpu=True), until=until)
    finally:
        loop.rate = usual
    return steps
