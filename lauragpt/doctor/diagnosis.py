"""The examination: data -> everything that `laura doctor` tells.

In: `UserData`. Out: a `Diagnosis`: hours, faults, licences, what the CTC head heard, and a verdict. Recordings are read, and nothing is
written.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lauragpt.data.licences import STRICTNESS, strictness
from lauragpt.data.manifest import Example
from lauragpt.data.sounds import SoundFacts, sound_facts
from lauragpt.data.user_data import UserData
from lauragpt.doctor.faults import KINDS, SEVERITIES, Fault, Severity
from lauragpt.doctor.hearing import Heard, hear, hearing_faults
from lauragpt.doctor.leaks import leaks
from lauragpt.doctor.sound_faults import pace_faults, recordings, sound_faults
from lauragpt.tasks import LANGS

if TYPE_CHECKING:
    from lauragpt.engine.runtime import Runtime

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, how much there is
VERDICTS: dict[Severity | None, str] = {
    "error": "not fit for training",
    "warning": "fit for training, but it could be better",
    "note": "fit for training",
    None: "fit for training",
}


@dataclass
class Diagnosis:
    data: UserData
    facts: dict[str, SoundFacts]
    faults: list[Fault] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)  # the least likely transcript first
    hearable: int = 0  # transcripts that could have been heard

    @property
    def examples(self) -> list[Example]:
        return self.data.examples

    def seconds(self, example: Example) -> float:
        about = self.facts.get(example.audio or "")
        return about.seconds if about is not None and not about.error else 0.0

    def hours_by(self, key: Callable[[Example], tuple]) -> dict[tuple, tuple[int, float]]:
        """key of an example -> (examples, hours of their recordings, each once), in the keys' order."""
        table: dict[tuple, list[float]] = defaultdict(lambda: [0, 0.0])
        seen: set[tuple] = set()
        for example in self.examples:
            row = table[key(example)]
            row[0] += 1
            if (once := (key(example), example.audio)) not in seen:
                seen.add(once)
                row[1] += self.seconds(example) / 3600
        return {each: (int(count), hours) for each, (count, hours) in sorted(table.items())}

    @property
    def hours(self) -> float:
        """Of all recordings, each once."""
        return sum(about.seconds for about in self.facts.values()) / 3600

    def of(self, severity: Severity) -> dict[str, list[Fault]]:
        """kind -> its faults, in the order of the table."""
        return {name: found for name in KINDS if KINDS[name].severity == severity and (found := self.faults_of(name))}

    def faults_of(self, kind: str) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind == kind]

    @property
    def worst(self) -> Severity | None:
        return next((severity for severity in SEVERITIES if any(fault.severity == severity for fault in self.faults)), None)

    @property
    def verdict(self) -> str:
        counts = Counter(fault.severity for fault in self.faults)
        found = ", ".join(f"{counts[each]} {each}{'' if counts[each] == 1 else 's'}" for each in SEVERITIES if counts[each])
        return VERDICTS[self.worst] + (f": {found}" if found else ": no fault was found")

    @property
    def strictest(self) -> tuple[str, list[str]]:
        """What the licences ask for at most, of `STRICTNESS`, and the corpora that ask for it."""
        asked = {corpus: strictness(licence) for corpus, licence in self.data.licences.items()}
        most = max(asked.values(), key=STRICTNESS.index)
        return most, sorted(corpus for corpus, each in asked.items() if each == most)


def examine(
    data: UserData, runtime: "Runtime | None" = None, hours: float | None = None, workers: int | None = None,
    progress: Progress | None = None,
) -> Diagnosis:  # fmt: skip
    """runtime: of the checkpoint whose CTC head judges the transcripts; None: nobody listens. hours: of sound that it hears at most; None:
    all. workers: recordings that are decoded at a time."""
    tell = progress or (lambda *_: None)
    audio = [name for name, _ in recordings(data.examples)]
    facts = sound_facts(audio, workers, lambda done, total: tell("recordings read", done, total))
    found = Diagnosis(data, facts)
    found.faults += [Fault("line", str(problem)) for problem in data.problems]
    found.faults += repeated_ids(data.examples)
    found.faults += sound_faults(data.examples, facts, data.rates)
    found.faults += pace_faults(data.examples, facts)
    found.faults += leaks(data.examples, facts)
    found.faults += _languages(data.examples, runtime)
    found.faults += [Fault("licence", corpus) for corpus, licence in sorted(data.licences.items()) if licence.commercial is None]
    if runtime is not None:
        found.heard, found.hearable = hear(runtime, data.examples, facts, hours, tell)
        found.faults += hearing_faults(data.examples, found.heard)
    return found


def repeated_ids(examples: Iterable[Example]) -> Iterator[Fault]:
    places: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        places[example.id].append(index)
    for name, indices in places.items():
        if len(indices) > 1:
            yield Fault("id", f"{name} is that of {len(indices)} examples", tuple(indices))


def _languages(examples: Iterable[Example], runtime: "Runtime | None") -> Iterator[Fault]:
    known = LANGS if runtime is None else runtime.info.langs
    counts = Counter(example.lang for example in examples)
    for lang in sorted(counts.keys() - set(known)):
        yield Fault("language", f"{lang}: {counts[lang]} examples; the model knows {', '.join(known)}")
