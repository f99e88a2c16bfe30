"""What an evaluation found: rows, the table a person reads, report.json, report.md and worst.md.

In: `Row`s of `scorers.py`. Out: a rich table on stdout and two files. The report always says which split was measured and what that
split is for, because a number without its split is not a number.
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
from lauragpt.evaluate.ablation import COMPARED
from lauragpt.evaluate.answers import Answer
from lauragpt.evaluate.systems import REAL
from lauragpt.evaluate.tally import Score, Tally, Verdict, compare

SPLIT_RULE = "`train` trains, `dev` chooses between checkpoints and settings, `test` is only measured."
HEAD = ("task", "data", "n", "metric", "value", "95 %", "trivial floor", "also", "seconds", "x real time")


@dataclass
class Row:
    task: str
    data: str  # corpus, with the language pair or the kind of sound where a corpus has several
    n: int
    available: int  # examples of this corpus in the split; n of them, chosen by hash, were measured
    metric: str
    score: Score
    floor: float | None = None
    floor_name: str = ""
    also: dict[str, float | str] = field(default_factory=dict)  # further columns; a string says why there is no number
    seconds: float = 0.0  # wall clock of the model's answers
    audio_seconds: float = 0.0  # of sound listened to, or spoken
    lower_is_better: bool = False
    tally: Tally | None = None  # what the score was made of, an example a row; with it come
    examples: list[Example] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    confusion: tuple[np.ndarray, list[str]] | None = None  # how often each class was called each, and their names
    verdict: Verdict | None = None  # against another system on the same examples

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of computing a second of sound; under 1 is faster than real time."""
        return self.seconds / self.audio_seconds if self.audio_seconds else None

    def parts(self, seed: int = 0) -> list[tuple[str, Score]]:
        """The score by speaker, where there are two to twenty, and by thirds of length."""
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
    def its_own(self) -> bool:
        """Whether the answers are the system's own, and not there to compare them with: a variant of enhancement's ablation, what a person spoke."""
        variant = self.answers[0].variant if self.answers else ""
        return variant not in (*COMPARED, REAL) and self.task != "codec"

    def worst(self, count: int = 10) -> list[tuple[Example, Answer, float]]:
        """The examples that score worst by themselves, worst first."""
        if self.tally is None or len(self.tally) != len(self.examples):
            return []
        values = [self.tally.of([i]).total for i in range(len(self.examples))]
        known = [i for i in range(len(values)) if math.isfinite(values[i])]
        order = sorted(known, key=lambda i: -values[i] if self.lower_is_better else values[i])
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
    failures: list[str] = field(default_factory=list)  # one line an input that could not be measured

    def table(self) -> Table:
        table = Table(title=f"{self.model}, split {self.split}", caption=SPLIT_RULE, header_style="bold", row_styles=["", "dim"])
        for name in HEAD:
            right = name in ("n", "value", "seconds", "x real time")
            table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name in ("task", "value"))
        for row in self.rows:
            table.add_row(*row.cells())
        return table

    def markdown(self) -> str:
        lines = [f"# {self.model}, measured on `{self.split}`", "", f"{SPLIT_RULE} Subsets are chosen by a hash of the id, seed {self.seed}."]
        lines += ["", "| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells()) + " |" for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)]
        if self.failures:
            lines += ["", "## Not measured", "", *(f"- {line}" for line in self.failures)]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        rows = [as_data(row, self.seed) for row in self.rows]
        whole = {"model": self.model, "split": self.split, "seed": self.seed, "rows": rows, "notes": self.notes, "failures": self.failures}
        return json.dumps(_finite(whole), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    def save(self, folder: Path) -> None:
        """report.json, report.md and worst.md, each whole or not at all."""
        write_whole(folder / "report.json", self.to_json())
        write_whole(folder / "report.md", self.markdown())
        write_whole(folder / "worst.md", self.worst())

    def worst(self, count: int = 10) -> str:
        """The worst answers, so many a task, the worst of each of its rows first, none that is right. Of sound, what a recogniser heard, or how it
        measures."""
        lines = [f"# {self.model}: the worst answers on `{self.split}`", "", f"{count} a task, the worst of each of its sets first."]
        for task in dict.fromkeys(row.task for row in self.rows):
            rows = [row for row in self.rows if row.task == task and row.its_own]
            worst = [(row, [each for each in row.worst(count) if each[2] != (0 if row.lower_is_better else 100)]) for row in rows]
            found = [(row, *answers[rank]) for rank in range(count) for row, answers in worst if rank < len(answers)][:count]
            if found:
                lines += ["", f"## {task}", "", "| data | example | asked | right | answered | score |", "|" + " --- |" * 6]
            for row, example, answer, value in sorted(found, key=lambda each: each[0].data):
                measures = ", ".join(f"{name} {number(score)}" for name, score in answer.scores.items() if math.isfinite(score))
                answered = answer.text or measures or (f"({answer.failure})" if answer.failure else "(nothing)")
                cells = (row.data, example.id, example.source or "", " / ".join(example.targets[:2]), answered, f"{row.metric} {number(value)}")
                lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines) + "\n"


def as_data(row: Row, seed: int) -> dict:
    """A row as plain data, with its parts."""
    plain = ("task", "data", "n", "available", "metric", "floor", "floor_name", "also", "seconds", "audio_seconds", "lower_is_better")
    found = {name: getattr(row, name) for name in plain} | {"score": asdict(row.score), "real_time_factor": row.real_time_factor}
    found["parts"] = {name: asdict(score) for name, score in row.parts(seed)}
    if row.confusion is not None:
        found["confusion"] = {"classes": row.confusion[1], "counts": row.confusion[0].tolist()}
    if row.verdict is not None:
        found["against"] = asdict(row.verdict)
    return found


def against(mine: list[Row], other: list[Row], seed: int = 0) -> None:
    """Writes into `mine` what can be said of it beside the same rows of another system, on the examples that both answered."""
    found = {(row.task, row.data, row.metric): row for row in other}
    for row in mine:
        twin = found.get((row.task, row.data, row.metric))
        if twin is None or row.tally is None or twin.tally is None or row.tally.counts.shape[1] != twin.tally.counts.shape[1]:
            continue  # counts by class have as many columns as there were classes: never paired by chance
        places = {example.id: place for place, example in enumerate(twin.examples)}
        both = [(i, places[e.id]) for i, e in enumerate(row.examples) if e.id in places]
        pair = twin.tally.of([j for _, j in both]), row.tally.of([i for i, _ in both])
        row.verdict = compare(*pair, higher_is_better=not row.lower_is_better, seed=seed)


def sentence(verdict: Verdict) -> str:
    interval = f"{number(verdict.low)} to {number(verdict.high)}"
    return f"{verdict.word} than the other by {number(verdict.difference)} ({interval})" if verdict.word != "cannot tell" else (
        f"cannot tell which is better ({interval})"
    )


def number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "none"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def write_whole(path: Path, text: str) -> None:
    """Writes beside the name, then renames. LauraError where the place cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except OSError as error:
        raise LauraError(f"{path} cannot be written: {error.strerror}") from None


def _finite(value):
    """JSON has no NaN: null instead."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list) else value
