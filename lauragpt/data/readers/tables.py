"""Tables of recordings: CSV, TSV, JSONL (also .gz), Hugging Face's audiofolder, and plain folders of recordings.

In: a file, or a folder with `metadata.csv` or `metadata.jsonl`. Out: a `Reading`. A table is read line by line; a line that does not fit
is a problem, and the others are read.
"""

import csv
import gzip
import json
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from lauragpt.data.readers.columns import NAMES, Columns, guess
from lauragpt.data.readers.rows import SOUNDS, Problem, Reading, Row, language_of, number_of, split_of
from lauragpt.errors import LauraError

SAMPLE = 200  # rows that a guess looks at
TABLES = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")
METADATA = tuple(f"metadata{ending}" for ending in (".csv", ".jsonl", ".tsv"))
GENERIC = ("metadata", "manifest", "data", "all", "validated", "index")  # names of tables that name no corpus
Cells = dict[str, Any]


def is_table(path: Path) -> bool:
    return path.name.lower().endswith(TABLES)


def opened(path: Path) -> TextIO:
    """A table's text. A byte order mark is passed over."""
    return gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else path.open(encoding="utf-8-sig", newline="")


def read_table(path: Path, given: Mapping[str, str], split: str | None = None, corpus: str | None = None) -> Reading:
    """The rows of a table. `given`: role -> column, where a person said so. LauraError for what is no table."""
    try:
        with opened(path) as file:
            return _read(path, file, given, split or split_of(stem(path)), corpus or corpus_of(path))
    except FileNotFoundError:
        raise LauraError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise LauraError(f"{path} is not UTF-8 text: save the table as UTF-8") from None
    except (OSError, EOFError) as error:
        raise LauraError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _read(path: Path, file: TextIO, given: Mapping[str, str], split: str | None, corpus: str) -> Reading:
    is_json = ".jsonl" in path.suffixes
    reading = Reading("JSONL" if is_json else "CSV")
    if is_json:
        header, lines = True, json_rows(file, path, reading)
    else:
        header, lines = csv_rows(file, path, reading, given)
    sample = list(islice(lines, SAMPLE))
    if not sample:
        raise LauraError(f"{path} holds no rows" + (f": {reading.problems[0].what}" if reading.problems else ""))
    names = list(dict.fromkeys(name for _, cells in sample for name in cells))
    columns = guess(names, [cells for _, cells in sample], given, path.parent, str(path), header)
    reading.notes.append(f"{path.name}: {'no line of names; ' if not header else ''}{columns.told()}")
    for line in (sample, lines):
        for number, cells in line:
            where = f"{path}, line {number}"
            try:
                reading.rows.append(row_of(cells, columns, path.parent, where, split, corpus))
            except ValueError as error:
                reading.problems.append(Problem(where, str(error)))
    return reading


def json_rows(file: TextIO, path: Path, reading: Reading) -> Iterator[tuple[int, Cells]]:
    """(line, object) of each line."""
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            reading.problems.append(Problem(f"{path}, line {number}", f"not JSON ({error.msg} at column {error.colno})"))
            continue
        if isinstance(cells, dict):
            yield number, cells
        else:
            reading.problems.append(Problem(f"{path}, line {number}", f"a line is one JSON object, not {type(cells).__name__}"))


def csv_rows(file: TextIO, path: Path, reading: Reading, given: Mapping[str, str]) -> tuple[bool, Iterator[tuple[int, Cells]]]:
    """Whether the first line names the columns, and (line, cells) of the others. Without names, columns are called 1, 2, 3."""
    first = file.readline()
    delimiter = max("\t,;|", key=first.count) if first.strip() else ","
    # Tables by tabs or bars are written without quotation marks that mean anything: sentences hold them.
    quoting: Any = csv.QUOTE_NONE if delimiter in "\t|" else csv.QUOTE_MINIMAL
    csv.field_size_limit(sys.maxsize)
    [names] = list(csv.reader([first], delimiter=delimiter, quoting=quoting)) or [[]]
    known = {name for all_names in NAMES.values() for name in all_names} | set(given.values())
    header = any(name.strip().lower().replace(" ", "_").replace("-", "_") in known for name in names)
    header = header or (len(names) > 1 and all(re.fullmatch(r"[A-Za-z_][A-Za-z_ -]{0,23}", name.strip()) for name in names))
    columns = [name.strip() for name in names] if header else [str(place) for place in range(1, len(names) + 1)]

    def rows() -> Iterator[tuple[int, Cells]]:
        if not header and names:
            yield 1, dict(zip(columns, names))
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting)
        try:
            for cells in reader:
                number = reader.line_num + 1
                if not any(cells):
                    continue
                if len(cells) != len(columns):
                    reading.problems.append(Problem(f"{path}, line {number}", f"{len(cells)} cells, but there are {len(columns)} columns"))
                    continue
                yield number, dict(zip(columns, cells))
        except csv.Error as error:
            reading.problems.append(Problem(f"{path}, line {reader.line_num + 1}", f"{error}: the rest of the table is not read"))

    return header, rows()


def row_of(cells: Cells, columns: Columns, folder: Path, where: str, split: str | None, corpus: str) -> Row:
    """ValueError that says what is wrong with the cells."""

    def cell(role: str) -> Any:
        value = cells.get(columns.of.get(role, ""))
        return value.strip() if isinstance(value, str) else value

    audio = cell("audio")
    if isinstance(audio, dict):  # as Hugging Face writes it
        audio = audio.get("path")
    if not isinstance(audio, str) or not audio:
        raise ValueError(f"no recording is named in {columns.of['audio']!r}")
    seconds = {}
    for role in ("start", "end", "duration", "rate"):
        try:
            seconds[role] = number_of(cell(role))
        except (ValueError, TypeError):
            raise ValueError(f"{columns.of[role]!r} is {cell(role)!r}, which is no number of 0 or more") from None
    start, end, duration = seconds["start"], seconds["end"], seconds["duration"]
    if end is not None:
        start = start or 0.0
        if end <= start:
            raise ValueError(f"it ends at {end:g} s, which is not behind its start at {start:g} s")
        duration = end - start
    elif start is not None and duration is None:
        raise ValueError(f"it starts at {start:g} s, but neither an end nor a duration is told")
    text = cell("text")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{columns.of['text']!r} is {text!r}, which is no text")
    said = cell("split")
    own_split = split_of(str(said)) if said else split
    if said and own_split is None:
        raise ValueError(f"{columns.of['split']!r} is {said!r}: train, dev (validation) and test are known")
    more = {role: cell(role) for role in ("emotion", "sound", "intent", "slots", "label", "translation") if cell(role) not in (None, "")}
    if isinstance(more.get("slots"), str):
        try:
            more["slots"] = json.loads(more["slots"])
        except json.JSONDecodeError:
            raise ValueError(f"{columns.of['slots']!r} is {more['slots']!r}, which is no JSON object") from None
    if "slots" in more and not isinstance(more["slots"], dict):
        raise ValueError(f"{columns.of['slots']!r} is {more['slots']!r}, which is no object of names and values")
    lang, speaker = cell("lang"), cell("speaker")
    return Row(
        where,
        columns.path(audio, folder),
        str(cell("id") or (audio if start is None else f"{audio}-{start:g}")),
        start,
        duration,
        int(seconds["rate"]) if seconds["rate"] else None,
        text,
        None if speaker in (None, "") else str(speaker),
        own_split,
        language_of(str(lang)) if lang else None,
        str(cell("corpus") or corpus),
        str(cell("licence")) if cell("licence") else None,
        more,
    )


def stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]


def corpus_of(path: Path) -> str:
    """A table's own name; that of its folder where it says nothing, as metadata.csv and train.tsv."""
    name = stem(path)
    folder = path.absolute().parent
    while split_of(folder.name) == folder.name and folder.parent != folder:
        folder = folder.parent
    return folder.name if name.lower() in GENERIC or split_of(name) else name


def read_audiofolder(folder: Path, metadata: list[Path], given: Mapping[str, str]) -> Reading:
    """Hugging Face's audiofolder: metadata with `file_name`, one for all or one a split's folder. A path's folder names the split where
    neither the metadata nor a column does."""
    reading = Reading("audiofolder")
    for path in metadata:
        table = read_table(path, given, split=split_of(path.parent.name) if path.parent != folder else None, corpus=folder.absolute().name)
        for row in table.rows:
            inner = Path(row.audio).parent.relative_to(folder.absolute()).parts if folder.absolute() in Path(row.audio).parents else ()
            row.split = row.split or next((named for part in inner if (named := split_of(part))), None)
        reading.rows += table.rows
        reading.notes += table.notes
        reading.problems += table.problems
    return reading


def read_recordings(folder: Path) -> Reading:
    """Recordings without a table: the folder of each is its label, and a folder above it may name its split."""
    reading, base = Reading("folder of recordings"), folder.absolute()
    for path in sorted(base.rglob("*")):
        if path.suffix.lower() in SOUNDS and path.is_file():
            inner = path.parent.relative_to(base).parts
            split = next((named for part in inner if (named := split_of(part))), None)
            labels = [part for part in inner if not split_of(part)]
            more = {"label": labels[-1]} if labels else {}
            name = str(path.relative_to(base))
            reading.rows.append(Row(str(path), str(path), name, split=split, corpus=base.name, more=more))
    if reading.rows:
        labels = sorted({row.more["label"] for row in reading.rows if row.more})
        named = f"folders are labels: {', '.join(labels[:8])}{' ...' if len(labels) > 8 else ''}"
        said = named if labels else "nothing says what is in them"
        reading.notes.append(f"{folder}: no table; {said}")
    return reading
