"""What every stage is made of: a configuration with its schedule, the protocol by which the loop drives it, and what stages of a
LauraModel share."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.activations import checkpoint_layers, layers_of
from lauragpt.train.lora import LoraConfig, add_adapters

Update = Callable[[str, Tensor | dict[str, Tensor]], None]  # (name of the optimizer, loss or losses by name): zero_grad, backward, clip,
# step (update.py); in validation it does nothing

RULES = (  # keys, what they must be, the test
    (("workers", "cache_gigabytes", "frozen_layers", "variants", "frames_gigabytes"), "not be below 0", lambda value: value >= 0),
    (("steps", "dev_batches", "phrase_words", "accumulate", "keep_last"), "be at least 1", lambda value: value >= 1),
    (("batch_seconds", "lr", "grad_clip", "crop_seconds"), "be above 0", lambda value: value > 0),
    (("warmup", "weight_decay", "evaluate_every", "save_minutes", "phrases", "patience"), "not be below 0", lambda value: value >= 0),
    (("temperature",), "be 0, or at least 0.1 and finite", lambda value: value == 0 or 0.1 <= value < math.inf),
    (("ema",), "be at least 0 and below 1", lambda value: 0 <= value < 1),
    (("spike",), "be 0 or above 1", lambda value: value == 0 or value > 1),
    (("text_seconds", "sound_seconds", "captions", "pseudo_labels", "slu_templates"), "not be below 0", lambda value: value >= 0),
    (("decay", "lr_floor", "noise", "degraded", "text_injection", "voice_prompt"), "be a share, 0 to 1", lambda value: 0 <= value <= 1),
    (("published_lr",), "be a share, 0 to 1", lambda value: 0 <= value <= 1),
    (("plain_sentences", "asr_noise", "condition_mismatch"), "be a share, 0 to 1", lambda value: 0 <= value <= 1),
    (("token_errors", "written_tokens"), "be a share, 0 to 1", lambda value: 0 <= value <= 1),
)


def check(config: object) -> None:
    """LauraError for values of a configuration that make no sense."""
    for names, must, holds in RULES:
        for name in names:
            if hasattr(config, name) and not holds(getattr(config, name)):
                raise LauraError(f"{name} must {must}, not {getattr(config, name)!r}")


@dataclass(frozen=True)
class Phase:
    """Steps with one schedule and one mixture of tasks. The rate warms up from 0, holds, and falls linearly over the last `decay` of the
    steps."""

    steps: int
    lr: float
    warmup: int  # steps
    decay: float  # share of the steps
    weights: dict[str, float] = field(default_factory=dict)  # share of the examples drawn, of a task or of task/corpus

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class StageConfig:
    """The keys that all stages have. Each stage adds its own beside its step. LauraError for values that make no sense."""

    steps: int = 1000
    batch_seconds: float = 40.0  # seconds of a batch, about: its last example goes over
    lr: float = 1e-3
    warmup: int = 100  # steps
    decay: float = 0.3  # share of the steps over which the rate falls
    lr_floor: float = 0.01  # share of lr below which the rate does not fall
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)  # of AdamW
    grad_clip: float = 1.0  # largest norm of the gradient
    accumulate: int = 1  # batches of a step, of each process: their gradient is that of one batch as large as all of them
    spike: float = 0.0  # a step is left out whose gradient is so many times the median of the last; 0 leaves out none but those that are
    # not finite
    ema: float = 0.0  # share that the moving average of the weights keeps at each step, such as 0.999: it is measured on dev and handed on
    # in place of the last weights; 0 makes none
    evaluate_every: int = 0  # steps between two validations; 0 validates at the end alone
    best_by: str = "loss"  # the loss on dev, lower is better, by which the best checkpoint is chosen
    keep_best: bool = False  # go on with the best checkpoint in place of the last. Off, since behind a falling rate the last is nearly
    # always the best, and a dev loss of a few batches is noisy
    patience: int = 0  # validations in a row without a better one, after which the stage ends; 0 goes all the steps
    save_minutes: float = 3.0  # between two checkpoints: so much is lost at most where the program is killed
    keep_last: int = 2  # checkpoints that are kept, beside the best: where the last is damaged, the one before it is taken
    workers: int = 0  # processes that make batches; 0 is a thread. With some, all that a stage can draw is decoded before the first step
    cache_gigabytes: float = 4.0  # of decoded recordings in memory, 35 hours; beyond it a recording is decoded each time

    def __post_init__(self):
        check(self)
        if self.keep_best and not self.evaluate_every:
            raise LauraError("keep_best chooses among checkpoints that were validated: set evaluate_every as well")
        if self.patience and not self.keep_best:
            raise LauraError("patience ends a stage some time after its best checkpoint: set keep_best as well, which hands that on")

    def for_dev(self) -> "StageConfig":
        """The configuration of batches of dev."""
        return self

    @property
    def schedule(self) -> tuple[Phase, ...]:
        return (Phase(self.steps, self.lr, self.warmup, self.decay, getattr(self, "weights", {})),)

    def phase_at(self, step: int) -> tuple[int, int]:
        """(index in the schedule, step within that phase)"""
        for index, phase in enumerate(self.schedule[:-1]):
            if step < phase.steps:
                return index, step
            step -= phase.steps
        return len(self.schedule) - 1, step

    def learning_rate(self, step: int) -> float:
        index, within = self.phase_at(step)
        phase = self.schedule[index]
        left = (phase.steps - within) / max(1.0, phase.decay * phase.steps)
        return phase.lr * min(1.0, (within + 1) / max(1, phase.warmup), max(self.lr_floor, left))


@dataclass(frozen=True)
class ModelStageConfig(StageConfig):
    weights: dict[str, float] = field(default_factory=dict)  # share of the examples drawn, of a task or of task/corpus
    temperature: float = 0.0  # each corpus of a task is drawn by its weight times its hours ** (1 / temperature); 0 draws by weights alone
    dev_batches: int = 4  # of a validation


@dataclass(frozen=True)
class ListeningConfig(ModelStageConfig):
    """What the stages share that train an encoder."""

    noise: float = 0.3  # chance that a recording is made noisy
    degraded: float = 0.3  # chance that a recording gets a narrow band, a codec or clipping
    spec_augment: bool = True
    middle_ctc_weight: float = 0.3  # of CTC on the middle layer beside that on the last
    published_lr: float = 0.05  # rate of the published weights, as a share of lr
    frozen_layers: int = 0  # published layers, from the first, that are not trained
    variants: int = 0  # of each example that are heard, each altered in its own way; 0 alters it anew each time
    frames_gigabytes: float = 0.0  # on disk, for the frozen layers' frames of these variants, so that each is made once (frozen_frames.py)
    checkpoint_activations: bool = False  # each layer keeps its input alone and is computed again in the backward pass (activations.py)

    def __post_init__(self):
        super().__post_init__()
        if self.frames_gigabytes and not (self.frozen_layers and self.variants):
            raise LauraError("frames_gigabytes keeps frozen layers' frames of the same variants: set frozen_layers and variants as well")


class Stage(Protocol):
    name: str
    config: StageConfig
    modules: nn.ModuleDict  # all that is saved
    optimizers: dict[str, torch.optim.Optimizer]

    def batch(self, number: int, step: int) -> Any:
        """Batches are numbered over all steps and processes; `step` is that in which this one is used. With `workers` it has a
        method `prepare(processes)`, after which it needs no device (batches.py)."""

    def sizes(self, batch: Any) -> dict[str, float]:
        """How much each of the losses that `step` hands to `update` by name counts beside those of other batches: what it is a mean over.
        A stage may lack the method: then all batches count alike."""

    def step(self, batch: Any, step: int, update: Update) -> dict[str, float | Tensor]: ...
    def validate(self) -> dict[str, float]: ...


def adamw(parameters: Iterable[Tensor] | list[dict], config: StageConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)


class ModelStage:
    """A stage that trains parts of a LauraModel: one optimizer, which decays matrices alone, and its step's losses on dev.

    `batch` maps a number and a step to a batch, `dev_batch` a number alone (batches.py); without examples on dev `dev_batch` is None and
    nothing is measured.
    """

    name = ""
    trained: tuple[str, ...] = ()  # parts of the model
    batch: Callable[[int, int], Any]
    dev_batch: Callable[[int], Any] | None

    def __init__(self, model: LauraModel, config: ModelStageConfig, published_lr: float = 1.0, beside: dict[str, nn.Module] | None = None):
        """`published_lr`: the rate of weights that were published by others, as a share of the rate. `beside`: what is trained beside
        the model and is no part of it."""
        self.model, self.config = model, config
        self.modules = nn.ModuleDict({name: getattr(model, name) for name in self.trained} | (beside or {}))
        published = {id(p) for module in self.modules.modules() for p in getattr(module, "published", ())}
        if (lora := getattr(config, "lora", LoraConfig())).rank:
            add_adapters(self.modules, lora)  # published weights are not among those that are trained then
        for layer in model.gpt.layers if getattr(config, "compile", False) else ():
            layer.forward = torch.compile(layer.forward, dynamic=True)
        if getattr(config, "checkpoint_activations", False):
            checkpoint_layers(layers_of(self.modules))  # around what is compiled
        groups = []
        for share, inside in ((1.0, False), (published_lr, True)):
            chosen = [p for p in self.modules.parameters() if p.requires_grad and (id(p) in published) is inside]
            matrices, vectors = [p for p in chosen if p.dim() > 1], [p for p in chosen if p.dim() <= 1]
            groups += [{"params": matrices, "share": share}, {"params": vectors, "share": share, "weight_decay": 0.0}]
        self.optimizers = {"model": adamw([group for group in groups if group["params"]], config)}

    @property
    def device(self) -> torch.device:
        return self.model.gpt.embed_tokens.weight.device

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean losses over some fixed dev batches."""
        total: dict[str, list[float]] = {}
        for step in range(self.config.dev_batches if self.dev_batch else 0):
            for name, value in self.step(self.dev_batch(step), step, lambda name, loss: None).items():
                total.setdefault(name, []).append(float(value))
        return {name: float(np.mean(values)) for name, values in total.items()}
