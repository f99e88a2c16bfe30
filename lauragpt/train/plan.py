"""`laura plan RECIPE`: what each stage of a recipe needs, before anything is trained.

In: a recipe, a number of GPUs of one kind, and either a share of their peak that is reached (MFU) or a trial (trial.py). Out: `Plan`, plain
numbers: parameters, bytes of memory a GPU, tokens and operations of a step, hours, bytes on disk, money. Parameters, checkpoints and
operations are counted on the networks themselves (workload.py), without memory for their weights. Each GPU has batches of its own, so that
with more GPUs a step reads more, and takes as long.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.manifest import Example
from lauragpt.data.shards import local_data
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.checks import FINISHED
from lauragpt.train.config import Recipe
from lauragpt.train.counting import Count
from lauragpt.train.gpus import GPU
from lauragpt.train.lora import LoraConfig
from lauragpt.train.precision import precision
from lauragpt.train.run import preset_config, read_data
from lauragpt.train.stage import StageConfig
from lauragpt.train.stages import STAGES
from lauragpt.train.trial import Trial, run_trial
from lauragpt.train.typical import typical_examples
from lauragpt.train.workload import Batch, count_batch, draw, stage_modules

FLOAT = 4  # bytes of a weight, a gradient and a moment: training keeps them in float32
LORA_RANK = 8  # of the adapters that are planned where a stage trains its weights


@dataclass(frozen=True)
class Parameters:
    trained: int
    frozen: int
    tensors: int  # trained ones
    buffers: int  # bytes: what a model holds beside its parameters
    saved: int  # bytes of a stage's model.safetensors
    sharded: int  # parameters of what the stage saves, which FSDP2 shards
    root: int  # those of them outside the GPT's layers
    layer: int  # of its largest layer

    @property
    def optimizer(self) -> int:
        """Bytes of AdamW: two moments a parameter, and a step a tensor."""
        return 2 * FLOAT * self.trained + FLOAT * self.tensors


@dataclass(frozen=True)
class Memory:
    """Bytes a GPU."""

    how: str  # DDP, FSDP2, LoRA
    weights: float
    gradients: float
    optimizer: float
    exchange: float  # what is gathered from, or sent to, the other GPUs
    activations: float
    checkpointed: float  # the activations where each layer is computed again in the backward pass
    fits: bool = False
    fits_checkpointed: bool = False

    @property
    def steady(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.exchange

    @property
    def total(self) -> float:
        return self.steady + self.activations


@dataclass
class StagePlan:
    name: str
    steps: int
    parameters: Parameters
    memory: list[Memory]
    audio_seconds: float  # heard in a step, all GPUs together
    frames: float  # that the GPT, or the encoder alone, reads
    text_tokens: float
    audio_tokens: float
    flops: float  # of a step, all GPUs together
    step_seconds: float | None  # None where neither an MFU nor a trial says
    trial: Trial | None
    checkpoint: float  # bytes of one
    kept: float  # bytes of all that are kept at a time
    cached_frames: float | None  # bytes; None where the hours of data are not known
    padding: dict[str, float]  # network -> share of the places that it computes which hold nothing
    hours: float | None = None
    price: float | None = None
    mfu: float | None = None

    @property
    def audio_rate(self) -> float | None:
        """Seconds of audio a second that have to be made ready."""
        return self.audio_seconds / self.step_seconds if self.step_seconds else None


@dataclass
class Plan:
    recipe: str
    preset: str
    gpu: GPU
    gpus: int
    data: str  # what the batches were drawn from
    recordings: float | None  # bytes of the data's recordings at 16 bits
    export: float  # bytes of the finished folder, at most
    stages: list[StagePlan] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        made = asdict(self)
        for stage, own in zip(made["stages"], self.stages, strict=True):
            stage["audio_rate"] = own.audio_rate
            for memory, each in zip(stage["memory"], own.memory, strict=True):
                memory["total"] = each.total
        return made


def plan_recipe(
    recipe: Recipe, gpu: GPU, gpus: int = 1, gpu_hour: float | None = None, mfu: float | None = None, trial: bool = False,
    data_hours: float | None = None,
) -> Plan:  # fmt: skip
    """`gpu_hour`: what one GPU costs for an hour. `data_hours`: of recordings, where the recipe's data are not there. LauraError for values
    that make no sense and for a recipe without stages."""
    check(recipe, gpu, gpus, gpu_hour, mfu, trial, data_hours)
    recipe = replace(recipe, data=str(local_data(recipe.data)))
    there = (Path(recipe.data) / "train.jsonl").exists()
    examples = read_data(Path(recipe.data))[0] if there else None
    hours = hours_of(examples) if there else data_hours
    source = recipe.data if there else "examples of typical length, since nothing is in " + recipe.data
    config = preset_config(recipe)
    recordings = None if hours is None else 3600 * hours * SAMPLE_RATE * 2
    with torch.device("meta"):
        export = FINISHED * sum(p.numel() for p in LauraModel(config).parameters())
    made = Plan(recipe.name, recipe.preset, gpu, gpus, source, recordings, export)
    for name in [name for name in STAGES if name in recipe.stages]:
        stage = plan_stage(recipe, name, gpu, gpus, examples, hours, made.notes)
        if trial:
            stage.trial = run_trial(recipe, name, examples)
            stage.step_seconds = stage.trial.step_seconds
        elif mfu:
            stage.step_seconds = stage.flops / gpus / (mfu * gpu.flops)
        if stage.step_seconds:
            once = stage.trial.once(recipe.stages[name], hours, stage.audio_seconds / gpus) if stage.trial else 0.0
            stage.hours = (stage.steps * stage.step_seconds + once) / 3600
            stage.price = None if gpu_hour is None else stage.hours * gpus * gpu_hour
            stage.mfu = stage.flops / gpus / stage.step_seconds / gpu.flops if gpu.flops else None
        made.stages.append(stage)
    return made


def check(
    recipe: Recipe, gpu: GPU, gpus: int, gpu_hour: float | None, mfu: float | None, trial: bool, data_hours: float | None
) -> None:
    if not recipe.stages:
        raise LauraError(f"the recipe {recipe.name!r} has no stages, and so nothing to plan: name some of {', '.join(STAGES)}")
    if gpus < 1:
        raise LauraError(f"--gpus {gpus}: give a number of at least 1")
    if gpu_hour is not None and not 0 <= gpu_hour < float("inf"):
        raise LauraError(f"--gpu-hour {gpu_hour:g}: give what a GPU costs for an hour, 0 or more")
    if mfu is not None and not 0 < mfu <= 1:
        raise LauraError(f"--mfu {mfu:g}: give a share of the peak, above 0 and at most 1, such as 0.3")
    if data_hours is not None and not 0 <= data_hours < float("inf"):
        raise LauraError(f"--data-hours {data_hours:g}: give hours of recordings, 0 or more")
    if mfu is not None and trial:
        raise LauraError("--mfu and --trial both say how long a step takes: give one of them")
    if mfu is not None and not gpu.flops:
        raise LauraError("--mfu: no peak of this processor is stated, of which it would be a share: give --trial, or a GPU")
    if trial:
        check_machine(gpu)


def check_machine(gpu: GPU) -> None:
    """LauraError where a trial on this machine would say nothing of the GPU that is planned for."""
    here = torch.cuda.get_device_name().lower().replace(" ", "") if torch.cuda.is_available() else "cpu"
    if gpu.name.partition("-")[0] not in here:
        what = "a CPU" if here == "cpu" else torch.cuda.get_device_name()
        raise LauraError(f"--trial measures this machine, {what}, and not {gpu.name}: give --gpu {'cpu' if here == 'cpu' else 'as it is'}"
                         ", or --mfu in place of --trial")  # fmt: skip


def hours_of(examples: Sequence[Example]) -> float:
    """Of recordings, each once."""
    return sum({example.audio: example.duration for example in examples if example.audio}.values()) / 3600


def plan_stage(
    recipe: Recipe, name: str, gpu: GPU, gpus: int, examples: Sequence[Example] | None, hours: float | None, notes: list[str]
) -> StagePlan:
    config = recipe.stages[name]
    drawn_from = typical_examples(name, config) if examples is None else examples
    parameters, found, batch, mean = count_stage(recipe, name, config, gpu, drawn_from)
    memory = [replicated("LoRA" if getattr(config, "lora", LoraConfig()).rank else "DDP", parameters, found, gpus, config)]
    if gpus > 1 and hasattr(config, "shard") and memory[0].how == "DDP":
        memory.append(sharded(parameters, found, gpus, config))
    if getattr(config, "lora", LoraConfig(1)).rank == 0:
        try:
            adapted = replace(config, lora=LoraConfig(LORA_RANK))
            small, kept, *_ = count_stage(recipe, name, adapted, gpu, drawn_from)
            memory.append(replicated("LoRA", small, kept, gpus, adapted))
        except LauraError as error:
            notes.append(f"{name}: LoRA is not planned: {error}")
    memory = [replace(each, fits=gpu.fits(each.total), fits_checkpointed=gpu.fits(each.steady + each.checkpointed)) for each in memory]
    average = parameters.saved if config.ema else 0
    checkpoint = parameters.saved + parameters.optimizer + average
    kept = config.keep_last * checkpoint + (parameters.saved if config.evaluate_every else 0)
    many, scale = gpus * config.accumulate, scale_of(batch, mean)
    return StagePlan(
        name, config.steps, parameters, memory, many * mean.heard, many * mean.frames, many * mean.text, many * mean.audio,
        many * scale * found.flops, None, None, checkpoint, kept, cached_frames(recipe, name, hours, gpus), mean.padding,
    )  # fmt: skip


def count_stage(
    recipe: Recipe, name: str, config: StageConfig, gpu: GPU, examples: Sequence[Example]
) -> tuple[Parameters, Count, Batch, Batch]:
    speakers = len({example.speaker for example in examples if example.task == "asr" and example.speaker})
    with torch.device("meta"):
        model = LauraModel(preset_config(recipe))
    modules = stage_modules(name, model, config, speakers)
    parameters = parameters_of(model, modules)
    batch, mean = draw(name, model, config, examples, "cpu" if gpu.name == "cpu" else "cuda")
    bf16 = precision() == "bf16" if gpu.name == "cpu" else True
    found = count_batch(name, model, modules, config, batch, bf16, fused=gpu.name != "cpu")
    again = getattr(config, "checkpoint_activations", False)
    return parameters, found.with_layers_checkpointed() if again else found, batch, mean


def parameters_of(model: nn.Module, modules: nn.ModuleDict) -> Parameters:
    """Of a model of which a stage trains, and saves, `modules`."""
    everything, own = nn.ModuleList([model, modules]), list(modules.parameters())
    trained = [p for p in own if p.requires_grad]
    layers = [sum(p.numel() for p in layer.parameters()) for layer in (modules["gpt"].layers if "gpt" in modules else ())]
    return Parameters(
        trained=(count := sum(p.numel() for p in trained)),
        frozen=sum(p.numel() for p in everything.parameters()) - count,
        tensors=len(trained),
        buffers=sum(each.nbytes for each in everything.buffers()),
        saved=sum(each.nbytes for each in modules.state_dict().values()),
        sharded=(whole := sum(p.numel() for p in own)),
        root=whole - sum(layers),
        layer=max(layers, default=0),
    )


def replicated(how: str, parameters: Parameters, found: Count, gpus: int, config: StageConfig) -> Memory:
    """Each GPU has everything; among several, gradients are sent in one piece beside them."""
    averages = parameters.sharded if config.ema else 0
    weights = FLOAT * (parameters.trained + parameters.frozen + averages) + parameters.buffers
    gradients = FLOAT * parameters.trained
    return Memory(how, weights, gradients, parameters.optimizer, gradients if gpus > 1 else 0, found.kept, found.checkpointed)


def sharded(parameters: Parameters, found: Count, gpus: int, config: StageConfig) -> Memory:
    """FSDP2: of what the stage trains each GPU has its share, and at a time, whole, what lies outside the GPT's layers and two of these,
    with the gradients of the former and of one layer."""
    whole = FLOAT * (parameters.trained + parameters.frozen - parameters.sharded) + parameters.buffers
    averages = parameters.sharded if config.ema else 0
    gathered = FLOAT * (2 * parameters.root + 3 * parameters.layer)
    return Memory(
        "FSDP2", whole + FLOAT * (parameters.sharded + averages) / gpus, FLOAT * parameters.trained / gpus, parameters.optimizer / gpus,
        gathered, found.kept, found.checkpointed,
    )  # fmt: skip


def scale_of(batch: Batch, mean: Batch) -> float:
    """By how much the mean batch is larger than the one that was counted."""
    size = lambda each: each.heard + (each.frames + each.text + each.audio) / 25  # noqa: E731
    return size(mean) / size(batch)


def cached_frames(recipe: Recipe, name: str, hours: float | None, gpus: int) -> float | None:
    """Bytes of the frames of frozen layers: 50 a second, of the layers that are kept, two bytes a number; no more than was allowed."""
    config, sizes = recipe.stages[name], preset_config(recipe)
    room = getattr(config, "frames_gigabytes", 0.0) * 1e9 * gpus
    if not room or hours is None:
        return None if room else 0.0
    depth, heard, width = config.frozen_layers, (), sizes.codec.listener.get("width")
    if name != "listener":
        heard, width = sizes.encoder.heard, sizes.encoder.width
    kept = len({*(at for at in heard if at <= depth), depth})
    return min(room, 3600 * hours * 50 * kept * width * 2 * config.variants)
