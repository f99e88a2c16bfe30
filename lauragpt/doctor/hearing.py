"""Transcripts against what the checkpoint's CTC head hears: how much likelier is what it hears than what is written?

In: examples with a transcript, and a checkpoint. Out: `Heard`, the least likely first. The cost of a transcript is the log-probability that
the likeliest path through its letters loses against the likeliest path of all, a letter: 0 where the head hears just that.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.ctc import CtcPath
from lauragpt.data.manifest import Example
from lauragpt.data.sounds import SoundFacts
from lauragpt.data.spans import load_spans
from lauragpt.data.splits import digest
from lauragpt.doctor.faults import Fault
from lauragpt.doctor.sound_faults import shown, text_of
from lauragpt.engine.chunking import LONGEST, SILENCE, batches
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.text import kept_of

if TYPE_CHECKING:
    from lauragpt.engine.runtime import Runtime

WORST = 50  # to listen to
SHORTEST = 0.3  # seconds: less is not heard reliably
BATCH = 120 * SAMPLE_RATE  # padded samples that the encoder reads at once
GROUP = 64  # recordings that are held at a time
# Measured on 490 recordings of seven corpora: right transcripts lose 1.5 at most, those of another recording of the corpus 4 and more,
# or 2.2 where corpora have two sentences that differ in a word; of the former 0.67 of the letters are heard, of the latter 0.65 at most.
UNLIKELY, WRONG, KEPT = 2.0, 3.0, 0.6
STRANGE = 2.5  # in a language that the model does not know: so many times the median cost


@dataclass(frozen=True)
class Heard:
    index: int  # of the example
    cost: float  # nats a letter
    text: str  # the transcript in spoken form
    heard: str  # what the CTC head hears
    kept: float  # the share of the transcript's letters that are heard, in order
    known: bool  # whether the checkpoint knows the language


def hear(
    runtime: "Runtime", examples: Sequence[Example], facts: Mapping[str, SoundFacts], hours: float | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[Heard], int]:  # fmt: skip
    """The transcripts that were heard, the least likely first, and how many there were to hear. Of more than `hours` of sound, those are
    heard that a hash of the ids chooses. LauraError for a checkpoint that has no CTC head."""
    hearable = sorted(hearable_examples(examples, facts), key=lambda index: digest(examples[index].id))
    chosen, seconds = list[int](), 0.0
    for index in hearable:
        seconds += facts[examples[index].audio or ""].seconds
        if hours is not None and seconds > 3600 * hours and chosen:
            break
        chosen.append(index)
    found: list[Heard] = []
    for group in _grouped(_waves(examples, chosen)):
        for rows in batches([len(wave) for _, wave in group], BATCH):
            found += _hear(runtime, examples, [group[row] for row in rows])
        if progress is not None:
            progress("transcripts heard", len(found), len(chosen))
    return sorted(found, key=lambda each: (-each.cost, examples[each.index].id)), len(hearable)


def hearable_examples(examples: Sequence[Example], facts: Mapping[str, SoundFacts]) -> list[int]:
    """Those with a transcript, each recording's once, that can be read and are neither silent nor longer than the model reads at once."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for index, example in enumerate(examples):
        about, text = facts.get(example.audio or ""), text_of(example)
        if about is None or about.error or not text or about.loudest < SILENCE or not SHORTEST <= about.seconds <= LONGEST:
            continue
        if (key := (example.audio or "", text)) not in seen:
            seen.add(key)
            chosen.append(index)
    return chosen


def _waves(examples: Sequence[Example], indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Each example with its samples."""
    of: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        of[examples[index].audio or ""].append(index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LauraWarning)  # of recordings that are cut short, which is told already
        for name, wave in load_spans(of):
            yield from ((index, wave) for index in of[name])


def _grouped(waves: Iterator[tuple[int, np.ndarray]]) -> Iterator[list[tuple[int, np.ndarray]]]:
    group: list[tuple[int, np.ndarray]] = []
    for each in waves:
        group.append(each)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def _hear(runtime: "Runtime", examples: Sequence[Example], batch: list[tuple[int, np.ndarray]]) -> list[Heard]:
    encoded, units = runtime.backend.encode([wave for _, wave in batch]), runtime.info.ctc_units
    if not encoded.ctc_log_probs.shape[2]:
        what = "reads the codec's codes and has no CTC head to check letters with"
        raise LauraError(f"{runtime.info.name} {what}: choose another checkpoint")
    found = []
    for (index, _), log_probs, length in zip(batch, encoded.ctc_log_probs, encoded.lengths):
        example, frames = examples[index], log_probs[:length]
        text = text_of(example) or ""
        heard = units.decode(frames.argmax(axis=1).tolist()).strip()
        kept = kept_of(text, heard)
        known = (example.source_lang or example.lang) in runtime.info.langs
        found.append(Heard(index, transcript_cost(frames, units.encode(text), units.blank), text, heard, kept, known))
    return found


def transcript_cost(log_probs: np.ndarray, units: Sequence[int], blank: int) -> float:
    """log_probs (T, U), units (n,) -> nats a unit that the likeliest path through them loses; infinite where T frames are too few."""
    if not len(units):
        return 0.0
    path = CtcPath(units, blank)
    for frame in log_probs:
        path.go_on(frame)
    best, forced = float(log_probs.max(axis=1).sum()), float(path.score[-2:].max())
    return math.inf if forced < -1e20 else (best - forced) / len(units)


def hearing_faults(examples: Sequence[Example], heard: Sequence[Heard]) -> Iterator[Fault]:
    """Transcripts that are not what is heard, and those that are unlikely. In a language that the checkpoint does not know, only those are
    unlikely that cost far more than the median."""
    costs: dict[str, list[float]] = defaultdict(list)
    for each in heard:
        costs[examples[each.index].lang].append(each.cost)
    for each in heard:
        example, place = examples[each.index], (each.index,)
        said = f"{example.audio}: {shown(each.text)}, heard {shown(each.heard)}"
        if each.known and each.cost > WRONG and each.kept < KEPT:
            yield Fault("mismatch", said, place, place)
        elif each.cost > (UNLIKELY if each.known else STRANGE * float(np.median(costs[example.lang]))):
            yield Fault("unlikely", said, place)
