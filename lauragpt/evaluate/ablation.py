"""Do the GPT's tokens matter? Enhancement variant by variant: the noisy input, shuffled tokens, the GPT's tokens, the true ones, the codec.

In: a clean and a noisy wave (N,). Out: one wave (N,) a variant, all made by the same vocoder under the same noisy condition except the
first (untouched) and the last (the codec with all its quantizers). A vocoder that ignores the tokens makes the middle rungs equal.
"""

import time

import numpy as np

from lauragpt.engine.api import Laura
from lauragpt.engine.backend import Backend

NOISY, SHUFFLED, MINE, TRUE, CEILING = (
    "noisy input", "the GPT's tokens, shuffled", "the GPT's tokens", "the true tokens", "the codec's ceiling"
)  # fmt: skip
COMPARED = (NOISY, SHUFFLED, TRUE, CEILING)  # what the GPT's own is set beside


class RecordingBackend:
    """A backend that records what it is asked to vocode, so that the tokens measured are those that `enhance` really used."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.calls: list[dict] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def vocode(self, codes, text=None, prompt=None, noisy=None):
        self.calls.append({"codes": codes, "text": text, "prompt": prompt, "noisy": noisy})
        return self.backend.vocode(codes, text=text, prompt=prompt, noisy=noisy)


def ablation(laura: Laura, clean: np.ndarray, noisy: np.ndarray, seed: int = 0) -> tuple[dict[str, np.ndarray], float]:
    """The rungs, lowest first, and the seconds that `enhance` took."""
    backend = laura.runtime.backend
    recorder = RecordingBackend(backend)
    began = time.perf_counter()
    result = laura.with_backend(recorder).enhance(noisy)
    seconds = time.perf_counter() - began
    codes = [np.asarray(row) for call in recorder.calls for row in call["codes"]]
    mine = np.concatenate(codes) if codes else np.zeros(0, dtype=np.int64)
    full = backend.codec_encode([clean])[0]  # (K, T)
    rungs = {NOISY: noisy}
    if len(mine):  # nothing was generated of a silent input
        shuffled = np.random.default_rng(seed).permutation(mine)
        rungs[SHUFFLED] = backend.vocode([shuffled], noisy=[noisy])[0]
        rungs[MINE] = result.audio
    rungs[TRUE] = backend.vocode([full[0]], noisy=[noisy])[0]
    rungs[CEILING] = backend.codec_decode([full])[0]
    return {name: _fit(wave, len(clean)) for name, wave in rungs.items()}, seconds


def _fit(wave: np.ndarray, length: int) -> np.ndarray:
    """(length,): the codec works in whole tokens, so its waves are up to 639 samples longer."""
    return np.pad(wave[:length], (0, max(0, length - len(wave))))
