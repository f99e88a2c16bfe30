"""Each kind of fault, planted in good data of real recordings, is found, and nothing else is."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from lauragpt.data.manifest import Example
from lauragpt.data.user_data import read_data
from lauragpt.doctor.diagnosis import examine
from lauragpt.doctor.faults import KINDS
from lauragpt.doctor.hearing import Heard, hearing_faults
from lauragpt.engine.api import Laura


def found(talks, **how):
    """(kind, files that it is about) of each fault."""
    data = read_data(talks.table(), **how)
    diagnosis = examine(data, workers=1)
    return [(fault.kind, sorted({Path(data.examples[i].audio).name for i in fault.examples})) for fault in diagnosis.faults]


@pytest.fixture(scope="module")
def runtime():
    return Laura.load("mini").runtime


def test_good_data_have_no_fault(talks, runtime):
    diagnosis = examine(read_data(talks.table()), runtime, workers=1)
    assert diagnosis.faults == [] and diagnosis.verdict == "fit for training: no fault was found" and diagnosis.worst is None
    assert len(diagnosis.heard) == diagnosis.hearable == 4 and max(each.cost for each in diagnosis.heard) < 1.5
    assert diagnosis.hours == pytest.approx(sum(len(talks.sound(row["file"])) for row in talks.rows) / 16000 / 3600)


def test_a_line_without_a_recording(talks):
    talks.rows.append({"speaker": "x", "split": "train", "lang": "en", "text": "lost"})
    assert found(talks) == [("line", [])]


def test_an_id_twice(talks):
    talks.row("night.wav")["id"] = talks.row("room.wav")["id"] = "one"
    assert found(talks) == [("id", ["night.wav", "room.wav"])]


def test_a_missing_recording(talks):
    talks.add("gone.wav", "night.wav", text="it is gone")
    assert found(talks) == [("missing", ["gone.wav"])]


@pytest.mark.parametrize("content", [b"this is no sound", b"", b"RIFF\x00\x00\x00\x00WAVE"])
def test_an_unreadable_recording(talks, content):
    (talks.folder / "night.wav").write_bytes(content)
    assert found(talks) == [("unreadable", ["night.wav"])]


def test_samples_that_are_no_numbers(talks):
    wave = talks.sound("night.wav")
    wave[100] = np.nan
    talks.write("night.wav", wave, subtype="FLOAT")
    assert found(talks) == [("unreadable", ["night.wav"])]


def test_a_recording_of_50_ms(talks):
    talks.write("night.wav", talks.sound("night.wav")[8000:8800])
    assert found(talks) == [("empty", ["night.wav"])]


def test_silence_that_is_said_to_be_speech(talks):
    talks.write("night.wav", np.zeros(30000))
    assert found(talks) == [("silent", ["night.wav"])]


def test_silence_that_is_said_to_be_silence_is_right(talks):
    talks.write("night.wav", np.zeros(30000))
    talks.row("night.wav")["text"] = ""
    assert found(talks) == []


def test_a_text_that_is_missing(talks):
    talks.row("night.wav")["text"] = " "
    assert found(talks) == [("no-text", ["night.wav"])]


def test_a_wrong_duration(talks):
    talks.row("night.wav")["duration"] = 2.5
    assert found(talks) == [("duration", ["night.wav"])]


def test_a_wrong_rate(talks):
    talks.row("night.wav")["sampling_rate"] = 44100
    talks.row("room.wav")["sampling_rate"] = 16000
    assert found(talks) == [("rate", ["night.wav"])]


@pytest.mark.parametrize("name", ["copy.wav", "copy.flac", "copy.mp3", "copy.ogg"])
def test_a_recording_in_two_splits_is_found_by_its_sound(talks, name):
    talks.write(name, talks.sound("room.wav"))
    talks.add(name, "room.wav", split="dev")
    assert found(talks) == [("same-audio", [*sorted([name, "room.wav"])])]


def test_another_recording_of_the_same_length_is_not_the_same(talks):
    size = len(talks.sound("night.wav"))
    for number in range(3):
        talks.write(f"part{number}.wav", talks.sound("byron.wav")[number * size // 2 :][:size])
        talks.add(f"part{number}.wav", "byron.wav", text=f"part {'abc'[number]}")
    assert found(talks) == []


def test_a_speaker_in_two_splits(talks):
    talks.row("byron.wav")["speaker"] = "kathleen"
    assert found(talks) == [("same-speaker", ["byron.wav", "night.wav"])]


def test_a_speaker_in_dev_and_test(talks):
    talks.write("other.wav", talks.sound("byron.wav")[20000:60000])
    talks.add("other.wav", "byron.wav", split="test", text="till i came to don juan")
    assert found(talks) == [("held-speaker", ["byron.wav", "other.wav"])]


def test_one_speaker_in_all_splits_is_a_note(talks):
    for row in talks.rows:
        row["speaker"] = "anna"
    assert found(talks) == [("one-speaker", ["byron.wav", "night.wav", "room.wav", "town.wav"])]


def test_a_sentence_in_two_splits(talks):
    talks.write("other.wav", talks.sound("byron.wav")[20000:60000])
    talks.add("other.wav", "byron.wav", text="the night was calm, and snowy")  # as it is spoken, the same
    assert found(talks) == [("same-text", ["night.wav", "other.wav"])]


def test_a_corpus_of_few_sentences_is_a_note(talks):
    talks.write("other.wav", talks.sound("byron.wav")[20000:60000])
    talks.rows.remove(talks.row("byron.wav"))
    talks.add("other.wav", "night.wav", split="dev", speaker="6272")
    assert found(talks) == [("closed-set", [])]


def test_a_recording_with_two_answers(talks):
    talks.write("copy.flac", talks.sound("night.wav"))
    talks.add("copy.flac", "night.wav", text="Something else.")
    assert found(talks) == [("conflict", ["copy.flac", "night.wav"])]


def test_a_recording_that_comes_twice(talks):
    talks.write("copy.flac", talks.sound("night.wav"))
    talks.add("copy.flac", "night.wav")
    assert found(talks) == [("duplicate", ["copy.flac", "night.wav"])]


def test_a_text_that_nobody_can_say_in_the_time(talks):
    talks.row("night.wav")["text"] = "The night was calm and snowy, and so was the day after it, and the week that came behind them. " * 2
    assert found(talks) == [("too-fast", ["night.wav"])]


def test_a_text_that_is_far_too_short_for_its_sound(talks):
    byron = talks.sound("byron.wav")
    talks.rows.remove(talks.row("town.wav"))
    for number in range(24):  # parts of a second or two, each with as many letters as usual
        size = 16000 + 700 * number
        talks.write(f"part{number}.wav", byron[2000 * number :][:size])
        talks.add(f"part{number}.wav", "byron.wav", text="xyz" * round(size / 16000 * 5) + "abcdefghijklmnopqrstuvwxyz"[number])
    assert found(talks) == []
    talks.row("byron.wav")["text"] = "it was byron"
    assert found(talks) == [("pace", ["byron.wav"])]


def test_a_recording_that_is_cut_short(talks):
    path = talks.folder / "byron.wav"
    path.write_bytes(path.read_bytes()[:100_000])
    assert found(talks) == [("truncated", ["byron.wav"])]


@pytest.mark.parametrize("level", [1.0, 0.5])
def test_clipping_also_of_what_was_turned_down_afterwards(talks, level):
    wave = talks.sound("night.wav")
    talks.write("night.wav", level * np.clip(6 * wave / np.abs(wave).max(), -1, 1))
    assert found(talks) == [("clipped", ["night.wav"])]


def test_a_loud_recording_is_not_clipped(talks):
    wave = talks.sound("night.wav")
    talks.write("night.wav", wave / np.abs(wave).max())
    assert found(talks) == []


def test_a_very_quiet_recording(talks):
    talks.write("night.wav", talks.sound("night.wav") * 0.01, subtype="PCM_24")
    assert found(talks) == [("quiet", ["night.wav"])]


def test_a_low_rate_and_one_that_was_raised(talks):
    low = soxr.resample(talks.sound("night.wav"), 16000, 8000)
    talks.write("night.wav", low, 8000)
    assert found(talks) == [("low-rate", ["night.wav"])]
    talks.write("night.wav", soxr.resample(low, 8000, 44100), 44100)
    assert found(talks) == [("narrow", ["night.wav"])]


def test_an_unknown_licence(talks):
    for row in talks.rows:
        del row["licence"]
    assert found(talks) == [("licence", [])]
    assert found(talks, licence="CC0") == []


def test_a_language_that_the_model_does_not_know(talks):
    talks.row("night.wav")["lang"] = "fr-FR"
    assert found(talks) == [("language", [])]


def test_long_pauses(talks):
    talks.write("night.wav", np.concatenate([talks.sound("night.wav"), np.zeros(100_000)]))
    assert found(talks) == [("pauses", ["night.wav"])]


def test_no_split_to_measure(talks):
    talks.rows.remove(talks.row("byron.wav"))
    data = read_data(talks.table(), split=False)
    assert [fault.kind for fault in examine(data, workers=1).faults] == ["no-split"]


def test_transcripts_that_are_off_by_a_line(talks, runtime):
    talks.row("night.wav")["text"], talks.row("room.wav")["text"] = talks.row("room.wav")["text"], talks.row("night.wav")["text"]
    data = read_data(talks.table())
    diagnosis = examine(data, runtime, workers=1)
    assert [fault.kind for fault in diagnosis.faults] == ["mismatch", "mismatch"]
    assert {Path(data.examples[each.index].audio).name for each in diagnosis.heard[:2]} == {"night.wav", "room.wav"}


def test_a_transcript_with_other_words(talks, runtime):
    talks.row("byron.wav")["text"] = "It was Byron, and turning over the leaves until they all came back to dinner I read it through."
    diagnosis = examine(read_data(talks.table()), runtime, workers=1)
    assert [fault.kind for fault in diagnosis.faults] == ["unlikely"]


def test_in_a_language_that_the_model_does_not_know_transcripts_are_compared_with_each_other():
    examples = [Example(f"asr/talks/{n}", "asr", "train", "fr", "talks", f"{n}.wav", 1.0, targets=["un"]) for n in range(9)]
    heard = [Heard(n, 14.0 if n == 4 else 5.0, "un", "a", 0.0, known=False) for n in range(9)]
    assert [(fault.kind, fault.examples) for fault in hearing_faults(examples, heard)] == [("unlikely", (4,))]


def test_every_kind_of_fault_is_planted_here():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f'"{kind}"' not in source] == []


def test_parts_of_one_recording_are_examined_each(talks):
    wave = talks.sound("byron.wav")
    wave[16000:32000] = 0
    talks.write("byron.wav", wave)
    first, second = talks.row("byron.wav") | {"start": 0, "end": 0.9, "text": "it was byron"}, talks.row("byron.wav")
    talks.rows = [first, second | {"start": 1.05, "end": 1.9, "text": "it was"}]
    data = read_data(talks.table())
    diagnosis = examine(data, workers=1)
    assert [(fault.kind, fault.examples) for fault in diagnosis.faults] == [("silent", (1,))]
    about = [diagnosis.facts[example.audio] for example in data.examples]
    assert [round(each.seconds, 3) for each in about] == [0.9, 0.85] and about[1].loudest == 0 < about[0].loudest


def test_facts_do_not_depend_on_how_a_file_is_coded(talks):
    from lauragpt.data.sounds import sound_facts

    talks.write("night.flac", talks.sound("night.wav"))
    soundfile.write(talks.folder / "stereo.wav", np.stack([talks.sound("night.wav")] * 2, 1), 16000)
    paths = [str(talks.folder / name) for name in ("night.wav", "night.flac", "stereo.wav")]
    wav, flac, stereo = map(sound_facts(paths).get, paths)
    assert wav == flac and stereo.channels == 2 and stereo.print == wav.print and stereo.digest != wav.digest


def test_manifests_of_ours_are_examined_line_by_line(talks):
    from lauragpt.data.manifest import write_manifest

    data = read_data(talks.table())
    for example in data.examples:
        example.duration = len(talks.sound(Path(example.audio).name)) / 16000
    path = talks.folder / "train.jsonl"
    write_manifest(path, data.examples)
    (talks.folder / "talks.jsonl").unlink()
    with path.open("a") as file:
        file.write(json.dumps({"id": "x", "task": "asr", "split": "train", "lang": "en", "corpus": "talks"}) + "\n")
    (talks.folder / "corpora.json").write_text(json.dumps({"talks": {"licence": "mine", "commercial": True}}))
    diagnosis = examine(read_data(talks.folder), workers=1)
    assert [(fault.kind, fault.what) for fault in diagnosis.faults] == [
        ("line", f"{path}, line 5: field 'audio' is missing: asr needs a recording")
    ]


def test_copies_are_found_as_by_comparing_each_with_each(monkeypatch):
    from lauragpt.data.sounds import SoundFacts
    from lauragpt.doctor import leaks

    monkeypatch.setattr(leaks, "BLOCK", 7)
    rng = np.random.default_rng(0)
    prints = [int.from_bytes(rng.bytes(16), "big") for _ in range(10)]
    prints += [bits ^ sum(1 << int(bit) for bit in rng.choice(128, rng.integers(8, 17), replace=False)) for bits in prints * 3]
    facts = [SoundFacts(float(rng.uniform(2, 2.5)), print=(bits >> 64, bits & (1 << 64) - 1)) for bits in prints]
    pairs = {(min(pair), max(pair)) for pair in leaks._alike(facts)}
    expected = {
        (one, other)
        for one in range(len(facts))
        for other in range(one + 1, len(facts))
        if (prints[one] ^ prints[other]).bit_count() <= leaks.ALIKE and abs(facts[one].seconds - facts[other].seconds) <= leaks.PADDING
    }
    assert pairs == expected and 5 < len(expected) < 30
