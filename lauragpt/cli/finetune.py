"""`laura finetune`: anyone's data -> a checkpoint that has learned them and forgotten nothing else."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lauragpt.cli.options import DEFAULT_MODEL, Device

if TYPE_CHECKING:
    from lauragpt.train.finetune import Outcome
    from lauragpt.train.tuning_data import TuningData


def finetune(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A table (.csv, .tsv, .jsonl), or a folder: with a table, audiofolder, Kaldi, lhotse, manifests.", show_default=False
        ),
    ] = None,
    init: Annotated[str, typer.Option("--from", help="The checkpoint to start from.")] = DEFAULT_MODEL,
    task: Annotated[
        str | None,
        typer.Option(help="Only the examples of this task, as asr. A new name adds a task. Default: all tasks.", show_default=False),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="What a column holds, as in audio=path or label=room, where the guess is wrong.", show_default=False),
    ] = None,
    lang: Annotated[
        str | None, typer.Option(help="The language of what says none. A new code, as fr, adds a language.", show_default=False)
    ] = None,
    licence: Annotated[str | None, typer.Option(help='The licence of what says none, as in "CC BY 4.0".', show_default=False)] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A kind of fault for which no example is left out, as pace.", show_default=False)
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="Prepared manifests of the other tasks. Default: texts that ship, for translation.", show_default=False),
    ] = None,
    replay_share: Annotated[float, typer.Option(help="Share of training that goes to them.")] = 0.5,
    steps: Annotated[int, typer.Option(help="Steps of training.", min=1)] = 300,
    minutes: Annotated[
        float | None, typer.Option(help="Stop training after so many minutes; --resume goes on.", show_default=False)
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate. Default: 3e-4, with --lora 2e-3.", show_default=False)] = None,
    batch_seconds: Annotated[float, typer.Option(help="Seconds of sound in a batch, and in an example at most.")] = 36.0,
    lora: Annotated[int, typer.Option(help="Rank of LoRA adapters, as 8, which are trained in place of all weights.", min=0)] = 0,
    tolerance: Annotated[float, typer.Option(help="Points that a task may lose on dev.", min=0)] = 2.0,
    limit: Annotated[int, typer.Option(help="Examples of a corpus that are measured; a fifteenth where the answer is sound.", min=1)] = 50,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The folder for everything. Default: runs/ and the data's name.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in the folder, or judge once more; the data are not read anew.")] = False,
    device: Device = None,
):
    """Teach a checkpoint your own data, and see what it forgot.

    Data are read and cleaned as by `laura doctor`. Training mixes them with other tasks. All tasks are measured on dev before and after.
    Where none fell, the new checkpoint is OUT/checkpoint; else it is OUT/rejected, and the exit status is 1.

    laura finetune terms/ --task asr -o runs/terms

    laura finetune rooms/ --task rooms --replay runs/data --lora 8
    """
    from lauragpt.cli.doctor import Shown, columns_of
    from lauragpt.cli.io import one_line, print_line, say, usage
    from lauragpt.doctor.faults import KINDS

    columns = columns_of(column)
    for kind in keep or []:
        if kind not in KINDS:
            usage(f"{kind!r} is no kind of fault: choose from {', '.join(KINDS)}")
    if data is None and (out is None or not resume):
        usage("name the data, or with --resume the folder to go on in, as in: laura finetune --resume -o runs/terms")
    if minutes is not None and not minutes > 0:
        usage(f"--minutes {minutes:g}: give a time above 0, or leave it out to train to the end")
    folder = (out or Path("runs") / data.absolute().name.partition(".")[0]).absolute()
    with one_line():
        from lauragpt.doctor.tell import lines
        from lauragpt.evaluate.answers import default_folder
        from lauragpt.train.finetune import Tuning, prepare, run

        if not resume:
            more = {} if replay is None else {"replay": replay}
            asked = Tuning(
                data, folder, init, columns, task, lang, licence, keep or [], share=replay_share, steps=steps,
                batch_seconds=batch_seconds, lr=lr, rank=lora, **more,
            )  # fmt: skip
            with Shown() as shown:
                made = prepare(asked, shown.tell)
            for line in [*lines(made.found), *told(made)]:
                print_line(line)
        outcome = run(folder, tolerance, limit, minutes / 60 if minutes else None, device, default_folder(), say)
        if outcome is None:
            say(f"{folder} is not trained to the end: the same command with --resume goes on")
            return
        show(outcome, folder)
        if not outcome.promoted:
            for change in outcome.fell:
                say(f"fell by more than {tolerance:g}: {change.line()}")
            why = f"{len(outcome.fell)} of {len(outcome.changes)} rows fell" if outcome.fell else "nothing could be measured"
            say(f"not promoted, since {why}: {outcome.folder}; replay more (--replay), train less, or allow more (--resume --tolerance)")
            raise typer.Exit(1)
        print_line(f"{outcome.folder}: no task fell by more than {tolerance:g} points")


def told(made: "TuningData") -> list[str]:
    """What was done to the data: examples that are left, left out and replayed."""
    left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(made.left_out.items()))
    counts = {split: sum(example.split == split for example in made.own) for split in ("train", "dev")}
    again = sorted({example.task for example in made.replayed if example.split == "train"}) or ["nothing"]
    return [
        f"used: {counts['train']} examples of train, {counts['dev']} of dev" + (f"; left out: {left_out}" if left_out else ""),
        f"replayed: {', '.join(again)}, from {made.replay}; what is not replayed may be forgotten",
    ]


def show(outcome: "Outcome", folder: Path) -> None:
    """The table of all tasks, before and after."""
    from rich.console import Console

    from lauragpt.train.forgetting import table

    console = Console(width=None if sys.stdout.isatty() else 240)  # a file or a pipe has no width to fit
    console.print(table(outcome.changes, f"{folder.name}, before and after, on dev"))
    for line in outcome.report.failure_lines():
        Console(stderr=True).print(f"[red]not measured:[/] {line}", highlight=False, soft_wrap=True)
