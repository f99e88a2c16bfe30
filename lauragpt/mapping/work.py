"""What one worker of `laura map` does: the inputs of a shard -> its rows, one for each, as the plain verbs give them.

In: a shard's `Item`s. Out: rows, in that order: an answer as `--format json` prints it, or `error`. Rows of pseudo-label and filter also
hold the examples that may be trained on (`kept`).
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lauragpt.audio import SAMPLE_RATE, Recording, check_length, read_recording, save_audio, stream_audio
from lauragpt.data.manifest import Example, check_example
from lauragpt.data.shards import member_of
from lauragpt.data.sounds import ahead, sound_facts
from lauragpt.data.spans import load_span, span_name, split_span
from lauragpt.doctor.faults import Fault
from lauragpt.doctor.hearing import hear, hearing_faults
from lauragpt.doctor.sound_faults import pace_faults, recordings, sound_faults, text_of
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.mapping.inputs import Item
from lauragpt.mapping.shards import Job
from lauragpt.result import Result

MOST, SAMPLES = 16, 600 * SAMPLE_RATE  # recordings that are answered together, and of their sound, unless one is longer
READERS = 2  # recordings that are decoded while others are answered
# verb -> the options that it takes
VERBS = {
    "transcribe": ("lang", "beams"), "codec": ("quantizers",), "enhance": ("verify",), "pseudo-label": ("lang", "beams", "confidence"),
    "filter": (),
}  # fmt: skip
WITH_MANIFEST = ("pseudo-label", "filter")  # whose kept examples become a manifest
ABOUT_CORPUS = ("pace", "unlikely")  # faults that only all the data together tell, and not a shard


class Worker:
    """A model, and the verb. LauraError where it cannot be loaded."""

    def __init__(self, job: Job):
        self.job = job
        self.laura = Laura.load(job.model, job.device, beams=job.beams, threads=job.threads, adapter=job.adapter)

    def rows(self, items: Sequence[Item], number: int) -> list[dict]:
        """The answers to a shard's items."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LauraWarning)  # of recordings that are cut short, which their receipts tell
            if self.job.verb == "filter":
                return filtered(self.laura, items, self.job)
            if self.job.verb == "codec":
                return [named(item) | tried(self._codec, item, number, place) for place, item in enumerate(items)]
            return self._answered(items, number)

    def _codec(self, item: Item, number: int, place: int) -> dict:
        audio = stream_audio(item.audio) if is_file(item.audio) else load_span(item.audio)
        codes = self.laura.encode(audio, self.job.options.get("quantizers"))
        return codes.to_row() | {"audio": None}

    def _answered(self, items: Sequence[Item], number: int) -> list[dict]:
        rows: dict[int, dict] = {}
        for group in grouped(ahead(read, enumerate(items), READERS)):
            for place, result in answers(self._ask, group):
                rows[place] = named(items[place]) | (
                    result if isinstance(result, dict) else tried(self._row, items[place], number, place, result)
                )
        return [rows[place] for place in range(len(items))]

    def _ask(self, waves: list[Recording]) -> list[Result]:
        options = dict(self.job.options)
        if self.job.verb == "enhance":
            return self.laura.enhance(waves, verify=bool(options.get("verify")))
        return self.laura.transcribe(waves, lang=options.get("lang"))

    def _row(self, item: Item, number: int, place: int, result: Result) -> dict:
        if self.job.verb == "enhance":
            if not len(result.audio):
                raise LauraError("nothing was said, so there is no sound to write")
            path = self.job.audio(number, place)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_audio(path, result.audio, result.sample_rate)
            result.audio_path = path.relative_to(self.job.out).as_posix()
        row = json.loads(result.to_json(file=item.name))
        if self.job.verb == "pseudo-label":
            row["kept"] = [asdict(each) for each in labelled(item, result, self.job.options["confidence"])]
        return row


def tried(work: Callable[..., dict], *given: object) -> dict:
    try:
        return work(*given)
    except Exception as error:
        return {"error": reason(error)}


def named(item: Item) -> dict:
    return {"file": item.name} | ({"id": item.id} if item.id is not None else {})


def reason(error: Exception) -> str:
    """In one line. Whatever it is that fails, the other inputs are answered."""
    if isinstance(error, LauraError):
        return " ".join(str(error).splitlines())
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    return " ".join(f"{type(error).__name__}: {error}".splitlines())


def is_file(audio: str) -> bool:
    """Whether a recording is a file of its own: not a part of one, nor in a shard."""
    return split_span(audio)[2] is None and member_of(audio) is None


def read(numbered: tuple[int, Item]) -> tuple[int, Recording | dict]:
    """A recording, or why it cannot be read."""
    place, item = numbered
    try:
        if is_file(item.audio):
            return place, read_recording(Path(item.audio))
        return place, Recording(check_length(load_span(item.audio), item.name))
    except Exception as error:
        return place, {"error": reason(error)}


def grouped(recordings: Iterator[tuple[int, Recording | dict]]) -> Iterator[list[tuple[int, Recording | dict]]]:
    group, samples = [], 0
    for place, found in recordings:
        size = len(found.wave) if isinstance(found, Recording) else 0
        if group and (samples + size > SAMPLES or len(group) == MOST):
            yield group
            group, samples = [], 0
        group.append((place, found))
        samples += size
    if group:
        yield group


def answers(
    ask: Callable[[list[Recording]], list[Result]], group: list[tuple[int, Recording | dict]]
) -> Iterator[tuple[int, Result | dict]]:
    """Where a group fails as a whole, each recording is tried alone."""
    readable = [(place, found) for place, found in group if isinstance(found, Recording)]
    results: dict[int, Result | dict] = {place: found for place, found in group if isinstance(found, dict)}
    try:
        results |= zip([place for place, _ in readable], ask([found for _, found in readable]) if readable else [], strict=True)
    except Exception:
        for place, found in readable:
            try:
                [results[place]] = ask([found])
            except Exception as error:
                results[place] = {"error": reason(error)}
    yield from ((place, results[place]) for place, _ in group)


def labelled(item: Item, result: Result, confidence: float) -> Iterator[Example]:
    """The chunks of a recording of whose words the model expects at least the share `confidence` to be right, as examples of asr. A
    recording of several chunks becomes parts, which are as long as the model reads at once."""
    path, start, _ = split_span(item.audio)
    identity = item.id or f"{item.corpus}/{item.name}"
    for number, segment in enumerate(result.segments):
        if not segment.text or segment.confidence is None or segment.confidence < confidence:
            continue
        whole = len(result.segments) == 1 and segment.end - segment.start >= result.receipt["seconds_given"] - 0.01
        audio = item.audio if whole else span_name(path, start + segment.start, start + segment.end)
        yield Example(
            f"pseudo/{identity}" + ("" if whole else f"-{number}"), "asr", "train", result.lang, item.corpus, audio,
            round(segment.end - segment.start, 3), targets=[segment.text], extra={"confidence": round(segment.confidence, 4)},
        )  # fmt: skip


def filtered(laura: Laura, items: Sequence[Item], job: Job) -> list[dict]:
    """What `laura doctor` finds in each example by itself: faults, and what the CTC head hears. One with a fault for which --fix leaves
    it out is not kept."""
    examples = [Example(**item.example) for item in items]
    facts = sound_facts([name for name, _ in recordings(examples)], READERS)
    heard, _ = hear(laura.runtime, examples, facts)
    faults: list[list[Fault]] = [[] for _ in items]
    for fault in [*sound_faults(examples, facts, job.rates), *pace_faults(examples, facts), *hearing_faults(examples, heard)]:
        if fault.kind not in ABOUT_CORPUS:
            for index in fault.examples:
                faults[index].append(fault)
    twins = {(example.audio, text_of(example)): index for index, example in reversed(list(enumerate(examples)))}
    first = [twins[example.audio, text_of(example)] for example in examples]  # the one that was heard, of two that are the same
    hearings = {each.index: {"heard": each.heard, "cost": round(min(each.cost, 1e6), 4)} for each in heard}
    rows = []
    for index, (item, example) in enumerate(zip(items, examples)):
        about = facts[example.audio]
        if about.error:
            rows.append(named(item) | {"error": about.error, "kept": []})
            continue
        example = replace(example, duration=round(about.seconds, 3))
        found = faults[index] + [fault for fault in faults[first[index]] if first[index] != index and fault.kind == "mismatch"]
        told = [{"kind": fault.kind, "what": fault.what} for fault in found]
        dropped = any(fault.drop for fault in found)
        try:
            check_example(asdict(example), item.name)
        except LauraError as error:
            told.append({"kind": "line", "what": str(error)})
            dropped = True
        row = named(item) | {"seconds": round(about.seconds, 3), "faults": told} | hearings.get(first[index], {})
        rows.append(row | {"kept": [] if dropped else [asdict(example)]})
    return rows
