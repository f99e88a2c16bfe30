"""Do the GPT's tokens matter? Enhancement by variants: noisy input, shuffled tokens, the GPT's tokens, the true tokens, the codec.

In: a clean and a noisy wave (N,). Out: one wave (N,) a variant. All are made by the same vocoder under the same noisy condition, except the
first (the input itself) and the last (the codec with all its quantizers). If a vocoder ignores the tokens, the variants between are equal.
"""

import time

import numpy as np

from lauragpt.engine.api import Laura
from lauragpt.engine.backend import Backend
from lauragpt.evaluate.answers import CEILING, GPT_TOKENS, NOISY, SHUFFLED, TRUE


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


def ablation(laura: Laura, clean: np.ndarray, noisy: np.ndarray, seed: int = 0) -> tuple[dict[str, np.ndarray], float]:
    """The waves by variant, and the seconds that `enhance` took."""
    backend = laura.runtime.backend
    recording = RecordingBackend(backend)
    start = time.perf_counter()
    result = laura.with_backend(recording).enhance(noisy)
    seconds = time.perf_counter() - start
    chunks = [np.asarray(codes) for call in recording.calls for codes in call["codes"]]
    tokens = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int64)  # (T,)
    true_codes = backend.codec_encode([clean])[0]  # (K, T)
    waves = {NOISY: noisy}
    if len(tokens):  # nothing is generated for a silent input
        shuffled = np.random.default_rng(seed).permutation(tokens)
        waves[SHUFFLED] = backend.vocode([shuffled], noisy=[noisy])[0]
        waves[GPT_TOKENS] = result.audio
    waves[TRUE] = backend.vocode([true_codes[0]], noisy=[noisy])[0]
    waves[CEILING] = backend.codec_decode([true_codes])[0]
    return {name: _fit(wave, len(clean)) for name, wave in waves.items()}, seconds


def _fit(wave: np.ndarray, length: int) -> np.ndarray:
    """(length,): the codec works in whole tokens, so its waves are up to 639 samples longer."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))
