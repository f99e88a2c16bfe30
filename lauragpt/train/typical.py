"""Examples for a plan where the data of a recipe are not there: as many seconds and letters as such data have, and tones as sound."""

from pathlib import Path

import numpy as np

from lauragpt.audio import SAMPLE_RATE, save_audio
from lauragpt.data.manifest import Example, write_manifest
from lauragpt.tasks import TASKS, slu_to_text
from lauragpt.train.stage import StageConfig

SECONDS = {"asr": 10.0, "s2tt": 6.0, "tts": 6.0, "se": 6.0, "aac": 5.0, "ser": 4.0, "slu": 4.0}  # of a recording; 5 where none is named
LETTERS_A_SECOND = 15.0  # of read speech
PAIR = 80  # letters of a sentence that is translated
COUNT = 4  # examples of a kind


def typical_examples(name: str, config: StageConfig) -> list[Example]:
    """What a stage can draw, all of train. An example is a quarter of a batch at most, so that it fits."""
    keys = {key: None for phase in config.schedule for key, weight in phase.weights.items() if weight > 0}
    keys = list(keys) or ["asr" if name == "speaker" else "tts"]
    rng, made = np.random.default_rng(0), []
    for key in keys:
        task, _, corpus = key.partition("/")
        seconds = 0.0 if TASKS[task].without_sound else min(SECONDS.get(task, 5.0), config.batch_seconds / 4)
        seconds = max(seconds, getattr(config, "crop_seconds", 0.0))
        made += [_example(task, corpus or "typical", number, seconds, config.batch_seconds, rng) for number in range(COUNT)]
    return made


def _example(task: str, corpus: str, number: int, seconds: float, most: float, rng: np.random.Generator) -> Example:
    letters = int(LETTERS_A_SECOND * seconds) if seconds else min(PAIR, int(10 * most))
    words = text_of(max(4, letters), rng)
    targets = {"tts": [], "se": [], "ser": ["calm"], "aac": ["A dog barks."], "slu": [slu_to_text("order", {"size": "small"})]}
    example = Example(f"{task}/{corpus}/{number}", task, "train", "de" if task in ("mt", "s2tt") else "en", corpus)
    example.duration, example.speaker = seconds, f"{corpus}/{number % 2}"
    example.audio = f"{task}-{corpus}-{number}.wav" if seconds else None
    example.targets = targets.get(task, [words])
    if task in ("tts", "mt"):
        example.source, example.source_lang = (words if task == "tts" else text_of(letters, rng)), "en"
    if task == "aac":
        example.extra = {"sound": str(number)}
    return example


def text_of(letters: int, rng: np.random.Generator) -> str:
    """Words of a language that there is not."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < letters:
        words.append("".join(rng.choice(list("etaoinshrdlu"), size=int(rng.integers(2, 8)))))
    return " ".join(words)


def write_typical(examples: list[Example], folder: Path) -> None:
    """The examples as a data folder, for training: their recordings, which are tones and noise, and sentences."""
    rng = np.random.default_rng(0)
    for example in examples:
        if example.audio:
            example.audio = str(folder / Path(example.audio).name)
            size = int(example.duration * SAMPLE_RATE)
            tone = sum(np.sin(2 * np.pi * 140 * harmonic * np.arange(size) / SAMPLE_RATE) / harmonic for harmonic in range(1, 9))
            save_audio(Path(example.audio), (0.1 * tone + 0.02 * rng.standard_normal(size)).astype(np.float32))
    write_manifest(folder / "train.jsonl", examples)
    write_manifest(folder / "dev.jsonl", [])
    for lang in ("en", "de"):
        (folder / f"text.{lang}.txt").write_text("".join(f"{text_of(PAIR, rng)}\n" for _ in range(400)), encoding="utf-8")
