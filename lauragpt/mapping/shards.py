"""The folder that `laura map` writes: finished shards, and what they are the answers to.

    job.json              what was asked, of which inputs: another job is refused
    shard-00012.jsonl     an answer a line, in the order of the inputs; it is there once the shard is finished
    failed/00012.jsonl    those lines of it that say why there is no answer
    audio/00012/3.wav     sound that was made
    manifest/train.jsonl  the examples that were kept, once all shards are finished; written in manifest.part
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

from lauragpt import __version__
from lauragpt.data.licences import CORPORA, OWN_CORPORA, CorpusLicence
from lauragpt.data.manifest import SPLITS, Example, write_manifest
from lauragpt.errors import LauraError
from lauragpt.files import replace_folder, replaced_by, replacing
from lauragpt.mapping.inputs import Item

JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """What every machine is told. Paths are the same on all of them."""

    verb: str
    out: Path
    model: str = "mini"
    adapter: str | None = None
    device: str | None = None
    threads: int = 1
    beams: int = 4
    options: Mapping[str, object] = field(default_factory=dict)  # of the verb
    rates: Mapping[str, int] = field(default_factory=dict)

    def shard(self, number: int) -> Path:
        return self.out / f"shard-{number:05d}.jsonl"

    def failed(self, number: int) -> Path:
        return self.out / "failed" / f"{number:05d}.jsonl"

    def audio(self, number: int, place: int) -> Path:
        """Of the answer at this place in a shard."""
        return self.out / "audio" / f"{number:05d}" / f"{place}.wav"


def shards_of(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[at : at + size]) for at in range(0, len(items), size)]


def open_job(job: Job, weights: str, items: Sequence[Item], size: int) -> None:
    """Makes the folder, or checks that it holds this job's shards. LauraError where it holds something else, or cannot be made."""
    asked = {"verb": job.verb, "options": dict(job.options), "beams": job.beams, "weights": weights, "inputs": len(items)}
    asked |= {"digest": digest_of(items, job.rates), "shard_size": size, "version": __version__}
    path = job.out / JOB
    try:
        if path.exists():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            different = [name for name in asked if name not in before or before[name] != asked[name]]
            if different:
                raise LauraError(f"{job.out} holds the shards of another job ({', '.join(different)} differ): name another folder")
            return
        if job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
            raise LauraError(f"{job.out} is there and holds no shards: name a new folder, or an empty one")
        job.out.mkdir(parents=True, exist_ok=True)
        with replacing(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(asked, indent=1) + "\n")
    except OSError as error:
        raise LauraError(f"{job.out} cannot be written: {error.strerror}") from None


def digest_of(items: Sequence[Item], rates: Mapping[str, int]) -> str:
    """Of all that answers depend on: with a transcript that was mended, `filter` answers otherwise."""
    digest = hashlib.sha256(json.dumps(dict(rates), sort_keys=True).encode())
    for item in items:
        digest.update(json.dumps(asdict(item), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def write_shard(job: Job, number: int, rows: Sequence[dict]) -> int:
    """Writes the answers; the shard is finished then. Returns how many inputs failed."""
    failed = [row for row in rows if "error" in row]
    if not failed:
        job.failed(number).unlink(missing_ok=True)  # of a try before
    for path, chosen in ((job.failed(number), failed), (job.shard(number), rows)):
        if chosen or path == job.shard(number):
            path.parent.mkdir(exist_ok=True)
            with replacing(path, "w", encoding="utf-8") as file:
                file.writelines(json_line(row) for row in chosen)
    return len(failed)


def json_line(row: dict) -> str:
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:  # a file's name that is no text
        line = json.dumps(row)
    return line + "\n"


def count_failed(job: Job, number: int) -> int:
    try:
        return len(job.failed(number).read_bytes().splitlines())
    except FileNotFoundError:
        return 0


def rows_of(job: Job, number: int) -> Iterator[dict]:
    with open(job.shard(number), encoding="utf-8") as file:
        yield from map(json.loads, file)


def close_job(job: Job, shards: int, licences: Mapping[str, CorpusLicence], manifest: bool) -> dict[Path, int]:
    """Once all shards are finished: what killed processes left is removed, and with `manifest` the examples that were kept
    become manifests. Returns how many are in each."""
    remove_unfinished(job, shards)
    if not manifest:
        return {}
    folder, aside, written = job.out / "manifest", job.out / "manifest.part", dict[Path, int]()
    shutil.rmtree(aside, ignore_errors=True)
    for split in SPLITS:
        kept = (Example(**each) for number in range(shards) for row in rows_of(job, number) for each in row.get("kept") or ())
        first = next((each for each in kept if each.split == split), None)
        if first is not None:
            chosen = chain([first], (each for each in kept if each.split == split))
            written[folder / f"{split}.jsonl"] = write_manifest(aside / f"{split}.jsonl", chosen)
    own = {corpus: asdict(licence) for corpus, licence in sorted(licences.items()) if corpus not in CORPORA}
    if written and own:
        (aside / OWN_CORPORA).write_text(json.dumps(own, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if written:
        replace_folder(aside, folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # of a run before that kept some
    return written


def remove_unfinished(job: Job, shards: int) -> None:
    """The files that killed processes were writing. Hidden files and folders that are not of this job stay."""
    numbers = range(shards)
    names = {job.out: {JOB, *(job.shard(number).name for number in numbers)}, job.out / "failed": {job.failed(n).name for n in numbers}}
    sounds = {job.audio(number, 0).parent: None for number in numbers}
    for place, known in (names | sounds).items():
        for left in place.glob(".*"):
            name = replaced_by(left.name)
            if name is not None and (name in known if known else re.fullmatch(r"\d+\.wav", name)) and left.is_file():
                left.unlink(missing_ok=True)

