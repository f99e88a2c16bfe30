"""What is measured of a sound: how near it is to the clean one, how like a voice, and which words a recogniser from outside hears in it.

In: waves (N,) float32 at 16 kHz. Out: numbers and words. All but the speaker encoder are other people's packages (metrics.MissingPackage).
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

OUTSIDE = "pocketsphinx"  # the recogniser that hears English speech which was made or cleaned


def qualities(clean: np.ndarray, heard: np.ndarray) -> dict[str, float]:
    """STOI, PESQ and SI-SDR of a sound against the clean one; what cannot be said, or needs a package that is missing, is left out."""
    length, found = min(len(clean), len(heard)), {}
    for name, measure in (("STOI", metrics.stoi), ("PESQ", metrics.pesq), ("SI-SDR dB", metrics.si_sdr)):
        try:
            value = measure(clean[:length], heard[:length])
        except metrics.MissingPackage:
            continue
        if value is not None:
            found[name] = value
    return found


def similarity(voice: np.ndarray, said: np.ndarray) -> float | None:
    """Cosine of two voices by the speaker encoder; None where there is too little sound, or no encoder is installed."""
    from lauragpt.evaluate import speaker  # needs torch, which the demo and its reports do without

    try:
        pair = speaker.embed(voice), speaker.embed(said)
    except LauraError:
        return None
    return None if pair[0] is None or pair[1] is None else float(pair[0] @ pair[1])


def pocketsphinx_hears(wave: np.ndarray) -> str:
    """The words that pocketsphinx (its own American English model) finds in a wave (N,) at 16 kHz."""
    if not len(wave):
        return ""
    decoder = metrics.need("pocketsphinx").Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    return decoder.hyp().hypstr if decoder.hyp() else ""


def in_processes(work: Callable, *items: Sequence) -> list:
    """`map`, a process a runtime: pocketsphinx and PESQ hold the interpreter while they work. Elsewhere than on Linux, where a process cannot
    be copied safely or at all, one after the other."""
    if sys.platform != "linux" or len(items[0]) < 2:
        return list(map(work, *items))
    with ProcessPoolExecutor(min(len(items[0]), os.cpu_count() or 1), mp_context=get_context("fork")) as pool:
        return list(pool.map(work, *items))
