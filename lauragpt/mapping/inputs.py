"""What `laura map` works on: a folder of recordings, or data with examples, as `Item`s.

In: a path. Out: `Inputs`, in an order that is the same in every run. Another kind of data is read by a branch of `read_inputs`.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lauragpt.data.licences import CorpusLicence
from lauragpt.data.manifest import Example
from lauragpt.data.readers.rows import SOUNDS
from lauragpt.data.user_data import licences_of, manifests, read_data
from lauragpt.errors import LauraError


@dataclass(frozen=True)
class Item:
    """One thing to answer."""

    name: str  # what its answer calls it: the path as it was given
    audio: str  # an absolute path, or a part of a recording (spans.py)
    corpus: str
    id: str | None = None  # of the example
    example: dict | None = None  # all of it, where the verb is about examples


@dataclass
class Inputs:
    items: list[Item]
    licences: Mapping[str, CorpusLicence] = field(default_factory=dict)  # of each corpus
    rates: Mapping[str, int] = field(default_factory=dict)  # of a recording, in Hz, where the data tell one
    problems: list[str] = field(default_factory=list)  # lines that cannot be used


def read_inputs(path: Path, whole: bool = False, noisy: bool = False) -> Inputs:
    """The recordings of a folder; of data with examples each recording once, or with `whole` every example. noisy: of an example's two
    recordings the noisy one. LauraError where there is nothing to answer."""
    if not path.exists():
        raise LauraError(f"{path}: no such file or folder")
    if path.is_dir() and not whole and not manifests(path) and (found := sounds(path)):
        corpus = path.absolute().name
        return Inputs([Item(name, os.path.abspath(name), corpus) for name in found], licences_of(path, {corpus}, None))
    data = read_data(path, split=False)
    items = examples(data.examples) if whole else recordings(data.examples, noisy)
    if not items:
        raise LauraError(f"{path} ({data.kind}) names no recording: give a folder of recordings, or a manifest with recordings")
    return Inputs(items, data.licences, data.rates, [str(problem) for problem in data.problems])


def sounds(folder: Path) -> list[str]:
    """The recordings in a folder and in those below it, in order."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        found += [os.path.join(place, name) for name in sorted(files) if os.path.splitext(name)[1].lower() in SOUNDS]
    return found


def recordings(found: Iterable[Example], noisy: bool) -> list[Item]:
    items: dict[str, Item] = {}
    for example in found:
        audio = (noisy and example.noisy) or example.audio
        if audio and audio not in items:
            items[audio] = Item(audio, audio, example.corpus, example.id)
    return list(items.values())


def examples(found: Iterable[Example]) -> list[Item]:
    return [Item(each.audio, each.audio, each.corpus, each.id, asdict(each)) for each in found if each.audio]
