"""`laura finetune DATA`: anyone's data -> a checkpoint that learned them and forgot nothing else, or a rejected one and what it forgot.

In: data, a checkpoint to start from, and data of its other tasks to replay. Out, in one folder:

    data/         cleaned manifests of what is new and of what is replayed
    recipe.yaml   which `laura train` runs as well
    joint/        the training's state, from which it goes on
    checkpoint/   the finished checkpoint, where no task fell; else rejected/
    report/       its evaluation; changes.json: every row before and after
"""

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from lauragpt.checkpoint import SHIPPED, add_known, find_checkpoint, read_config
from lauragpt.data.manifest import read_manifest
from lauragpt.data.replay_bank import BANK
from lauragpt.doctor.diagnosis import Progress
from lauragpt.errors import LauraError
from lauragpt.evaluate.report.tables import Report, write_whole
from lauragpt.evaluate.run import evaluate
from lauragpt.files import replace_folder
from lauragpt.model.lauragpt import PRESETS, LauraConfig
from lauragpt.tasks import ADDED, TASKS
from lauragpt.train import forgetting, state
from lauragpt.train.config import Recipe, load_recipe
from lauragpt.train.forgetting import Change
from lauragpt.train.run import train
from lauragpt.train.tuning_data import TuningData, gather, write_data

RECIPE = "recipe.yaml"
LOSS_WEIGHT = {"ser": 6.0, "aac": 8.0, "slu": 4.0}  # their answers are few tokens beside those of transcripts
LABEL_WEIGHT = 6.0  # of a task that was added
RATE, ADAPTED_RATE = 3e-4, 2e-3  # of all weights, and of adapters alone
Say = Callable[[str], None]


@dataclass(frozen=True)
class Tuning:
    """What is asked for. LauraError for what makes no sense."""

    path: Path  # the data
    out: Path
    init: str = "mini"
    columns: Mapping[str, str] = field(default_factory=dict)  # role -> column, as `read_data` has it
    task: str | None = None
    lang: str | None = None
    licence: str | None = None
    keep: Collection[str] = ()  # kinds of faults for which no example is left out
    replay: Path = BANK
    share: float = 0.5  # of what is drawn that is replayed
    steps: int = 300
    batch_seconds: float = 36.0
    lr: float | None = None  # None: as is usual for all weights, or for adapters
    rank: int = 0  # of LoRA; 0 trains all weights

    def __post_init__(self):
        if not 0 <= self.share < 1:
            raise LauraError(f"--replay-share {self.share:g}: give a share of 0 (nothing is replayed) to below 1")
        if self.steps < 1 or self.batch_seconds <= 0 or self.rank < 0 or (self.lr is not None and self.lr <= 0):
            raise LauraError("--steps, --batch-seconds and --lr must be above 0, and --lora not below 0")


@dataclass(frozen=True)
class Outcome:
    folder: Path  # checkpoint/ or rejected/
    report: Report  # of the new checkpoint
    changes: list[Change]
    fell: list[Change]
    promoted: bool


def prepare(asked: Tuning, progress: Progress | None = None) -> TuningData:
    """Writes data and recipe into `out`, whole or not at all. LauraError where `out` is in use, or the data are not fit."""
    if asked.out.exists() and (not asked.out.is_dir() or any(asked.out.iterdir())):
        way = "--resume goes on with it, or name" if (asked.out / RECIPE).exists() else "name"
        raise LauraError(f"{asked.out} is there already: {way} another with -o")
    preset = preset_of(asked.init)
    add_known(asked.init)
    before = len(read_config(find_checkpoint(asked.init)).get("added") or [])
    known = asked.columns, asked.task, asked.lang, asked.licence, asked.keep
    data = gather(asked.path, asked.replay, asked.share, asked.batch_seconds, *known, progress)
    recipe = recipe_of(asked, preset, data, before)
    aside = asked.out.with_name(f"{asked.out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        write_data(data, aside / "data")
        (aside / RECIPE).write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8")
        if asked.out.exists():
            asked.out.rmdir()
        aside.rename(asked.out)
    except OSError as error:
        raise LauraError(f"{asked.out} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return data


def recipe_of(asked: Tuning, preset: str, data: TuningData, before: int) -> dict:
    """The recipe as plain data. `before`: how many tasks and languages the checkpoint knows beside those of the table."""
    folder, config = find_checkpoint(asked.init), read_config(find_checkpoint(asked.init))
    tasks = {row.name: list(row.labels) for row in ADDED[before:] if not isinstance(row, str)}
    stage = {
        "steps": asked.steps, "batch_seconds": asked.batch_seconds, "lr": asked.lr or (ADAPTED_RATE if asked.rank else RATE),
        "warmup": max(1, asked.steps // 10), "text_injection": 0.15, "loss_weight": LOSS_WEIGHT | dict.fromkeys(tasks, LABEL_WEIGHT),
        "weights": data.weights(),
    }  # fmt: skip
    stage |= {"lora": {"rank": asked.rank, "parts": ["gpt", "encoder"]}} if asked.rank else {}
    return {
        "name": f"{config.get('name') or folder.name}-{asked.out.name}",
        "preset": preset,
        "init": asked.init if folder.parent == SHIPPED else str(folder.absolute()),
        "data": str((asked.out / "data").absolute()),
        "out": str(asked.out.absolute()),
        "chunks": config.get("chunks") or {},
        "cascade": bool(config.get("cascade")),
        "tasks": tasks,
        "langs": [row for row in ADDED[before:] if isinstance(row, str)],
        "stages": {"joint": stage},
    }


def preset_of(init: str) -> str:
    """The name of the preset whose sizes a checkpoint has. LauraError where none has them."""
    folder = find_checkpoint(init)

    def sizes(config: LauraConfig) -> tuple:
        return config.features, config.encoder, replace(config.gpt, vocabulary=0), config.vocoder

    try:
        own = sizes(LauraConfig.from_dict(read_config(folder)["model"]))
    except (KeyError, TypeError, AttributeError):
        raise LauraError(f"{folder}/config.json does not tell the model's sizes: fetch the checkpoint again") from None
    found = next((name for name, preset in PRESETS.items() if sizes(preset) == own), None)
    if found is None:
        raise LauraError(f"{folder} has the sizes of no preset ({', '.join(PRESETS)}): train it further by a recipe (laura train)")
    return found


def run(
    out: Path, tolerance: float, limit: int | None = None, hours: float | None = None, device: str | None = None,
    cache: Path | None = None, say: Say = print,
) -> Outcome | None:  # fmt: skip
    """Trains what `prepare` wrote, from where it stands, and measures it. None where the time was over, or it was interrupted, before.
    limit: examples of a corpus that are measured. tolerance: points that a row may lose. LauraError as of training."""
    if not (out / RECIPE).exists():
        raise LauraError(f"{out} holds no fine-tuning to go on with: leave --resume out, or name its folder with -o")
    recipe = load_recipe(out / RECIPE)
    tasks = {example.task for example in read_manifest(out / "data" / "dev.jsonl")}
    how = {"data": out / "data", "limit": limit, "show": False, "cache": cache, "device": device}
    say(f"measuring {recipe.init} on dev: {', '.join(name for name in TASKS if name in tasks)}")
    known = tasks - recipe.tasks.keys()
    before = evaluate(recipe.init, tasks=known, **how).rows if known else []
    train(out / RECIPE, hours=hours, resume=True)
    if not state.finished(out / "joint", recipe.stages["joint"]):
        return None
    candidate = out / "export"
    keep_voices(recipe, candidate)
    say("measuring what it has become")
    report = evaluate(candidate, tasks=tasks, **how)
    found = forgetting.changes(before, report.rows)
    fell = [change for change in found if change.fell(tolerance)]
    promoted = not fell and any(change.after and change.after.score.value == change.after.score.value for change in found)
    folder = settle(out, promoted)
    report.save(out / "report")
    summary = {"promoted": promoted, "tolerance": tolerance, "rows": forgetting.to_dict(found, tolerance)}
    write_whole(out / "changes.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return Outcome(folder, report, found, fell, promoted)


def keep_voices(recipe: Recipe, folder: Path) -> None:
    """The checkpoint's named voices are those that it began with: the codec is the same."""
    voices = find_checkpoint(recipe.init) / "voices"
    if voices.is_dir():
        shutil.copytree(voices, folder / "voices", dirs_exist_ok=True)


def settle(out: Path, promoted: bool) -> Path:
    """Gives the new checkpoint its place, and takes what an earlier judgement left in the other."""
    names = ("checkpoint", "rejected") if promoted else ("rejected", "checkpoint")
    replace_folder(out / "export", out / names[0])
    shutil.rmtree(out / names[1], ignore_errors=True)
    return out / names[0]
