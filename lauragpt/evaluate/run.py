"""`laura eval`: a checkpoint and a folder of manifests -> a report with one row a task and corpus, each beside its trivial floor.

In: the folder that `laura prepare` wrote (SPLIT.jsonl, train.jsonl for the floors), with any synth*.jsonl beside it. Out: a table on
stdout, progress on stderr, and `out`/report.json, report.md, worst.md and report.html. Two runs with one seed measure the same examples.
"""

import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lauragpt.checkpoint import add_known
from lauragpt.data.manifest import Example
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate import speaker
from lauragpt.evaluate.answers import CASCADE, DIRECT, AnswerStore
from lauragpt.evaluate.baselines import Baseline
from lauragpt.evaluate.groups import Group, add_telephone, check, digest, floor_examples, make_groups, read_split
from lauragpt.evaluate.inputs import NOISE, noise_of, prompt_of
from lauragpt.evaluate.judging import judge_answers
from lauragpt.evaluate.metrics import MissingPackage
from lauragpt.evaluate.recognisers import Recogniser, open_recogniser
from lauragpt.evaluate.report.page import page
from lauragpt.evaluate.report.tables import Report, Row, add_verdicts, write_whole
from lauragpt.evaluate.scorers import SCORERS, Bench, added
from lauragpt.evaluate.sound_metrics import POCKETSPHINX
from lauragpt.evaluate.systems import AnswerFile, Checkpoint, System, checkpoint_key, read_answer_file
from lauragpt.evaluate.tally import Score
from lauragpt.tasks import TASKS

NOTES = (
    "WER and CER after `spoken.normalize` on both sides: lower case, no punctuation, numbers in words. The model was given the language.",
    "telephone: the same recordings through 8 kHz mu-law (ITU-T G.711).",
    "95 %: percentiles of 1000 bootstrap resamples of the examples. Two checkpoints are compared on the same resamples (paired bootstrap).",
    "chrF and BLEU by sacrebleu on text as written. Every target of an example is a reference.",
    "right sound: the class that the caption names. Captions of ESC-50 are our own wordings of its class names, so CIDEr-D on them (words "
    "as they are, no PTB tokenizer) cannot be compared with figures on Clotho or AudioCaps.",
    "SLU-F1: SLURP's, of words and characters together. Loops: answers that went on until they were stopped. ECE: expected calibration "
    "error in 10 bins of the answer's confidence against right or wrong (transcripts: against the share of words right).",
    f"enhancement: a sound of this split is mixed in at {NOISE.snr_db[0]:.0f} to {NOISE.snr_db[1]:.0f} dB, fixed by the example's id.",
    "the true tokens: those of the real recording's first quantizer, decoded by the vocoder, which is given the text and another recording "
    "of the speaker (for enhancement: the noisy speech).",
    "x real time: seconds of computing for a second of sound, input or output. Reading files is not counted.",
    "A corpus named synth-... is synthetic speech: read its numbers as such.",
)


def evaluate(
    checkpoint: str | Path | Laura = "mini", data: Path = Path("runs/data"), split: str = "dev", tasks: Iterable[str] | None = None,
    limit: int | None = None, out: Path | None = None, seed: int = 0, show: bool = True, hyp: Path | None = None,
    baselines: Iterable[str] = (), other: str | Path | None = None, cache: Path | None = None, device: str | None = None,
    judge: str = POCKETSPHINX,
) -> Report:  # fmt: skip
    """Measures a checkpoint, or with `hyp` the answers in a file; prints the result if `show`.

    limit: examples a corpus (see `make_groups`). baselines: names that `open_recogniser` knows, measured on the same files. other: a
    checkpoint to compare with, example by example. cache: folder where answers are kept, so that none is computed twice; None keeps
    nothing. judge: the recogniser, by such a name, whose word errors measure `speak` and `enhance`. LauraError for what cannot be
    measured.
    """
    for known in (checkpoint, other):
        if hyp is None and isinstance(known, (str, Path)):
            add_known(known)
    bench = Bench([], seed, open_recogniser(judge))
    peers = [Baseline(open_recogniser(name)) for name in baselines]
    data = Path(data)
    examples, groups = choose(data, split, tasks, limit)
    groups = add_telephone(groups)
    if hyp is not None:
        system = read_answer_file(Path(hyp))
        groups = answered_groups(system, groups, hyp)
    else:
        system = open_checkpoint(checkpoint, examples, seed, device)
    notes = [*NOTES, *way_note(system), judge_note(bench.judge), *speaker_note()]
    report = Report(system.name, split, seed, notes=notes, judge=bench.judge.name)
    if split != "train":
        bench.train = floor_examples(data, {group.task for group in groups})
    store = answer_store(cache, system)
    report.rows = measure(bench, system, groups, report, store, show)
    for baseline in peers:
        add_baseline(report.rows, measure(bench, baseline, groups, report, answer_store(cache, baseline), show), baseline.name)
    if other is not None:
        second = open_checkpoint(other, examples, seed, device)
        report.notes.append(f"compared with {second.name} ({other}) by paired bootstrap over the examples")
        add_verdicts(report.rows, measure(bench, second, groups, report, answer_store(cache, second), show), seed)
    if show:
        Console(width=None if sys.stdout.isatty() else 240).print(report.table())  # a file or a pipe has no width to fit
        for line in report.failure_lines():
            Console(stderr=True).print(f"[red]not measured:[/] {line}", highlight=False, soft_wrap=True)
    if out is not None:
        report.save(Path(out))
        write_whole(Path(out) / "report.html", page(report, store.wave))
    return report


def choose(data: Path, split: str, tasks: Iterable[str] | None, limit: int | None) -> tuple[list[Example], list[Group]]:
    """All examples of the split, and the groups to measure. LauraError if there is nothing."""
    tasks = check(data, split, tasks, limit)
    examples = read_split(data, split)
    if "codec" in tasks:
        examples += [replace(e, task="codec", id=f"codec/{e.id}") for e in examples if e.task == "tts"]
    groups = make_groups([e for e in examples if e.task in tasks], limit)
    if not groups:
        raise LauraError(f"{data} has no {split} examples of {', '.join(tasks)}: run `laura prepare` first, or choose other --tasks")
    return examples, groups


def open_checkpoint(checkpoint: str | Path | Laura, examples: list[Example], seed: int, device: str | None) -> Checkpoint:
    """The checkpoint with the noise and the prompts of the split. Its cached answers depend on those too."""
    noise, prompt = noise_of(examples, seed), prompt_of(examples)
    if isinstance(checkpoint, Laura):
        return Checkpoint(checkpoint, noise, prompt, seed)  # its files are unknown, so its answers cannot be cached
    recordings = "/".join(sorted({f"{e.audio} {e.id} {e.speaker}" for e in examples if e.task in ("aac", "tts")}))
    key = f"{checkpoint_key(checkpoint, seed)}-{digest(recordings).hex()[:6]}"
    return Checkpoint(Laura.load(checkpoint, device), noise, prompt, seed, key)


def answer_store(cache: Path | None, system: System) -> AnswerStore:
    return AnswerStore(cache / system.key if cache is not None and system.key else None)


def answered_groups(answers: AnswerFile, groups: list[Group], path: Path) -> list[Group]:
    """The groups for which the file has any answer. LauraError if it has ids that no example has."""
    ids = {example.id for group in groups for example in group.examples}
    unknown = [name for name in answers.rows if name not in ids]
    if len(unknown) == len(answers.rows):
        raise LauraError(f"{path}: none of its ids is measured here, the first is {unknown[0]!r}: see --split, --tasks and --limit")
    if unknown:
        raise LauraError(f"{path}: no example has the id {unknown[0]!r} ({len(unknown)} such ids): see --split, --tasks and --limit")
    return [group for group in groups if any(example.id in answers.rows for example in group.examples)]


def measure(bench: Bench, system: System, groups: list[Group], report: Report, store: AnswerStore, show: bool) -> list[Row]:
    """Asks the system for the answers that the store lacks, then scores. What fails goes to the report."""
    rows = []
    with progress_bar(show) as bar:
        progress = bar.add_task(system.name, total=sum(len(group.examples) for group in groups))
        for group in groups:
            bar.update(progress, description=f"{system.name}: {group.task} {group.name}")
            reason = system.refuses(group.task, group.lang)
            if reason:
                bar.advance(progress, len(group.examples))
                if isinstance(system, Checkpoint):
                    report.fail(f"{group.task} {group.name}", reason)
                elif group.task == "asr":  # a baseline is not expected to do every task
                    report.fail(f"{system.name}: {group.task} {group.name}", reason)
                continue
            missing = [example for example in group.examples if store.find(example) is None]
            bar.advance(progress, len(group.examples) - len(missing))
            try:
                for example, answers in system.answer(missing, store) if missing else ():
                    store.add(example, answers)
                    bar.advance(progress)
            except MissingPackage as error:
                report.fail(f"{system.name}: {group.task} {group.name}", str(error))
                rows.append(unmeasured(group, str(error)))
                continue
            group = replace(group, answers=[store.find(example) for example in group.examples])
            try:
                reason = judge_answers(bench.judge, group, store)
            except MissingPackage as error:
                reason = str(error)
            if reason:
                report.fail(f"{group.task} {group.name}", reason)
                if group.task == "tts":  # of enhancement, only the words are not measured
                    rows.append(unmeasured(group, reason))
                    continue
            for example, answers in zip(group.examples, group.answers):
                for answer in answers.values():
                    if answer.failure:
                        report.fail(example.id, answer.failure)
            if group.variants():
                rows += score(bench, group)
    return rows


def score(bench: Bench, group: Group) -> list[Row]:
    """The group's rows; if a package that its metric needs is missing, one row that says how to get it."""
    try:
        return SCORERS.get(group.task, added)(bench, group)
    except MissingPackage as error:
        return [unmeasured(group, str(error))]


def unmeasured(group: Group, reason: str) -> Row:
    metric = TASKS[group.task].metric if group.task in TASKS else "STOI"  # the codec is no task
    return Row(group.task, group.name, 0, group.available, metric, Score(math.nan), also={"": reason})


def add_baseline(rows: list[Row], baseline: list[Row], name: str) -> None:
    """Adds a baseline's score and speed to the rows of the same task and data."""
    for row in rows:
        twin = next((r for r in baseline if (r.task, r.data) == (row.task, row.data)), None)
        if twin is not None:
            row.also |= {f"{name} {twin.metric}": twin.score.value, f"{name} x real time": twin.real_time_factor or math.nan}


def way_note(system: System) -> list[str]:
    """What the two rows of speech translation are, and which of them the checkpoint's users get."""
    if not isinstance(system, Checkpoint):
        return []
    way = CASCADE if system.laura.runtime.info.cascade else DIRECT
    return [
        "s2tt, direct: the GPT writes the translation of what it hears; cascade: it transcribes (asr), then translates the text (mt). "
        f"Asked to translate a recording, {system.name} takes the way called {way}, as its config.json says."
    ]


def judge_note(judge: Recogniser) -> str:
    return (
        f"heard by: the words of speech and of cleaned speech are those that {judge.name} recognises; where it does not know the language, "
        "those that the measured model recognises itself."
    )


def speaker_note() -> list[str]:
    """How good the speaker encoder is, if one ships."""
    figures = speaker.figures()
    if not figures:
        return []
    return [
        "similarity to the voice: cosine of the voice's prompt and the speech by our own small speaker encoder. On dev speakers that it "
        f"was not trained on its equal error rate is {figures['eer']:.1f} %; two recordings of one speaker have a cosine of "
        f"{figures['same']:.2f} on average, of two speakers {figures['different']:.2f}."
    ]


def progress_bar(show: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not show, transient=True)
