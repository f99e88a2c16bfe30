"""The data of a fine-tuning: what is new, cleaned, and beside it what the checkpoint is to remember.

In: anyone's data (data/user_data.py) and a folder of prepared manifests to replay from. Out: a folder of manifests that `laura train` and
`laura eval` read, and how often each task and corpus is to be drawn.
"""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lauragpt.data.licences import CORPORA, OWN_CORPORA, TEXT_CORPORA, UNDESCRIBED, CorpusLicence, described_corpora, text_corpora
from lauragpt.data.loader import seconds_of
from lauragpt.data.manifest import Example, check_example, write_manifest
from lauragpt.data.spans import write_parts
from lauragpt.data.splits import digest
from lauragpt.data.user_data import LABEL, UserData, manifests, read_data
from lauragpt.doctor.diagnosis import Diagnosis, Progress, examine
from lauragpt.doctor.fix import cleaned, with_own_ids
from lauragpt.errors import LauraError
from lauragpt.evaluate.groups import read_split
from lauragpt.tasks import LANGS, TASKS, add_lang, add_task, own_task
from lauragpt.train.run import read_data as read_prepared

MOST_LABELS = 50  # a task with more answers than these writes them as text
REPLAYED = 2000  # examples of a task and corpus at most


@dataclass
class TuningData:
    """`own`: what is new, cleaned; `replayed`: what is to be remembered; both of train and dev. `share`: of training that is replayed."""

    found: Diagnosis
    own: list[Example]
    replayed: list[Example]
    replay: Path
    share: float
    left_out: dict[str, int] = field(default_factory=dict)  # by the kind of fault, or why

    def weights(self) -> dict[str, float]:
        """How often each task and corpus is drawn: what is to be remembered `share` of the time, every task of it alike; the rest is new,
        by its number of examples."""
        share = self.share
        own = Counter(f"{e.task}/{e.corpus}" for e in self.own if e.split == "train")
        again = Counter(f"{e.task}/{e.corpus}" for e in self.replayed if e.split == "train")
        tasks: dict[str, int] = defaultdict(int)
        for key, count in again.items():
            tasks[key.partition("/")[0]] += count
        found: dict[str, float] = defaultdict(float)
        for key, count in own.items():
            found[key] += (1 - share if again else 1.0) * count / own.total()
        for key, count in again.items():
            found[key] += share / len(tasks) * count / tasks[key.partition("/")[0]]
        return {key: round(weight, 5) for key, weight in found.items() if weight >= 1e-5}


def gather(
    path: Path, replay: Path, share: float, longest: float, columns: Mapping[str, str] | None = None, task: str | None = None,
    lang: str | None = None, licence: str | None = None, keep: Collection[str] = (), progress: Progress | None = None,
) -> TuningData:  # fmt: skip
    """Reads, examines and cleans; nothing is written. share: of training that is replayed; 0: what is to be remembered is only measured.
    longest: seconds of an example at most. task: a name that nobody knows is added, with the labels that the data have; so is a language,
    where `lang` names it. LauraError where nothing could be learned or measured."""
    data, replayed = read_new(path, columns, task, lang, licence), [e for e in read_replay(replay) if share or e.split == "dev"]
    found = examine(data, progress=progress)
    own, left_out = cleaned(found, keep)
    for example in own:
        check_example(vars(example), f"{path}: {example.id}")
    long = sum(seconds_of(example) > longest for example in own)
    own = [example for example in own if example.split != "test" and seconds_of(example) <= longest]
    left_out |= {f"longer than {longest:g} s": long} if long else {}
    for split, purpose in (("train", "learned"), ("dev", "measured")):
        if not any(example.split == split for example in own):
            why = ", ".join(f"{count} {kind}" for kind, count in left_out.items())
            said = f" (left out: {why})" if why else ""
            raise LauraError(f"{path}: no example of {split} is left{said}, so nothing can be {purpose}: see `laura doctor {path}`")
    return TuningData(found, own, replayed, replay, share, left_out)


def read_new(
    path: Path, columns: Mapping[str, str] | None, task: str | None, lang: str | None, licence: str | None
) -> UserData:  # fmt: skip
    """Of anyone's data, with the rows of the table that they need added. LauraError for tasks and languages that nobody named."""
    if lang is not None:
        add_lang(lang)
    ours = path.exists() and manifests(path) and not columns
    if ours and task is not None and task not in TASKS:
        add_task(own_task(task))  # a manifest's lines are checked against the table while they are read
    data = read_data(path, columns, task, lang, licence)
    if unknown := sorted({code for e in data.examples for code in (e.lang, e.source_lang) if code and code not in LANGS}):
        raise LauraError(f"{path} is in {', '.join(unknown)}, and the model knows {', '.join(LANGS)}: --lang {unknown[0]} adds a language")
    if task is None and any(example.task == LABEL for example in data.examples):
        raise LauraError(f"{path} has labels of a task without a name: give it one, as in --task rooms")
    if task is not None and task not in TASKS:
        answers = sorted({text for example in data.examples for text in example.targets})
        add_task(own_task(task, tuple(answers) if len(answers) <= MOST_LABELS else ()))
    labels = TASKS[task].labels if task is not None else ()
    for example in data.examples:
        if labels and not set(example.targets) <= set(labels):
            raise LauraError(f"{path}: {example.id}: {example.targets[0]!r} is no label of {task}: choose one of {', '.join(labels)}")
    return data


def read_replay(folder: Path) -> list[Example]:
    """The examples of train and dev of a folder of prepared manifests, of each task and corpus some that a hash chooses."""
    if not (folder / "train.jsonl").is_file():
        raise LauraError(f"{folder} holds no train.jsonl: give --replay a folder that `laura prepare` or `laura doctor --fix` wrote")
    train, dev = read_prepared(folder) if (folder / "dev.jsonl").is_file() else (read_split(folder, "train"), [])
    groups: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in train:
        groups[example.task, example.corpus].append(example)
    chosen = [example for group in groups.values() for example in sorted(group, key=lambda each: digest(each.id))[:REPLAYED]]
    return [*chosen, *dev]


def write_data(data: TuningData, folder: Path) -> None:
    """Both as one folder of manifests, with the licences of all corpora, and the texts that are replayed. Each part of a longer recording
    becomes a file of its own."""
    folder.mkdir(parents=True)
    examples = with_own_ids([*data.own, *data.replayed])
    examples = write_parts(examples, folder / "parts")
    for split in ("train", "dev"):
        write_manifest(folder / f"{split}.jsonl", [example for example in examples if example.split == split])
    licences = {name: vars(licence) for name, licence in _licences(data, examples).items()}
    (folder / OWN_CORPORA).write_text(json.dumps(licences, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    texts = sorted(data.replay.glob("text.*.txt")) if data.share else []
    for text in texts:
        shutil.copyfile(text, folder / text.name)
    if texts:
        (folder / TEXT_CORPORA).write_text(json.dumps(text_corpora(data.replay)) + "\n", encoding="utf-8")


def _licences(data: TuningData, examples: Sequence[Example]) -> dict[str, CorpusLicence]:
    """Of the corpora that no table knows."""
    known = described_corpora(data.replay) | data.found.data.licences
    names = {example.corpus for example in examples} - CORPORA.keys()
    return {name: known.get(name, UNDESCRIBED) for name in sorted(names)}
