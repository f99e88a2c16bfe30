"""Which examples are measured: read from the manifests, limited, and grouped into what will be one row each.

In: the folder that `laura prepare` wrote, a split, tasks, a limit. Out: `Group`s. The choice depends on the ids alone, so two runs measure
the same examples.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lauragpt.data.manifest import SPLITS, Example, read_manifest
from lauragpt.data.shards import read_shards
from lauragpt.errors import LauraError
from lauragpt.evaluate.answers import Answer
from lauragpt.evaluate.recognisers import Pocketsphinx, Recogniser
from lauragpt.evaluate.report.tables import Row
from lauragpt.evaluate.tally import Tally
from lauragpt.tasks import TASKS

AUDIO_TASKS = ("tts", "se", "codec")  # their answer is sound, which takes long to make and is measured in several variants
AUDIO_EXAMPLES = 16  # examples a corpus of those tasks if no limit is given
AUDIO_COST = 15  # work for a second of made sound, relative to a second of listening: a limit takes that many times fewer examples
MEAN_SECONDS = 2.0  # a limit of n takes examples until they hold n times this, so long recordings are measured on fewer
TELEPHONE_CORPORA = ("kathleen", "librispeech")  # English; measured once more through a telephone channel


@dataclass
class Group:
    """Examples of one task, corpus and pair of languages, with their answers: what a row of the report is about."""

    task: str
    name: str  # the corpus, with the pair of languages or the channel
    lang: str
    examples: list[Example]
    available: int  # examples before the limit
    answers: list[dict[str, Answer]] = field(default_factory=list)  # an example each, by variant

    @property
    def corpus(self) -> str:
        return self.name.split(" ")[0].rstrip(",")

    def of(self, variant: str = "") -> tuple[list[Example], list[Answer]]:
        """The examples that have an answer of this variant, and the answers."""
        pairs = [(e, a[variant]) for e, a in zip(self.examples, self.answers) if variant in a and not a[variant].failure]
        return [e for e, _ in pairs], [a for _, a in pairs]

    def variants(self) -> list[str]:
        """Names of the variants that have at least one answer, in order of appearance."""
        return list(dict.fromkeys(name for answers in self.answers for name, answer in answers.items() if not answer.failure))

    def row(
        self, metric: str, tally: Tally, bench: "Bench", variant: str = "", name: str | None = None, also: dict | None = None, **fields
    ) -> Row:
        """A row of the report: the tally's score with its interval, further columns, and the answers it was made of."""
        examples, answers = self.of(variant)
        tallies = {column: value for column, value in (also or {}).items() if isinstance(value, Tally)}
        fields["also"] = (also or {}) | {column: further.total for column, further in tallies.items()}
        seconds, audio = sum(a.seconds for a in answers), sum(a.audio_seconds for a in answers)
        return Row(
            self.task, name or self.name, len(tally), self.available, metric, tally.score(bench.seed), tally=tally, tallies=tallies,
            seconds=seconds, audio_seconds=audio if seconds else 0.0, examples=examples, answers=answers, **fields,
        )  # fmt: skip


@dataclass
class Bench:
    """What scorers need beside a group: training examples for the trivial floors, the seed of the bootstrap, and who judged sound."""

    train: list[Example]  # of the tasks measured; [] if there is no train.jsonl
    seed: int = 0
    judge: Recogniser = field(default_factory=Pocketsphinx)

    def commonest(self, group: Group) -> tuple[str, str]:
        """The most frequent answer of the corpus in training, and where it was counted."""
        examples = [e for e in self.train if e.task == group.task and e.corpus == group.corpus]
        counts = Counter(e.targets[0] for e in examples or group.examples)
        return max(counts, key=lambda text: (counts[text], text)), "of train" if examples else "of this split"


def check(data: Path, split: str, tasks: Iterable[str] | None, limit: int | None) -> list[str]:
    """The tasks to measure, in the order of the report. LauraError for an argument that makes no sense."""
    if split not in SPLITS:
        raise LauraError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not data.is_dir():
        raise LauraError(f"{data} is not a folder: give the folder that `laura prepare` wrote")
    if limit is not None and limit < 1:
        raise LauraError(f"limit is {limit}: give 1 or more examples a corpus, or leave it out")
    tasks = list(tasks) if tasks is not None else measurable()
    for task in tasks:
        if task not in measurable():
            raise LauraError(f"unknown task {task!r}: choose from {', '.join(measurable())}")
    return [task for task in measurable() if task in tasks]


def measurable() -> list[str]:
    """The tasks, in the order of the report; the codec is measured like one."""
    return [*TASKS, "codec"]


def read_split(data: Path, split: str) -> list[Example]:
    """All examples of the split: from SPLIT.jsonl, from shards, and from the synth*.jsonl beside it, which hold several splits. LauraError
    if there are none."""
    main = data / f"{split}.jsonl"
    paths = [*([main] if main.exists() else []), *synth_manifests(data)]
    examples = {e.id: e for path in paths for e in read_manifest(path) if e.split == split}
    examples |= {e.id: e for e in read_shards(data, (split,))}
    if not examples:
        raise LauraError(f"{data} holds no {split} examples: expected {main.name} from `laura prepare`")
    return list(examples.values())


def synth_manifests(data: Path) -> list[Path]:
    return sorted(path for path in data.glob("synth*.jsonl") if path.is_file())


def floor_examples(data: Path, tasks: set[str]) -> list[Example]:
    """Training examples of the tasks whose floor is a constant answer."""
    tasks = tasks - {"asr", "tts", "se", "codec"}
    paths = [path for path in (data / "train.jsonl", *synth_manifests(data)) if path.exists()] if tasks else []
    examples = [e for path in paths for e in read_manifest(path)] + (read_shards(data, ("train",)) if tasks else [])
    return [e for e in examples if e.split == "train" and e.task in tasks]


def make_groups(examples: list[Example], limit: int | None) -> list[Group]:
    """By task in the order of the report, then corpus, then languages. A limit takes at most `limit` examples of each, by hash of the id,
    until they hold `limit` times MEAN_SECONDS; of the tasks that make sound, AUDIO_COST times fewer."""
    members_of: dict[tuple, list[Example]] = defaultdict(list)
    for example in examples:
        pair = f" {example.source_lang}-{example.lang}" if example.source_lang and example.source_lang != example.lang else ""
        members_of[example.task, example.corpus + pair, example.lang].append(example)
    groups = []
    for (task, name, lang), members in sorted(members_of.items(), key=lambda entry: (measurable().index(entry[0][0]), entry[0][1:])):
        share = 1 / AUDIO_COST if task in AUDIO_TASKS else 1.0
        count = math.ceil(limit * share) if limit else AUDIO_EXAMPLES if task in AUDIO_TASKS else len(members)
        chosen, seconds = set(), 0.0
        for example in sorted(members, key=lambda e: digest(e.id))[:count]:
            if limit is None or seconds < limit * MEAN_SECONDS * share:
                chosen.add(example.id)
            seconds += example.duration
        groups.append(Group(task, name, lang, [e for e in members if e.id in chosen], len(members)))
    return groups


def add_telephone(groups: list[Group]) -> list[Group]:
    """The groups, and after each English recognition corpus of TELEPHONE_CORPORA the same examples heard through a telephone."""
    result = []
    for group in groups:
        result.append(group)
        if group.task == "asr" and group.name in TELEPHONE_CORPORA:
            examples = [replace(e, id=f"telephone/{e.id}", extra={**e.extra, "channel": "telephone"}) for e in group.examples]
            result.append(replace(group, name=f"{group.name}, telephone", examples=examples))
    return result


def digest(text: str) -> bytes:
    """The order in which a limit takes examples: by hash, the same on every machine."""
    return hashlib.sha256(text.encode()).digest()
