"""What the stages train on: examples, recordings and sentences, and how training alters them.

In: the manifests' examples and the folder that holds text.en.txt and text.de.txt. Out: waves (N,) float32 at 16 kHz, token ids, phrases.
All randomness comes from the generator that is passed in.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lauragpt.data.augment import Noisifier, change_speed, gain
from lauragpt.data.channel import degrade
from lauragpt.data.loader import Waves
from lauragpt.data.manifest import Example
from lauragpt.data.slu_templates import SluTemplates
from lauragpt.spoken import normalize
from lauragpt.tasks import LANGS, TASKS
from lauragpt.text import CtcUnits, Tokenizer
from lauragpt.train.prefetch import fork

SPEEDS, SPEED_CHANCE = (0.85, 0.9, 0.95, 1.06, 1.12, 1.2), 0.6
GAIN_DB = (-9, 6)


class Corpus:
    """Examples by split, their recordings, noises, each speaker's recordings, and the units that CTC learns."""

    def __init__(self, train: Sequence[Example], dev: Sequence[Example], data: Path, tokenizer: Tokenizer | None):
        self.train, self.dev, self.data, self.tokenizer = train, dev, data, tokenizer
        self.waves, self.units = Waves(), CtcUnits()
        self.out: Path | None = None  # where what is made of the recordings is kept
        self._seconds: dict[str, float] | None = None
        self.noises = [e.audio for e in train if e.task == "aac"]
        self.lines = [(lang, line) for lang in LANGS for line in _lines(data / f"text.{lang}.txt")]
        requests = [e.extra for e in train if e.task == "slu" and e.extra.get("slots") and "transcript" not in e.extra]
        self.slu_templates = SluTemplates([(extra["intent"], extra["slots"]) for extra in requests]) if requests else None
        self.speakers: dict[str, list[Example]] = {}
        for example in train:
            if example.task == "tts" and example.speaker:
                self.speakers.setdefault(example.speaker, []).append(example)

    def share(self, paths: Iterable[str], processes: int, gigabytes: float) -> None:
        """Decodes recordings, each once, into memory that is shared with all processes forked from here on, up to a limit."""
        if self._seconds is None:
            self._seconds = {e.audio: e.duration for e in (*self.train, *self.dev) if e.audio}
        self.waves.limit(gigabytes)
        self.waves.share({path: self._seconds[path] for path in paths}, processes, fork)

    def noises_for(self, chance: float) -> list[str]:
        """All noises, if there is a chance that they are needed."""
        return self.noises if chance else []

    def with_prompts(self, examples: Sequence[Example]) -> list[Example]:
        """The examples and, of those to be spoken, all others of their speakers."""
        speakers = {e.speaker for e in examples if e.task == "tts" and e.speaker in self.speakers}
        return [*examples, *(e for speaker in sorted(speakers) for e in self.speakers[speaker])]

    def tokens(self, task: str, text: str) -> list[int]:
        """The tokens of a text as the task writes it."""
        return self.tokenizer.encode(text, TASKS[task].letters)

    def sentence(self, rng: np.random.Generator) -> tuple[str, str]:
        """(language, sentence)"""
        return self.lines[int(rng.integers(len(self.lines)))]

    def phrase(self, rng: np.random.Generator, most: int = 16) -> tuple[str, str]:
        """(language, a few words in spoken form out of two consecutive sentences). Short phrases, which teach the GPT to follow the
        frames, come more often than long ones."""
        first = int(rng.integers(len(self.lines)))
        lang = self.lines[first][0]
        words = [word for other, line in self.lines[first : first + 2] if other == lang for word in normalize(line, lang).split()]
        count = min(len(words), 1 + int(most * rng.random() ** 1.5))
        start = int(rng.integers(len(words) - count + 1))
        return lang, " ".join(words[start : start + count])

    def noisy(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = [self.waves(self.noises[int(rng.integers(len(self.noises)))]) for _ in range(2)] if self.noises else []
        return Noisifier([n for n in noise if np.abs(n).max() > 0]).noisy(clean, rng)

    def augmented(self, example: Example, rng: np.random.Generator, noise: float, degraded: float = 0.0) -> np.ndarray:
        """The recording faster or slower, louder or softer, with the chance `noise` noisy, and with the chance `degraded` as it would
        arrive by telephone or compressed (data/channel.py)."""
        wave = self.waves(example.audio)
        if rng.random() < SPEED_CHANCE:
            wave = change_speed(wave, float(rng.choice(SPEEDS)))
        wave = gain(wave, rng.uniform(*GAIN_DB)).clip(-1, 1)
        wave = self.noisy(wave, rng) if rng.random() < noise else wave
        return degrade(wave, rng) if degraded and rng.random() < degraded else wave

    def voice_prompt(self, example: Example, rng: np.random.Generator) -> Example | None:
        """Another utterance of the same speaker, if there is one."""
        others = self.speakers.get(example.speaker or "", [])
        other = others[int(rng.integers(len(others)))] if len(others) > 1 else None
        return other if other is not None and other.audio != example.audio else None


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line] if path.exists() else []
