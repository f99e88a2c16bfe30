"""`laura plan`: what a training needs, before it is begun."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from lauragpt.train.plan import Plan, StagePlan

WIDTH = 130  # of the tables, where the output is no terminal


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file such as recipes/debug.yaml.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value or stage.key=value, in place of what the recipe says.", show_default=False)
    ] = None,
    gpus: Annotated[int, typer.Option(help="How many GPUs, each with batches of its own.")] = 1,
    gpu: Annotated[str, typer.Option(help="h100, h200, a100-40, a100-80, l4, rtx4090; cpu: this machine.")] = "h100",
    gpu_hour: Annotated[float | None, typer.Option(help="What one GPU costs for an hour, in any currency.", show_default=False)] = None,
    mfu: Annotated[
        float | None, typer.Option(help="Hours by the share of the GPU's peak that training reaches, as 0.3.", show_default=False)
    ] = None,
    trial: Annotated[bool, typer.Option("--trial", help="Hours by a few real steps of each stage, measured on this machine.")] = False,
    data_hours: Annotated[
        float | None, typer.Option(help="Hours of recordings, where the recipe's data are not there yet.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with everything, in place of the tables.")] = False,
):
    """Tell what a recipe needs: parameters, memory, tokens, hours, disk and money for each stage.

    Nothing is trained, but for the few steps of --trial, and nothing is written.

    laura plan recipes/debug.yaml --gpu cpu --trial

    laura plan recipes/paper-2b.yaml --gpus 8 --gpu h100 --mfu 0.3 --gpu-hour 2.5
    """
    from lauragpt.cli.io import one_line, print_line, usage

    for override in overrides or []:
        if not override.partition("=")[0] or "=" not in override:
            usage(f"{override!r} is no override: write key=value, as in lr=1e-4")
    with one_line():
        from lauragpt.train.config import load_recipe
        from lauragpt.train.gpus import find_gpu
        from lauragpt.train.plan import plan_recipe

        found = plan_recipe(load_recipe(recipe, overrides or []), find_gpu(gpu), gpus, gpu_hour, mfu, trial, data_hours)
        if as_json:
            print_line(json.dumps(found.to_dict()))
        else:
            show(found)


def show(plan: "Plan") -> None:
    from rich.console import Console

    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    many = "1 GPU" if plan.gpus == 1 else f"{plan.gpus} GPUs"
    title = f"{plan.recipe}, preset {plan.preset}, on {many} of the kind {plan.gpu.name}, {digits(plan.gpu.memory / 1e9)} GB"
    console.print(title, highlight=False)
    console.print(f"batches: {plan.data}", highlight=False)
    console.print(memory_table(plan), step_table(plan))
    for line in notes(plan):
        console.print(line, highlight=False)


def memory_table(plan: "Plan") -> "Table":
    from rich import box
    from rich.table import Table

    unit, divisor = ("GB", 1e9) if max(row.total for stage in plan.stages for row in stage.memory) >= 1e9 else ("MB", 1e6)
    table = Table(title=f"memory a GPU, in {unit}", header_style="bold", box=box.SIMPLE)
    for name in ("stage", "how", "weights", "gradients", "AdamW", "exchange", "activations", "all", "fits", "checkpointed", "fits"):
        table.add_column(name, justify="left" if name in ("stage", "how", "fits") else "right")
    for stage in plan.stages:
        for row in stage.memory:
            sizes = row.weights, row.gradients, row.optimizer, row.exchange, row.activations, row.total
            shown = [digits(size / divisor) for size in (*sizes, row.steady + row.checkpointed)]
            table.add_row(stage.name, row.how, *shown[:-1], yes(row.fits), shown[-1], yes(row.fits_checkpointed))
    return table


def step_table(plan: "Plan") -> "Table":
    from rich import box
    from rich.table import Table

    unit, divisor = ("TFLOP", 1e12) if max(stage.flops for stage in plan.stages) >= 1e12 else ("GFLOP", 1e9)
    table = Table(title="a step of all GPUs together, and the whole stage", header_style="bold", box=box.SIMPLE)
    names = "stage", "trained M", "frozen M", "audio s", "text", "codes", unit, "steps", "s/step", "hours", "audio s/s", "disk GB", "price"
    for name in names:
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage in plan.stages:
        table.add_row(
            stage.name, digits(stage.parameters.trained / 1e6), digits(stage.parameters.frozen / 1e6), f"{stage.audio_seconds:,.0f}",
            f"{stage.text_tokens:,.0f}", f"{stage.audio_tokens:,.0f}", digits(stage.flops / divisor), f"{stage.steps:,}",
            digits(stage.step_seconds), digits(stage.hours), digits(stage.audio_rate),
            digits((stage.kept + (stage.cached_frames or 0)) / 1e9), digits(stage.price),
        )  # fmt: skip
    return table


def notes(plan: "Plan") -> list[str]:
    lines = [f"the finished folder: {digits(plan.export / 1e9)} GB at most"]
    if plan.recordings is None:
        lines.append("recordings: 0.115 GB an hour at 16 bits; the hours are not known: give --data-hours")
    else:
        lines.append(f"recordings: {digits(plan.recordings / 1e9)} GB at 16 bits")
    if any(stage.cached_frames is None for stage in plan.stages):
        lines.append("frames of frozen layers are not counted: give --data-hours")
    padded = [f"{stage.name}{_shares(stage.padding)}" for stage in plan.stages if stage.padding]
    lines += [f"padding (share of computed places): {'; '.join(padded)}"] if padded else []
    lines += [measured(stage) for stage in plan.stages if stage.trial]
    hours = [stage.hours for stage in plan.stages]
    if None in hours:
        lines.append("hours and price: give --mfu SHARE or --trial")
    else:
        prices = [stage.price for stage in plan.stages]
        lines.append(f"all stages: {digits(sum(hours))} hours" + ("" if None in prices else f", price {digits(sum(prices))}"))
    return lines + plan.notes


def _shares(padding: dict[str, float]) -> str:
    """Behind a stage's name. A network is named only where the stage has several."""
    if len(padding) == 1:
        return f" {next(iter(padding.values())):.1%}"
    return ": " + ", ".join(f"{network} {share:.1%}" for network, share in padding.items())


def measured(stage: "StagePlan") -> str:
    trial = stage.trial
    line = f"{stage.name}, measured: a step takes {digits(trial.step_seconds)} s, its batches {digits(trial.batch_seconds)} s of one thread"
    line += f", MFU {stage.mfu:.1%}" if stage.mfu else ""
    return line + (f", {digits(trial.memory / 1e9)} GB of memory at most" if trial.memory else "")


def yes(fits: bool) -> str:
    return "yes" if fits else "no"


def digits(value: float | None) -> str:
    """Three that count, and no more than four places; nothing for None."""
    if not value or abs(value) < 1e-4:
        return "" if value is None else "<0.0001" if value else "0"
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3 if abs(value) >= 0.1 else 4
    return f"{value:,.{places}f}"
