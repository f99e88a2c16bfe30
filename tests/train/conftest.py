"""A prepared data folder of all eight tasks, made of gliding tones: what `laura prepare` would have written, in small."""

import numpy as np
import pytest
import torch

from lauragpt.audio import SAMPLE_RATE, save_audio
from lauragpt.data.manifest import Example, write_manifest
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.tasks import slu_to_text
from lauragpt.text import Tokenizer
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages import STAGES

WORDS = ["the night was calm", "he paid two pence", "away we went then", "nobody knows the little boat"]
GERMAN = ["die nacht war ruhig", "er zahlte zwei pfennig", "da gingen wir fort", "niemand kennt das kleine boot"]
TARGETS = {
    "asr": WORDS, "s2tt": GERMAN, "ser": ["calm", "sad", "happy", "angry"],
    "aac": ["A dog barks.", "Rain falls.", "A clock ticks.", "Wind blows."],
    "slu": [slu_to_text("orderDrink", {"size": size}) for size in ("small", "large", "medium", "huge")], "tts": WORDS, "se": WORDS,
}  # fmt: skip


def examples(split: str, folder) -> list[Example]:
    made = []
    for number in range(4):
        seconds = 1.5 + 0.2 * number
        time, path = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE, folder / f"{split}-{number}.wav"
        save_audio(path, (0.2 * np.sin(2 * np.pi * ((150 + 40 * number) * time + 30 * np.sin(4 * time)))).astype(np.float32))
        about = {"split": split, "corpus": "kathleen", "speaker": "kathleen", "audio": str(path), "duration": seconds}
        for task, texts in TARGETS.items():
            more = {"targets": [] if task in ("tts", "se") else [texts[number]], "lang": "de" if task == "s2tt" else "en"}
            more |= {"source": texts[number]} if task == "tts" else {}
            made.append(Example(id=f"{task}/kathleen/{split}-{number}", task=task, extra={"sound": str(number)}, **about, **more))
        made.append(Example(
            id=f"mt/multi30k/{split}-{number}", task="mt", split=split, corpus="multi30k", lang="de", source=WORDS[number],
            source_lang="en", targets=[GERMAN[number]],
        ))  # fmt: skip
    return made


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The folder: train.jsonl, dev.jsonl, test.jsonl, a synthetic manifest with lines of train and dev, and plain sentences."""
    folder = tmp_path_factory.mktemp("prepared")
    for split in ("train", "dev", "test"):
        write_manifest(folder / f"{split}.jsonl", examples(split, folder))
    pair = {"task": "mt", "corpus": "synth", "lang": "de", "source": "one", "source_lang": "en", "targets": ["eins"]}
    synthetic = [Example(id=f"mt/synth/{split}", split=split, **pair) for split in ("train", "dev", "test")]
    write_manifest(folder / "synth-mt.jsonl", synthetic)
    (folder / "text.en.txt").write_text("".join(f"{line} and then {n}\n" for n in range(30) for line in WORDS), encoding="utf-8")
    (folder / "text.de.txt").write_text("".join(f"{line} und dann {n}\n" for n in range(30) for line in GERMAN), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def corpus(prepared):
    """What the stages train on, of the prepared folder. A test that alters it takes a copy."""
    train, dev = read_data(prepared)
    lines = [line for lang in ("en", "de") for line in (prepared / f"text.{lang}.txt").read_text(encoding="utf-8").splitlines()]
    return Corpus(train, dev, prepared, Tokenizer.train(lines, PRESETS["debug"].text_size))


@pytest.fixture(scope="session")
def make_stage(corpus):
    """(name, its keys) -> a stage on the debug preset's sizes, or on another model, corpus or rank."""

    def make(name: str, model: LauraModel | None = None, corpus: Corpus = corpus, seed: int = 0, rank: int = 0, **keys):
        torch.manual_seed(0)
        model = model or LauraModel(PRESETS["debug"])
        kind = STAGES[name]
        return kind(model, corpus, kind.Config(**{"steps": 4, "batch_seconds": 8, "warmup": 2} | keys), seed, rank)

    return make


def no_update(name: str, loss: torch.Tensor) -> None:
    """A step that changes nothing."""
