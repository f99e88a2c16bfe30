"""What a system answered: one JSON line an example, written as soon as it is there, so that an evaluation can be stopped and continued.

In and out: `Answer`s in FOLDER/TASK.jsonl, with their sounds beside them. A line is found by a key of everything the answer depends on:
the folder names the system, the key the example's input. References are not part of the key: they may change without asking again.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from lauragpt.audio import load_audio, save_audio
from lauragpt.data.manifest import Example
from lauragpt.data.shards import member_of
from lauragpt.data.spans import split_span
from lauragpt.errors import LauraError
from lauragpt.files import cache_folder

# Variants: several answers to one example.
NOISY, CONDITION, SHUFFLED, GPT_TOKENS, TRUE, CEILING = (  # of enhancement; TRUE also of speech
    "noisy input", "the condition alone", "the GPT's tokens, shuffled", "the GPT's tokens", "the true tokens", "the codec's ceiling"
)  # fmt: skip
REAL = "the real recordings"  # of speech
DIRECT, CASCADE = "direct", "cascade"  # of speech translation
OPUS = "Opus at"  # of the codec, with a rate in kbit/s
REFERENCES = (NOISY, CONDITION, SHUFFLED, TRUE, CEILING, REAL)  # measured for comparison; the system did not answer them


@dataclass
class Answer:
    """One answer to one example. `variant` tells several answers apart: a voice, a variant of enhancement; "" if there is only one."""

    variant: str = ""
    text: str = ""  # the written answer; for speech, what a recogniser hears in it
    sound: str = ""  # file name of the speech, in the store's folder
    confidence: float | None = None
    finish: str = ""  # eos, length, guard or empty
    seconds: float = 0.0  # of computing
    audio_seconds: float = 0.0  # of sound, input or output
    texts: dict[str, str] = field(default_factory=dict)  # other transcripts by name: "CTC greedy"
    scores: dict[str, float] = field(default_factory=dict)  # emotion -> probability; metric -> value of a sound
    failure: str = ""  # one line: why there is no answer


def has_words(example: Example, answer: Answer) -> bool:
    """Whether there is a sound in which known words should be recognised."""
    if example.task == "tts":
        return answer.variant == REAL or bool(answer.sound)
    return bool(example.extra.get("transcript") and answer.sound) and answer.variant not in (CONDITION, SHUFFLED)  # these have no words


class AnswerStore:
    """The answers of one system. With `folder` None they are kept in memory, sounds too."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.by_task: dict[str, dict[str, dict[str, Answer]]] = {}  # task -> key -> variant -> answer
        self.waves: dict[str, np.ndarray] = {}

    def find(self, example: Example) -> dict[str, Answer] | None:
        """By variant; None if the example has not been answered yet."""
        return self._load(example.task).get(key_of(example))

    def add(self, example: Example, answers: list[Answer]) -> None:
        """All variants of an example at once, so that a line is complete or absent. LauraError if the folder cannot be written."""
        self._load(example.task)[key_of(example)] = {answer.variant: answer for answer in answers}
        if self.folder is None:
            return
        line = json.dumps(
            {"key": key_of(example), "answers": [_nonempty(answer) for answer in answers]}, ensure_ascii=False, allow_nan=False
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / f"{example.task}.jsonl", "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise LauraError(f"{self.folder} cannot be written: {error.strerror}") from None

    def save_wave(self, example: Example, variant: str, wave: np.ndarray) -> str:
        """Stores a sound (N,) at 16 kHz and returns its name for `Answer.sound`."""
        name = f"{example.task}-{key_of(example)}-{hashlib.sha256(variant.encode()).hexdigest()[:6]}.flac"
        if self.folder is None:
            self.waves[name] = wave
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_audio(self.folder / name, wave)
        return name

    def wave(self, answer: Answer) -> np.ndarray:
        return self.waves[answer.sound] if self.folder is None else load_audio(self.folder / answer.sound)

    def _load(self, task: str) -> dict[str, dict[str, Answer]]:
        if task not in self.by_task:
            path = self.folder / f"{task}.jsonl" if self.folder else None
            self.by_task[task] = _read(path) if path and path.exists() else {}
        return self.by_task[task]


def _nonempty(answer: Answer) -> dict:
    """The fields that differ from their defaults; a confidence of 0 does."""
    return {name: value for name, value in dataclasses.asdict(answer).items() if value or name == "confidence"}


def _read(path: Path) -> dict[str, dict[str, Answer]]:
    answers = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            answers[row["key"]] = {a.get("variant", ""): Answer(**a) for a in row["answers"]}
        except (ValueError, KeyError, TypeError):
            continue  # an interruption cut this line short: the example is asked again
    return answers


@cache
def _file_digest(path: str) -> str:
    if member_of(path):
        return path.rpartition("#")[2]  # its CRC, wherever the shards lie
    try:
        return hashlib.sha256(Path(split_span(path)[0]).read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def key_of(example: Example) -> str:
    """16 hexadecimal digits of the example's input: task, languages, text and the bytes of its recordings."""
    files = [_file_digest(path) for path in (example.audio, example.noisy) if path]
    parts = [example.id, example.task, example.lang, example.source_lang, example.source, *files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def default_folder() -> Path:
    """Where answers are kept between evaluations: in $LAURA_CACHE, else in the user's cache folder."""
    return cache_folder() / "answers"
