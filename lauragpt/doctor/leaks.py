"""What stands in two splits, and what stands twice in one: recordings by their sound, speakers, sentences.

In: examples and the facts of their recordings. Out: faults. Two files with the same samples are the same recording, whatever their names;
so are two whose sound is the same but for its coding (`SoundFacts.print`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lauragpt.data.manifest import SPLITS, Example
from lauragpt.data.sounds import SoundFacts
from lauragpt.doctor.faults import Fault
from lauragpt.doctor.sound_faults import recordings, shown, text_of
from lauragpt.spoken import normalize

ALIKE = 12  # bits of 128 in which copies of a recording differ at most: MP3, Vorbis and Opus change 10, another take of a sentence 17
PADDING = 0.15  # seconds by which coding makes a recording longer
WORDS = 4  # of a sentence, at least: shorter ones recur by chance
CLOSED = 0.5  # a corpus of whose measured sentences so many are in train has but a few
BLOCK = 512  # recordings that are compared with as many at once
NAMED = 3  # speakers or sentences that a fault's line names


def leaks(examples: Sequence[Example], facts: Mapping[str, SoundFacts]) -> Iterator[Fault]:
    """Where a recording is in two splits, that is told, and not its speaker and its sentence once more."""
    told = list(_audio(examples, same_recordings(examples, facts)))
    yield from told
    known = {index for fault in told if fault.kind == "same-audio" for index in fault.drop}
    others = [index for index in range(len(examples)) if index not in known]
    yield from _speakers(examples, others)
    yield from _texts(examples, others)
    yield from _splits(examples)


# --- recordings ----------------------------------------------------------------------------------------------------------------------


def same_recordings(examples: Sequence[Example], facts: Mapping[str, SoundFacts]) -> list[list[tuple[str, list[int]]]]:
    """Groups of recordings that are the same, each with the examples that name it; a recording by itself is a group too."""
    known = [(audio, places) for audio, places in recordings(examples) if not facts[audio].error]
    group = list(range(len(known)))

    def leader(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    first: dict[bytes, int] = {}
    for index, (audio, _) in enumerate(known):
        group[index] = first.setdefault(facts[audio].digest, index)
    for one, other in _alike([facts[audio] for audio, _ in known]):
        group[leader(max(one, other))] = leader(min(one, other))
    found: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
    for index, entry in enumerate(known):
        found[leader(index)].append(entry)
    return list(found.values())


def _alike(facts: Sequence[SoundFacts]) -> Iterator[tuple[int, int]]:
    """Pairs of recordings of about one length whose prints differ in few bits."""
    places = [index for index, about in enumerate(facts) if about.print is not None]
    places.sort(key=lambda index: facts[index].seconds)
    seconds = np.array([facts[index].seconds for index in places])
    words = np.array([facts[index].print for index in places], dtype=np.uint64).reshape(-1, 2)
    # Bits as -1 and 1: of two prints with d different bits the product is 128 - 2 d.
    signs = np.unpackbits(words.view(np.uint8), axis=1).astype(np.float32) * 2 - 1
    ends = np.searchsorted(seconds, seconds + PADDING, side="right")
    for top in range(0, len(places), BLOCK):
        rows = slice(top, min(top + BLOCK, len(places)))
        for left in range(top, int(ends[rows].max()), BLOCK):
            same = np.argwhere(signs[rows] @ signs[left : left + BLOCK].T >= signs.shape[1] - 2 * ALIKE)
            for row, column in np.add(same, (top, left)).tolist():
                if row < column < ends[row]:
                    yield places[row], places[column]


def _audio(examples: Sequence[Example], groups: Sequence[list[tuple[str, list[int]]]]) -> Iterator[Fault]:
    for group in groups:
        names, places = [audio for audio, _ in group], sorted({index for _, indices in group for index in indices})
        splits = [split for split in SPLITS if any(examples[index].split == split for index in places)]
        if len(splits) > 1:
            drop = tuple(index for index in places if examples[index].split == splits[0])
            said = f"{names[0]} is in {' and '.join(splits)}" + (f", there as {', '.join(names[1 : 1 + NAMED])}" if names[1:] else "")
            yield Fault("same-audio", said, tuple(places), drop)
            continue
        by_task: dict[str, list[int]] = defaultdict(list)
        for index in places:
            by_task[f"{examples[index].task} {examples[index].lang}"].append(index)
        for indices in by_task.values():
            yield from _twice(examples, indices)


def _twice(examples: Sequence[Example], indices: list[int]) -> Iterator[Fault]:
    """Examples of one task whose recordings are the same. Enhancement may have one clean recording under many noises."""
    if len(indices) < 2 or examples[indices[0]].task == "se":
        return
    answers = list(dict.fromkeys((examples[index].targets or [examples[index].source or ""])[0].casefold() for index in indices))
    files = list(dict.fromkeys(examples[index].audio for index in indices))
    said = f"{files[0]}" + (f" is {', '.join(map(str, files[1 : 1 + NAMED]))}" if files[1:] else f" comes {len(indices)} times")
    if len(answers) > 1:
        yield Fault("conflict", f"{said}: {' or '.join(map(shown, answers[:NAMED]))}", tuple(indices), tuple(indices))
    else:
        yield Fault("duplicate", said, tuple(indices), tuple(indices[1:]))


# --- speakers ------------------------------------------------------------------------------------------------------------------------


def _speakers(examples: Sequence[Example], indices: Sequence[int]) -> Iterator[Fault]:
    """A corpus of one speaker is split by sentence; all others by speaker."""
    seen: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    corpora: dict[str, set[str]] = defaultdict(set)
    for index, example in ((index, examples[index]) for index in indices):
        if example.speaker:
            seen[example.speaker][example.split].append(index)
            corpora[example.corpus].add(example.speaker)
    for speaker, splits in seen.items():
        if len(splits) < 2:
            continue
        places = tuple(index for found in splits.values() for index in found)
        of = {examples[index].corpus for index in places}
        counts = " and ".join(f"{len(splits[split])} of {split}" for split in SPLITS if split in splits)
        if all(len(corpora[corpus]) == 1 for corpus in of):
            yield Fault("one-speaker", f"{speaker}: {counts}", places)
            continue
        if "train" not in splits:
            yield Fault("held-speaker", f"{speaker}: {counts}", places)
            continue
        seconds = {split: sum(examples[index].duration for index in found) for split, found in splits.items()}
        most = max(seconds, key=lambda split: (seconds[split], len(splits[split])))
        drop = tuple(index for split, found in splits.items() if split != most for index in found)
        yield Fault("same-speaker", f"{speaker}: {counts}", places, drop)


# --- sentences -----------------------------------------------------------------------------------------------------------------------


def sentence_of(example: Example) -> tuple[str, str] | None:
    """(language, sentence in spoken form) that an example learns or measures."""
    if example.task == "mt":
        lang = example.source_lang or example.lang
        return lang, normalize(example.source or "", lang)
    text = text_of(example) if example.task in ("asr", "tts", "s2tt") else None
    return (example.source_lang or example.lang, text) if text else None


def _texts(examples: Sequence[Example], indices: Sequence[int]) -> Iterator[Fault]:
    seen: dict[tuple[str, str], dict[bool, list[int]]] = defaultdict(lambda: {True: [], False: []})
    for index, example in ((index, examples[index]) for index in indices):
        sentence = sentence_of(example)
        if sentence and (len(sentence[1].split()) >= WORDS or sentence[0] == "zh"):
            seen[sentence][example.split == "train"].append(index)
    measured: dict[str, list[bool]] = defaultdict(list)  # of each corpus, whether its measured sentences are in train
    for places in seen.values():
        for corpus in {examples[index].corpus for index in places[False]}:
            measured[corpus].append(bool(places[True]))
    closed = {corpus for corpus, found in measured.items() if sum(found) > CLOSED * len(found)}
    for corpus in sorted(closed):
        found = measured[corpus]
        yield Fault("closed-set", f"{corpus}: {sum(found)} of the {len(found)} sentences that are measured are in train")
    for (_, text), places in seen.items():
        held = [index for index in places[False] if examples[index].corpus not in closed]
        if held and places[True]:
            splits = " and ".join(sorted({examples[index].split for index in held}))
            said = f"{shown(text)} is in train ({examples[places[True][0]].id}) and {splits} ({examples[held[0]].id})"
            yield Fault("same-text", said, (*places[True], *held), tuple(places[True]))


def _splits(examples: Sequence[Example]) -> Iterator[Fault]:
    splits = {example.split for example in examples}
    if len(splits) > 1 or "train" in splits:
        missing = [split for split in ("train", "dev") if split not in splits]
        if missing:
            yield Fault("no-split", f"there are no examples of {' or '.join(missing)}")
