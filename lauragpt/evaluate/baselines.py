"""Other recognisers on the same files: `--baseline`. In: examples. Out: `Answer`s, as a `System` gives them. A new baseline is a class
here."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.evaluate import metrics
from lauragpt.evaluate.answers import Answer, AnswerStore
from lauragpt.evaluate.inputs import input_wave
from lauragpt.evaluate.sound_metrics import parallel_map, pocketsphinx_text
from lauragpt.evaluate.systems import BATCH, AnswerPairs, System, batches


@dataclass
class Pocketsphinx:
    """An offline recogniser of similar size, with its own American English model."""

    name: str = "pocketsphinx"
    key: str = "pocketsphinx"

    def refuses(self, task: str, lang: str) -> str:
        if task != "asr" or lang != "en":
            return "pocketsphinx recognises English speech and nothing else"
        return ""

    def answer(self, examples: list[Example], store: AnswerStore) -> AnswerPairs:
        for batch in batches(examples, BATCH):
            yield from zip(batch, parallel_map(pocketsphinx_answers, batch), strict=True)


class Transformers:
    """Any speech recogniser that transformers can open from a folder (Whisper, wav2vec 2.0 ...), with its own settings."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise LauraError(f"{folder} is not a folder: --baseline transformers:FOLDER takes a recogniser that was saved there")
        self.name = f"transformers:{folder.resolve().name}"
        digest = hashlib.sha256()
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            digest.update(path.name.encode() + path.read_bytes())
        self.folder, self.key, self.pipeline = folder, f"transformers-{digest.hexdigest()[:12]}", None

    def refuses(self, task: str, lang: str) -> str:
        if task != "asr":
            return f"{self.name} recognises speech and nothing else"
        return ""

    def answer(self, examples: list[Example], store: AnswerStore) -> AnswerPairs:
        if self.pipeline is None:
            try:
                self.pipeline = metrics.need("transformers").pipeline("automatic-speech-recognition", model=str(self.folder))
            except (OSError, ValueError, RuntimeError) as error:
                raise LauraError(
                    f"{self.folder} holds no recogniser that transformers can open ({str(error).splitlines()[0][:120]})"
                ) from None
        for example in examples:
            yield example, recognition(lambda wave: self.pipeline({"raw": wave, "sampling_rate": SAMPLE_RATE})["text"], example)


def recognition(recognise: Callable[[np.ndarray], str], example: Example) -> list[Answer]:
    """A recogniser's answer to an example."""
    try:
        wave = input_wave(example)
    except LauraError as error:
        return [Answer(failure=str(error))]
    start = time.perf_counter()
    text = recognise(wave)
    return [Answer(text=text, seconds=time.perf_counter() - start, audio_seconds=len(wave) / SAMPLE_RATE)]


def open_baseline(name: str) -> System:
    """LauraError for an unknown name."""
    kind, _, rest = name.partition(":")
    if name == "pocketsphinx":
        return Pocketsphinx()
    if kind == "transformers" and rest:
        return Transformers(Path(rest))
    raise LauraError(f"unknown baseline {name!r}: choose pocketsphinx or transformers:FOLDER")


def pocketsphinx_answers(example: Example) -> list[Answer]:
    return recognition(pocketsphinx_text, example)
