"""A few real steps of a stage, measured: random weights, the recipe's data or, where they are not there, tones of typical length.

Nothing is written but into a folder for the time being. Two steps warm up, as many are measured on the same batches. The step is one of the
stage's last: with the discriminator, where that ever joins. Texts that the CTC head would read are made of chance, since an untrained one
reads nothing.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs

from lauragpt.data.manifest import Example
from lauragpt.model.attention import attend_without_plans
from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.config import Recipe
from lauragpt.train.precision import precision
from lauragpt.train.run import make_corpus, preset_config, read_data
from lauragpt.train.stage import Stage, StageConfig
from lauragpt.train.stages import STAGES
from lauragpt.train.typical import typical_examples, write_typical
from lauragpt.train.update import Update

STEPS = 2


@dataclass(frozen=True)
class Trial:
    """Of one process."""

    step_seconds: float
    first_seconds: float  # a step in which the frames of frozen layers are made
    batch_seconds: float  # in which the batches of a step are made by one thread, their recordings decoded before
    memory: int | None  # bytes at most, of a GPU

    def once(self, config: StageConfig, hours: float | None, heard: float) -> float:
        """Seconds for which frames that are kept are made, beyond those of all steps. `hours` of data; a step hears `heard` seconds."""
        if not getattr(config, "frames_gigabytes", 0):
            return 0.0
        steps = config.steps if hours is None else min(config.steps, config.variants * 3600 * hours / heard)
        return steps * max(0.0, self.first_seconds - self.step_seconds)


def run_trial(recipe: Recipe, name: str, examples: Sequence[Example] | None) -> Trial:
    """`examples`: of train, None where there are none. LauraError as of the stage itself."""
    config = alone(recipe.stages[name])
    with tempfile.TemporaryDirectory(prefix="laura-plan-") as folder:
        if examples is None:
            write_typical(typical_examples(name, config), Path(folder))
            recipe = replace(recipe, data=folder)
            examples, _ = read_data(Path(folder))
        corpus = make_corpus(recipe, list(examples), [])
        corpus.out = Path(folder)
        cuda = torch.cuda.is_available()
        if cuda:
            attend_without_plans()
        accelerator = Accelerator(mixed_precision=precision(cuda), cpu=not cuda)
        torch.manual_seed(recipe.seed)
        model = LauraModel(preset_config(recipe)).to(accelerator.device)
        model.codec.quantizer.initialised.fill_(True)  # as if the codec were trained
        stage = STAGES[name](model, corpus, config, recipe.seed, 0)
        stage.modules.to(accelerator.device).train()
        return measure(stage, accelerator)


def alone(config: StageConfig) -> StageConfig:
    """Without what a stage does once before its steps or beside them."""
    once = {"posterior_bank": {}, "pseudo_labels": 0, "evaluate_every": 0, "keep_best": False, "patience": 0}
    return replace(config, **{key: value for key, value in once.items() if hasattr(config, key)})


def measure(stage: Stage, accelerator: Accelerator) -> Trial:
    config, update = stage.config, Update(stage, accelerator, stage.config.learning_rate)
    first = max(0, config.steps - STEPS)
    numbers = [[(step * config.accumulate + at, step) for at in range(config.accumulate)] for step in range(first, first + STEPS)]
    drawn = [[stage.batch(*number) for number in several] for several in numbers]  # recordings are decoded, tokens made
    made = now(accelerator)
    drawn = [[stage.batch(*number) for number in several] for several in numbers]
    made = now(accelerator) - made
    times = []
    for _ in range(2):
        begun = now(accelerator)
        for step, batches in enumerate(drawn, first):
            update.begin(step, batches)
            for update.batch, batch in enumerate(batches):
                with accelerator.autocast(AutocastKwargs(cache_enabled=False)):
                    stage.step(batch, step, update)
        times.append((now(accelerator) - begun) / STEPS)
    memory = torch.cuda.max_memory_allocated() if accelerator.device.type == "cuda" else None
    return Trial(times[1], times[0], made / STEPS, memory)


def now(accelerator: Accelerator) -> float:
    """Seconds, when the device is done."""
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
