"""Parts of recordings, named as the W3C's media fragments do: `talk.wav#t=12.5,15.2` is what sounds from 12.5 s to 15.2 s.

In: an example's `audio`. Out: the path with the part's start and end, or its samples. Where a file is really called so, the file is meant.
"""

import os
import re

import numpy as np

from lauragpt.audio import SAMPLE_RATE, AudioStream, load_audio
from lauragpt.errors import LauraError

_FRAGMENT = re.compile(r"(.+)#t=(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)")


def span_name(path: str, start: float, end: float) -> str:
    """The part of a recording from `start` to `end` (seconds), to the millisecond."""
    return f"{path}#t={start:.3f},{end:.3f}"


def split_span(audio: str) -> tuple[str, float, float | None]:
    """(path, start, end) of an example's `audio`; end None: to the end of the recording."""
    found = _FRAGMENT.fullmatch(audio) if "#t=" in audio else None
    if found is None or os.path.exists(audio):
        return audio, 0.0, None
    return found[1], float(found[2]), float(found[3])


def load_span(audio: str) -> np.ndarray:
    """What `load_audio` gives of a recording, (N,) float32, or the part that is named. LauraError where the recording ends before it."""
    path, start, end = split_span(audio)
    if end is None:
        return load_audio(path)
    first, last, at, kept = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE), 0, []
    for wave in AudioStream(path).seconds():
        kept.append(wave[max(0, first - at) : max(0, last - at)])
        at += len(wave)
        if at >= last:
            break
    part = np.concatenate(kept) if kept else np.zeros(0, np.float32)
    if not len(part):
        raise LauraError(f"{path} is {at / SAMPLE_RATE:.2f} s long: it has nothing from {start:g} to {end:g} s")
    return part
