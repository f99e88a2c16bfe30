"""Do the GPT's tokens matter? Enhancement by variants: noisy input, condition alone, shuffled tokens, the GPT's, the true ones, the codec.

In: a clean and a noisy wave (N,). Out: one wave (N,) a variant, and how many of the GPT's tokens are right. All are made by the same
vocoder under the same noisy condition, except the first (the input itself) and the last (the codec with all its quantizers). If a vocoder
ignores the tokens, the variants between are equal. The condition alone is what comes of one token, the recording's commonest, all along.
"""

import time
from typing import NamedTuple

import numpy as np

from lauragpt.engine.api import Laura
from lauragpt.engine.backend import Backend
from lauragpt.evaluate.answers import CEILING, CONDITION, GPT_TOKENS, NOISY, SHUFFLED, TRUE


class RecordingBackend:
    """A backend that keeps the arguments of every `vocode` call, so that the tokens measured are those that `enhance` really used."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.calls: list[dict] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def vocode(self, codes, text=None, prompt=None, noisy=None):
        self.calls.append({"codes": codes, "text": text, "prompt": prompt, "noisy": noisy})
        return self.backend.vocode(codes, text=text, prompt=prompt, noisy=noisy)


class Ablation(NamedTuple):
    waves: dict[str, np.ndarray]  # by variant
    seconds: float  # that `enhance` took
    right: dict[str, float]  # shares of the GPT's tokens, where it wrote them at once


def ablation(laura: Laura, clean: np.ndarray, noisy: np.ndarray, lang: str, seed: int = 0) -> Ablation:
    backend = laura.runtime.backend
    recording = RecordingBackend(backend)
    start = time.perf_counter()
    result = laura.with_backend(recording).enhance(noisy)
    seconds = time.perf_counter() - start
    chunks = [np.asarray(codes) for call in recording.calls for codes in call["codes"]]
    tokens = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int64)  # (T,)
    true_codes = backend.codec_encode([clean])[0]  # (K, T)
    waves, right = {NOISY: noisy}, {}
    alone = np.full_like(true_codes[0], np.bincount(true_codes[0]).argmax())
    waves[CONDITION] = backend.vocode([alone], noisy=[noisy])[0]
    if len(tokens):  # nothing is generated for a silent input
        if len(chunks) == 1:  # where there are several, they overlap
            right = tokens_right(laura, noisy, lang, tokens, true_codes[0])
        shuffled = np.random.default_rng(seed).permutation(tokens)
        waves[SHUFFLED] = backend.vocode([shuffled], noisy=[noisy])[0]
        waves[GPT_TOKENS] = result.audio
    waves[TRUE] = backend.vocode([true_codes[0]], noisy=[noisy])[0]
    waves[CEILING] = backend.codec_decode([true_codes])[0]
    return Ablation({name: _fit(wave, len(clean)) for name, wave in waves.items()}, seconds, right)


def tokens_right(laura: Laura, noisy: np.ndarray, lang: str, written: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Of the tokens (T,) that the GPT wrote of a noisy wave (N,), the share that is true within a place of its own; and of those that it
    thinks likeliest behind the true ones (teacher forcing), the share that is true."""
    runtime = laura.runtime
    session, _ = runtime.begin(runtime.backend.encode([noisy]), [[runtime.vocabulary.task("se")]], [lang])
    logits = np.concatenate([session.logits, session.extend(np.array([runtime.vocabulary.audio(true[:-1])]))[0]])
    expected = logits[:, runtime.vocabulary.text_size :][:, : runtime.vocabulary.audio_size].argmax(axis=1)
    around = [np.roll(np.pad(true, 1, constant_values=-1), by)[1:-1] for by in (-1, 0, 1)]
    count = min(len(written), len(true))
    return {
        "tokens right": float(np.mean(np.any([row[:count] == written[:count] for row in around], axis=0))),
        "teacher-forced": float(np.mean(expected == true)),
    }


def _fit(wave: np.ndarray, length: int) -> np.ndarray:
    """(length,): the codec works in whole tokens, so its waves are up to 639 samples longer."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))
