"""The results of an evaluation: rows, the table for a terminal, report.json, report.md and worst.md.

In: `Row`s of `scorers.py`. Out: a rich table and three files. The report always says which split was measured and what that split is for,
because a score means nothing without its split.
"""

import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.table import Table

from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.evaluate.answers import REFERENCES, Answer
from lauragpt.evaluate.sound_metrics import POCKETSPHINX
from lauragpt.evaluate.tally import Score, Tally, Verdict, compare

FEW = 3  # examples named with a failure
SPLIT_RULE = "`train` trains, `dev` chooses between checkpoints and settings, `test` is only measured."
HEAD = ("task", "data", "n", "metric", "value", "95 %", "trivial floor", "also", "seconds", "x real time")


@dataclass
class Row:
    task: str
    data: str  # corpus, with the language pair or the kind of sound where a corpus has several
    n: int
    available: int  # examples of this corpus in the split, of which n, chosen by hash, were measured
    metric: str
    score: Score
    floor: float | None = None
    floor_name: str = ""
    also: dict[str, float | str] = field(default_factory=dict)  # further metrics; a string says why there is no number
    seconds: float = 0.0  # of computing the answers
    audio_seconds: float = 0.0  # of sound, input or output
    lower_is_better: bool = False
    tally: Tally | None = None  # the counts behind the score, one example each, in the order of
    examples: list[Example] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)  # the counts of further metrics, of which some examples may have no part
    confusion: tuple[np.ndarray, list[str]] | None = None  # (c, c) how often class i was answered with class j, and the c names
    verdict: Verdict | None = None  # comparison with another system on the same examples

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of computing for a second of sound; below 1 is faster than real time."""
        return self.seconds / self.audio_seconds if self.audio_seconds else None

    def parts(self, seed: int = 0) -> list[tuple[str, Score]]:
        """The score by speaker, if there are two to twenty, and by thirds of length."""
        if self.tally is None or len(self.tally) != len(self.examples):
            return []
        rows: dict[str, list[int]] = {}
        for number, example in enumerate(self.examples):
            rows.setdefault(f"speaker {example.speaker}" if example.speaker else "", []).append(number)
        groups = rows if "" not in rows and 2 <= len(rows) <= 20 else {}
        order = sorted(range(len(self.examples)), key=lambda i: (self.examples[i].duration, len(self.examples[i].source or "")))
        if len(order) >= 9:
            for name, part in zip(("shortest", "middle", "longest"), np.array_split(np.array(order), 3)):
                groups = groups | {f"{name} third": part.tolist()}
        return [(name, self.tally.of(part).score(seed)) for name, part in groups.items()]

    @property
    def is_reference(self) -> bool:
        """Whether the row is there for comparison only (what a person spoke, a variant of the ablation) or is about the codec alone."""
        variant = self.answers[0].variant if self.answers else ""
        return variant in REFERENCES or self.task == "codec"

    def worst(self, count: int = 10) -> list[tuple[Example, Answer, float]]:
        """The examples that score worst by themselves, worst first."""
        if self.tally is None or len(self.tally) != len(self.examples):
            return []
        values = [self.tally.of([i]).total for i in range(len(self.examples))]
        finite = [i for i in range(len(values)) if math.isfinite(values[i])]
        order = sorted(finite, key=lambda i: -values[i] if self.lower_is_better else values[i])
        return [(self.examples[i], self.answers[i], values[i]) for i in order[:count]]

    def cells(self) -> list[str]:
        interval = "" if math.isnan(self.score.low) else f"{number(self.score.low)} to {number(self.score.high)}"
        floor = "" if self.floor is None else f"{number(self.floor)} ({self.floor_name})"
        count = str(self.n) if self.n == self.available else f"{self.n} of {self.available}"
        also = "; ".join(f"{name} {number(value)}" for name, value in self.also.items())
        if self.verdict is not None:
            also += f"; {sentence(self.verdict)}"
        factor = "" if self.real_time_factor is None else f"{self.real_time_factor:.2f}"
        seconds = f"{self.seconds:.1f}" if self.seconds else ""
        return [self.task, self.data, count, self.metric, number(self.score.value), interval, floor, also, seconds, factor]


@dataclass
class Report:
    model: str
    split: str
    seed: int
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # how things were measured
    failures: dict[str, list[str]] = field(default_factory=dict)  # reason -> what could not be measured for it
    judge: str = POCKETSPHINX  # the recogniser whose word errors measure generated sound

    def fail(self, name: str, reason: str) -> None:
        self.failures.setdefault(reason, []).append(name)

    def failure_lines(self) -> list[str]:
        """One line a reason, with the number of examples and the first few of them."""
        return [
            f"{names[0]}: {reason}" if len(names) == 1
            else f"{len(names)} examples: {reason} ({', '.join(names[:FEW])}{' ...' if len(names) > FEW else ''})"
            for reason, names in self.failures.items()
        ]  # fmt: skip

    def table(self) -> Table:
        table = Table(title=f"{self.model}, split {self.split}", caption=SPLIT_RULE, header_style="bold", row_styles=["", "dim"])
        for name in HEAD:
            right = name in ("n", "value", "seconds", "x real time")
            table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name in ("task", "value"))
        for row in self.rows:
            table.add_row(*row.cells())
        return table

    def markdown(self) -> str:
        lines = [
            f"# {self.model}, measured on `{self.split}`",
            "",
            f"{SPLIT_RULE} Subsets are chosen by a hash of the id, seed {self.seed}.",
        ]
        lines += ["", "| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells()) + " |" for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)]
        if self.failures:
            lines += ["", "## Not measured", "", *(f"- {line}" for line in self.failure_lines())]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        rows = [to_dict(row, self.seed) for row in self.rows]
        failures = [f"{name}: {reason}" for reason, names in self.failures.items() for name in names]
        report = {"model": self.model, "split": self.split, "seed": self.seed, "judge": self.judge, "rows": rows, "notes": self.notes}
        report["failures"] = failures
        return json.dumps(finite(report), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    def save(self, folder: Path) -> None:
        """Writes report.json, report.md and worst.md, each completely or not at all."""
        write_whole(folder / "report.json", self.to_json())
        write_whole(folder / "report.md", self.markdown())
        write_whole(folder / "worst.md", self.worst())

    def worst(self, count: int = 10) -> str:
        """Markdown: the `count` worst answers of each task, the worst of each row first, without those that are right. For sound, what a
        recogniser hears in it or its metrics."""
        lines = [f"# {self.model}: the worst answers on `{self.split}`", "", f"{count} a task, the worst of each corpus first."]
        for task in dict.fromkeys(row.task for row in self.rows):
            rows = [row for row in self.rows if row.task == task and not row.is_reference]
            worst = [(row, [each for each in row.worst(count) if each[2] != (0 if row.lower_is_better else 100)]) for row in rows]
            entries = [(row, *answers[rank]) for rank in range(count) for row, answers in worst if rank < len(answers)][:count]
            if entries:
                lines += ["", f"## {task}", "", "| data | example | input | reference | answer | score |", "|" + " --- |" * 6]
            for row, example, answer, value in sorted(entries, key=lambda each: each[0].data):
                measures = ", ".join(f"{name} {number(score)}" for name, score in answer.scores.items() if math.isfinite(score))
                output = answer.text or measures or "(nothing)"
                cells = (
                    row.data,
                    example.id,
                    example.source or "",
                    " / ".join(example.targets[:2]),
                    output,
                    f"{row.metric} {number(value)}",
                )
                lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines) + "\n"


def to_dict(row: Row, seed: int) -> dict:
    """A row as plain data, with its parts."""
    names = ("task", "data", "n", "available", "metric", "floor", "floor_name", "also", "seconds", "audio_seconds", "lower_is_better")
    data = {name: getattr(row, name) for name in names} | {"score": asdict(row.score), "real_time_factor": row.real_time_factor}
    data["parts"] = {name: asdict(score) for name, score in row.parts(seed)}
    if row.confusion is not None:
        data["confusion"] = {"classes": row.confusion[1], "counts": row.confusion[0].tolist()}
    if row.verdict is not None:
        data["against"] = asdict(row.verdict)
    return data


def add_verdicts(rows: list[Row], other: list[Row], seed: int = 0) -> None:
    """Compares each row with the same row of another system, on the examples that both answered, and sets its `verdict`."""
    twins = {(row.task, row.data, row.metric): row for row in other}
    for row in rows:
        twin = twins.get((row.task, row.data, row.metric))
        if twin is None or row.tally is None or twin.tally is None or row.tally.counts.shape[1] != twin.tally.counts.shape[1]:
            continue  # counts by class have one column a class: with other classes they cannot be paired
        places = {example.id: place for place, example in enumerate(twin.examples)}
        both = [(i, places[e.id]) for i, e in enumerate(row.examples) if e.id in places]
        pair = twin.tally.of([j for _, j in both]), row.tally.of([i for i, _ in both])
        row.verdict = compare(*pair, higher_is_better=not row.lower_is_better, seed=seed)


def sentence(verdict: Verdict) -> str:
    interval = f"{number(verdict.low)} to {number(verdict.high)}"
    return (
        f"{verdict.word} than the other by {number(verdict.difference)} ({interval})"
        if verdict.word != "cannot tell"
        else (f"cannot tell which is better ({interval})")
    )


def number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "none"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def write_whole(path: Path, text: str) -> None:
    """Writes a temporary file beside it, then renames. LauraError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except OSError as error:
        raise LauraError(f"{path} cannot be written: {error.strerror}") from None


def finite(value):
    """JSON has no NaN: null instead."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    return [finite(entry) for entry in value] if isinstance(value, list) else value
