"""Voices to speak in: those a checkpoint ships and any recording. A voice is a prompt: a transcript and its audio tokens.

In: `voices/NAME.json` (name, lang, text, licence, source, and `default` for one of each language) beside `NAME.wav`, or a wave (N,).
Out: `Voice`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lauragpt.audio import SAMPLE_RATE, load_audio
from lauragpt.engine.backend import Backend
from lauragpt.engine.chunking import is_silent, quietest
from lauragpt.errors import LauraError
from lauragpt.spoken import normalize

SHORTEST_PROMPT, LONGEST_PROMPT = 0.25, 10.0  # seconds; a longer recording is cut where it is quiet after 4 s or more


@dataclass(frozen=True)
class Voice:
    name: str
    lang: str | None
    spoken: str  # its transcript, in spoken form
    wave: np.ndarray  # (N,)
    codes: np.ndarray  # (T,) the first quantizer's indices


def prompt_clip(wave: np.ndarray) -> np.ndarray:
    """The beginning of a recording that serves as the prompt: all of it up to 10 s."""
    if len(wave) <= LONGEST_PROMPT * SAMPLE_RATE:
        return wave
    return wave[: quietest(wave, 4 * SAMPLE_RATE, int(LONGEST_PROMPT * SAMPLE_RATE) - SAMPLE_RATE // 10)]


def make_voice(backend: Backend, name: str, wave: np.ndarray, text: str, lang: str | None) -> Voice:
    """A voice from a recording (N,) and its transcript. LauraError when it is too short or nothing sounds in it."""
    if len(wave) < SHORTEST_PROMPT * SAMPLE_RATE:
        seconds = len(wave) / SAMPLE_RATE
        raise LauraError(f"the voice {name} is {seconds:.2f} s long, which is too short: give 2 to 10 s of somebody speaking")
    if is_silent(wave):
        raise LauraError(f"the voice {name} has no sound in it: give a recording of somebody speaking")
    return Voice(name, lang, normalize(text, lang or "en"), wave, backend.codec_encode([wave])[0][0])


class Voices:
    """The named voices of a checkpoint; read when first used, since most verbs need none."""

    def __init__(self, folder: Path, backend: Backend):
        self.folder, self.backend = folder, backend
        self.cards: dict[str, dict] = {}
        for path in sorted(folder.glob("*.json")):
            try:
                card = json.loads(path.read_text(encoding="utf-8"))
                fields = {"lang": card["lang"], "text": card["text"], "default": bool(card.get("default"))}
                self.cards[card["name"]] = fields | {"path": path.with_suffix(".wav")}
            except (ValueError, KeyError, TypeError) as error:
                raise LauraError(f"{path} is no voice card ({error}): it needs name, lang, text, licence, source") from None
        self._made: dict[str, Voice] = {}

    def names(self) -> list[str]:
        return list(self.cards)

    def get(self, name: str) -> Voice:
        if name not in self._made:
            card = self.cards[name]
            self._made[name] = make_voice(self.backend, name, load_audio(card["path"]), card["text"], card["lang"])
        return self._made[name]

    def default(self, lang: str) -> Voice | None:
        """The language's default voice, else the first of the language, else the first of all, else none."""
        names = sorted(self.cards, key=lambda name: (self.cards[name]["lang"] != lang, not self.cards[name]["default"]))
        return self.get(names[0]) if names else None
