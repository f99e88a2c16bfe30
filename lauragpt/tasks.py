"""The task table: what LauraGPT can be asked, one row a task. Read this first.

A task is a token in the GPT's vocabulary, the kind of what goes in (continuous audio features or text tokens), the kind of what
comes out (text tokens or codec tokens), the verb a person types and the metric that scores it. The sequence is always
`[input, <task>, <lang>, output, <eos>]` (sequence.py). Adding a task is adding a row here and data that names it.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from lauragpt.errors import LauraError

Kind = Literal["audio", "text"]
# How the answers to a recording's chunks become one: one after the other; each different one once, with "; " between them; the one of the
# highest confidence; the label of the highest mean score, weighted by the chunks' lengths.
Joining = Literal["concatenate", "unique", "best", "mean scores"]

LANGS = ["en", "de", "zh"]  # and those that were added
BEAMS = 4  # hypotheses of beam search: on dev 8 give no better words, 2 a point worse ones
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


@dataclass(frozen=True)
class Task:
    """A row of the table: all that the engine has to know of a task, so that adding one touches this file alone."""

    name: str
    verb: str
    input: Kind
    output: Kind
    metric: str
    letters: bool = False  # written letter by letter, which a small model learns to read and to pronounce long before word pieces
    whole: bool = False  # an answer is right or wrong as a whole, and so is its confidence
    bonus: float | None = None  # added to a hypothesis's log-probability for each token, as beam search prefers short texts; None: greedy
    tokens_per_second: float = 2.0  # of audio that an answer may have, at most,
    extra_tokens: int = 96  # and these on top
    labels: tuple[str, ...] = ()  # the only answers, which are scored and not written
    transcript: bool = False  # its words are the spoken ones: chunks end in pauses, and words have times
    joining: Joining = "concatenate"  # how the answers to a recording's chunks become one
    slots: bool = False  # the text holds an intent and slots (`slu_to_text`)

    def __post_init__(self):
        if self.joining not in get_args(Joining):
            raise LauraError(f"task {self.name!r}: joining is {self.joining!r}: choose one of {', '.join(get_args(Joining))}")
        if bool(self.labels) != (self.joining == "mean scores"):
            raise LauraError(f"task {self.name!r}: labels are what is scored, and mean scores are joined of labels: give both or neither")

    @property
    def token(self) -> str:
        return f"<{self.name}>"

    @property
    def without_sound(self) -> bool:
        return self.input == self.output == "text"

    def most_tokens(self, seconds: float) -> int:
        """How many tokens the answer to so many seconds of audio may have. Fast speech has about 6 words, 30 letters a second."""
        return math.ceil(self.tokens_per_second * seconds) + self.extra_tokens


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("asr", "transcribe", "audio", "text", "WER", letters=True, bonus=0.15, tokens_per_second=30, extra_tokens=16, transcript=True),
        Task("s2tt", "translate", "audio", "text", "chrF", tokens_per_second=15, extra_tokens=24),
        Task("mt", "translate", "text", "text", "chrF", bonus=0.9),
        Task("tts", "speak", "text", "audio", "WER", letters=True),
        Task("se", "enhance", "audio", "audio", "STOI"),
        Task(
            "aac", "caption", "audio", "text", "right sound", whole=True, tokens_per_second=0, extra_tokens=64, joining="unique"
        ),
        Task("ser", "emotion", "audio", "text", "UA", whole=True, labels=EMOTIONS, joining="mean scores"),
        Task("slu", "understand", "audio", "text", "exact slots", whole=True, joining="best", slots=True),
    )
}


BUILT_IN, BUILT_IN_LANGS = tuple(TASKS), tuple(LANGS)
ADDED: list[Task | str] = []  # tasks, and languages by their codes, in the order in which they were added: that of their tokens


def add_task(task: Task) -> None:
    """Adds a row for tasks of one's own (docs/new-task.md), before a model is made or loaded. Its token comes after all others, so that
    checkpoints that do not know it stay what they are. LauraError for a name that is taken or a task that gives sound."""
    if task.name in TASKS and TASKS[task.name] != task:
        raise LauraError(f"there is a task {task.name!r} already: choose another name")
    if (task.input, task.output) != ("audio", "text"):
        raise LauraError(f"task {task.name!r}: a task that is added listens and writes, audio to text, not {task.input} to {task.output}")
    if task.name in LANGS or not re.fullmatch(r"[a-z][a-z0-9_]*", task.name):
        raise LauraError(f"task {task.name!r}: a name is lower-case letters, digits and _, and no language's: choose another")
    if task.name not in TASKS:
        TASKS[task.name] = task
        ADDED.append(task)


def add_lang(lang: str) -> None:
    """Adds a language by its code (ISO 639), as `add_task` adds a task. LauraError for what is no code."""
    if lang in TASKS or not re.fullmatch(r"[a-z]{2,3}", lang):
        raise LauraError(f"{lang!r} is no language's code: give two or three lower-case letters, as fr or haw, which no task is called")
    if lang not in LANGS:
        LANGS.append(lang)
        ADDED.append(lang)


def added_rows() -> list[dict | str]:
    """`ADDED` as plain data, which a checkpoint's config.json repeats."""
    return [added if isinstance(added, str) else asdict(added) for added in ADDED]


def add_rows(rows: list[dict | str], where: str) -> None:
    """Adds what a checkpoint of `where` says that it knows more. LauraError where that cannot be read, or where others were added before,
    whose tokens would be taken for these."""
    try:
        wanted = [row if isinstance(row, str) else Task(**row | {"labels": tuple(row.get("labels", ()))}) for row in rows]
    except (TypeError, AttributeError) as error:
        raise LauraError(f"{where}: what it says was added cannot be read ({error}): fetch the checkpoint again") from None
    for place, row in enumerate(wanted[: len(ADDED)]):
        if ADDED[place] != row:
            names = [each if isinstance(each, str) else each.name for each in (row, ADDED[place])]
            raise LauraError(f"{where} has {names[0]!r} where this program has added {names[1]!r}: open it in a program of its own")
    for row in wanted[len(ADDED) :]:
        add_lang(row) if isinstance(row, str) else add_task(row)


def own_task(name: str, labels: tuple[str, ...] = ()) -> Task:
    """The row of a task that recordings are labelled for: its answer is one of `labels` or, without any, a text."""
    joining: Joining = "mean scores" if labels else "best"
    return Task(name, name, "audio", "text", "accuracy", whole=True, labels=tuple(labels), joining=joining)


def check_lang(lang: str) -> str:
    """The language code itself, or LauraError when the model has no token for it."""
    if lang not in LANGS:
        raise LauraError(f"unknown language {lang!r}: choose one of {', '.join(LANGS)}")
    return lang


def slu_to_text(intent: str, slots: dict[str, str]) -> str:
    """An intent and its slots as the line of text the GPT writes: `intent | slot = value | slot = value`, slots sorted by name."""
    return " | ".join([intent, *(f"{name} = {value}" for name, value in sorted(slots.items()))])


def joined_slots(entities: Iterable[Sequence[str]]) -> dict[str, str]:
    """(slot, value) pairs as slots: several values of one slot are joined by a comma."""
    slots: dict[str, str] = {}
    for name, value in entities:
        slots[name] = f"{slots[name]}, {value}" if name in slots else value
    return slots


def text_to_slu(text: str) -> tuple[str, dict[str, str]]:
    """The inverse of `slu_to_text`. Forgiving, because a model writes it: fields without `=` are dropped."""
    intent, *fields = (field.strip() for field in text.split("|"))
    slots = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if equals:
            slots[name.strip()] = re.sub(r"\s+", " ", value).strip()
    return intent, slots
