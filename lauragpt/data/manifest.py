"""The manifest: one JSONL line an example. All training and evaluation data is this, and nothing else.

In: `train.jsonl`. Out: `list[Example]` with absolute audio paths. Errors name the file, the line and the field.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lauragpt.errors import LauraError
from lauragpt.tasks import LANGS, TASKS

SPLITS = ("train", "dev", "test")


@dataclass
class Example:
    """One thing to learn or to measure. Paths are absolute once read; in the file they may be relative to the file's folder."""

    id: str  # unique: "asr/librispeech/1088-134315-0000"
    task: str  # a key of tasks.TASKS
    split: str  # train | dev | test
    lang: str  # of the output; of the speaker for se
    corpus: str  # "librispeech", "synth-multi30k" ...
    audio: str | None = None  # the input; for tts the recording that says `source`; for se the CLEAN recording
    duration: float = 0.0  # seconds of `audio`; 0 without
    source: str | None = None  # mt, tts: the input text
    source_lang: str | None = None
    targets: list[str] = field(default_factory=list)  # acceptable output texts; [] for tts and se
    speaker: str | None = None  # "librispeech/1088": prompts come from the same speaker
    noisy: str | None = None  # se: a given noisy recording; else one is mixed on the fly
    extra: dict[str, Any] = field(default_factory=dict)  # sound, emotion, intent, slots ... kept as given


@dataclass(frozen=True)
class TextLine:
    """A sentence to pre-train the GPT on, a line of text.en.txt or text.de.txt."""

    text: str
    lang: str
    corpus: str


_FIELDS = {f.name for f in dataclasses.fields(Example)}
_TEXT = ("id", "task", "split", "lang", "corpus")
_OPTIONAL_TEXT = ("audio", "source", "source_lang", "speaker", "noisy")


def check_example(row: Any, where: str = "example") -> Example:
    """A parsed line as an Example, or LauraError that says which field is wrong and what it may be."""

    def wrong(name: str, problem: str) -> LauraError:
        return LauraError(f"{where}: field {name!r} {problem}")

    if not isinstance(row, dict):
        raise LauraError(f"{where}: a line is one JSON object, not {type(row).__name__}")
    for name in row:
        if name not in _FIELDS:
            raise wrong(name, f"is unknown; put it under 'extra' (fields: {', '.join(sorted(_FIELDS))})")
    for name in _TEXT:
        if not isinstance(row.get(name), str) or not row[name]:
            raise wrong(name, "is missing" if name not in row else f"must be a non-empty string, not {row[name]!r}")
    for name in _OPTIONAL_TEXT:
        if row.get(name) is not None and not isinstance(row[name], str):
            raise wrong(name, f"must be a string or null, not {row[name]!r}")
    for name, allowed in (("task", TASKS), ("split", SPLITS), ("lang", LANGS), ("source_lang", (None, *LANGS))):
        if row.get(name) not in allowed:
            raise wrong(name, f"is {row[name]!r}: choose one of {', '.join(a for a in allowed if a)}")
    duration, targets, extra = row.get("duration", 0.0), row.get("targets", []), row.get("extra", {})
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < float("inf"):
        raise wrong("duration", f"must be seconds, 0 or more, not {duration!r}")
    if not isinstance(targets, list) or not all(isinstance(text, str) for text in targets):
        raise wrong("targets", f"must be a list of strings, not {targets!r}")
    if not isinstance(extra, dict):
        raise wrong("extra", f"must be an object, not {extra!r}")
    example = Example(**row)
    _check_against_task(example, wrong)
    return example


def _check_against_task(example: Example, wrong: Any) -> None:
    """What the task's kinds of input and output ask for."""
    task = TASKS[example.task]
    if "audio" in (task.input, task.output):
        if not example.audio:
            raise wrong("audio", f"is missing: {task.name} needs a recording")
        if example.duration <= 0:
            raise wrong("duration", "must be more than 0 seconds where there is audio")
    if task.input == "text" and not (example.source or "").strip():
        raise wrong("source", f"is missing: {task.name} needs an input text")
    if task.output == "text":
        if not example.targets:
            raise wrong("targets", f"is empty: {task.name} needs at least one output text")
        if task.name != "asr" and not all(text.strip() for text in example.targets):
            raise wrong("targets", f"holds an empty text: only asr may answer nothing, not {task.name}")
    elif example.targets:
        raise wrong("targets", f"must be []: the output of {task.name} is audio")


def read_manifest(path: str | Path) -> list[Example]:
    """Every example of a manifest, checked, in the file's order, audio paths absolute. Blank lines are passed over."""
    path = Path(path)
    if path.is_dir():
        raise LauraError(f"{path} is a folder: give a manifest, such as {path / 'train.jsonl'}")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise LauraError(f"{path}: no such manifest") from None
    except UnicodeDecodeError:
        raise LauraError(f"{path} is not UTF-8 text: a manifest is JSONL, one example a line") from None
    except OSError as error:
        raise LauraError(f"{path} cannot be read: {error.strerror}") from None
    examples, seen = [], {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LauraError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
        example = resolve(check_example(row, where), path.parent)
        if example.id in seen:
            raise LauraError(f"{where}: field 'id' {example.id!r} was used before, in line {seen[example.id]}")
        seen[example.id] = number
        examples.append(example)
    return examples


def resolve(example: Example, folder: str | Path) -> Example:
    """The example with its paths absolute; relative ones start at `folder`."""
    for name in ("audio", "noisy"):
        if (path := getattr(example, name)) and not os.path.isabs(path):
            setattr(example, name, os.path.join(os.path.abspath(folder), path))
    return example


def write_manifest(path: str | Path, examples: Iterable[Example]) -> int:
    """Writes the examples and returns how many. Paths under the manifest's folder are written relative to it, so that it can be
    moved as one. Written beside its name and renamed: a reader never meets half a manifest."""
    path = Path(path)
    folder = os.path.join(os.path.abspath(path.parent), "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise LauraError(f"{path} cannot be written: {error.strerror}") from None
    count = 0
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for count, example in enumerate(examples, start=1):
                row = dataclasses.asdict(example)
                for name in ("audio", "noisy"):
                    if row[name] and row[name].startswith(folder):
                        row[name] = row[name][len(folder) :]
                check_example(row, f"{path}, line {count}")
                row = {name: value for name, value in row.items() if value not in (None, {}) and (name, value) != ("duration", 0)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
    return count
