"""`laura map`: a verb over a whole corpus, on this machine or on a cluster."""

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lauragpt.cli import options as opt
from lauragpt.tasks import BEAMS


class Verb(str, Enum):
    transcribe = "transcribe"
    codec = "codec"
    enhance = "enhance"
    pseudo_label = "pseudo-label"
    filter = "filter"


def map_corpus(
    verb: Annotated[Verb, typer.Argument(help="What is done with each recording.", show_default=False)],
    data: Annotated[
        Path, typer.Argument(help="A folder of recordings, or a manifest of `laura prepare`, or other data with texts.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the finished shards.", show_default=False)],
    ray: Annotated[str, typer.Option(help="The address of a Ray cluster, or auto inside of one; local begins one here.")] = "local",
    workers: Annotated[
        int | None, typer.Option(help="How many workers, each with the model. Default: as there is room for.", min=1, show_default=False)
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Of pseudo-label: the least confidence. Default: 0.8.", min=0, max=1, show_default=False)
    ] = None,
    lang: Annotated[
        str | None, typer.Option(help="Of transcribe, pseudo-label: the language. Default: detected.", show_default=False)
    ] = None,
    beams: Annotated[
        int | None, typer.Option(help="Of transcribe, pseudo-label: the beam size.", min=1, max=64, show_default=False)
    ] = None,
    quantizers: Annotated[
        int | None, typer.Option("-n", "--quantizers", help="Of codec: the first n quantizers only.", min=1, show_default=False)
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Of enhance: keep the input where the words changed.")] = False,
    shard_size: Annotated[int, typer.Option(help="Inputs of a shard.", min=1)] = 64,
    model: opt.Model = opt.DEFAULT_MODEL,
    adapter: opt.Adapter = None,
    device: opt.Device = None,
    threads: Annotated[int, typer.Option(help="CPU threads of a worker.", min=1)] = 1,
):
    """Answer for all recordings of a corpus, by Ray Data.

    Finished shards are left as they are, so that the same command goes on after a stop. A recording that cannot be read gets a line in
    OUT/failed.

    laura map transcribe corpora/talks/ transcripts/

    laura map pseudo-label corpora/calls/ labels/ --confidence 0.9

    laura map codec data/train.jsonl codes/ --ray auto --workers 32
    """
    from lauragpt.cli.doctor import Shown
    from lauragpt.cli.io import Terminated, one_line, print_line, say, usage
    from lauragpt.cli.request import check_language
    from lauragpt.errors import LauraError

    with one_line():
        import ray as _  # noqa: F401  before the work: it may be missing

        from lauragpt.mapping.run import run_map
        from lauragpt.mapping.shards import Job
        from lauragpt.mapping.work import VERBS
    given = {"lang": lang, "beams": beams, "quantizers": quantizers, "verify": verify or None, "confidence": confidence}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in VERBS[verb.value]:
            usage(f"--{name} is not for {verb.value}: it is for {' and '.join(each for each in VERBS if name in VERBS[each])}")
    try:
        if lang is not None:
            check_language(lang, model)
    except LauraError as error:
        usage(str(error))
    if verb is Verb.pseudo_label:
        given.setdefault("confidence", 0.8)
    beams = given.pop("beams", BEAMS)
    place = os.path.abspath(model) if os.path.isdir(model) else model
    folder = os.path.abspath(adapter) if adapter is not None else None
    with one_line():
        try:
            with Shown() as shown:
                done = run_map(
                    data, Job(verb.value, out, place, folder, device, threads, beams, given), ray, workers, shard_size,
                    lambda done, total: shown.tell("inputs", done, total),
                )  # fmt: skip
        except KeyboardInterrupt as stop:
            say(f"interrupted: the finished shards are in {out}, and the same command goes on from there")
            raise typer.Exit(stop.status if isinstance(stop, Terminated) else 130) from None
        for problem in done.problems:
            say(problem)
        print_line(f"{out}: {done.inputs - done.failed} of {done.inputs} inputs answered")
        for path, count in done.manifests.items():
            print_line(f"{path}: {count} examples")
        if done.failed:
            say(f"{done.failed} of {done.inputs} inputs failed: {out / 'failed'} says why")
        if done.failed or done.problems:
            raise typer.Exit(1)
