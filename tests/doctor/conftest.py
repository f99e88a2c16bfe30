"""Good data of real recordings, into which tests plant one fault each."""

import json
from pathlib import Path

import pytest
import soundfile

from lauragpt.audio import load_audio

CLIPS = Path(__file__).parents[2] / "lauragpt" / "assets" / "demo"
ROWS = {  # file -> clip, speaker, split, language, what is said
    "night.wav": ("kathleen-arctic_a0473_1592704836", "kathleen", "train", "en", "The night was calm and snowy."),
    "room.wav": ("librispeech-2136-5147-0021", "2136", "train", "en", "I returned to the drawing room."),
    "town.wav": ("kerstin-de_rhasspy-0304", "kerstin", "train", "de", "Großauheim war nun dessen größte Gemeinde."),
    "byron.wav": (
        "librispeech-6272-70171-0021", "6272", "dev", "en",
        "It was Byron, and turning over the leaves till I came to Don Juan I read it through.",
    ),
}  # fmt: skip


class Talks:
    """A folder with good recordings and a table of them. `rows` and the files may be spoilt before it is written."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows = [
            {"file": name, "speaker": speaker, "split": split, "lang": lang, "text": text, "licence": "CC BY 4.0"}
            for name, (_, speaker, split, lang, text) in ROWS.items()
        ]
        for name, (clip, *_) in ROWS.items():
            self.write(name, load_audio(CLIPS / f"{clip}.opus"))

    def row(self, name):
        return next(row for row in self.rows if row["file"] == name)

    def sound(self, name):
        return soundfile.read(self.folder / name, dtype="float32")[0]

    def write(self, name, wave, rate=16000, **how):
        soundfile.write(self.folder / name, wave, rate, **how)

    def add(self, name, like, **other):
        """One more row."""
        self.rows.append(self.row(like) | {"file": name} | other)

    def table(self):
        path = self.folder / "talks.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        return path


@pytest.fixture
def talks(tmp_path):
    (tmp_path / "talks").mkdir()
    return Talks(tmp_path / "talks")
