"""A cleaned manifest: what is left of the data without their faults. Recordings are never touched, and nor are the data themselves.

In: a `Diagnosis`. Out: one manifest, or a folder with one a split that `laura train` and `laura eval` read.
"""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from lauragpt.data.licences import CORPORA, OWN_CORPORA
from lauragpt.data.manifest import SPLITS, Example, check_example, write_manifest
from lauragpt.doctor.diagnosis import Diagnosis
from lauragpt.errors import LauraError
from lauragpt.files import replacing


def cleaned(found: Diagnosis, keep: Collection[str] = ()) -> tuple[list[Example], dict[str, int]]:
    """The examples that are left, with true durations and an id each; and how many were left out, by the kind of fault. keep: kinds of
    which none is left out."""
    reasons: dict[int, str] = {}
    for fault in found.faults:
        if fault.kind not in keep:
            for index in fault.drop:
                reasons.setdefault(index, fault.kind)
    taken: Counter[str] = Counter()
    examples = []
    for index, example in enumerate(found.examples):
        if index in reasons:
            continue
        taken[example.id] += 1
        name = example.id if taken[example.id] == 1 else f"{example.id}-{taken[example.id]}"
        about = found.facts.get(example.audio or "")
        examples.append(replace(example, id=name, duration=round(about.seconds, 3) if about is not None and not about.error else 0.0))
    return examples, dict(Counter(reasons.values()))


def write_fixed(found: Diagnosis, path: Path, keep: Collection[str] = ()) -> tuple[int, dict[str, int]]:
    """Writes what `cleaned` gives: to `path`, or where that is a folder (it exists, or has no suffix) a manifest a split and the licences
    of corpora that no table knows. Returns how many examples were written, and how many were left out by kind. LauraError where nothing is
    left, where the data themselves would be replaced, or where a manifest cannot hold a task or a language; then nothing is written."""
    if path.exists() and (path.samefile(found.data.path) or path.absolute() in {Path(place.rpartition(", line")[0]).absolute() for place in
                                                                             found.data.places}):  # fmt: skip
        raise LauraError(f"{path} is the data themselves: give --fix another name")
    examples, left_out = cleaned(found, keep)
    if not examples:
        raise LauraError(f"{path} is not written: no example is without a fault")
    for example in examples:
        check_example(vars(example), f"{example.id} cannot be written")
    if path.suffix and not path.is_dir():
        return write_manifest(path, examples), left_out
    for split in SPLITS:
        if chosen := [example for example in examples if example.split == split]:
            write_manifest(path / f"{split}.jsonl", chosen)
    own = {corpus: vars(licence) for corpus, licence in sorted(found.data.licences.items()) if corpus not in CORPORA}
    if own:
        with replacing(path / OWN_CORPORA, "w", encoding="utf-8") as file:
            file.write(json.dumps(own, indent=1, ensure_ascii=False) + "\n")
    return len(examples), left_out
