"""Recognisers from outside: pocketsphinx, Whisper by faster-whisper, or any that transformers can open.

In: a wave (N,) float32 at 16 kHz and its language. Out: its words. They stand beside `transcribe` (baselines.py) and judge generated sound
by the words that they recognise in it (judging.py). A new one is a class here, and a name in `open_recogniser`.
"""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.errors import LauraError
from lauragpt.evaluate.metrics import need
from lauragpt.evaluate.sound_metrics import POCKETSPHINX, pocketsphinx_text

NAMES = "pocketsphinx, whisper:FOLDER or transformers:FOLDER"
# No fallback to sampling, and no window of 30 s depends on the one before: a recording always gives the same words.
WHISPER = {"beam_size": 5, "temperature": 0.0, "condition_on_previous_text": False}


class Recogniser(Protocol):
    name: str  # as reports name it
    key: str  # of its weights and settings: what it recognised is cached under it
    single: bool  # it computes on one core, so several recordings can be recognised at a time

    def knows(self, lang: str) -> bool: ...

    def recognise(self, wave: np.ndarray, lang: str) -> str:
        """The words in a wave (N,), in any spelling; the metrics normalise it."""


class Pocketsphinx:
    """An offline recogniser of similar size, with its own American English model. MissingPackage, when it is asked, without its package."""

    name = key = POCKETSPHINX
    single = True

    def knows(self, lang: str) -> bool:
        return lang == "en"

    def recognise(self, wave: np.ndarray, lang: str) -> str:
        return pocketsphinx_text(wave)


class Whisper:
    """A Whisper in the format of CTranslate2, on the CPU in float32. MissingPackage without faster-whisper, LauraError for a folder that
    holds something else."""

    single = False

    def __init__(self, folder: Path):
        self.name, self.key = f"Whisper {folder.resolve().name}", f"whisper-{folder_digest(folder, repr(WHISPER))}"
        faster_whisper = need("faster_whisper", "faster-whisper")
        missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if not (folder / name).is_file()]
        try:
            if missing:
                raise OSError(f"it has no {missing[0]}")
            self.model = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="float32")
        except Exception as error:  # of what is wrong with the files, CTranslate2 and tokenizers each tell in their own way
            raise LauraError(f"{folder} holds no Whisper in the format of CTranslate2 ({first_line(error)})") from None

    def knows(self, lang: str) -> bool:
        return lang in self.model.supported_languages

    def recognise(self, wave: np.ndarray, lang: str) -> str:
        if not len(wave):
            return ""
        segments, _ = self.model.transcribe(np.asarray(wave, dtype=np.float32), language=lang, **WHISPER)
        return " ".join(segment.text.strip() for segment in segments)


class Transformers:
    """Any speech recogniser that transformers can open from a folder (Whisper, wav2vec 2.0 ...), with its own settings."""

    single = False

    def __init__(self, folder: Path):
        self.name, self.key = f"transformers:{folder.resolve().name}", f"transformers-{folder_digest(folder)}"
        try:
            self.pipeline = need("transformers").pipeline("automatic-speech-recognition", model=str(folder))
        except (OSError, ValueError, RuntimeError) as error:
            raise LauraError(f"{folder} holds no recogniser that transformers can open ({first_line(error)})") from None

    def knows(self, lang: str) -> bool:
        return True  # it does not say what it was trained on

    def recognise(self, wave: np.ndarray, lang: str) -> str:
        return self.pipeline({"raw": wave, "sampling_rate": SAMPLE_RATE})["text"]


def open_recogniser(name: str) -> Recogniser:
    """LauraError for an unknown name."""
    kind, _, folder = name.partition(":")
    if name == POCKETSPHINX:
        return Pocketsphinx()
    if kind in ("whisper", "transformers") and folder:
        return {"whisper": Whisper, "transformers": Transformers}[kind](Path(folder))
    raise LauraError(f"unknown recogniser {name!r}: choose {NAMES}")


def folder_digest(folder: Path, settings: str = "") -> str:
    """12 hexadecimal digits of a folder's files and some settings. LauraError if it is no folder."""
    if not folder.is_dir():
        raise LauraError(f"{folder} is not a folder: give the folder of a recogniser")
    digest = hashlib.sha256(settings.encode())
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
