"""A transcript of what is still being spoken: it ends up as that of the whole recording."""

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lauragpt import Laura
from lauragpt.audio import load_audio
from lauragpt.cli.stream import Samples, _tail
from lauragpt.engine import recognise
from lauragpt.engine.stream import Transcript
from lauragpt.errors import LauraError

SAMPLE_RATE = 16000
CLIPS = Path(__file__).parents[2] / "lauragpt" / "assets" / "demo"


@pytest.fixture(scope="module")
def laura(debug_checkpoint):
    return Laura.load(debug_checkpoint, device="cpu")


def wave(seed: int = 0) -> np.ndarray:
    """47 s: tones that rise, with pauses of 0.5 to 1.5 s."""
    rng, parts = np.random.default_rng(seed), []
    while sum(map(len, parts)) < 47 * SAMPLE_RATE:
        time = np.arange(int(rng.uniform(0.5, 23) * SAMPLE_RATE)) / SAMPLE_RATE
        parts.append(0.2 * np.sin(2 * np.pi * (150 + 80 * rng.random() + 60 * time) * time) + 0.01 * rng.normal(size=len(time)))
        parts.append(np.zeros(int(rng.uniform(0.5, 1.5) * SAMPLE_RATE)))
    return np.concatenate(parts)[: 47 * SAMPLE_RATE].astype(np.float32)


def pieces(whole: np.ndarray, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.integers(1, 30_000, 200))
    return [part for part in np.split(whole, ends[ends < len(whole)]) if len(part)]


class Clock:
    """Each reading is so many seconds behind the one before: what an answer takes is counted, and not measured."""

    def __init__(self, step: float):
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.slow
def test_partial_answers_take_half_of_the_time_at_most(laura):
    """After each that took 3 s comes the next behind 6 s of new sound, and not behind every second as where they take none."""
    sound = 0.1 * np.sin(np.arange(18 * SAMPLE_RATE) / 20).astype(np.float32)  # without a pause
    blocks = np.split(sound, range(4000, len(sound), 4000))

    def partial_ends(step: float) -> list[float]:
        results = laura.transcribe_stream(blocks, lang="en", every=1.0, clock=Clock(step))
        return [r.receipt["seconds_read"] for r in results if not r.final]

    assert partial_ends(0.0) == [float(second) for second in range(1, 19)]
    assert partial_ends(3.0) == [1.0, 7.0, 13.0]


@pytest.mark.parametrize("seed, beams", [(0, 1), (1, 1), (2, 1), pytest.param(2, 4, marks=pytest.mark.slow)])
def test_the_finals_are_the_answer_to_the_whole(laura, seed, beams):
    laura, whole = Laura(replace(laura.runtime, beams=beams), laura.voices), wave(seed)
    results = list(laura.transcribe_stream(pieces(whole, seed), lang="en", every=2.0, clock=Clock(0.5)))
    finals, partials = [r for r in results if r.final], [r for r in results if not r.final]
    offline = laura.transcribe(whole, lang="en")
    assert [(s.start, s.end, s.text) for r in finals for s in r.segments] == [(s.start, s.end, s.text) for s in offline.segments]
    assert " ".join(r.text for r in finals if r.text) == offline.text
    sure = [s.confidence for s in offline.segments]  # which depends on every sample
    assert [s.confidence for r in finals for s in r.segments] == pytest.approx(sure, rel=1e-5) and (len(set(sure)) > 1 or beams > 1)
    assert sum(r.receipt["seconds_read"] for r in finals) == pytest.approx(47, abs=0.01)
    assert len(finals) > 1 and len(partials) > 5
    assert [r.text for r in laura.transcribe_stream(pieces(whole, seed + 9), lang="en", every=None)] == [r.text for r in finals]


def test_parts_of_an_open_chunk_are_heard_once(laura, monkeypatch):
    """Where a checkpoint reads a chunk in parts, those whose ends stand are not heard again with each partial answer."""
    monkeypatch.setitem(laura.runtime.info.chunks, "asr", (2.0, 4.0))
    whole, read, batch = wave(1), [], recognise._recognise_batch

    def recorded(runtime, task, chunks, lang, max_tokens):
        read.extend(chunk.span for chunk in chunks if max_tokens is None)
        return batch(runtime, task, chunks, lang, max_tokens)

    monkeypatch.setattr(recognise, "_recognise_batch", recorded)
    offline = laura.transcribe(whole, lang="en", min_confidence=0.1)
    once = set(read)
    read.clear()
    results = list(laura.transcribe_stream(pieces(whole, 1), lang="en", every=1.0, min_confidence=0.1, clock=Clock(0.0)))
    assert [s.text for r in results if r.final for s in r.segments] == [s.text for s in offline.segments]
    assert sum(r.receipt.get("rejected", 0) for r in results if r.final) == offline.receipt.get("rejected", 0)
    assert once <= set(read) and len(read) == len(set(read)) and len([r for r in results if not r.final]) > 20


def test_the_first_words_come_before_the_first_chunk_is_read():
    """The checkpoint that ships reads a chunk of 16 s in shorter ones. With `soon` each has its own result; nothing else changes."""
    laura, clips = Laura.load("mini"), [load_audio(path) for path in sorted(CLIPS.glob("librispeech-*.opus"))]
    speech = np.concatenate(2 * clips)
    whole, results = laura.transcribe(speech, lang="en"), {}
    for soon in (False, True):
        transcript = Transcript(laura.runtime, "en", every=None, soon=soon)
        results[soon] = [*transcript.feed(speech), *transcript.finish()]
        assert " ".join(result.text for result in results[soon]) == whole.text
        assert sum(result.receipt["chunks"] for result in results[soon]) == whole.receipt["chunks"] > 1
    assert len(results[False]) == 1 and len(results[True]) > 1 and all(result.final for result in results[True])


def test_wrong_options_are_told_before_anything_is_heard(laura):
    for wrong, words in (({"every": 0.0}, "every is 0.0"), ({"min_confidence": 2.0}, "min_confidence"), ({"lang": "xx"}, "xx")):
        with pytest.raises(LauraError, match=words):
            laura.transcribe_stream([], **wrong)
    with pytest.raises(LauraError, match="50 ms long"):
        list(laura.transcribe_stream([np.zeros(800)]))
    assert list(laura.transcribe_stream([])) == []


def test_what_came_before_a_failure_is_answered(laura):
    whole, heard = wave()[: 3 * SAMPLE_RATE], []
    with pytest.raises(LauraError, match="NaN"):
        for result in laura.transcribe_stream([whole, np.array([np.nan])], lang="en", every=None):
            heard.append(result)
    assert [r.receipt["seconds_read"] for r in heard] == [3.0] and heard[0].final


def test_empty_pieces_and_a_place_that_is_used_again_change_nothing(laura):
    def pieces():
        place = np.zeros(4000, dtype=np.float32)
        for at in range(0, len(whole), 4000):
            place[:] = whole[at : at + 4000]
            yield place
            yield place[:0]
            place[:] = 9

    whole = wave()[: 4 * SAMPLE_RATE]
    ((streamed,), offline) = laura.transcribe_stream(pieces(), lang="en", every=None), laura.transcribe(whole, lang="en")
    assert streamed.confidence == pytest.approx(offline.confidence, rel=1e-4)


class Slowly(io.BytesIO):
    """Gives three bytes at a time, so that samples come in halves."""

    def read1(self, size: int = -1) -> bytes:
        return self.read(3)


def test_samples_come_whole_from_any_stream():
    raw = np.random.default_rng(0).integers(-(2**15), 2**15, 1001).astype("<i2")
    samples = Samples(Slowly(raw.tobytes()))
    assert np.array_equal(np.concatenate(list(samples)), raw.astype(np.float32) / 32768) and not samples.halved
    samples = Samples(Slowly(raw.tobytes()[:-1]))
    assert len(np.concatenate(list(samples))) == 1000 and samples.halved
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype("<i2")
    resampled = np.concatenate(list(Samples(io.BytesIO(tone.tobytes()), 8000)))
    assert len(resampled) == 16000 and np.abs(np.fft.rfft(resampled)).argmax() == 440
    assert [piece.tolist() for piece in Samples(io.BytesIO(b"\0\x40"))] == [[0.5]]
    with pytest.raises(LauraError, match="no samples"):
        list(Samples(io.BytesIO(b"")))
    with pytest.raises(LauraError, match="768,000"):
        Samples(io.BytesIO(b""), 1_000_000)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU", "W64"])
def test_a_file_is_not_taken_for_samples(format):
    file = io.BytesIO()
    soundfile.write(file, wave()[:SAMPLE_RATE], SAMPLE_RATE, format=format)
    whole = file.getvalue()
    tagged = b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + whole
    for data in (whole, tagged, b"\0\0\0\x20ftypM4A " + whole):
        with pytest.raises(LauraError, match="not raw samples"):
            list(Samples(Slowly(data)))


def test_samples_that_begin_as_an_mpeg_frame_are_samples():
    header = bytes.fromhex("fffb9064")
    for data in (header, header + bytes(8), header + bytes(range(256)) * 8):
        assert len(np.concatenate(list(Samples(Slowly(data))))) == len(data) // 2


COMMAND = [sys.executable, "-m", "lauragpt", "transcribe", "--stream", "-", "--format", "json", "--lang", "en"]
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def test_lines_come_before_the_stream_ends(debug_checkpoint):
    with subprocess.Popen([*COMMAND, "--model", str(debug_checkpoint)], **PIPES) as process:
        process.stdin.write((wave()[: 3 * SAMPLE_RATE] * 32767).astype("<i2").tobytes())
        process.stdin.flush()
        assert b'"final": false' in process.stdout.readline()  # stdin is still open
        process.stdin.write(b"\0")
        rest, error = process.communicate()
    assert b'"final": true' in rest.splitlines()[-1]
    assert process.returncode == 1 and b"middle of a sample" in error


def test_ctrl_c_ends_the_sound_and_not_the_answer(debug_checkpoint):
    with subprocess.Popen([*COMMAND, "--model", str(debug_checkpoint)], **PIPES) as process:
        process.stdin.write((wave()[: 4 * SAMPLE_RATE] * 32767).astype("<i2").tobytes())
        process.stdin.flush()
        assert b'"final": false' in process.stdout.readline()
        process.send_signal(signal.SIGINT)  # busy, or waiting for more
        lines, error = process.stdout.read().splitlines(), process.stderr.read()
    assert b'"final": true' in lines[-1] and process.returncode == 0 and error == b""


def test_a_line_that_is_written_over_fits_the_terminal(monkeypatch):
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((10, 5)))
    assert _tail("one two three four") == "hree four" and _tail("short") == "short" and len(_tail("\u4f60" * 9)) == 4
