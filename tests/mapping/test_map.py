"""`laura map`: every input has one answer, which is that of the plain verb, whatever is stopped, lost or broken meanwhile."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pages
import pytest
import soundfile

from lauragpt.audio import load_audio, save_audio
from lauragpt.cli.demo import RECORDINGS
from lauragpt.cli.request import Request
from lauragpt.cli.run import run
from lauragpt.data.licences import CorpusLicence
from lauragpt.data.manifest import Example, read_manifest, write_manifest
from lauragpt.data.shards import member_of
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.files import replacing
from lauragpt.mapping.inputs import read_inputs
from lauragpt.mapping.shards import Job, close_job, count_failed, open_job, rows_of, shards_of, write_shard
from lauragpt.mapping.work import VERBS, Worker
from lauragpt.train.shards import write_shards

CLIPS = ("digits-4_theo_0", "ravdess-03-01-03-01-01-01-20", "kathleen-arctic_a0473_1592704836")


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """Three recordings, one of them in a folder of its own, and two files that are none."""
    folder = tmp_path_factory.mktemp("corpus") / "talks"
    (folder / "more").mkdir(parents=True)
    for clip, place in zip(CLIPS, ("b.opus", "more/a.opus", "c.opus")):
        shutil.copy(RECORDINGS / f"{clip}.opus", folder / place)
    (folder / "bad.wav").write_text("no sound")
    (folder / "empty.wav").touch()
    (folder / "LICENSE").write_text("CC0 1.0\n")
    return folder


def mapped(verb: str, data: Path, out: Path, model: object, size: int = 2, **options: object) -> list[dict]:
    """What one worker does, without Ray."""
    inputs, job = read_inputs(data, verb == "filter", verb == "enhance"), Job(verb, out, str(model), options=options, beams=1)
    out.mkdir()
    worker, shards = Worker(job), shards_of(inputs.items, size)
    for number, items in enumerate(shards):
        write_shard(job, number, worker.rows(items, number))
    close_job(job, len(shards), inputs.licences, verb in ("pseudo-label", "filter"))
    return [row for number in range(len(shards)) for row in rows_of(job, number)]


def plain(verb: str, names: list[str], capsys, model: object, **more: object) -> list[dict]:
    """What `laura VERB --format json` prints."""
    capsys.readouterr()
    run(Request(verb, tuple(names), format="json", model=str(model), beams=1, **more))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def without_place(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "audio"}


def test_answers_are_those_of_the_plain_verbs(talks, tmp_path, debug_checkpoint, capsys):
    for verb, options in (("transcribe", {"lang": "en"}), ("codec", {"quantizers": 2}), ("enhance", {})):
        rows = mapped(verb, talks, tmp_path / verb, debug_checkpoint, **options)
        names = [row["file"] for row in rows]
        assert names == [os.path.join(talks, name) for name in ("b.opus", "bad.wav", "c.opus", "empty.wav", "more/a.opus")]
        good, failed = [row for row in rows if "error" not in row], [row for row in rows if "error" in row]
        assert [row["file"] for row in failed] == [names[1], names[3]]
        sound = {"sound_output": True, "out": f"{tmp_path / verb}-plain/"} if verb == "enhance" else {}
        options |= {"codes": None} if verb == "codec" else {"min_confidence": 0.0} if verb == "transcribe" else {}
        known = plain(verb, [row["file"] for row in good], capsys, debug_checkpoint, options=options, **sound)
        assert list(map(without_place, good)) == list(map(without_place, known))
        lines = (tmp_path / verb / "failed" / "00000.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == failed[:1] and "is not audio that can be read" in failed[0]["error"]
        if verb == "enhance":
            for mine, other in zip(good, known):
                wave, known_wave = (soundfile.read(path, dtype="int16")[0] for path in (tmp_path / verb / mine["audio"], other["audio"]))
                # PyTorch, which answers for this checkpoint, sums in another order where other recordings are answered together.
                assert len(wave) == len(known_wave) > 4000 and np.abs(wave.astype(int) - known_wave).max() <= 2 < np.abs(wave).max()
        else:
            assert all(row.get("audio") is None for row in good)


def test_pseudo_labels_can_be_trained_on(talks, tmp_path):
    """What is likely becomes an example, a chunk of a long recording one with its span; what is not, or is not there, none."""
    long = np.concatenate([soundfile.read(RECORDINGS / f"{CLIPS[2]}.opus")[0], np.zeros(32000)] * 6)
    data = tmp_path / "calls"
    shutil.copytree(talks, data)
    soundfile.write(data / "long.flac", long[:, 0] if long.ndim > 1 else long, soundfile.info(RECORDINGS / f"{CLIPS[2]}.opus").samplerate)
    soundfile.write(data / "silent.wav", np.zeros(16000), 16000)
    save_audio(data / "c.wav", load_audio(data / "c.opus"))
    rows = mapped("pseudo-label", data, tmp_path / "labels", "mini", confidence=0.6)
    examples = {example.id: example for example in read_manifest(tmp_path / "labels" / "manifest" / "train.jsonl")}
    assert {example.corpus for example in examples.values()} == {"calls"}
    spans = [example for example in examples.values() if "#t=" in example.audio]
    assert len(spans) >= 2 and all("night was calm" in example.targets[0] and example.duration <= 20 for example in spans)
    assert [each["id"] for row in rows for each in row.get("kept", ())] == list(examples)
    assert {os.path.basename(name) for name in examples} >= {"c.opus", "c.wav"}
    [kept] = [row["kept"] for row in rows if row["file"].endswith("long.flac")]
    sure = [each for each in Laura.load("mini", beams=1).transcribe(data / "long.flac").segments if each.text and each.confidence >= 0.6]
    assert [(each["targets"], each["extra"]["confidence"]) for each in kept] == [([e.text], round(e.confidence, 4)) for e in sure]
    assert [row["kept"] for row in rows if row["file"].endswith("silent.wav")] == [[]]
    described = json.loads((tmp_path / "labels" / "manifest" / "corpora.json").read_text(encoding="utf-8"))
    assert described["calls"]["licence"] == "CC0 1.0"


def test_filtering_leaves_out_what_the_doctor_would(tmp_path):
    """A right transcript stays, with its true length; a wrong one, an impossible one and a recording that is not there do not."""
    wrong = "seven coffees with milk and a very long spoon"
    names = {"right": "the night was calm and snowy", "wrong": wrong, "fast": "the night was " * 30}
    data = tmp_path / "data"
    data.mkdir()
    for name in names:
        shutil.copy(RECORDINGS / f"{CLIPS[2]}.opus", data / f"{name}.opus")
    lines = [f"{name}.opus,{text}" for name, text in (*names.items(), ("missing", "nobody is here"))]
    (data / "metadata.csv").write_text("\n".join(["file_name,transcription", *lines]) + "\n")
    rows = {Path(row["file"]).stem: row for row in mapped("filter", data, tmp_path / "out", "mini")}
    assert {name for name, row in rows.items() if row["kept"]} == {"right"} and "no such file" in rows["missing"]["error"]
    kinds = {name: {fault["kind"] for fault in row.get("faults", ())} for name, row in rows.items()}
    assert "mismatch" in kinds["wrong"] and "too-fast" in kinds["fast"] and rows["wrong"]["cost"] > rows["right"]["cost"]
    [left] = read_manifest(tmp_path / "out" / "manifest" / "train.jsonl")
    assert left.targets == ["the night was calm and snowy"] and left.duration == pytest.approx(1.79, abs=0.05)


def test_recordings_in_shards_are_answered_as_files_are(tmp_path, debug_checkpoint):
    """Shards as FLAC hold the same samples, so the answers are the same."""
    data, texts = tmp_path / "data", ("four", "dogs are sitting by the door", "the night was calm and snowy")
    data.mkdir()
    examples = []
    for clip, text in zip(CLIPS, texts):
        wave, path = load_audio(RECORDINGS / f"{clip}.opus"), data / f"{clip}.wav"
        save_audio(path, wave)
        examples.append(Example(f"asr/own/{clip}", "asr", "train", "en", "own", str(path), len(wave) / 16000, targets=[text]))
    write_manifest(data / "train.jsonl", examples)
    write_shards(data, tmp_path / "shards", size=2)
    for verb, options in (("codec", {}), ("pseudo-label", {"confidence": 0.0}), ("filter", {})):
        rows = mapped(verb, tmp_path / "shards", tmp_path / verb, debug_checkpoint, **options)
        known = mapped(verb, data, tmp_path / f"{verb}-files", debug_checkpoint, **options)
        assert len(rows) == 3 and all(member_of(row["file"]) and "error" not in row for row in rows)
        assert [json.dumps(row).replace(row["file"], "FILE") for row in rows] == [
            json.dumps(row).replace(row["file"], "FILE") for row in known
        ]
        assert verb == "codec" or any(row["kept"] for row in rows)


def test_a_mended_transcript_is_another_job(tmp_path):
    """`filter` answers otherwise for it; the same data are the same job."""
    shutil.copy(RECORDINGS / f"{CLIPS[2]}.opus", tmp_path / "a.opus")
    example = Example("asr/own/a", "asr", "train", "en", "own", str(tmp_path / "a.opus"), 1.79, targets=["the night was long"])
    job, path = Job("filter", tmp_path / "out"), tmp_path / "train.jsonl"
    for _ in range(2):
        write_manifest(path, [example])
        open_job(job, "abc", read_inputs(path, whole=True).items, 2)
    write_manifest(path, [replace(example, targets=["the night was calm and snowy"])])
    with pytest.raises(LauraError, match="another job .digest differ"):
        open_job(job, "abc", read_inputs(path, whole=True).items, 2)
    items = read_inputs(tmp_path / "train.jsonl", whole=True).items
    with pytest.raises(LauraError, match="another job .digest differ"):
        open_job(replace(job, rates={items[0].audio: 8000}), "abc", items, 2)


def test_a_shard_that_is_tried_again_has_no_failures_left(tmp_path):
    job = Job("transcribe", tmp_path)
    assert write_shard(job, 0, [{"file": "a", "error": "no"}, {"file": "b"}]) == 1 and count_failed(job, 0) == 1
    job.shard(0).unlink()
    assert write_shard(job, 0, [{"file": "a"}, {"file": "b"}]) == 0 and count_failed(job, 0) == 0
    assert [row["file"] for row in rows_of(job, 0)] == ["a", "b"] and list((tmp_path / "failed").iterdir()) == []


def test_only_what_killed_workers_were_writing_is_removed(tmp_path):
    """With the names that files have while they are written; a person's hidden files and folders stay."""
    job, left = Job("enhance", tmp_path), []
    job.audio(0, 3).parent.mkdir(parents=True)
    write_shard(job, 0, [{"file": "a", "error": "no"}])
    for path in (tmp_path / "job.json", job.shard(0), job.failed(0), job.audio(0, 3)):
        with replacing(path):
            left += path.parent.glob(f".{path.stem}.*")
    for path in left:
        path.touch()
    own = [tmp_path / ".gitignore", tmp_path / ".notes.jsonl", tmp_path / ".notes.abcd1234.jsonl", tmp_path / "failed" / ".keep"]
    own += [job.audio(0, 3).parent / ".3.wav", tmp_path / ".git" / "config", tmp_path / ".job.abcd1234.json" / "inner"]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    close_job(job, 1, {}, False)
    assert len(set(left)) == 4 and not any(path.exists() for path in left) and all(path.exists() for path in own)
    assert job.shard(0).exists() and job.failed(0).exists() and (tmp_path / "job.json").exists() and job.audio(0, 3).exists()


def test_a_manifest_stays_until_the_next_one_is_whole(tmp_path):
    job, manifest = Job("pseudo-label", tmp_path), tmp_path / "manifest"
    good = asdict(Example("a", "asr", "train", "en", "own", "/a.wav", 1.0, targets=["a"]))
    own = {"own": CorpusLicence("CC0 1.0", True)}

    def closed(*kept: dict) -> dict[Path, int]:
        write_shard(job, 0, [{"file": "a", "kept": kept}])
        return close_job(job, 1, own, True)

    assert closed(good) == {manifest / "train.jsonl": 1}
    before = {path.name: path.read_bytes() for path in manifest.iterdir()}
    assert before.keys() == {"train.jsonl", "corpora.json"}
    with pytest.raises(LauraError, match="duration"):
        closed(good, good | {"id": "b", "split": "dev", "duration": 0.0})
    assert {path.name: path.read_bytes() for path in manifest.iterdir()} == before
    assert closed(good, good | {"id": "b", "split": "dev"}) == {manifest / "train.jsonl": 1, manifest / "dev.jsonl": 1}
    assert closed() == {} and sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.jsonl"]


def test_a_folder_of_another_job_is_left_alone(talks, tmp_path):
    items, job = read_inputs(talks).items, Job("transcribe", tmp_path / "out")
    open_job(job, "abc", items, 2)
    open_job(job, "abc", items, 2)
    for changed, weights, some, size in ((replace(job, verb="codec"), "abc", items, 2), (job, "xyz", items, 2), (job, "abc", items[1:], 2),
                                         (job, "abc", items, 3), (replace(job, options={"lang": "de"}), "abc", items, 2)):  # fmt: skip
        with pytest.raises(LauraError, match="another job"):
            open_job(changed, weights, some, size)
    with pytest.raises(LauraError, match="holds no shards"):
        open_job(replace(job, out=talks), "abc", items, 2)
    with pytest.raises(LauraError, match="no such file"):
        read_inputs(tmp_path / "nothing")


def laura_map(*words: object, status: int = 0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-P", "-m", "lauragpt", "map", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.slow  # as all that needs Ray
def test_a_wrong_request_is_told_at_once(talks, tmp_path):
    assert "is not for codec: it is for pseudo-label" in laura_map("codec", talks, tmp_path / "o", "--confidence", 1, status=2).stderr
    assert "no Ray cluster answers at 127.0.0.1:9" in laura_map("codec", talks, tmp_path / "o", "--ray", "127.0.0.1:9", status=1).stderr


@pytest.mark.slow
def test_a_folder_through_ray_which_goes_on_where_it_stopped(talks, tmp_path, debug_checkpoint):
    out = tmp_path / "out"
    words = "transcribe", talks, out, "--model", debug_checkpoint, "--beams", 1, "--shard-size", 2, "--workers", 1
    done = laura_map(*words, status=1)
    assert done.stdout == f"{out}: 3 of 5 inputs answered\n" and f"laura: 2 of 5 inputs failed: {out / 'failed'} says why\n" in done.stderr
    shards = {path: path.read_bytes() for path in sorted(out.glob("shard-*.jsonl"))}
    known = mapped("transcribe", talks, tmp_path / "known", debug_checkpoint)
    assert [json.loads(line) for data in shards.values() for line in data.splitlines()] == known
    lost = list(shards)[1]
    lost.unlink()
    before = {path: path.stat().st_mtime_ns for path in shards if path != lost}
    (out / ".shard-00001.abcd_123.jsonl").touch()  # what a killed process was writing
    laura_map(*words, status=1)
    assert {path: path.read_bytes() for path in sorted(out.glob("shard-*.jsonl"))} == shards
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert list(out.glob(".*")) == []


@pytest.mark.slow
def test_a_lost_machine_loses_no_answer(tmp_path, debug_checkpoint):
    """Two machines; one is killed after a quarter of the answers."""
    import ray
    from ray.cluster_utils import Cluster

    from lauragpt.mapping.run import run_map

    data, out, lost = tmp_path / "data", tmp_path / "out", threading.Event()
    data.mkdir()
    for number in range(240):
        soundfile.write(data / f"{number:03d}.wav", np.random.default_rng(number).normal(0, 0.1, 8000), 16000)
    machines = Cluster()
    try:
        machines.add_node(num_cpus=1, include_dashboard=False)
        second = machines.add_node(num_cpus=1)
        ray.init(address=machines.address, log_to_driver=False)

        def progress(done: int, total: int) -> None:
            if done >= total / 4 and not lost.is_set():
                lost.set()
                machines.remove_node(second, allow_graceful=False)

        done = run_map(data, Job("transcribe", out, str(debug_checkpoint), beams=1), size=6, progress=progress)
        assert lost.is_set() and (done.inputs, done.failed) == (240, 0)
    finally:
        ray.shutdown()
        machines.shutdown()
    shards = sorted(out.glob("shard-*.jsonl"))
    rows = [json.loads(line) for path in shards for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(shards) == 40 and [row["file"] for row in rows] == [str(data / f"{number:03d}.wav") for number in range(240)]
    assert list(out.glob(".*")) == []


@pytest.mark.slow
def test_the_commands_of_the_page(tmp_path, debug_checkpoint):
    """Each as it is written, on this machine in place of a cluster."""
    folder = pages.make_recordings(tmp_path)
    page = pages.ROOT / "docs" / "map.md"
    lines = [line for line in pages.commands(page) if pages.verb(line) == "map" and "--ray" not in line]
    assert {line.split()[2] for line in lines} == set(VERBS)
    for line in lines:
        done = pages.shell(re.sub(r"^laura", f"{sys.executable} -P -m lauragpt", line), folder)
        assert done.returncode == 0, (line, done.stderr)
