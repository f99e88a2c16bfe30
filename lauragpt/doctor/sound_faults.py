"""Faults of single recordings, and of their texts against their length.

In: examples and the facts of their recordings. Out: faults. Nothing is listened to here.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from lauragpt.audio import MINIMUM, SAMPLE_RATE
from lauragpt.data.loader import SLACK
from lauragpt.data.manifest import Example
from lauragpt.data.sounds import SoundFacts
from lauragpt.data.spans import split_span
from lauragpt.doctor.faults import Fault
from lauragpt.engine.chunking import SILENCE
from lauragpt.spoken import normalize

QUIET = 10 ** (-50 / 20)  # RMS of the loudest 100 ms
CLIPPED = 0.001  # share of the samples
NARROW = 4500.0  # Hz
PAUSES = 0.25  # a recording of which less sounds
LONG_PAUSES = 3.0  # seconds, at least
FASTEST, FREE = 30.0, 10  # letters a second that can be said, and letters beyond that
FEW = 20  # texts of a language from which a usual pace can be told
SHORT = 10  # letters: a shorter text tells nothing about pace
FACTOR, DEVIATIONS = 2.5, 6.0  # how far from the median pace is too far, at least, and in robust standard deviations


def text_of(example: Example) -> str | None:
    """What is said in the recording, in spoken form; None where that is not known."""
    if example.task == "asr":
        return normalize(example.targets[0], example.lang) if example.targets else None
    if example.task == "tts":
        return normalize(example.source or "", example.source_lang or example.lang)
    said = example.extra.get("transcript")
    return normalize(said, example.source_lang or example.lang) if isinstance(said, str) and said else None


def recordings(examples: Sequence[Example]) -> Iterator[tuple[str, list[int]]]:
    """Each recording, once, with the examples that name it."""
    places: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        for audio in (example.audio, example.noisy):
            if audio:
                places[audio].append(index)
    yield from places.items()


def sound_faults(examples: Sequence[Example], facts: Mapping[str, SoundFacts], rates: Mapping[str, int]) -> Iterator[Fault]:
    """rates: of a recording's file, in Hz, where the data tell one."""
    for audio, indices in recordings(examples):
        about, places = facts[audio], tuple(indices)
        if about.error:
            kind = "missing" if about.error.endswith("no such file") else "unreadable"
            yield Fault(kind, about.error, places, places)
            continue
        if about.seconds < MINIMUM:
            yield Fault("empty", f"{audio} is {about.seconds * 1000:.0f} ms long", places, places)
            continue
        yield from chain(_level(audio, about, examples, places), _rate(audio, about, rates, places, examples[places[0]].task != "aac"))
        wrong = tuple(index for index in places if _wrong_duration(examples[index], audio, about))
        if wrong:
            yield Fault("duration", f"{audio} lasts {about.seconds:.2f} s, not {examples[wrong[0]].duration:.2f}", wrong)
        if about.truncated:
            yield Fault("truncated", f"{audio} ends after {about.seconds:.2f} s, before it should", places)


def _wrong_duration(example: Example, audio: str, about: SoundFacts) -> bool:
    """As training sees it: what is longer than its example says is not read."""
    return audio == example.audio and example.duration > 0 and abs(example.duration - about.seconds) > max(SLACK, 0.02 * about.seconds)


def _level(audio: str, about: SoundFacts, examples: Sequence[Example], places: tuple[int, ...]) -> Iterator[Fault]:
    if about.loudest < SILENCE:
        spoken = tuple(index for index in places if examples[index].task != "asr" or any(examples[index].targets))
        if spoken:
            yield Fault("silent", f"{audio} holds no sound", spoken, spoken)
        return
    wordless = tuple(index for index in places if examples[index].task == "asr" and not any(examples[index].targets))
    if wordless:
        yield Fault("no-text", audio, wordless)
    decibels = 20 * math.log10(about.loudest)
    if about.loudest < QUIET:
        yield Fault("quiet", f"{audio} is {decibels:.0f} dBFS loud at most", places)
    if about.clipped > CLIPPED:
        yield Fault("clipped", f"{audio} is clipped in {about.clipped:.1%} of its samples", places)
    if about.sounding < PAUSES * about.seconds and about.seconds - about.sounding > LONG_PAUSES and examples[places[0]].task != "aac":
        yield Fault("pauses", f"{audio} is silent for {about.seconds - about.sounding:.1f} of {about.seconds:.1f} s", places)


def _rate(audio: str, about: SoundFacts, rates: Mapping[str, int], places: tuple[int, ...], speech: bool) -> Iterator[Fault]:
    """A sound that is no speech may have nothing high in it."""
    told = rates.get(split_span(audio)[0])
    if told and told != about.rate:
        yield Fault("rate", f"{audio} has {about.rate} Hz, not {told}", places)
    elif about.rate < SAMPLE_RATE:
        yield Fault("low-rate", f"{audio} has {about.rate} Hz", places)
    elif about.bandwidth < NARROW and speech:
        yield Fault("narrow", f"{audio} has {about.rate} Hz, but nothing above {about.bandwidth:.0f}", places)


def pace_faults(examples: Sequence[Example], facts: Mapping[str, SoundFacts]) -> Iterator[Fault]:
    """Texts against the seconds that sound: what nobody can say, and what is far from usual in its language."""
    paces: dict[str, list[tuple[int, int, float, str]]] = defaultdict(list)  # index, letters, seconds, audio
    for index, example in enumerate(examples):
        about, text = facts.get(example.audio or ""), text_of(example)
        if about is None or about.error or about.loudest < SILENCE or about.seconds < MINIMUM or not text:
            continue
        letters = len(text.replace(" ", ""))
        if letters > FASTEST * about.seconds + FREE:
            said = f"{letters} letters in {about.seconds:.2f} s, {letters / about.seconds:.0f} a second"
            yield Fault("too-fast", f"{example.audio}: {said}: {shown(text)}", (index,), (index,))
        elif letters >= SHORT:
            paces[example.source_lang or example.lang].append((index, letters, about.sounding, example.audio or ""))
    for lang, rows in paces.items():
        if len(rows) < FEW:
            continue
        pace = np.log([letters / max(seconds, 0.1) for _, letters, seconds, _ in rows])
        middle = float(np.median(pace))
        most = max(math.log(FACTOR), DEVIATIONS * 1.4826 * float(np.median(np.abs(pace - middle))))
        for (index, letters, seconds, audio), value in zip(rows, pace):
            if abs(value - middle) > most:
                usual = f"{letters} letters in {seconds:.1f} s of sound, where {lang} has {math.exp(middle) * seconds:.0f}"
                yield Fault("pace", f"{audio}: {usual}: {shown(text_of(examples[index]) or '')}", (index,), (index,))


def shown(text: str, most: int = 60) -> str:
    """A text in quotation marks, cut where it is long."""
    return f'"{text}"' if len(text) <= most else f'"{text[: most - 3]}..."'
