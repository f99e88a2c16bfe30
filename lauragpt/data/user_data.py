"""Anyone's recordings and texts -> examples: the one door for data that `laura prepare` does not know.

In: a table (CSV, TSV, JSONL), a folder in the form of Hugging Face's audiofolder, of Kaldi or of lhotse, a manifest of ours, or a folder
of these. Out: `UserData`: examples, what was guessed, the lines that cannot be used, and the licences as far as they are told. No recording
is opened here, and nothing is written.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lauragpt.data.licences import CORPORA, OWN_CORPORA, UNDESCRIBED, CorpusLicence, commercial_use, described_corpora
from lauragpt.data.manifest import Example, check_example, resolve
from lauragpt.data.readers.kaldi import kaldi_folders, read_kaldi
from lauragpt.data.readers.lhotse import kind_of, read_lhotse
from lauragpt.data.readers.rows import SOUNDS, Problem, Reading, Row, split_of
from lauragpt.data.readers.tables import METADATA, is_table, json_rows, opened, read_audiofolder, read_recordings, read_table, stem
from lauragpt.data.shards import INDEX, read_shards
from lauragpt.data.spans import span_name
from lauragpt.data.splits import has_dev, make_split
from lauragpt.errors import LauraError
from lauragpt.spoken import normalize
from lauragpt.tasks import EMOTIONS, slu_to_text

LABEL = "label"  # the task of rows that have a label and nothing else, where none is named
DEPTH = 3  # folders below the one that is named in which metadata are looked for
OTHER = {"en": "de", "de": "en"}  # the language of a translation that says none


@dataclass
class UserData:
    """What a person's data hold. `examples` may be of languages and tasks that no checkpoint knows, and without a duration (0)."""

    path: Path
    kind: str  # "CSV", "audiofolder", "Kaldi", "lhotse", "manifest" ...
    examples: list[Example] = field(default_factory=list)
    places: list[str] = field(default_factory=list)  # of each example: the file and the line that it comes from
    notes: list[str] = field(default_factory=list)  # what was guessed, for a person to confirm
    problems: list[Problem] = field(default_factory=list)  # lines that cannot be used
    rates: dict[str, int] = field(default_factory=dict)  # of a recording, in Hz, where the data tell one
    licences: dict[str, CorpusLicence] = field(default_factory=dict)  # of every corpus


def read_data(
    path: str | Path, columns: Mapping[str, str] | None = None, task: str | None = None, lang: str | None = None,
    licence: str | None = None, split: bool = True,
) -> UserData:  # fmt: skip
    """Reads whatever `path` is.

    columns: role -> column of a table, as in {"audio": "clip"}, where the guess is wrong. task: make examples of this task alone; None: of
    every task of which a row knows the answer. lang: the language of rows that say none (en). licence: that of all corpora that say none.
    split: make one where the data have none. LauraError for what holds no examples."""
    path = Path(path)
    if not path.exists():
        raise LauraError(f"{path}: no such file or folder")
    try:
        if ((files := manifests(path)) or (path / INDEX).is_file()) and not columns:
            data = read_manifests(path, files)
        else:
            data = _from_rows(path, read_rows(path, columns or {}), task, lang, split)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise LauraError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if task is not None:
        kept = [index for index, example in enumerate(data.examples) if example.task == task]
        data.examples, data.places = [data.examples[i] for i in kept], [data.places[i] for i in kept]
    if not data.examples:
        said = f"{task} " if task else ""
        why = f"; the first line that cannot be used: {data.problems[0]}" if data.problems else f": {data.notes[-1]}" if data.notes else ""
        raise LauraError(f"{path} ({data.kind}) holds no {said}examples{why}")
    data.licences |= licences_of(path, {example.corpus for example in data.examples} - data.licences.keys(), licence)
    return data


# --- manifests of ours -----------------------------------------------------------------------------------------------------------


def first_line(path: Path) -> dict:
    """The first object of a JSONL file; {} where there is none."""
    try:
        with opened(path) as file:
            return next((cells for _, cells in json_rows(file, path, Reading(""))), {})
    except (OSError, EOFError, UnicodeDecodeError, zlib.error):
        return {}


def manifests(path: Path) -> list[Path]:
    """The manifests of ours that a file or a folder is."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path] if path.suffix == ".jsonl" else []
    return [file for file in files if {"id", "task", "split", "corpus"} <= first_line(file).keys()]


def read_manifests(path: Path, files: Iterable[Path]) -> UserData:
    data = UserData(path, "manifest")
    for file in files:
        reading, seen = Reading(""), dict[str, int]()
        try:
            with opened(file) as lines:
                for number, cells in json_rows(lines, file, reading):
                    where = f"{file}, line {number}"
                    try:
                        example = resolve(check_example(cells, where), file.parent)
                        if example.id in seen:
                            raise LauraError(f"{where}: field 'id' {example.id!r} was used before, in line {seen[example.id]}")
                    except LauraError as error:
                        reading.problems.append(Problem(where, str(error).removeprefix(f"{where}: ")))
                        continue
                    seen[example.id] = number
                    data.examples.append(example)
                    data.places.append(where)
        except UnicodeDecodeError:
            raise LauraError(f"{file} is not UTF-8 text: a manifest is JSONL, one example a line") from None
        data.problems += reading.problems
        data.notes.append(f"{file.name}: a manifest, {len(seen)} examples")
    if path.is_dir() and (shards := read_shards(path)):
        data.examples += shards
        data.places += [f"{path}, {example.id}" for example in shards]
        data.notes.append(f"shards: {len(shards)} examples")
    return data


# --- other people's ----------------------------------------------------------------------------------------------------------------


def read_rows(path: Path, columns: Mapping[str, str]) -> Reading:
    """The rows of a file or a folder, by the reader that fits. LauraError where none does."""
    if path.is_file():
        if path.name in ("wav.scp", "segments", "utt2spk"):
            return read_kaldi(path.parent)
        if path.suffix.lower() in SOUNDS:
            raise LauraError(f"{path} is one recording: give a table of recordings with their texts, or a folder")
        if not is_table(path):
            raise LauraError(f"{path}: data are a .csv, .tsv or .jsonl file (also .gz), or a folder; {path.suffix or 'this'} is none")
        if ".jsonl" in path.suffixes and (kind := kind_of(first_line(path))):
            beside = [(path, kind), *(each for each in lhotse_files(path.parent) if each[1] == "recordings" and each[0] != path)]
            return read_lhotse(beside if kind != "cuts" else beside[:1], path.absolute().parent.name)
        return read_table(path, columns)
    if kaldi_folders(path):
        return read_kaldi(path)
    if files := lhotse_files(path):
        return read_lhotse(files, path.absolute().name)
    metadata = sorted(found for name in METADATA for depth in range(DEPTH) for found in path.glob("*/" * depth + name))
    if metadata:
        return read_audiofolder(path, metadata, columns)
    tables = sorted(file for file in path.iterdir() if is_table(file) and file.is_file())
    if tables:
        return read_tables(path, tables, columns)
    reading = read_recordings(path)
    if not reading.rows:
        raise LauraError(
            f"{path} holds no data: give a table (.csv, .tsv, .jsonl), or a folder with one, with metadata.csv (audiofolder), with wav.scp "
            "(Kaldi) or with manifests of lhotse"
        )
    return reading


def lhotse_files(folder: Path) -> list[tuple[Path, str]]:
    files = sorted(file for kind in ("*.jsonl", "*.jsonl.gz") for file in folder.glob(kind))
    return [(file, kind) for file in files if (kind := kind_of(first_line(file)))]


def read_tables(folder: Path, tables: list[Path], columns: Mapping[str, str]) -> Reading:
    """Several tables of a folder: those named after splits where there are any (the others often repeat them), else all."""
    named = [path for path in tables if split_of(stem(path))]
    reading = Reading("tables" if len(named or tables) > 1 else "table")
    for path in named or tables:
        try:
            table = read_table(path, columns)
        except LauraError as error:
            if len(tables) == 1:
                raise
            reading.notes.append(f"left out: {error}")
            continue
        reading.rows += table.rows
        reading.notes += table.notes
        reading.problems += table.problems
    if not reading.rows:
        raise LauraError(f"{folder}: none of its tables can be used; {reading.notes[0] if reading.notes else ''}")
    return reading


def _from_rows(path: Path, reading: Reading, task: str | None, lang: str | None, split: bool) -> UserData:
    data = UserData(path, reading.kind, notes=reading.notes, problems=reading.problems)
    if split and not has_dev(reading.rows):
        data.notes += make_split(reading.rows)
    for row in reading.rows:
        row.split = row.split or "train"
    if any(row.lang is None for row in reading.rows):
        data.notes.append(f"language: {lang or 'en'}, {'as you said' if lang else 'since nothing says another (--lang)'}")
    told: dict[str, str] = {}
    silent: dict[str, int] = {}
    for row in reading.rows:
        row.lang = row.lang or lang or "en"
        try:
            made = list(examples_of(row, task))
        except ValueError as error:
            data.problems.append(Problem(row.where, str(error)))
            continue
        if not made:
            silent[row.corpus or ""] = silent.get(row.corpus or "", 0) + 1
        if row.licence:
            told.setdefault(row.corpus or "", row.licence)
        if row.rate:
            data.rates[row.audio] = row.rate
        data.examples += made
        data.places += [row.where] * len(made)
    for corpus, count in silent.items():
        data.notes.append(f"left out: {count} rows of {corpus}, which do not say what is in the recordings")
    data.licences = {corpus: CorpusLicence(text, commercial_use(text)) for corpus, text in told.items()}
    return data


def examples_of(row: Row, task: str | None) -> Iterator[Example]:
    """An example for each task of which the row knows the answer, or for `task` alone. ValueError for an answer that no task gives."""
    more, lang, texts = row.more, row.lang or "en", dict[str, str]()
    if row.text is not None:
        texts["asr"] = normalize(row.text, lang)
        if task == "tts":
            texts["tts"] = ""
    if "emotion" in more:
        texts["ser"] = str(more["emotion"]).lower()
    if "sound" in more:
        texts["aac"] = str(more["sound"])
    if "intent" in more:
        texts["slu"] = slu_to_text(str(more["intent"]), {name: str(value) for name, value in more.get("slots", {}).items()})
    if "translation" in more:
        texts["s2tt"] = str(more["translation"])
    if "label" in more:
        name = "ser" if str(more["label"]).lower() in EMOTIONS and task in (None, "ser") else task or LABEL
        texts.setdefault(name, str(more["label"]).lower() if name == "ser" else str(more["label"]))
    path = row.audio if row.start is None else span_name(row.audio, row.start, row.start + (row.duration or 0.0))
    for name, text in texts.items():
        if task not in (None, name):
            continue
        if name == "ser" and text not in EMOTIONS:
            raise ValueError(f"the emotion {text!r} is none of {', '.join(EMOTIONS)}")
        extra = dict(more) | ({"transcript": row.text} if name in ("slu", "s2tt") and row.text else {})
        spoken = name == "tts"
        yield Example(
            f"{name}/{row.corpus}/{row.id}", name, row.split or "train", OTHER.get(lang, lang) if name == "s2tt" else lang,
            row.corpus or "", path, row.duration or 0.0, row.text if spoken else None, lang if name in ("s2tt", "tts") else None,
            [] if spoken else [text], f"{row.corpus}/{row.speaker}" if row.speaker else None, None, extra,
        )  # fmt: skip


# --- licences ----------------------------------------------------------------------------------------------------------------------


def licences_of(path: Path, corpora: Iterable[str], said: str | None) -> dict[str, CorpusLicence]:
    """The licences of corpora: as corpora.json beside them tells, or the table of the known ones, or `said`, or the folder's README.md
    (`license:`, as Hugging Face has it) or LICENSE file."""
    folder = path if path.is_dir() else path.parent
    known = described_corpora(folder) if (folder / OWN_CORPORA).exists() else CORPORA
    beside = said or _licence_beside(folder)
    default = CorpusLicence(beside, commercial_use(beside)) if beside else UNDESCRIBED
    return {corpus: known.get(corpus, default) for corpus in corpora}


def _licence_beside(folder: Path) -> str | None:
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        if card := re.match(r"---\n.*?^license:\s*(\S+)\s*$.*?^---", text, re.DOTALL | re.MULTILINE):
            return card[1].strip("\"'")
    except (OSError, UnicodeDecodeError):
        pass
    for name in ("LICENSE", "LICENSE.txt", "LICENCE", "LICENCE.txt"):
        try:
            lines = (folder / name).read_text(encoding="utf-8").strip().splitlines()
            return lines[0].strip() if lines else None
        except (OSError, UnicodeDecodeError):
            continue
    return None
