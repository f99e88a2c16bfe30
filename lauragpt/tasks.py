"""The task table: what LauraGPT can be asked, one row a task. Read this first.

A task is a token in the GPT's vocabulary, the kind of what goes in (continuous audio features or text tokens), the kind of what
comes out (text tokens or codec tokens), the verb a person types and the metric that scores it. The sequence is always
`[input, <task>, <lang>, output, <eos>]` (model/sequence.py). Adding a task is adding a row here and data that names it.
"""

import re
from dataclasses import dataclass
from typing import Literal

from lauragpt.errors import LauraError

Kind = Literal["audio", "text"]

LANGS = ("en", "de", "zh")
BEAMS = 4  # texts that are followed at once: on dev 8 give no better words, 2 a point worse ones
CASCADES = ("s2tt",)  # tasks that may be done by way of a transcript, where a checkpoint does them better so
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


@dataclass(frozen=True)
class Task:
    """A row of the table. `small`: the task belongs to the paper's second fine-tuning stage (the small-data tasks). `letters`: what
    is said is written letter by letter, which a small model learns to read off sound, and to pronounce, long before word pieces. `whole`: an
    answer is right or wrong as a whole, and so is what the model's confidence in it tells. `bonus`: what each token counts for, beyond its log-probability, where
    the best of several texts is looked for, since the likeliest of all tends to leave words out; None takes the likeliest token each time."""

    name: str
    verb: str
    input: Kind
    output: Kind
    metric: str
    small: bool = False
    letters: bool = False
    whole: bool = False
    bonus: float | None = None

    @property
    def token(self) -> str:
        return f"<{self.name}>"

    @property
    def without_sound(self) -> bool:
        return self.input == self.output == "text"


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("asr", "transcribe", "audio", "text", "WER", letters=True, bonus=0.15),
        Task("s2tt", "translate", "audio", "text", "chrF"),
        Task("mt", "translate", "text", "text", "chrF", bonus=0.9),
        Task("tts", "speak", "text", "audio", "WER", small=True, letters=True),
        Task("se", "enhance", "audio", "audio", "STOI", small=True),
        Task("aac", "caption", "audio", "text", "right sound", small=True, whole=True),
        Task("ser", "emotion", "audio", "text", "UA", small=True, whole=True),
        Task("slu", "understand", "audio", "text", "exact slots", small=True, whole=True),
    )
}


BUILT_IN = tuple(TASKS)


def add_task(task: Task) -> None:
    """Adds a row for tasks of one's own (docs/new-task.md), before a model is made or loaded. Its token comes after all others, so that
    checkpoints that do not know it stay what they are. LauraError for a name that is taken or a task that gives sound."""
    if task.name in TASKS and TASKS[task.name] != task:
        raise LauraError(f"there is a task {task.name!r} already: choose another name")
    if (task.input, task.output) != ("audio", "text"):
        raise LauraError(f"task {task.name!r}: a task that is added listens and writes, audio to text, not {task.input} to {task.output}")
    TASKS[task.name] = task


def check_lang(lang: str) -> str:
    """The language code itself, or LauraError when the model has no token for it."""
    if lang not in LANGS:
        raise LauraError(f"unknown language {lang!r}: choose one of {', '.join(LANGS)}")
    return lang


def slu_to_text(intent: str, slots: dict[str, str]) -> str:
    """An intent and its slots as the line of text the GPT writes: `intent | slot = value | slot = value`, slots sorted by name."""
    return " | ".join([intent, *(f"{name} = {value}" for name, value in sorted(slots.items()))])


def text_to_slu(text: str) -> tuple[str, dict[str, str]]:
    """The inverse of `slu_to_text`. Forgiving, because a model writes it: fields without `=` are dropped."""
    intent, *fields = (field.strip() for field in text.split("|"))
    slots = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if equals:
            slots[name.strip()] = re.sub(r"\s+", " ", value).strip()
    return intent, slots
