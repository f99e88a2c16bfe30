"""A cleaned manifest: what is left of the data without their faults. Recordings are never touched, and nor are the data themselves.

In: a `Diagnosis`. Out: one manifest, or a folder with one a split that `laura train` and `laura eval` read.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from lauragpt.data.licences import CORPORA, OWN_CORPORA
from lauragpt.data.manifest import SPLITS, Example, check_example, write_manifest
from lauragpt.data.spans import split_span
from lauragpt.doctor.diagnosis import Diagnosis
from lauragpt.errors import LauraError
from lauragpt.files import replacing


def cleaned(found: Diagnosis, keep: Collection[str] = ()) -> tuple[list[Example], dict[str, int]]:
    """The examples that are left, with true durations and an id each; and how many were left out, by the kind of fault. keep: kinds of
    which none is left out. Of a recording that cannot be read, the duration that the data tell stays; where they tell none, no manifest
    can hold the example, and it is left out all the same."""
    reasons: dict[int, str] = {}
    for fault in sorted(found.faults, key=lambda fault: fault.kind in keep):
        for index in fault.drop:
            reasons.setdefault(index, fault.kind)
    examples, left_out = [], Counter[str]()
    for index, example in enumerate(found.examples):
        about, kind = found.facts.get(example.audio or ""), reasons.get(index)
        duration = round(about.seconds, 3) if about is not None and not about.error else example.duration
        if kind is not None and (kind not in keep or (example.audio and duration <= 0)):
            left_out[kind] += 1
        else:
            examples.append(replace(example, duration=duration))
    return with_own_ids(examples), dict(left_out)


def with_own_ids(examples: Iterable[Example]) -> list[Example]:
    """The examples, those whose id was used before under another: "a", "a" and "a-2" become "a", "a-3" and "a-2"."""
    examples, numbered, seen, numbers = list(examples), [], set[str](), defaultdict[str, int](lambda: 2)
    used = {example.id for example in examples}
    for example in examples:
        name = example.id
        if name in seen:
            while (name := f"{example.id}-{numbers[example.id]}") in used:
                numbers[example.id] += 1
            used.add(name)
        seen.add(example.id)
        numbered.append(replace(example, id=name))
    return numbered


def write_fixed(found: Diagnosis, path: Path, keep: Collection[str] = ()) -> tuple[int, dict[str, int]]:
    """Writes what `cleaned` gives: to `path`, or where that is a folder (it exists, or has no suffix) a manifest a split and the licences
    of corpora that no table knows. Returns how many examples were written, and how many were left out by kind. LauraError where nothing is
    left, where the data themselves would be replaced, or where a manifest cannot hold a task or a language; then nothing is written."""
    examples, left_out = cleaned(found, keep)
    if not examples:
        raise LauraError(f"{path} is not written: no example is without a fault")
    for example in examples:
        check_example(vars(example), f"{example.id} cannot be written")
    whole = bool(path.suffix) and not path.is_dir()
    split_up = {path / f"{split}.jsonl": [example for example in examples if example.split == split] for split in SPLITS}
    manifests = {path: examples} if whole else {file: chosen for file, chosen in split_up.items() if chosen}
    own = {corpus: vars(licence) for corpus, licence in sorted(found.data.licences.items()) if corpus not in CORPORA and not whole}
    kept = _files_of(found)
    for file in [*manifests, *([path / OWN_CORPORA] if own else [])]:
        if file.resolve() in kept:
            raise LauraError(f"{file} is the data themselves: give --fix another name")
    for file, chosen in manifests.items():
        write_manifest(file, chosen)
    if own:
        with replacing(path / OWN_CORPORA, "w", encoding="utf-8") as file:
            file.write(json.dumps(own, indent=1, ensure_ascii=False) + "\n")
    return len(examples), left_out


def _files_of(found: Diagnosis) -> set[Path]:
    """The files that the data lie in, recordings among them. A place is a file's name, and what comes behind a comma is where in it."""
    places, data = set(found.data.places), found.data.path
    names = {place[:end] for place in places for end in (len(place), *(at for at, letter in enumerate(place) if letter == ","))}
    names |= {split_span(example.audio)[0] for example in found.examples if example.audio}
    return {Path(name).resolve() for name in names} | {data.resolve(), ((data if data.is_dir() else data.parent) / OWN_CORPORA).resolve()}
