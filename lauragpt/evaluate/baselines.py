"""Other recognisers on the same files: `--baseline`. In: examples. Out: `Answer`s, as a `System` gives them. Adding a baseline is adding a class here."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lauragpt.audio import SAMPLE_RATE, load_audio
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.evaluate import metrics
from lauragpt.evaluate.answers import Answer, Answers
from lauragpt.evaluate.judges import in_processes, pocketsphinx_hears
from lauragpt.evaluate.systems import Answered, System, batches


@dataclass
class Pocketsphinx:
    """The offline recogniser of like size (its own American English model)."""

    name: str = "pocketsphinx"
    key: str = "pocketsphinx"

    def refuses(self, task: str, lang: str) -> str:
        if task != "asr" or lang != "en":
            return "pocketsphinx recognises English speech and nothing else"
        return ""

    def answer(self, examples: list[Example], answers: Answers) -> Answered:
        for batch in batches(examples):
            yield from zip(batch, in_processes(pocketsphinx_answers, batch), strict=True)


class Transformers:
    """Any speech recogniser that transformers can open from a folder (Whisper, wav2vec 2.0 ...), as it is, language and all."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise LauraError(f"{folder} is no folder: --baseline transformers:FOLDER takes a recogniser that was saved there")
        self.name = f"transformers:{folder.resolve().name}"
        digest = hashlib.sha256()
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            digest.update(path.name.encode() + path.read_bytes())
        self.folder, self.key, self.pipeline = folder, f"transformers-{digest.hexdigest()[:12]}", None

    def refuses(self, task: str, lang: str) -> str:
        if task != "asr":
            return f"{self.name} recognises speech and nothing else"
        return ""

    def answer(self, examples: list[Example], answers: Answers) -> Answered:
        if self.pipeline is None:
            try:
                self.pipeline = metrics.need("transformers").pipeline("automatic-speech-recognition", model=str(self.folder))
            except (OSError, ValueError, RuntimeError) as error:
                raise LauraError(f"{self.folder} holds no recogniser that transformers can open ({str(error).splitlines()[0][:120]})") from None
        for example in examples:
            yield example, heard_by(lambda wave: self.pipeline({"raw": wave, "sampling_rate": SAMPLE_RATE})["text"], example)


def heard_by(hear: Callable[[np.ndarray], str], example: Example) -> list[Answer]:
    """What a recogniser hears of a recording."""
    try:
        wave = load_audio(example.audio)
    except LauraError as error:
        return [Answer(failure=str(error))]
    began = time.perf_counter()
    text = hear(wave)
    return [Answer(text=text, seconds=time.perf_counter() - began, audio_seconds=len(wave) / SAMPLE_RATE)]


def open_baseline(name: str) -> System:
    """LauraError for a name that is none."""
    kind, _, rest = name.partition(":")
    if name == "pocketsphinx":
        return Pocketsphinx()
    if kind == "transformers" and rest:
        return Transformers(Path(rest))
    raise LauraError(f"unknown baseline {name!r}: choose pocketsphinx or transformers:FOLDER")


def pocketsphinx_answers(example: Example) -> list[Answer]:
    return heard_by(pocketsphinx_hears, example)
