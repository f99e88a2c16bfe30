"""Other recognisers on the same files: `--baseline`. In: examples. Out: `Answer`s, as a `System` gives them. The recognisers themselves are
in recognisers.py."""

import time
from dataclasses import dataclass
from functools import partial

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.evaluate.answers import Answer, AnswerStore
from lauragpt.evaluate.inputs import input_wave
from lauragpt.evaluate.recognisers import Recogniser
from lauragpt.evaluate.sound_metrics import parallel_map
from lauragpt.evaluate.systems import BATCH, AnswerPairs, batches


@dataclass
class Baseline:
    recogniser: Recogniser

    @property
    def name(self) -> str:
        return self.recogniser.name

    @property
    def key(self) -> str:
        return self.recogniser.key

    def refuses(self, task: str, lang: str) -> str:
        if task != "asr":
            return f"{self.name} recognises speech and nothing else"
        return "" if self.recogniser.knows(lang) else f"{self.name} was not trained on {lang}"

    def answer(self, examples: list[Example], store: AnswerStore) -> AnswerPairs:
        work = partial(recognition, self.recogniser)
        for batch in batches(examples, BATCH):
            yield from zip(batch, parallel_map(work, batch) if self.recogniser.single else map(work, batch), strict=True)


def recognition(recogniser: Recogniser, example: Example) -> list[Answer]:
    """A recogniser's answer to an example."""
    try:
        wave = input_wave(example)
    except LauraError as error:
        return [Answer(failure=str(error))]
    start = time.perf_counter()
    text = recogniser.recognise(wave, example.lang)
    return [Answer(text=text, seconds=time.perf_counter() - start, audio_seconds=len(wave) / SAMPLE_RATE)]
