"""The commands that make and measure checkpoints: `laura prepare`, `synth`, `train`, `export`, `eval`."""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lauragpt.cli.options import Device, Seed
from lauragpt.errors import LauraError

OpenOnly = Annotated[bool, typer.Option("--open-only", help="Leave out every set that forbids commercial use.")]


class Stage(str, Enum):
    codec = "codec"
    encoder = "encoder"
    listener = "listener"
    speller = "speller"
    gpt = "gpt"
    vocoder = "vocoder"
    joint = "joint"
    speaker = "speaker"


class Audio(str, Enum):
    flac = "flac"
    opus = "opus"


class Split(str, Enum):
    train = "train"
    dev = "dev"
    test = "test"


def prepare(
    data: Annotated[
        Path,
        typer.Argument(help="Folder of the corpora, laid out as docs/corpora.md says; debug makes a small corpus.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(help="Folder for the manifests; with --shards it may be left out, where DATA holds manifests.", show_default=False),
    ] = None,
    manifests: Annotated[
        Path | None, typer.Argument(help="Of a published corpus: the folder for its manifests.", show_default=False)
    ] = None,
    open_only: OpenOnly = False,
    shards: Annotated[
        Path | None, typer.Option(help="Write all recordings as shards (lhotse Shar) into this new folder.", show_default=False)
    ] = None,
    audio: Annotated[Audio, typer.Option(help="How shards hold sound: flac loses nothing, opus takes less room.")] = Audio.flac,
    checkpoint: Annotated[
        str | None,
        typer.Option("--from", help="Shards also hold the tokens of this checkpoint's codec: a folder, or mini.", show_default=False),
    ] = None,
    shard_size: Annotated[int | None, typer.Option(help="Recordings of a shard. By default 1000.", min=1, show_default=False)] = None,
):
    """Turn corpora into examples of every task, one JSONL line each; or examples into shards.

    laura prepare corpora/ data/

    laura prepare debug data/

    laura prepare librispeech LibriSpeech/ data/

    laura prepare data/ --shards shards/ --from mini
    """
    from lauragpt.cli.io import one_line, usage

    if out is None and shards is None:
        usage("Missing argument 'OUT': give a folder for the manifests")
    if shards is None and (checkpoint or shard_size or audio is not Audio.flac):
        usage("--audio, --from and --shard-size say how shards are written: give --shards FOLDER as well")

    def show(made: dict) -> None:
        for split, counts in made.items():
            print(f"{split}: " + ", ".join(f"{task} {count}" for task, count in sorted(counts.items())))

    with one_line():
        if manifests is not None:
            from lauragpt.data.published import prepare_published

            if open_only:
                raise LauraError("--open-only chooses among corpora: leave it out for a single one")
            show(prepare_published(str(data), out, manifests))
            out = manifests
        elif out is not None:
            from lauragpt.data.corpora import prepare as run

            show(run(data, out, open_only=open_only))
        elif open_only:
            raise LauraError("--open-only leaves out sets of corpora: give corpora, and a folder for their manifests")
        if shards is not None:
            from lauragpt.checkpoint import find_checkpoint
            from lauragpt.model.lauragpt import load_checkpoint
            from lauragpt.train.shards import SHARD, write_shards

            model = load_checkpoint(find_checkpoint(checkpoint)) if checkpoint else None
            made = write_shards(out or data, shards, audio.value, model, shard_size or SHARD)
            if out is None:
                show(made)
            print(f"the shards are in {shards}")


def synth(
    data: Annotated[Path, typer.Argument(help="Folder of the corpora, whose texts are to be spoken.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for the recordings and their manifests.", show_default=False)],
    sets: Annotated[str | None, typer.Option(help="Only these sets, as in synth-short,synth-books.", show_default=False)] = None,
    hours: Annotated[float, typer.Option(help="Multiplies the length of every set.", min=0)] = 1.0,
    seed: Seed = 0,
    workers: Annotated[
        int | None, typer.Option(help="How many recordings are made at a time. By default, one for each core.", min=1, show_default=False)
    ] = None,
    open_only: OpenOnly = False,
):
    """Make speech from text with the synthesisers that are installed: many voices, rates and pitches.

    What is missing is said before the work begins.

    laura synth corpora/ data/

    laura synth corpora/ data/ --sets synth-short,synth-books --hours 0.1
    """
    from lauragpt.cli.io import one_line

    with one_line():
        from lauragpt.data.synth import synthesize

        def show(name: str, done: int, total: int, seconds: float) -> None:
            if done == total or done % 500 == 0:
                print(f"{name}: {done} of {total} sentences, {seconds / 3600:.2f} hours", file=sys.stderr)

        names = [name.strip() for name in sets.split(",")] if sets else None
        for name, made in synthesize(data, out, names, hours, seed, workers, show, open_only).items():
            print(f"{name}: {made:.2f} hours")


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file such as recipes/debug.yaml.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value or stage.key=value, in place of what the recipe says.", show_default=False)
    ] = None,
    stage: Annotated[
        Stage | None, typer.Option(help="Train this stage only. By default all of the recipe's, in order.", show_default=False)
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Stop after this many hours, data preparation included. --resume goes on.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the last run stopped.")] = False,
):
    """Train a checkpoint by a recipe: data, stages and the finished folder.

    Data that are missing are made first. Whatever else is missing is said before the work begins.

    laura train recipes/debug.yaml

    laura train recipes/scratch.yaml --stage joint --hours 2 --resume lr=1e-4
    """
    from lauragpt.cli.io import one_line, usage

    for override in overrides or []:
        if not override.partition("=")[0] or "=" not in override:
            usage(f"{override!r} is no override: write key=value, as in lr=1e-4")
    with one_line():
        from lauragpt.train.run import train as run

        run(recipe, stage=stage.value if stage else None, hours=hours, resume=resume, overrides=overrides or [])


def export(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder.", show_default=False)],
    bits: Annotated[int, typer.Option(help="Bits of the GPT's weights: 32 gives the answers of torch, 8 is faster.")] = 32,
    check: Annotated[
        Path | None, typer.Option(help="Then compare with torch on the dev examples of this folder of manifests.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Compare at most this many examples of each corpus.", min=1, show_default=False)] = None,
):
    """Write a checkpoint's networks as ONNX graphs beside its weights, so that it runs without torch.

    laura export runs/scratch/export

    laura export runs/scratch/export --check runs/data
    """
    from lauragpt.cli.io import one_line

    with one_line():
        from lauragpt.checkpoint import find_checkpoint
        from lauragpt.engine.onnx_export import export_graphs

        folder = find_checkpoint(checkpoint)
        if check is not None:
            from lauragpt.evaluate.parity import parity
            from lauragpt.evaluate.run import choose
            from lauragpt.tasks import TASKS

            choose(check, "dev", TASKS, limit)  # missing data are reported before minutes of work
        print(export_graphs(folder, bits))
        if check is not None:
            found = parity(folder, check, limit=limit)
            found.print()
            if not found.holds:
                raise typer.Exit(1)


def evaluate(
    checkpoint: Annotated[
        str | None, typer.Argument(help="A checkpoint folder, or the name of one that ships: mini, the default.", show_default=False)
    ] = None,
    *,
    data: Annotated[Path, typer.Option(help="Folder of the manifests that `laura prepare` wrote.", show_default=False)],
    split: Annotated[Split, typer.Option(help="The split to measure.")] = Split.dev,
    tasks: Annotated[
        str | None, typer.Option(help="Only these tasks, as in asr,ser; codec measures the codec.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="At most this many examples of each corpus; fewer where they are long, a fifteenth where the answer is sound.",
            min=1,
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the report into this folder.", show_default=False)] = None,
    hyp: Annotated[
        Path | None, typer.Option(help='Score the answers of this JSONL file ({"id": ..., "text" or "audio": ...}).', show_default=False)
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure this too, on the same files: pocketsphinx, whisper:FOLDER or transformers:FOLDER.", show_default=False
        ),
    ] = None,
    judge: Annotated[
        str, typer.Option(help="The recogniser that judges speak and enhance by the words it hears, named as for --baseline.")
    ] = "pocketsphinx",
    against: Annotated[str | None, typer.Option(help="Compare with this checkpoint, example by example.", show_default=False)] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask for all answers again and keep none. By default answers are kept and reused.")
    ] = False,
    device: Device = None,
):
    """Measure a checkpoint, or anyone's answers: a metric for each task, with its 95 % interval and the score of a trivial answer.

    laura eval mini --data data/ --split dev

    laura eval runs/scratch/export --data data/ --tasks asr,ser --limit 20 --against mini -o report/

    laura eval --data data/ --hyp answers.jsonl
    """
    from lauragpt.cli.io import one_line, usage

    with one_line():
        from lauragpt.checkpoint import add_known
        from lauragpt.evaluate.answers import default_folder
        from lauragpt.evaluate.groups import measurable

        if hyp is None:
            add_known(checkpoint or "mini")
    if hyp is not None and (checkpoint or against):
        usage("--hyp scores a file of answers: leave CHECKPOINT and --against out")
    wanted = [task.strip() for task in tasks.split(",")] if tasks else None
    for task in wanted or []:
        if task not in measurable():
            usage(f"unknown task {task!r}: choose from {', '.join(measurable())}")
    with one_line():
        from lauragpt.evaluate.run import evaluate as run

        if not data.is_dir():
            raise LauraError(f"{data} is not a folder: give the folder that `laura prepare` wrote")
        run(
            checkpoint or "mini", data, split=split.value, tasks=wanted, limit=limit, out=out, hyp=hyp, baselines=baseline or [],
            other=against, cache=None if fresh else default_folder(), device=device, judge=judge,
        )  # fmt: skip
