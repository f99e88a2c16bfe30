"""Measures of a sound: its quality beside the clean one, its likeness to a voice, and the words that an outside recogniser hears in it.

In: waves (N,) float32 at 16 kHz. Out: numbers and words. All but the speaker encoder need optional packages (metrics.MissingPackage).
"""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.errors import LauraError
from lauragpt.evaluate import metrics

POCKETSPHINX = "pocketsphinx"  # the outside recogniser for English speech that was synthesised or enhanced


def sound_quality(clean: np.ndarray, wave: np.ndarray) -> dict[str, float]:
    """STOI, PESQ and SI-SDR of a sound against the clean one. A metric that is undefined or whose package is missing is left out."""
    length, values = min(len(clean), len(wave)), {}
    for name, measure in (("STOI", metrics.stoi), ("PESQ", metrics.pesq), ("SI-SDR dB", metrics.si_sdr)):
        try:
            value = measure(clean[:length], wave[:length])
        except metrics.MissingPackage:
            continue
        if value is not None:
            values[name] = value
    return values


def speaker_similarity(voice: np.ndarray, speech: np.ndarray) -> float | None:
    """Cosine of two voices by the speaker encoder; None if there is too little sound or no encoder is installed."""
    from lauragpt.evaluate import speaker  # needs torch, which the demo does without

    try:
        pair = speaker.embed(voice), speaker.embed(speech)
    except LauraError:
        return None
    return None if pair[0] is None or pair[1] is None else float(pair[0] @ pair[1])


def pocketsphinx_text(wave: np.ndarray) -> str:
    """What pocketsphinx recognises in a wave (N,) at 16 kHz, with its own American English model. MissingPackage if it is not installed."""
    if not len(wave):
        return ""
    decoder = metrics.need("pocketsphinx").Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    return decoder.hyp().hypstr if decoder.hyp() else ""


def parallel_map(work: Callable, *items: Sequence) -> list:
    """`map` in one process a core: pocketsphinx and PESQ hold the interpreter lock while they work. On systems other than Linux, where
    forking is unsafe or impossible, one after the other."""
    if sys.platform != "linux" or len(items[0]) < 2:
        return list(map(work, *items))
    with ProcessPoolExecutor(min(len(items[0]), os.cpu_count() or 1), mp_context=get_context("fork")) as pool:
        return list(pool.map(work, *items))
