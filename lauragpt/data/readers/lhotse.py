"""Lhotse's manifests: recordings and supervisions, or cuts, as JSONL, plain or gzip.

In: one such file, or a folder of them. Out: a `Reading` with a row a supervision. Recordings that are commands or addresses are never run
or fetched, and their supervisions are problems.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lauragpt.data.readers.rows import Problem, Reading, Row, language_of, resolved, split_of
from lauragpt.data.readers.tables import json_rows, opened, stem
from lauragpt.errors import LauraError

PARENTS = 4  # paths are relative to where the manifests were made: the folder above data/manifests, as a rule
WHOLE = 0.05  # seconds: a supervision that misses no more of its recording is all of it


def kind_of(cells: dict) -> str | None:
    """recordings, supervisions or cuts, by a line; None for what is not lhotse's."""
    if isinstance(cells.get("sources"), list) and "sampling_rate" in cells:
        return "recordings"
    if "recording_id" in cells and "start" in cells and "duration" in cells:
        return "supervisions"
    return "cuts" if isinstance(cells.get("recording"), dict) and "supervisions" in cells else None


def read_lhotse(files: Iterable[tuple[Path, str]], corpus: str) -> Reading:
    """files: each with its kind. LauraError where supervisions have no recordings beside them."""
    reading, recordings = Reading("lhotse"), dict[str, tuple[dict, Path]]()
    files = list(files)
    for path, kind in files:
        if kind == "recordings":
            with opened(path) as file:
                recordings |= {str(cells.get("id")): (cells, path) for _, cells in json_rows(file, path, reading)}
    if not recordings and not any(kind == "cuts" for _, kind in files):
        raise LauraError(f"{files[0][0]} names recordings by id: put the recordings' manifest (…recordings….jsonl.gz) beside it")
    for path, kind in files:
        if kind == "recordings":
            continue
        split = split_of(stem(path))
        with opened(path) as file:
            for number, cells in json_rows(file, path, reading):
                where = f"{path}, line {number}"
                if kind == "cuts":
                    _cut(cells, path, where, split, corpus, reading)
                else:
                    recording, beside = recordings.get(str(cells.get("recording_id")), (None, path))
                    _supervision(cells, recording, beside, where, split, corpus, reading)
        reading.notes.append(f"{path.name}: lhotse's {kind}" + (f"; split {split}, by its name" if split else ""))
    return reading


def _cut(cut: dict, path: Path, where: str, split: str | None, corpus: str, reading: Reading) -> None:
    """A cut's supervisions, whose times count from the cut's start."""
    if cut.get("type", "MonoCut") != "MonoCut":
        reading.problems.append(Problem(where, f"a {cut['type']} is no part of one recording: only MonoCut is read"))
        return
    for supervision in cut["supervisions"]:
        shifted = supervision | {"start": supervision.get("start", 0.0) + cut.get("start", 0.0)}
        _supervision(shifted, cut["recording"], path, where, split, corpus, reading)


def _supervision(cells: dict, recording: dict | None, beside: Path, where: str, split: str | None, corpus: str, reading: Reading) -> None:
    try:
        if recording is None:
            raise ValueError(f"the recording {cells.get('recording_id')!r} is in no manifest beside it")
        reading.rows.append(_row(cells, recording, beside, where, split, corpus))
    except (ValueError, TypeError, KeyError) as error:
        said = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
        reading.problems.append(Problem(where, said))


def _row(cells: dict[str, Any], recording: dict[str, Any], beside: Path, where: str, split: str | None, corpus: str) -> Row:
    if len(recording["sources"]) != 1 or recording["sources"][0]["type"] != "file":
        kinds = ", ".join(source["type"] for source in recording["sources"])
        raise ValueError(f"the recording {recording['id']!r} is not one file ({kinds}), and nothing is run or fetched: store it as a file")
    if len(recording["sources"][0].get("channels", [0])) > 1 and isinstance(cells.get("channel"), int):
        raise ValueError(f"it is one channel of several of {recording['id']!r}: store each channel as a file")
    audio = resolved(recording["sources"][0]["source"], beside.parent, PARENTS)
    start, duration, whole = float(cells["start"]), float(cells["duration"]), float(recording["duration"])
    if start < 0 or duration <= 0:
        raise ValueError(f"it goes from {start:g} s for {duration:g} s, which is no span")
    is_whole = start <= WHOLE and abs(whole - duration) <= WHOLE
    lang, custom = cells.get("language"), cells.get("custom") or {}
    more = {role: custom[role] for role in ("emotion", "sound", "intent", "slots", "label") if role in custom}
    begin, rate = None if is_whole else start, int(recording["sampling_rate"])
    known = cells.get("text"), cells.get("speaker"), split, language_of(lang) if lang else None
    return Row(where, audio, str(cells["id"]), begin, duration, rate, *known, corpus, more=more)
