"""`laura eval`: a checkpoint and a folder of manifests -> one row a task and corpus, each beside its trivial floor.

In: the folder that `laura prepare` wrote (SPLIT.jsonl, train.jsonl for the floors) with any synth*.jsonl beside it. Out: a table on
stdout, progress on stderr, and `out`/report.json, report.md and report.html. Two runs with one seed measure the same examples.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lauragpt.audio import SAMPLE_RATE, load_audio
from lauragpt.data.augment import NoiseConfig, Noisifier
from lauragpt.data.manifest import SPLITS, Example, read_manifest
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate import speaker
from lauragpt.evaluate.answers import Answers
from lauragpt.evaluate.baselines import open_baseline
from lauragpt.evaluate.metrics import MissingPackage
from lauragpt.evaluate.report.page import page
from lauragpt.evaluate.report.tables import Report, Row, against, write_whole
from lauragpt.evaluate.scorers import SCORERS, Bench, Group, digest
from lauragpt.evaluate.systems import Checkpoint, Given, System, checkpoint_key, read_given
from lauragpt.evaluate.tally import Score
from lauragpt.tasks import TASKS

NOTES = (
    "WER and CER after `spoken.normalize` on both sides: lower case, no punctuation, numbers in words; the language was given to the model.",
    "95 %: percentiles of 1000 bootstrap resamples of the examples; two checkpoints are compared on the same resamples (paired bootstrap).",
    "chrF and BLEU by sacrebleu on text as written; every target of an example is a reference.",
    "right sound: the class that the caption names; captions of ESC-50 are our own wordings of its class names, not people's, and CIDEr-D on "
    "them (words as they are, no PTB tokenizer) is not to be set beside figures on Clotho or AudioCaps.",
    "SLU-F1: SLURP's, of words and characters together. Loops: answers that went on until they were stopped. ECE: expected calibration error in "
    "10 bins of the answer's confidence against right or wrong (transcripts: against the share of words right).",
    f"enhancement: environmental sound of this split mixed in at {NOISE.snr_db[0]:.0f} to {NOISE.snr_db[1]:.0f} dB, fixed by the example's id.",
    "the true tokens: those of the real recording's first quantizer, made sound by the vocoder, which is given the text and another recording "
    "of the speaker (for enhancement: the noisy speech).",
    "x real time: seconds of computing a second of sound, listened to or spoken; reading files is not counted.",
    "A corpus named synth-... is synthetic speech: read its numbers as such.",
)


def evaluate(
    checkpoint: str | Path | Laura = "mini", data: Path = Path("runs/data"), split: str = "dev", tasks: Iterable[str] | None = None,
    limit: int | None = None, out: Path | None = None, seed: int = 0, show: bool = True, hyp: Path | None = None,
    baselines: Iterable[str] = (), other: str | Path | None = None, cache: Path | None = None, device: str | None = None,
) -> Report:  # fmt: skip
    """Measures a checkpoint, or with `hyp` the answers in a file, and, with `show`, prints.

    limit: examples a corpus (see `make_groups`). baselines: names that `systems.open_baseline` knows, measured on the same files. other: a
    checkpoint to compare with, example by example. cache: where answers are kept, so that none is asked for twice; None keeps nothing.
    LauraError for what cannot be measured.
    """
    wanted = check(Path(data), split, tasks, limit)
    examples = read_split(Path(data), split)
    if "codec" in wanted:
        examples += [replace(e, task="codec", id=f"codec/{e.id}") for e in examples if e.task == "tts"]
    groups = make_groups([e for e in examples if e.task in wanted], limit)
    if not groups:
        raise LauraError(f"{data} has no {split} examples of {', '.join(wanted)}: run `laura prepare` first, or choose other --tasks")
    if hyp is not None:
        system = read_given(Path(hyp))
        groups = answered_by(system, groups, hyp)
    else:
        system = open_checkpoint(checkpoint, examples, seed, device)
    report = Report(system.name, split, seed, notes=list(NOTES))
    if known := speaker.figures():
        report.notes.append(
            "similarity to the voice: cosine of the voice's prompt and the speech by a small speaker encoder of our own, which on dev speakers "
            f"that it was not trained on has an equal error rate of {known['eer']:.1f} %; two recordings of one speaker come to "
            f"{known['same']:.2f} on average, of two speakers to {known['different']:.2f}."
        )
    train = [] if split == "train" else floor_examples(Path(data), {group.task for group in groups})
    bench = Bench(train, seed)
    answers = Answers(cache / system.key if cache is not None and system.key else None)
    report.rows = measure(bench, system, groups, report, answers, show)
    for name in baselines:
        baseline = open_baseline(name)
        rows = measure(bench, baseline, groups, report, Answers(cache / baseline.key if cache is not None else None), show)
        for row in report.rows:
            twin = next((r for r in rows if (r.task, r.data) == (row.task, row.data)), None)
            if twin is not None:
                row.also |= {f"{baseline.name} {twin.metric}": twin.score.value, f"{baseline.name} x real time": twin.real_time_factor or math.nan}
    if other is not None:
        second = open_checkpoint(other, examples, seed, device)
        report.notes.append(f"compared with {second.name} ({other}) by paired bootstrap over the examples")
        theirs = Answers(cache / second.key if cache is not None and second.key else None)
        against(report.rows, measure(bench, second, groups, report, theirs, show), seed)
    if show:
        console = Console() if sys.stdout.isatty() else Console(width=240)  # a file or a pipe has no width to fit
        console.print(report.table())
        for line in report.failures:
            Console(stderr=True).print(f"[red]not measured:[/] {line}", highlight=False)
    if out is not None:
        report.save(Path(out))
        write_whole(Path(out) / "report.html", page(report, answers.wave))
    return report


def open_checkpoint(checkpoint: str | Path | Laura, examples: list[Example], seed: int, device: str | None) -> Checkpoint:
    """With the split's sounds to mix in; what is kept of its answers depends on them too."""
    noise, prompt = noise_of(examples, seed), prompt_of(examples)
    used = "/".join(sorted({f"{e.audio} {e.id} {e.speaker}" for e in examples if e.task in ("aac", "tts")}))
    if isinstance(checkpoint, Laura):
        return Checkpoint(checkpoint, noise, prompt, seed)  # its files are not known: nothing to keep its answers under
    return Checkpoint(Laura.load(checkpoint, device), noise, prompt, seed, f"{checkpoint_key(checkpoint, seed)}-{digest(used).hex()[:6]}")


def answered_by(given: Given, groups: list[Group], path: Path) -> list[Group]:
    """The groups of which a file answers anything. LauraError names ids that no example has."""
    known = {example.id for group in groups for example in group.examples}
    strange = [name for name in given.rows if name not in known]
    if len(strange) == len(given.rows):
        raise LauraError(f"{path}: none of its ids is measured here, the first is {strange[0]!r}: see --split, --tasks and --limit")
    if strange:
        raise LauraError(f"{path}: no example has the id {strange[0]!r} ({len(strange)} such ids): see --split, --tasks and --limit")
    return [group for group in groups if any(example.id in given.rows for example in group.examples)]


def measure(bench: Bench, system: System, groups: list[Group], report: Report, answers: Answers, show: bool) -> list[Row]:
    """Asks what has not been asked before, then scores."""
    rows = []
    with progress_bar(show) as bar:
        total = bar.add_task(system.name, total=sum(len(group.examples) for group in groups))
        for group in groups:
            bar.update(total, description=f"{system.name}: {group.task} {group.name}")
            why = system.refuses(group.task, group.lang)
            if why:
                bar.advance(total, len(group.examples))
                if isinstance(system, Checkpoint):  # a baseline is not expected to do every task
                    report.failures.append(f"{group.task} {group.name}: {why}")
                continue
            unknown = [example for example in group.examples if answers.find(example) is None]
            bar.advance(total, len(group.examples) - len(unknown))
            try:
                for example, told in system.answer(unknown, answers) if unknown else ():
                    answers.add(example, told)
                    bar.advance(total)
            except MissingPackage as error:
                report.failures.append(f"{system.name}: {group.task} {group.name}: {error}")
                rows.append(unmeasured(group, error))
                continue
            found = [answers.find(example) for example in group.examples]
            report.failures += [f"{e.id}: {a.failure}" for e, row in zip(group.examples, found) for a in row.values() if a.failure]
            mine = replace(group, answers=found)
            if any(mine.of(variant)[0] for variant in mine.variants()):
                rows += score(bench, mine)
    return rows


def score(bench: Bench, group: Group) -> list[Row]:
    """The group's rows; where its metric's package is missing, one row that says how to get it."""
    try:
        return SCORERS[group.task](bench, group)
    except MissingPackage as error:
        return [unmeasured(group, error)]


def unmeasured(group: Group, error: MissingPackage) -> Row:
    """A row that says how to get what its metric needs."""
    metric = TASKS[group.task].metric if group.task in TASKS else "STOI"  # the codec is no task
    return Row(group.task, group.name, 0, group.available, metric, Score(math.nan), also={"": str(error)})


def progress_bar(show: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not show, transient=True)
