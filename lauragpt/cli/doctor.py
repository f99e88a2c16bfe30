"""`laura doctor`: what is wrong with data before they are trained on."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lauragpt.cli.options import DEFAULT_MODEL, Threads

NOBODY = "none"  # of --from


def doctor(
    data: Annotated[
        Path,
        typer.Argument(
            help="A table (.csv, .tsv, .jsonl), or a folder: with a table, audiofolder, Kaldi, lhotse, manifests.", show_default=False
        ),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(help="What a column holds, as in audio=path or text=sentence, where the guess is wrong.", show_default=False),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only the examples of this task, as asr.", show_default=False)] = None,
    lang: Annotated[str | None, typer.Option(help="The language of what says none. Default: en.", show_default=False)] = None,
    licence: Annotated[str | None, typer.Option(help='The licence of what says none, as in "CC BY 4.0".', show_default=False)] = None,
    model: Annotated[str, typer.Option("--from", help="The checkpoint that hears the transcripts; none: nobody does.")] = DEFAULT_MODEL,
    hours: Annotated[float, typer.Option(help="Hours of sound that it hears at most; what it hears is chosen by a hash.", min=0)] = 1.0,
    threads: Threads = None,
    html: Annotated[Path | None, typer.Option(help="Write a page, with the transcripts to listen to.", show_default=False)] = None,
    fix: Annotated[
        Path | None,
        typer.Option(help="Write a manifest without the faults, or a folder with one for each split. Audio stays.", show_default=False),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A kind of fault for which --fix leaves nothing out, as pace.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with everything, in place of the text.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for warnings too.")] = False,
):
    """Examine recordings and their texts before training on them.

    Tells hours, leaks between splits, recordings and transcripts that are wrong, and licences. Exit status 1 where they are not fit for
    training.

    laura doctor talks/

    laura doctor talks.csv --column text=sentence --html talks.html --fix cleaned/
    """
    from lauragpt.cli.io import load, one_line, print_line, usage
    from lauragpt.doctor.faults import KINDS

    columns = columns_of(column)
    for kind in keep or []:
        if kind not in KINDS:
            usage(f"{kind!r} is no kind of fault: choose from {', '.join(KINDS)}")
    if keep and fix is None:
        usage("--keep is for --fix: give --fix too")
    for path in (html, fix):
        if path is not None and not path.absolute().parent.is_dir():
            usage(f"{path}: the folder {path.parent} does not exist")
    with one_line():
        from lauragpt.data.user_data import read_data
        from lauragpt.doctor.diagnosis import examine
        from lauragpt.doctor.fix import write_fixed
        from lauragpt.doctor.page import page
        from lauragpt.doctor.tell import lines, to_dict
        from lauragpt.evaluate.report.tables import write_whole

        found = read_data(data, columns, task, lang, licence)
        runtime = None if model == NOBODY or not hours else load(model, None, threads=threads).runtime
        with Shown() as shown:
            diagnosis = examine(found, runtime, hours, threads, shown.tell)
        written = []
        if html is not None:
            write_whole(html, page(diagnosis))
            written.append(f"{html}: the page")
        if fix is not None:
            count, left_out = write_fixed(diagnosis, fix, keep or [])
            reasons = ", ".join(f"{number} {kind}" for kind, number in sorted(left_out.items()))
            written.append(f"{fix}: {count} examples" + (f"; left out: {reasons}" if reasons else ""))
        if as_json:
            print_line(json.dumps(to_dict(diagnosis), ensure_ascii=False))
        else:
            for line in [*lines(diagnosis), *written]:
                print_line(line)
        if diagnosis.worst == "error" or (strict and diagnosis.worst == "warning"):
            raise typer.Exit(1)


def columns_of(column: list[str] | None) -> dict[str, str]:
    """What --column says: role -> column."""
    from lauragpt.cli.io import usage

    for given in column or []:
        if not all(given.partition("=")):
            usage(f"{given!r} says nothing of a column: write what it holds and its name, as in --column audio=path")
    return dict(each.partition("=")[::2] for each in column or [])


class Shown:
    """How far the examination is: a bar where a person is watching, else a line for each thousand."""

    STEP = 1000

    def __enter__(self) -> "Shown":
        self.bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.bar.start()
        self.tasks: dict[str, Any] = {}  # of the bar; else how many thousands were told
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def tell(self, what: str, done: int, total: int) -> None:
        from lauragpt.cli.io import say

        if self.bar is not None:
            if what not in self.tasks:
                self.tasks[what] = self.bar.add_task(what, total=total)
            self.bar.update(self.tasks[what], completed=done)
        elif done // self.STEP > self.tasks.get(what, 0):
            self.tasks[what] = done // self.STEP
            say(f"{what}: {done} of {total}")
