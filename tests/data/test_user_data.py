"""Data as other people keep them: tables, audiofolder, Kaldi, lhotse, our own manifests. Each gives the same examples of the same clips."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lauragpt.audio import load_audio
from lauragpt.data.manifest import read_manifest, write_manifest
from lauragpt.data.spans import load_span, load_spans, span_name, split_span, write_parts
from lauragpt.data.user_data import read_data
from lauragpt.errors import LauraError

CLIPS = Path(__file__).parents[2] / "lauragpt" / "assets" / "demo"
SAID = {
    "kathleen-arctic_a0473_1592704836": ("kathleen", "The night was calm and beautiful."),
    "librispeech-2136-5147-0021": ("2136", "They are chiefly formed from combinations."),
    "librispeech-6272-70171-0021": ("6272", "A golden fortune, and 2 more."),
    "digits-4_theo_0": ("theo", "four"),
}
NAMES = list(SAID)


@pytest.fixture
def folder(tmp_path):
    """A folder with the clips, as other people have them: wav files."""
    (tmp_path / "talks" / "clips").mkdir(parents=True)
    for name in NAMES:
        soundfile.write(tmp_path / "talks" / "clips" / f"{name}.wav", load_audio(CLIPS / f"{name}.opus"), 16000)
    return tmp_path / "talks"


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def told(data):
    """What matters of the examples, in the order of the names."""
    found = {Path(split_span(e.audio)[0]).stem: (e.task, e.speaker, e.targets) for e in data.examples}
    return [found[name] for name in NAMES]


EXPECTED = [
    ("asr", "talks/kathleen", ["the night was calm and beautiful"]),
    ("asr", "talks/2136", ["they are chiefly formed from combinations"]),
    ("asr", "talks/6272", ["a golden fortune and two more"]),
    ("asr", "talks/theo", ["four"]),
]


def test_a_csv_whose_columns_have_other_names(folder):
    rows = [f'{name}.wav,{speaker},"{text}"' for name, (speaker, text) in SAID.items()]
    data = read_data(write(folder / "talks.csv", "path,client_id,sentence", *rows))
    assert told(data) == EXPECTED and data.kind == "CSV" and not data.problems
    assert data.notes[0] == "talks.csv: by name, audio is path, text is sentence, speaker is client_id; recordings are in clips/"
    assert data.places[0].endswith("talks.csv, line 2")


def test_a_table_without_names_of_columns_is_read_by_what_stands_in_it(folder):
    rows = [f"{name}|{text}" for name, (_, text) in SAID.items()]
    data = read_data(write(folder / "metadata.txt.csv", *rows))
    assert [target for _, _, target in told(data)] == [target for _, _, target in EXPECTED]
    assert "no line of names; by what stands in it, audio is 1, text is 2; recordings are in clips/, names end in .wav" in data.notes[0]


def test_columns_that_a_person_names_are_taken(folder):
    rows = [f"clips/{name}.wav\t{speaker}\tnonsense\t{text}" for name, (speaker, text) in SAID.items()]
    table = write(folder / "talks.tsv", "x\ty\ttext\tz", *rows)
    data = read_data(table, {"audio": "x", "speaker": "y", "text": "z"})
    assert told(data) == EXPECTED
    with pytest.raises(LauraError, match=r"talks.tsv has no column 'w' for text: its columns are x, y, text, z"):
        read_data(table, {"text": "w"})
    with pytest.raises(LauraError, match="'words' is nothing that a column may hold: choose from audio, text"):
        read_data(table, {"words": "z"})


def test_quotation_marks_in_a_table_by_tabs_are_letters(folder):
    data = read_data(write(folder / "a.tsv", "file\ttext", f'clips/{NAMES[0]}.wav\t"Stop', f'clips/{NAMES[1]}.wav\t" he said'))
    assert [e.targets for e in data.examples] == [["stop"], ["he said"]]


def test_jsonl_as_nemo_and_as_hugging_face_write_it(folder):
    lines = [json.dumps({"audio_filepath": f"clips/{n}.wav", "duration": 2.5, "text": t, "speaker": s}) for n, (s, t) in SAID.items()]
    data = read_data(write(folder / "talks.jsonl", *lines))
    assert told(data) == EXPECTED and data.examples[0].duration == 2.5
    lines = [
        json.dumps({"audio": {"path": f"clips/{n}.wav", "sampling_rate": 16000}, "text": t, "speaker_id": s}) for n, (s, t) in SAID.items()
    ]
    with gzip.open(folder / "talks.jsonl.gz", "wt") as file:
        file.write("\n".join(lines))
    assert told(read_data(folder / "talks.jsonl.gz")) == EXPECTED


def test_audiofolder_with_a_split_for_each_folder(folder):
    for split, names in (("train", NAMES[:2]), ("validation", NAMES[2:])):
        (folder / split / "sounds").mkdir(parents=True)
        for name in names:
            shutil.move(folder / "clips" / f"{name}.wav", folder / split / "sounds" / f"{name}.wav")
        lines = [json.dumps({"file_name": f"sounds/{n}.wav", "transcription": SAID[n][1], "speaker_id": SAID[n][0]}) for n in names]
        write(folder / split / "metadata.jsonl", *lines)
    write(folder / "README.md", "---", "language: en", "license: cc-by-nc-4.0", "---", "Talks.")
    data = read_data(folder)
    assert data.kind == "audiofolder" and told(data) == EXPECTED
    assert [e.split for e in data.examples] == ["train", "train", "dev", "dev"]
    assert (data.licences["talks"].licence, data.licences["talks"].commercial) == ("cc-by-nc-4.0", False)


def test_audiofolder_with_one_table_for_all(folder):
    shutil.move(folder / "clips", folder / "train")
    write(folder / "metadata.csv", "file_name,text,speaker", *(f'train/{n}.wav,"{t}",{s}' for n, (s, t) in SAID.items()))
    data = read_data(folder)
    assert told(data) == EXPECTED and {e.corpus for e in data.examples} == {"talks"}
    assert {e.split for e in data.examples} == {"train", "dev"}, "folders say train alone: dev is made of it"


def test_folders_of_recordings_are_labels(folder):
    for label, name in (("yes", NAMES[0]), ("no", NAMES[1])):
        (folder / "test" / label).mkdir(parents=True)
        shutil.move(folder / "clips" / f"{name}.wav", folder / "test" / label)
    shutil.rmtree(folder / "clips")
    data = read_data(folder, task="wish")
    assert sorted((e.task, e.split, e.targets[0]) for e in data.examples) == [("wish", "test", "no"), ("wish", "test", "yes")]


def kaldi(folder, segments=False):
    train = folder / "data" / "train"
    train.mkdir(parents=True)
    write(train / "wav.scp", *(f"{n} clips/{n}.wav" for n in NAMES))
    key = (lambda name: f"{name}-a") if segments else str
    write(train / "text", *(f"{key(n)} {t}" for n, (_, t) in SAID.items()))
    write(train / "utt2spk", *(f"{key(n)} {s}" for n, (s, _) in SAID.items()))
    if segments:
        write(train / "segments", *(f"{n}-a {n} 0.10 0.35" for n in NAMES))
    return train


def test_kaldi_paths_start_at_the_recipe(folder):
    data = read_data(kaldi(folder))
    assert data.kind == "Kaldi" and [(task, target) for task, _, target in told(data)] == [(task, target) for task, _, target in EXPECTED]
    assert data.examples[0].speaker == "data/kathleen" and read_data(folder / "data").examples[0].corpus == "data"


def test_kaldi_segments_are_parts_of_recordings(folder):
    data = read_data(kaldi(folder, segments=True))
    first = data.examples[0]
    assert first.audio.endswith(f"{NAMES[0]}.wav#t=0.100,0.350") and first.duration == pytest.approx(0.25)
    whole = soundfile.read(folder / "clips" / f"{NAMES[0]}.wav", dtype="float32")[0]
    np.testing.assert_array_equal(load_span(first.audio), whole[1600:5600])
    with pytest.raises(LauraError, match="it has nothing from 900 to 901 s"):
        load_span(span_name(split_span(first.audio)[0], 900, 901))


def test_kaldi_never_runs_a_command(folder):
    train = kaldi(folder)
    write(train / "wav.scp", f"{NAMES[0]} touch {folder}/ran |", *(f"{n} clips/{n}.wav" for n in NAMES[1:]))
    data = read_data(train)
    assert len(data.examples) == 3 and not (folder / "ran").exists()
    assert "is a command, which is not run" in str(data.problems[0])


def lhotse(folder, source="clips/{}.wav", kind="file"):
    recordings, supervisions = [], []
    for name, (speaker, text) in SAID.items():
        frames = soundfile.info(folder / "clips" / f"{name}.wav").frames
        source_of = {"type": kind, "channels": [0], "source": source.format(name)}
        about = {"sampling_rate": 16000, "num_samples": frames, "duration": frames / 16000}
        recordings.append(json.dumps({"id": name, "sources": [source_of], **about}))
        span = {"start": 0.0, "duration": frames / 16000}
        supervisions.append(
            json.dumps({"id": f"{name}-0", "recording_id": name, **span, "text": text, "speaker": speaker, "language": "English"})
        )
    (folder / "manifests").mkdir()
    for kind, lines in (("recordings", recordings), ("supervisions", supervisions)):
        with gzip.open(folder / "manifests" / f"talks_{kind}_dev-clean.jsonl.gz", "wt") as file:
            file.write("\n".join(lines))
    return folder / "manifests"


def test_lhotse_manifests(folder):
    manifests = lhotse(folder)
    for path in (manifests, manifests / "talks_supervisions_dev-clean.jsonl.gz"):
        data = read_data(path)
        assert data.kind == "lhotse" and [target for _, _, target in told(data)] == [target for _, _, target in EXPECTED]
        assert {(e.split, e.lang) for e in data.examples} == {("dev", "en")} and set(data.rates.values()) == {16000}
        assert all("#t=" not in e.audio for e in data.examples), "a supervision of all of a recording is the recording"


def test_lhotse_cuts_count_from_the_start_of_the_cut(folder):
    recording = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": f"clips/{NAMES[1]}.wav"}], "sampling_rate": 16000,
                 "num_samples": 160000, "duration": 10.0}  # fmt: skip
    supervision = {"id": "s", "recording_id": "r", "start": 0.5, "duration": 1.0, "text": "chiefly formed"}
    cut = {"id": "c", "type": "MonoCut", "start": 2.0, "duration": 3.0, "channel": 0, "recording": recording, "supervisions": [supervision]}
    data = read_data(write(folder / "cuts_train.jsonl", json.dumps(cut)))
    assert data.examples[0].audio.endswith("#t=2.500,3.500")


def test_lhotse_channels_are_not_mixed(folder):
    recording = {"id": "r", "sources": [{"type": "file", "channels": [0, 1], "source": "call.wav"}], "sampling_rate": 8000, "duration": 9.0}
    supervision = {"id": "s", "recording_id": "r", "start": 0.5, "duration": 1.0, "channel": 1, "text": "hello"}
    write(folder / "recordings.jsonl", json.dumps(recording))
    with pytest.raises(LauraError, match="it is one channel of several of 'r': store each channel as a file"):
        read_data(write(folder / "supervisions.jsonl", json.dumps(supervision)))


def test_lhotse_never_runs_a_command(folder):
    manifests = lhotse(folder, source="touch ran", kind="command")
    with pytest.raises(LauraError, match="nothing is run or fetched"):
        read_data(manifests)


def test_our_manifests_come_back_as_they_are(folder):
    data = read_data(write(folder / "talks.csv", "path,speaker,text", *(f'{n}.wav,{s},"{t}"' for n, (s, t) in SAID.items())))
    for example in data.examples:
        example.duration = 1.0
    write_manifest(folder / "out" / "train.jsonl", data.examples)
    again = read_data(folder / "out")
    assert again.examples == data.examples == read_manifest(folder / "out" / "train.jsonl") and again.kind == "manifest"


def test_lines_that_do_not_fit_are_told_and_the_others_read(folder):
    lines = ["file,text,start,end", f"clips/{NAMES[0]}.wav,good,,", "only one cell", ",nothing named,,", f"clips/{NAMES[1]}.wav,bad,2,1"]
    data = read_data(write(folder / "a.csv", *lines, f"clips/{NAMES[2]}.wav,bad,soon,1"))
    assert [e.targets for e in data.examples] == [["good"]]
    assert [str(problem).partition("a.csv, ")[2] for problem in data.problems] == [
        "line 3: 1 cells, but there are 4 columns",
        "line 4: no recording is named in 'file'",
        "line 5: it ends at 1 s, which is not behind its start at 2 s",
        "line 6: 'start' is 'soon', which is no number of 0 or more",
    ]


def test_the_split_is_by_speaker_and_does_not_depend_on_the_order(folder):
    rows = [(f"{speaker}-{n}", speaker, f"sentence {n}") for speaker in "abcdefghij" for n in range(6)]
    first = read_data(write(folder / "a.csv", "file,speaker,text", *(",".join(row) for row in rows)))
    again = read_data(write(folder / "a.csv", "file,speaker,text", *(",".join(row) for row in reversed(rows))))
    assert {e.id: e.split for e in first.examples} == {e.id: e.split for e in again.examples}
    speakers = {split: {e.speaker for e in first.examples if e.split == split} for split in ("train", "dev")}
    assert not speakers["train"] & speakers["dev"] and len(speakers["dev"]) == 1
    assert "split of a: made by speaker, 9 train and 1 dev" in first.notes


def test_one_speaker_is_split_by_sentence(folder):
    rows = [(f"{n}-{take}", "anna", f"sentence {n}") for n in range(20) for take in range(2)]
    data = read_data(write(folder / "a.csv", "file,speaker,text", *(",".join(row) for row in rows)))
    texts = {split: {e.targets[0] for e in data.examples if e.split == split} for split in ("train", "dev")}
    assert not texts["train"] & texts["dev"] and len(texts["dev"]) == 2


@pytest.mark.parametrize("task, answer", [("ser", "happy"), ("slu", "order | size = big"), ("aac", "a dog barks"), ("s2tt", "hallo")])
def test_each_task_finds_its_answer(folder, task, answer):
    row = {"file": f"clips/{NAMES[0]}.wav", "text": "hello", "emotion": "Happy", "intent": "order", "slots": {"size": "big"},
           "caption": "a dog barks", "translation": "hallo"}  # fmt: skip
    data = read_data(write(folder / "a.jsonl", json.dumps(row)), task=task)
    assert [(e.task, e.targets, e.lang) for e in data.examples] == [(task, [answer], "de" if task == "s2tt" else "en")]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "", "holds no rows"),
        ("a.csv", "name,age\nanna,3\n", "no column holds recordings: its columns are name, age; say which with --column audio=NAME"),
        ("a.jsonl", "no json\n", "holds no rows: not JSON"),
        ("a.txt", "hello\n", "data are a .csv, .tsv or .jsonl file"),
        ("a.csv", "file,text\nx.wav,\xff\n", "is not UTF-8 text"),
        ("a.csv", "file,age\nx.wav,3\n", "holds no examples: left out: 1 rows of a, which do not say what is in the recordings"),
    ],
)
def test_what_is_no_data_is_said_in_a_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content.encode("latin1"))
    with pytest.raises(LauraError) as error:
        read_data(tmp_path / name)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "supervisions.jsonl.gz"])
def test_a_damaged_archive_is_said_in_a_line(tmp_path, name):
    line = {"id": "s", "recording_id": "r", "start": 0, "duration": 1, "file": "x.wav", "text": "x"}
    whole = gzip.compress("".join(json.dumps(line | {"id": str(n)}) + "\n" for n in range(3000)).encode())
    for content in (whole[: len(whole) // 2], whole[:400] + b"damaged" + whole[400:], b"no gzip"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LauraError, match="cannot be read|names recordings by id"):
            read_data(tmp_path / name)


def test_an_empty_folder_and_no_folder(tmp_path):
    with pytest.raises(LauraError, match="holds no data: give a table"):
        read_data(tmp_path)
    with pytest.raises(LauraError, match="no such file or folder"):
        read_data(tmp_path / "none")
    with pytest.raises(LauraError, match="is one recording: give a table"):
        read_data(CLIPS / f"{NAMES[0]}.opus")


def test_training_and_evaluation_read_parts(folder):
    from lauragpt.data.loader import decode, to_int16
    from lauragpt.evaluate.inputs import input_wave

    example = read_data(kaldi(folder, segments=True)).examples[0]
    part = load_span(example.audio)
    assert len(part) == 4000
    np.testing.assert_array_equal(decode(example.audio), to_int16(part))
    np.testing.assert_array_equal(input_wave(example), part)


def test_parts_are_what_cutting_the_whole_gives(folder):
    path = str(folder / "clips" / f"{NAMES[2]}.wav")
    whole, rng = load_audio(path), np.random.default_rng(0)
    spans = [(start := round(rng.uniform(0, 4), 3), round(start + rng.uniform(0.1, 3), 3)) for _ in range(12)]
    names = [path, *(span_name(path, *span) for span in spans)]
    found = dict(load_spans(names))
    assert found.keys() == set(names) and np.array_equal(found[path], whole)
    for name, (start, end) in zip(names[1:], spans):
        np.testing.assert_array_equal(found[name], whole[round(start * 16000) : round(end * 16000)])
        np.testing.assert_array_equal(load_span(name), found[name])


def test_parts_become_files_of_their_own_for_training(folder):
    examples = read_data(kaldi(folder, segments=True)).examples
    whole = read_data(write(folder / "a.csv", "file,text", f"clips/{NAMES[0]}.wav,hello")).examples
    written = write_parts([*examples, *whole], folder / "parts")
    assert written[-1] == whole[0] and len(list((folder / "parts").iterdir())) == len(NAMES)
    for before, after in zip(examples, written):
        np.testing.assert_allclose(load_audio(after.audio), load_span(before.audio), atol=1 / 32768)
        assert (after.id, after.targets, after.duration) == (before.id, before.targets, before.duration)
