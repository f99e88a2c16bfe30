"""Which column of a table holds what: by its name, else by what stands in it. Every guess is told, and a person may decide otherwise.

In: the names of the columns and some rows. Out: role -> column, and how each was found.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lauragpt.data.readers.rows import SOUNDS
from lauragpt.errors import LauraError

# Role -> names, the best first.
NAMES: dict[str, tuple[str, ...]] = {
    "audio": (
        "audio", "file_name", "filename", "file", "audio_filepath", "audio_path", "audio_file", "audio_filename", "wav_filename",
        "wav_path", "wav_file", "path", "filepath", "file_path", "wav", "clip", "recording", "sound_file",
    ),
    "text": (
        "text", "transcript", "transcription", "sentence", "normalized_transcription", "normalized_text", "raw_text", "raw_transcription",
        "txt", "words", "utterance", "orthographic", "orthographic_transcript",
    ),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "speaker_name", "client_id", "reader", "reader_id", "user_id", "actor", "talker"),
    "split": ("split", "set", "subset", "partition"),
    "lang": ("lang", "language", "locale", "language_id", "lang_id"),
    "id": ("id", "utt_id", "utterance_id", "utt", "key", "uid", "uuid", "segment_id"),
    "duration": ("duration", "seconds", "dur", "length_seconds", "audio_duration"),
    "start": ("start", "start_time", "begin", "offset", "start_seconds"),
    "end": ("end", "end_time", "stop", "end_seconds"),
    "rate": ("sampling_rate", "sample_rate", "samplerate"),
    "corpus": ("corpus", "dataset", "source_dataset"),
    "licence": ("licence", "license"),
    "emotion": ("emotion",),
    "sound": ("sound", "caption", "sound_class", "event"),
    "intent": ("intent",),
    "slots": ("slots",),
    "label": ("label", "class", "category", "target"),
    "translation": ("translation", "translated_text", "target_text"),
}  # fmt: skip
ROLES = tuple(NAMES)
BESIDE = ("", "wavs", "clips", "audio", "wav", "data")  # folders beside a table in which recordings are looked for
ENDINGS = ("", ".wav", ".flac", ".mp3", ".opus", ".ogg")


@dataclass
class Columns:
    """role -> column; how each was found; and what turns a cell of the audio column into a path."""

    of: dict[str, str]
    how: dict[str, str] = field(default_factory=dict)
    folder: str = ""  # beside the table
    ending: str = ""

    def told(self) -> str:
        """For a person to confirm: "by name, audio is path, text is sentence; by what stands in it, speaker is 3"."""
        ways = {how: [role for role in self.of if self.how[role] == how] for how in dict.fromkeys(self.how.values())}
        found = "; ".join(f"{how}, " + ", ".join(f"{role} is {self.of[role]}" for role in roles) for how, roles in ways.items())
        where = f"; recordings are in {self.folder}/" if self.folder else ""
        return found + where + (f", names end in {self.ending}" if self.ending else "")

    def path(self, cell: str, folder: Path) -> str:
        """The absolute path of a cell."""
        return str(folder.absolute() / self.folder / f"{cell}{self.ending}")


def guess(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], given: Mapping[str, str], folder: Path, where: str, header: bool = True
) -> Columns:
    """The columns of a table in `folder`, of which `rows` are some. `given`: what a person said, role -> column. LauraError where no column
    holds recordings, or a given one is not there."""
    columns = Columns({})
    for role, name in given.items():
        if role not in ROLES:
            raise LauraError(f"{role!r} is nothing that a column may hold: choose from {', '.join(ROLES)}")
        if name not in names:
            raise LauraError(f"{where} has no column {name!r} for {role}: its columns are {', '.join(names)}")
        columns.of[role], columns.how[role] = name, "as you said"
    plain = {re.sub(r"\W+", "_", name.strip().lower()): name for name in reversed(names)}
    for role, known in NAMES.items():
        if role in columns.of or not header:
            continue
        found = next((plain[name] for name in known if name in plain and plain[name] not in columns.of.values()), None)
        if found is not None:
            columns.of[role], columns.how[role] = found, "by name"
    if "audio" not in columns.of:
        _by_values(columns, "audio", [name for name in names if name not in columns.of.values()], rows, folder)
    if "audio" not in columns.of:
        raise LauraError(f"{where}: no column holds recordings: its columns are {', '.join(names)}; say which with --column audio=NAME")
    _place(columns, [str(row.get(columns.of["audio"]) or "") for row in rows], folder)
    if not {"text", "label", "sound", "emotion", "intent"} & columns.of.keys():
        _by_values(columns, "text", [name for name in names if name not in columns.of.values()], rows, folder)
    return columns


def _by_values(columns: Columns, role: str, names: Sequence[str], rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Audio: the column of names that end as sound does, or whose files exist. Text: the column of most words."""
    shares = {}
    for name in names:
        cells = [str(row[name]) for row in rows if row.get(name)]
        if not cells:
            continue
        if role == "audio":
            ends = sum(Path(cell).suffix.lower() in SOUNDS for cell in cells) / len(cells)
            shares[name] = max(ends, _found(cells, folder)[0] if ends < 0.5 else 0.0)
        else:
            shares[name] = sum(len(cell.split()) for cell in cells) / len(cells)
    best = max(shares, key=lambda name: shares[name], default=None)
    if best is not None and shares[best] >= (0.5 if role == "audio" else 1.5):
        columns.of[role], columns.how[role] = best, "by what stands in it"


def _place(columns: Columns, cells: Sequence[str], folder: Path) -> None:
    share, columns.folder, columns.ending = _found([cell for cell in cells if cell], folder)
    if not share:
        columns.folder = columns.ending = ""


def _found(cells: Sequence[str], folder: Path) -> tuple[float, str, str]:
    """(share of the cells whose file exists, folder beside the table, ending) where most exist."""
    if not cells:
        return 0.0, "", ""
    best = (0.0, "", "")
    for beside in BESIDE:
        if beside and not (folder / beside).is_dir():
            continue
        for ending in ENDINGS:
            share = sum((folder / beside / f"{cell}{ending}").is_file() for cell in cells[:50]) / len(cells[:50])
            if share > best[0]:
                best = (share, beside, ending)
            if share == 1.0:
                return best
    return best
