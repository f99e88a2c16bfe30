"""`laura claims`: the paper's claims, rerun."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from lauragpt.cli.options import Device


def claims(
    names: Annotated[
        list[str] | None, typer.Argument(help="A claim by name, as batchnorm, or a file. By default all.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder for runs, results and the page.")] = Path("runs/claims"),
    folder: Annotated[Path, typer.Option("--claims", help="The folder of the claims.")] = Path("recipes/claims"),
    data: Annotated[
        Path | None, typer.Option(help="Prepared manifests, in place of what the recipes name.", show_default=False)
    ] = None,
    corpora: Annotated[
        Path | None, typer.Option(help="Folder of the corpora that missing data are made of.", show_default=False)
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Only so many seeds, the first ones.", min=1, show_default=False)] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most this many examples of each corpus are measured.", min=1, show_default=False)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train no longer than this; the same command goes on.", show_default=False)
    ] = None,
    judge: Annotated[str, typer.Option(help="The recogniser that judges made sound, named as in laura eval.")] = "pocketsphinx",
    recipes: Annotated[bool, typer.Option("--recipes", help="Write the recipe of each run for laura plan, and run nothing.")] = False,
    known: Annotated[bool, typer.Option("--list", help="Tell which claims there are, and run nothing.")] = False,
    device: Device = None,
):
    """Rerun the paper's claims, and ours: train every arm with three seeds, measure on dev, and judge. Of a claim that
    cannot be run it says why, and goes on with the others.

    A run that is finished is found again. OUT/NAME.json holds a result, OUT/claims.html shows them all beside the paper's numbers.

    laura claims --list

    laura claims decoding -o runs/claims --data runs/data

    laura claims batchnorm --recipes
    """
    from lauragpt.cli.io import one_line, print_line, say, usage

    if minutes is not None and not minutes > 0:
        usage(f"--minutes {minutes:g}: give a time above 0, or leave it out to run to the end")
    with one_line():
        from lauragpt.claims.claim import find_claims

        chosen = find_claims(names or [], folder)
        if known:
            for claim in chosen:
                print_line(f"{claim.name}: {claim.title} ({claim.effort()})")
            return
        from rich.console import Console

        from lauragpt.claims.judge import sentence
        from lauragpt.claims.page import page, table
        from lauragpt.claims.run import Settings, found_results, run_claim, write_recipes
        from lauragpt.errors import LauraError
        from lauragpt.evaluate.report.tables import write_whole

        overrides = {} if corpora is None else {"corpora": str(corpora)}
        settings = Settings(out, data, overrides, seeds, limit, judge, device)
        if recipes:
            for claim in chosen:
                for path in write_recipes(claim, settings).values():
                    print_line(str(path))
            return
        until = None if minutes is None else time.monotonic() + 60 * minutes
        results, failed = [], []
        for claim in chosen:
            try:
                results.append(run_claim(claim, settings, until, say))
            except LauraError as error:
                if len(chosen) == 1:
                    raise
                say(f"{claim.name}: {error}")
                failed.append(claim.name)
        Console(width=None if sys.stdout.isatty() else 240).print(table(results))  # a file or a pipe has no width to fit
        for result in results:
            print_line(result["sentence"])
            for each in result["comparisons"]:
                print_line(f"  {sentence(each)}")
        shown = {result["name"]: result for result in results}
        shown = found_results(out) | shown
        write_whole(out / "claims.html", page([shown[name] for name in sorted(shown)]))
        say(f"the page is {out / 'claims.html'}")
        if failed:
            raise LauraError(f"{len(failed)} of {len(chosen)} claims could not be run: {', '.join(failed)}")
