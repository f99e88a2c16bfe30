"""Manifests -> shards (data/shards.py): the recordings of a folder as lhotse Shar, 16 kHz, mono, as FLAC or Opus.

A cut is a recording with every example of it; lhotse reads the folders `train`, `dev` and `test` as they are (`CutSet.from_shar`). Where a
model is given, the tokens of its codec are an array field of each cut, and training with that codec makes none.
"""

import gzip
import io
import json
import os
import shutil
import tarfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from lauragpt.audio import SAMPLE_RATE, decode_audio
from lauragpt.data.checks import check_folder
from lauragpt.data.licences import OWN_CORPORA, TEXT_CORPORA
from lauragpt.data.loader import FULL_SCALE, to_int16
from lauragpt.data.manifest import SPLITS, Example, read_manifest, write_manifest
from lauragpt.data.shards import FORMAT, INDEX, hash_of
from lauragpt.data.spans import load_spans
from lauragpt.errors import LauraError, install_hint
from lauragpt.files import replacing
from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.encoding import CodecTokens

SHARD = 1000  # recordings
PART = 64  # recordings in memory at a time
FORMATS = {"flac": ("FLAC", "PCM_16"), "opus": ("OGG", "OPUS")}


class Cut(NamedTuple):
    """A recording, or a recording with its noisy one, and all examples of it."""

    id: str
    audio: str
    noisy: str | None
    examples: list[Example]


def write_shards(
    data: Path, out: Path, audio: str = "flac", model: LauraModel | None = None, size: int = SHARD, workers: int | None = None
) -> dict[str, Counter[str]]:
    """Writes what the manifests of `data` hold as shards into `out`, whole or not at all; returns the number of examples by split and task.

    audio: flac, which loses nothing of 16 bits, or opus, a tenth of its size. size: recordings of a shard. workers: shards that are written
    at a time; one a core if there is no model. LauraError where manifests or recordings cannot be read, where two manifests use one id, or
    where `out` holds anything but what a killed run left."""
    try:
        import lhotse  # noqa: F401
    except ModuleNotFoundError:
        raise LauraError(f"shards are written by lhotse, which is not installed: {install_hint('train')}") from None
    if audio not in FORMATS:
        raise LauraError(f"shards hold {' or '.join(FORMATS)}, not {audio!r}")
    if not (data / "train.jsonl").is_file():
        raise LauraError(f"{data} holds no train.jsonl: give a folder of manifests, or corpora and a folder for their manifests")
    check_folder(out)
    aside = out / ".part"
    if any(path != aside for path in out.iterdir()):
        raise LauraError(f"{out} is not empty: give an empty folder, or a new one, for the shards")
    examples = read_manifests(data)
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
    try:
        counts = _write(examples, data, aside, audio, model, size, workers or (1 if model is not None else os.cpu_count() or 1))
        for path in sorted(aside.iterdir(), key=lambda path: path.name == INDEX):  # last: it says that all others are there
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return counts


def manifests(data: Path) -> list[Path]:
    named = [data / f"{split}.jsonl" for split in SPLITS]
    return [*(path for path in named if path.is_file()), *sorted(data.glob("synth*.jsonl"))]


def read_manifests(data: Path) -> list[Example]:
    """All examples of a folder. LauraError where two manifests use one id, which is what a shard calls a recording."""
    examples: dict[str, Example] = {}
    places: dict[str, Path] = {}
    for path in manifests(data):
        for example in read_manifest(path):
            if example.id in examples:
                raise LauraError(f"{path}: the id {example.id!r} is used in {places[example.id]} too: give each example an id of its own")
            examples[example.id], places[example.id] = example, path
    return list(examples.values())


def _write(
    examples: list[Example], data: Path, out: Path, audio: str, model: LauraModel | None, size: int, workers: int
) -> dict[str, Counter[str]]:
    out.mkdir()
    jobs, counts = [], {}
    for split in SPLITS:
        chosen = [example for example in examples if example.split == split]
        counts[split] = Counter(example.task for example in chosen)
        write_manifest(out / f"{split}.jsonl", [example for example in chosen if not example.audio])
        cuts = cuts_of([example for example in chosen if example.audio])
        # lhotse reads a field in every shard or in none
        fields = ["recording", *["noisy"] * any(cut.noisy for cut in cuts), *["codec_tokens"] * (model is not None)]
        parts = [cuts[first : first + size] for first in range(0, len(cuts), size)]
        jobs += [(out / split, number, part, fields) for number, part in enumerate(parts)]
        if cuts:
            (out / split).mkdir()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda job: write_shard(*job, audio, model), jobs))
    for path in [*data.glob("text.*.txt"), data / TEXT_CORPORA, data / OWN_CORPORA]:
        if path.is_file():
            shutil.copy(path, out / path.name)
    files = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        digest = {} if path.suffix == ".tar" else {"sha256": hash_of(path.read_bytes())}
        files[path.relative_to(out).as_posix()] = {"bytes": path.stat().st_size, **digest}
    index = {"format": FORMAT, "audio": audio, "codec": None if model is None else model.codec.hash, "files": files}
    with replacing(out / INDEX, "w", encoding="utf-8") as file:  # last: without it a folder holds no shards
        json.dump(index, file, indent=1)
    return counts


def cuts_of(examples: Sequence[Example]) -> list[Cut]:
    """Each recording once, or once with each of its noisy ones, in the order of its first example. Examples without a noisy one go with
    the first that their recording has."""
    pairs = {example.audio: example.noisy for example in reversed(examples) if example.noisy}
    by_recording: dict[tuple[str, str | None], list[Example]] = defaultdict(list)
    for example in examples:
        by_recording[example.audio, example.noisy or pairs.get(example.audio)].append(example)
    return [Cut(several[0].id, *recording, several) for recording, several in by_recording.items()]


def write_shard(folder: Path, number: int, cuts: Sequence[Cut], fields: list[str], audio: str, model: LauraModel | None) -> None:
    """One file of cuts and the archives of its fields."""
    from lhotse.shar.writers.tar import TarWriter

    paths = {field: folder / f"{field}.{number:06d}.tar" for field in fields}
    writers = {field: TarWriter(str(path), shard_size=None) for field, path in paths.items()}
    rows = []
    for first in range(0, len(cuts), PART):
        part = cuts[first : first + PART]
        stored = {name: encoded(wave, audio) for name, wave in load_spans(name for cut in part for name in (cut.audio, cut.noisy) if name)}
        tokens = codec_tokens(model, {cut.audio: stored[cut.audio] for cut in part}) if model is not None else {}
        for cut in part:
            rows.append(_cut(cut, stored, audio, tokens.get(cut.audio), writers))
    for writer in writers.values():
        writer.close()
    for field, path in paths.items():
        places = members(path)
        for row in rows:
            place = next((places[row["id"] + ending] for ending in (f".{audio}", ".npy") if row["id"] + ending in places), None)
            if place:
                row["custom"]["bytes"][field] = place
    with gzip.open(folder / f"cuts.{number:06d}.jsonl.gz", "wt", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def encoded(wave: np.ndarray, audio: str) -> bytes:
    """(N,) float32 as the bytes of a file."""
    container, subtype = FORMATS[audio]
    file = io.BytesIO()
    samples = np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16) if audio == "flac" else np.clip(wave, -1, 1)
    soundfile.write(file, samples, SAMPLE_RATE, subtype, format=container)
    return file.getvalue()


def codec_tokens(model: LauraModel, stored: dict[str, bytes]) -> dict[str, np.ndarray]:
    """(T,) int16 of each recording as training will hear it."""
    waves = {name: to_int16(decode_audio(data, name)).astype(np.float32) / FULL_SCALE for name, data in stored.items()}
    made = CodecTokens(model, waves.__getitem__)
    made.prepare(list(waves), save=False)
    return made.cache


def _cut(cut: Cut, stored: dict[str, bytes], audio: str, tokens: np.ndarray | None, writers: dict) -> dict:
    """Writes a cut's fields; its line in the file of cuts."""
    from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment
    from lhotse.array import Array

    def recording(name: str) -> Recording:
        info = soundfile.info(io.BytesIO(stored[name]))
        return Recording(cut.id, [AudioSource("shar", [0], "")], SAMPLE_RATE, info.frames, info.frames / SAMPLE_RATE, channel_ids=[0])

    def write(field: str, ending: str, data: bytes, manifest: Recording | Array) -> None:
        writers[field].write(f"{cut.id}.{ending}", io.BytesIO(data))
        writers[field].write(f"{cut.id}.json", io.BytesIO(json.dumps(manifest.to_dict()).encode()), count=False)

    main = recording(cut.audio)
    custom: dict = {"examples": [plain(example, cut) for example in cut.examples], "bytes": {}}
    write("recording", audio, stored[cut.audio], main)
    if cut.noisy:
        custom["noisy"] = recording(cut.noisy)
        write("noisy", audio, stored[cut.noisy], custom["noisy"])
    if tokens is not None:
        file = io.BytesIO()
        np.save(file, tokens, allow_pickle=False)
        custom["codec_tokens"] = Array("shar", "", "", list(tokens.shape))
        write("codec_tokens", "npy", file.getvalue(), custom["codec_tokens"])
    for field in writers.keys() - {"recording", *custom}:  # a place without content, as lhotse reads all fields side by side
        writers[field].write(f"{cut.id}.nodata", io.BytesIO())
        writers[field].write(f"{cut.id}.nometa", io.BytesIO(), count=False)
    said = next((e for e in cut.examples if e.task == "asr"), None)
    text = said.targets[0] if said else next((e.source for e in cut.examples if e.source), None)
    speaker, first = next((e.speaker for e in cut.examples if e.speaker), None), cut.examples[0]
    supervision = SupervisionSegment(cut.id, cut.id, 0.0, main.duration, 0, text, said.lang if said else first.source_lang, speaker)
    return MonoCut(cut.id, 0.0, main.duration, 0, [supervision], recording=main, custom=custom).to_dict()


def plain(example: Example, cut: Cut) -> dict:
    """What a cut repeats of an example. `noisy` is false where the cut's noisy recording is that of other examples."""
    row = asdict(example)
    row = {name: value for name, value in row.items() if value not in (None, {}) and name not in ("split", "audio", "noisy", "duration")}
    return row if example.noisy == cut.noisy else row | {"noisy": False}


def members(path: Path) -> dict[str, tuple[int, int, str]]:
    """name -> (offset, size, CRC-32) of each file of a tar archive that holds anything."""
    with tarfile.open(path) as tar, path.open("rb") as file:
        found = {}
        for info in tar:
            file.seek(info.offset_data)
            if info.size:
                found[info.name] = info.offset_data, info.size, f"{zlib.crc32(file.read(info.size)):08x}"
    return found
