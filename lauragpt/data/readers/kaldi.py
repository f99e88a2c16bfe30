"""Kaldi's data folders: `wav.scp`, `text`, `utt2spk`, `segments`.

In: a folder, or a folder of such folders, one a split. Out: a `Reading`. A `wav.scp` may hold commands ("sph2pipe ... |"): these are
never run, and their lines are problems.
"""

from pathlib import Path

from lauragpt.data.readers.rows import Problem, Reading, Row, language_of, resolved, split_of
from lauragpt.errors import LauraError

PARENTS = 4  # paths in wav.scp are relative to the recipe's folder, which stands so far above data/train at most


def kaldi_folders(folder: Path) -> list[Path]:
    """The folders with a wav.scp: this one, or those in it."""
    if (folder / "wav.scp").exists():
        return [folder]
    return sorted(path.parent for path in folder.glob("*/wav.scp"))


def read_kaldi(folder: Path) -> Reading:
    """All folders' rows. LauraError where a file is no text."""
    reading = Reading("Kaldi")
    for each in kaldi_folders(folder):
        split = split_of(each.absolute().name)
        corpus = folder.absolute().name if each != folder or split is None else each.absolute().parent.name
        _read(each, split, corpus, reading)
    return reading


def _read(folder: Path, split: str | None, corpus: str, reading: Reading) -> None:
    recordings: dict[str, str] = {}
    for number, (name, path) in _lines(folder / "wav.scp"):
        where = f"{folder / 'wav.scp'}, line {number}"
        if path.endswith("|") or path.startswith("|"):
            reading.problems.append(Problem(where, f"{name} is a command, which is not run: convert it to a file first"))
        elif not path:
            reading.problems.append(Problem(where, f"{name} names no file"))
        else:
            recordings[name] = resolved(path, folder, PARENTS)
    texts, speakers, languages = (_table(folder / name) for name in ("text", "utt2spk", "utt2lang"))
    utterances: list[tuple[str, str, str, float | None, float | None]] = []  # where, utterance, recording, start, duration
    if (folder / "segments").exists():
        for number, (name, rest) in _lines(folder / "segments"):
            where = f"{folder / 'segments'}, line {number}"
            try:
                recording, first, last = rest.split()[:3]
                begin, duration = float(first), float(last) - float(first)
            except ValueError:
                reading.problems.append(Problem(where, "a line is UTTERANCE RECORDING START END"))
                continue
            if begin < 0 or duration <= 0:
                reading.problems.append(Problem(where, f"{name} goes from {first} to {last} s, which is no span"))
                continue
            utterances.append((where, name, recording, begin, duration))
    else:
        utterances = [(f"{folder / 'wav.scp'}, {name}", name, name, None, None) for name in recordings]
    has_text = (folder / "text").exists()
    for where, name, recording, start, seconds in utterances:
        if recording not in recordings:
            reading.problems.append(Problem(where, f"the recording {recording} of {name} is not in wav.scp"))
            continue
        if has_text and name not in texts:
            reading.problems.append(Problem(where, f"{name} has no line in text"))
            continue
        lang = languages.get(name)
        known = texts.get(name), speakers.get(name), split, language_of(lang) if lang else None
        reading.rows.append(Row(where, recordings[recording], name, start, seconds, None, *known, corpus))
    files = [name for name in ("wav.scp", "text", "utt2spk", "segments", "utt2lang") if (folder / name).exists()]
    reading.notes.append(f"{folder}: Kaldi's {', '.join(files)}" + (f"; split {split}, by the folder's name" if split else ""))


def _table(path: Path) -> dict[str, str]:
    return {name: rest for _, (name, rest) in _lines(path)} if path.exists() else {}


def _lines(path: Path) -> list[tuple[int, tuple[str, str]]]:
    """(line, (key, the rest)) of each line."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise LauraError(f"{path} is not UTF-8 text: convert it, as with iconv -f latin1 -t utf-8") from None
    except OSError as error:
        raise LauraError(f"{path} cannot be read: {error.strerror}") from None
    cut = (line.split(maxsplit=1) for line in text.split("\n"))
    return [(number, (parts[0], parts[1].strip() if len(parts) > 1 else "")) for number, parts in enumerate(cut, start=1) if parts]
