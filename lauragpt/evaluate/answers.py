"""What a system answered: one JSON line an example and variant, written as it comes, so that an evaluation can be stopped and gone on with.

In and out: `Answer`s in FOLDER/TASK.jsonl, their sounds beside them. A line is found again by a key of all that the answer depends on:
the folder names the system, the key the example's input. References are no part of it: they may change without asking again.
"""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from lauragpt.audio import load_audio, save_audio
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError


@dataclass
class Answer:
    """`variant`: which of several answers to one example this is: a voice, a variant of enhancement; "" where there is one."""

    variant: str = ""
    text: str = ""  # what was written; of speech, what a recogniser heard
    sound: str = ""  # file name of what was spoken or cleaned, in the answers' folder
    confidence: float | None = None
    finish: str = ""  # eos, length, guard or empty
    seconds: float = 0.0  # of computing
    audio_seconds: float = 0.0  # listened to, or spoken
    texts: dict[str, str] = field(default_factory=dict)  # further readings by name: "CTC greedy"
    scores: dict[str, float] = field(default_factory=dict)  # emotion -> probability; measure -> value of a sound
    failure: str = ""  # one line: why there is no answer


class Answers:
    """The answers of one system. `folder` None keeps them in memory, sounds too."""

    def __init__(self, folder: Path | None):
        self.folder, self.known, self.waves = folder, {}, {}

    def find(self, example: Example) -> dict[str, Answer] | None:
        """By variant; None when the example has not been answered yet."""
        return self._of(example.task).get(key_of(example))

    def add(self, example: Example, answers: list[Answer]) -> None:
        """All variants of an example at once, so that a line is a whole answer or none."""
        rows = self._of(example.task)
        rows[key_of(example)] = {answer.variant: answer for answer in answers}
        if self.folder is None:
            return
        line = json.dumps({"key": key_of(example), "answers": [_bare(answer) for answer in answers]}, ensure_ascii=False, allow_nan=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / f"{example.task}.jsonl", "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise LauraError(f"{self.folder} cannot be written: {error.strerror}") from None

    def keep(self, example: Example, variant: str, wave: np.ndarray) -> str:
        """Stores a sound (N,) at 16 kHz and gives back its name for `Answer.sound`."""
        name = f"{example.task}-{key_of(example)}-{hashlib.sha256(variant.encode()).hexdigest()[:6]}.flac"
        if self.folder is None:
            self.waves[name] = wave
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_audio(self.folder / name, wave)
        return name

    def wave(self, answer: Answer) -> np.ndarray:
        return self.waves[answer.sound] if self.folder is None else load_audio(self.folder / answer.sound)

    def _of(self, task: str) -> dict[str, dict[str, Answer]]:
        if task not in self.known:
            path = self.folder / f"{task}.jsonl" if self.folder else None
            self.known[task] = _read(path) if path and path.exists() else {}
        return self.known[task]


def _bare(answer: Answer) -> dict:
    return {name: value for name, value in dataclasses.asdict(answer).items() if value}


def _read(path: Path) -> dict[str, dict[str, Answer]]:
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            found[row["key"]] = {a.get("variant", ""): Answer(**a) for a in row["answers"]}
        except (ValueError, KeyError, TypeError):
            continue  # the line that an interruption cut short: asked again
    return found


@cache
def _file_digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def key_of(example: Example) -> str:
    """16 hexadecimal digits of the example's input: task, languages, text and the bytes of its recordings."""
    files = [_file_digest(path) for path in (example.audio, example.noisy) if path]
    parts = [example.id, example.task, example.lang, example.source_lang, example.source, *files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def default_folder() -> Path:
    """Where answers are kept between evaluations: $LAURA_CACHE, else the user's cache folder."""
    base = os.environ.get("LAURA_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lauragpt" / "answers"
