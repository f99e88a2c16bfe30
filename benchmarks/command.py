"""What the benchmarks share as commands: their options, one line for what went wrong, the table at the end."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from lauragpt.errors import LauraError
from lauragpt.evaluate.report.tables import write_whole


def run(
    name: str, description: str, quick: str, benchmark: Callable[..., dict], markdown: Callable[[dict], str],
    arguments: list[str] | None = None, counts: dict[str, str] | None = None,
) -> int:  # fmt: skip
    """Exit status: 0 done, 1 with one line for what cannot be measured or written, 130 stopped. `quick`: what --quick does. `counts`:
    further options that are whole numbers, and what they mean; one that is left out is None."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--checkpoint", default="mini", help="a checkpoint folder, or the name of one that ships (mini)")
    parser.add_argument("--out", type=Path, default=Path("runs/speed"), help=f"folder for {name}.json and {name}.md (runs/speed)")
    for option, meaning in (counts or {}).items():
        parser.add_argument(f"--{option}", type=int, metavar="N", help=meaning)
    asked = parser.parse_args(arguments)
    try:
        report = benchmark(asked.checkpoint, asked.out, asked.quick, **{option: getattr(asked, option) for option in counts or {}})
    except LauraError as error:
        print(f"{name}: " + " ".join(str(error).split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped, nothing was written", file=sys.stderr)
        return 130
    console = Console() if sys.stdout.isatty() else Console(width=180)  # a file or a pipe has no width to fit
    console.print(Markdown(markdown(report)))
    console.print(f"Written to {asked.out}", highlight=False, soft_wrap=True)
    return 0


def in_turn(contenders: dict[str, Callable[[object], object]], given: object, runs: int) -> dict[str, list[float]]:
    """Seconds that each took over the same, run by run in turn, so that a busy moment falls on all; after a run that is not counted."""
    taken: dict[str, list[float]] = {who: [] for who in contenders}
    for run in range(runs + 1):
        for who, call in contenders.items():
            began = time.perf_counter()
            call(given)
            if run:
                taken[who].append(time.perf_counter() - began)
    return taken


def spread(above: list[float], below: list[float]) -> dict[str, float]:
    """Of the ratios of runs beside each other: the median, the least and the most, as columns."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    return {"median": statistics.median(ratios), "from": ratios[0], "to": ratios[-1]}


def head(title: str, report: dict, threads: str) -> list[str]:
    """The first lines of a report: its title, and on what it was measured."""
    where = report["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    told = (
        f"- {where['cpu']}, {threads}; {where['system']}, Python {where['python']}, {packages}; load average before {where['load_average']}"
    )
    return [f"# {title}" + ", the quick form: for a look, not to be quoted" * report["quick"], "", told]


def table(heads: tuple[str, ...], rows: list[dict], cell: Callable[[object], str]) -> list[str]:
    """Lines of Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return lines + ["| " + " | ".join(cell(row.get(name)) for name in heads) + " |" for row in rows]


def check_out(out: Path) -> None:
    """LauraError where nothing can be written: told before minutes of measuring, not after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise LauraError(f"{out} cannot be written ({error.strerror}): choose another --out") from None


def write(report: dict, out: Path, name: str, text: str) -> None:
    write_whole(out / f"{name}.json", json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    write_whole(out / f"{name}.md", text)
