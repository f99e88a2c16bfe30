"""What every reader gives: rows, what it guessed, and the lines that it could not use.

In: names of splits and languages as people write them. Out: ours. Nothing here opens a recording.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOUNDS = frozenset((".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aif", ".aiff", ".m4a", ".mp4", ".webm", ".amr"))
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "train"),
    **dict.fromkeys(("dev", "development", "valid", "validation", "val", "eval", "evaluation", "cv"), "dev"),
    **dict.fromkeys(("test", "testing", "tst", "tt"), "test"),
}
LANGUAGE_NAMES = {
    "english": "en", "eng": "en", "german": "de", "deutsch": "de", "deu": "de", "ger": "de", "chinese": "zh", "mandarin": "zh", "zho": "zh",
    "cmn": "zh", "french": "fr", "fra": "fr", "spanish": "es", "spa": "es", "italian": "it", "ita": "it",
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A line that cannot be used."""

    where: str  # "talks.csv, line 3"
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Row:
    """One recording, or a part of one, and what is known of it."""

    where: str
    audio: str  # absolute path
    id: str = ""
    start: float | None = None  # seconds; None where the row is the whole recording
    duration: float | None = None  # seconds, as the row says
    rate: int | None = None  # Hz, as the row says
    text: str | None = None
    speaker: str | None = None
    split: str | None = None
    lang: str | None = None
    corpus: str | None = None
    licence: str | None = None
    more: dict[str, Any] = field(default_factory=dict)  # emotion, sound, intent, slots, label, translation


@dataclass
class Reading:
    """What a reader made of a file or a folder."""

    kind: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was guessed, for a person to confirm
    problems: list[Problem] = field(default_factory=list)


def split_of(name: str) -> str | None:
    """The split that a file's, a folder's or a column's word names; None where it names none. "dev-clean" and "train_100" are read."""
    for word in re.split(r"[^a-z]+", name.lower()):
        if word in SPLIT_NAMES:
            return SPLIT_NAMES[word]
    return None


def language_of(name: str) -> str:
    """`en` of "en-US", "English" or "eng"."""
    name = name.strip().lower()
    return LANGUAGE_NAMES.get(name) or re.split(r"[-_]", name)[0]


def number_of(text: Any) -> float | None:
    """Seconds as a cell holds them; None for an empty one. ValueError for what is no number of 0 or more."""
    if text is None or text == "":
        return None
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def resolved(path: str, folder: Path, parents: int = 0) -> str:
    """A path as absolute: from `folder`, or from one of so many folders above it, or from where the program stands, whichever exists."""
    if Path(path).is_absolute():
        return path
    folder = folder.absolute()
    for base in (folder, *list(folder.parents)[:parents], Path.cwd()):
        if (base / path).exists():
            return str(base / path)
    return str(folder / path)
