"""Parts of recordings, named as the W3C's media fragments do: `talk.wav#t=12.5,15.2` is what sounds from 12.5 s to 15.2 s.

In: an example's `audio`. Out: the path with the part's start and end, or its samples. Where a file is really called so, the file is meant.
Recordings in shards (shards.py) are read here as well.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from lauragpt.audio import SAMPLE_RATE, AudioStream, save_audio
from lauragpt.data.manifest import Example
from lauragpt.data.shards import member_of
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
    [(_, wave)] = load_spans([audio])
    return wave


def load_spans(audio: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each name with its samples (N,) float32, recording by recording: however many parts of one are asked for, it is decoded once, and no
    more of it is held than the parts that are open. LauraError where a recording cannot be read or ends before a part."""
    recordings: dict[str, dict[str, tuple[float, float | None]]] = {}
    for name in audio:
        path, start, end = split_span(name)
        recordings.setdefault(path, {})[name] = start, end
    for path, spans in recordings.items():
        if len(spans) == 1 and path in spans:
            yield path, np.concatenate(list(_opened(path).seconds()))
        else:
            yield from _cut(path, spans)


def _opened(path: str) -> AudioStream:
    member = member_of(path)
    return AudioStream(path) if member is None else AudioStream(member.read(), name=path)


def _cut(path: str, spans: dict[str, tuple[float, float | None]]) -> Iterator[tuple[str, np.ndarray]]:
    samples = {name: (start * SAMPLE_RATE, np.inf if end is None else end * SAMPLE_RATE) for name, (start, end) in spans.items()}
    places = {name: (round(first), np.round(last)) for name, (first, last) in samples.items()}
    waiting, kept, at = sorted(places, key=lambda name: places[name], reverse=True), dict[str, list[np.ndarray]](), 0

    def finished() -> list[str]:
        return [name for name in kept if places[name][1] <= at]

    for wave in _opened(path).seconds():
        while waiting and places[waiting[-1]][0] < at + len(wave):
            kept[waiting.pop()] = []
        for name, parts in kept.items():
            first, last = places[name]
            parts.append(wave[max(0, first - at) : int(min(len(wave), last - at))])
        at += len(wave)
        for name in finished():
            yield name, np.concatenate(kept.pop(name))
        if not waiting and not kept:
            break
    if waiting:
        start, end = spans[waiting[-1]]
        raise LauraError(f"{path} is {at / SAMPLE_RATE:.2f} s long: it has nothing from {start:g} to {end:g} s")
    for name, parts in kept.items():  # to the end of the recording, which may come a little before theirs
        yield name, np.concatenate(parts)


def write_parts(examples: Iterable[Example], folder: Path) -> list[Example]:
    """The examples with each part of a recording as a FLAC file of its own in `folder`, since training draws parts in no order, and would
    decode a long recording up to each. Examples of whole recordings stay as they are; files that are there already are kept."""
    examples = list(examples)
    parts = dict.fromkeys(example.audio for example in examples if example.audio and split_span(example.audio)[2] is not None)
    files = {name: folder / f"{hashlib.sha1(name.encode('utf-8', 'surrogatepass')).hexdigest()[:20]}.flac" for name in parts}
    folder.mkdir(parents=True, exist_ok=True)
    for name, wave in load_spans(name for name in parts if not files[name].exists()):
        save_audio(files[name], wave)
    return [replace(example, audio=str(files[example.audio])) if example.audio in files else example for example in examples]
