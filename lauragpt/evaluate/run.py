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

SLOW = ("tts", "se", "codec")  # these make sound, and measure or hear it several times over
ENOUGH = 16  # examples a corpus of them where no limit is given
EACH = 2.0  # seconds that an example may have on average where a limit is given: what is long is then measured on fewer
SLOWER = 15  # times as much work a second of what makes sound is: so many times less of it is taken where a limit is given
# Enhancement's clean recordings get one recorded sound each, nothing else, so that the rungs compare one thing.
NOISE = NoiseConfig(snr_db=(0.0, 10.0), recorded=1.0, coloured=0.0, babble=0.0, hum=0.0, second=0.0, reverb=0.0, clipped=0.0)
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


def check(data: Path, split: str, tasks: Iterable[str] | None, limit: int | None) -> list[str]:
    """The tasks to measure, in the table's order, once all that was asked for makes sense."""
    if split not in SPLITS:
        raise LauraError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not data.is_dir():
        raise LauraError(f"{data} is not a folder: give the folder that `laura prepare` wrote")
    if limit is not None and limit < 1:
        raise LauraError(f"limit is {limit}: give 1 or more examples a corpus, or leave it out")
    asked = list(tasks) if tasks is not None else list(SCORERS)
    for task in asked:
        if task not in SCORERS:
            raise LauraError(f"unknown task {task!r}: choose from {', '.join(SCORERS)}")
    return [task for task in SCORERS if task in asked]


def read_split(data: Path, split: str) -> list[Example]:
    """Every example of the split: from SPLIT.jsonl, and from the synth*.jsonl beside it, which hold several splits."""
    own = data / f"{split}.jsonl"
    found = {e.id: e for path in [*([own] if own.exists() else []), *synth_manifests(data)] for e in read_manifest(path) if e.split == split}
    if not found:
        raise LauraError(f"{data} holds no {split} examples: expected {own.name} from `laura prepare`")
    return list(found.values())


def synth_manifests(data: Path) -> list[Path]:
    return sorted(path for path in data.glob("synth*.jsonl") if path.is_file())


def floor_examples(data: Path, tasks: set[str]) -> list[Example]:
    """Training examples of the tasks whose floor is a constant answer."""
    asked = tasks - {"asr", "tts", "se", "codec"}
    paths = [path for path in (data / "train.jsonl", *synth_manifests(data)) if path.exists()] if asked else []
    return [e for path in paths for e in read_manifest(path) if e.split == "train" and e.task in asked]


def make_groups(examples: list[Example], limit: int | None) -> list[Group]:
    """By task in the table's order, then corpus, then languages. Of each at most `limit` examples, by hash of the id, until they hold
    `limit` times 2 s; a fifteenth of both of the tasks that make sound."""
    sorted_out: dict[tuple, list[Example]] = defaultdict(list)
    for example in examples:
        pair = f" {example.source_lang}-{example.lang}" if example.source_lang and example.source_lang != example.lang else ""
        sorted_out[example.task, example.corpus + pair, example.lang].append(example)
    groups = []
    for (task, name, lang), members in sorted(sorted_out.items(), key=lambda entry: (list(SCORERS).index(entry[0][0]), entry[0][1:])):
        share = 1 / SLOWER if task in SLOW else 1.0
        most = math.ceil(limit * share) if limit else ENOUGH if task in SLOW else len(members)
        chosen, seconds = set(), 0.0
        for example in sorted(members, key=lambda e: digest(e.id))[:most]:
            if limit is None or seconds < limit * EACH * share:
                chosen.add(example.id)
            seconds += example.duration
        groups.append(Group(task, name, lang, [e for e in members if e.id in chosen], len(members)))
    return groups


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


def noise_of(examples: list[Example], seed: int) -> Callable[[Example, np.ndarray], np.ndarray]:
    """Mixes a sound of the split, where it has any, else coloured noise, into a clean recording. Which one, where and how loud is a function of (seed, id) alone."""
    sounds = sorted({e.audio for e in examples if e.task == "aac"})

    def noisy(example: Example, clean: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(int.from_bytes(digest(f"{seed}/{example.id}")[:8], "big"))
        if not sounds:  # a split without any: made noise
            return Noisifier(config=replace(NOISE, recorded=0.0, coloured=1.0)).noisy(clean, rng)
        return Noisifier([load_audio(sounds[rng.integers(len(sounds))])], config=NOISE).noisy(clean, rng)

    return noisy


def prompt_of(examples: list[Example], most: float = 3.0) -> Callable[[Example], np.ndarray | None]:
    """The first `most` seconds of another recording of an example's speaker, for the vocoder, which is trained with as many. Which one is
    a function of the ids alone; None where there is no other, or where it cannot be read."""
    spoken: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.task == "tts" and example.speaker:
            spoken[example.speaker].append(example)

    def prompt(example: Example) -> np.ndarray | None:
        others = [e for e in spoken.get(example.speaker or "", []) if e.audio != example.audio]
        try:
            return load_audio(min(others, key=lambda e: digest(example.id + e.id)).audio)[: int(most * SAMPLE_RATE)] if others else None
        except LauraError:  # which is told of where it is itself measured
            return None

    return prompt


def progress_bar(show: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not show, transient=True)
