"""What a system is given of an example: the recording, as it is or through a telephone; noise to add; another recording of the speaker.

In: examples. Out: waves (N,) float32 at 16 kHz, each a function of the seed and the ids alone.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.augment import NoiseConfig, Noisifier
from lauragpt.data.channel import telephone
from lauragpt.data.manifest import Example
from lauragpt.data.spans import load_span
from lauragpt.errors import LauraError
from lauragpt.evaluate.groups import digest

# Each clean recording gets one recorded sound and nothing else, so that the variants of enhancement differ in one thing.
NOISE = NoiseConfig(snr_db=(0.0, 10.0), recorded=1.0, coloured=0.0, hum=0.0, second=0.0, clipped=0.0)
PROMPT_SECONDS = 3.0  # the vocoder is trained with prompts of this length


def input_wave(example: Example) -> np.ndarray:
    """The recording of an example as a system hears it. LauraError if it cannot be read."""
    wave = load_span(example.audio)
    return telephone(wave) if example.extra.get("channel") == "telephone" else wave


def noise_of(examples: list[Example], seed: int) -> Callable[[Example, np.ndarray], np.ndarray]:
    """A function that adds a sound of the split, or coloured noise if the split has none, to a clean recording. Which sound, which part
    of it and how loud depend on (seed, id) alone."""
    paths = sorted({e.audio for e in examples if e.task == "aac"})

    def noisy(example: Example, clean: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(int.from_bytes(digest(f"{seed}/{example.id}")[:8], "big"))
        if not paths:
            return Noisifier(config=replace(NOISE, recorded=0.0, coloured=1.0)).noisy(clean, rng)
        return Noisifier([load_span(paths[rng.integers(len(paths))])], config=NOISE).noisy(clean, rng)

    return noisy


def prompt_of(examples: list[Example], seconds: float = PROMPT_SECONDS) -> Callable[[Example], np.ndarray | None]:
    """A function that gives the first `seconds` of another recording of an example's speaker, or None if there is none that can be read.
    Which one depends on the ids alone."""
    by_speaker: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.task == "tts" and example.speaker:
            by_speaker[example.speaker].append(example)

    def prompt(example: Example) -> np.ndarray | None:
        others = [e for e in by_speaker.get(example.speaker or "", []) if e.audio != example.audio]
        try:
            return load_span(min(others, key=lambda e: digest(example.id + e.id)).audio)[: int(seconds * SAMPLE_RATE)] if others else None
        except LauraError:  # reported where that recording is measured itself
            return None

    return prompt
