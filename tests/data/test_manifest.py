"""Manifests: what is written is read back; every wrong line is named by file, line and field."""

import json

import pytest

from lauragpt.data.manifest import Example, read_manifest, write_manifest
from lauragpt.errors import LauraError

GOOD = {"id": "asr/x/1", "task": "asr", "split": "train", "lang": "en", "corpus": "x", "audio": "a.wav", "duration": 1.5, "targets": ["hi"]}


def examples() -> list[Example]:
    return [
        Example(
            "asr/x/1", "asr", "train", "en", "x", audio="clips/a.wav", duration=1.5, targets=[""], speaker="x/1", extra={"sound": "rain"}
        ),
        Example("se/x/1", "se", "dev", "de", "x", audio="clips/a.wav", duration=1.5, noisy="/elsewhere/b.wav"),
        Example("tts/x/1", "tts", "train", "en", "x", audio="clips/a.wav", duration=1.5, source="Hi, Ünal."),
        Example("mt/x/1", "mt", "test", "de", "x", source="one\u2028line", source_lang="en", targets=["eins", "ein"]),
    ]


def test_round_trip_with_paths_made_absolute(tmp_path):
    path = tmp_path / "m.jsonl"
    assert write_manifest(path, examples()) == 4
    back = read_manifest(path)
    assert [e.audio for e in back] == [str(tmp_path / "clips/a.wav")] * 3 + [None]
    assert back[1].noisy == "/elsewhere/b.wav"
    for given, read in zip(examples(), back, strict=True):
        given.audio = read.audio
        assert given == read


def test_a_written_folder_can_be_moved(tmp_path):
    (tmp_path / "one").mkdir()
    example = examples()[0]
    example.audio = str(tmp_path / "one" / "clips" / "a.wav")
    write_manifest(tmp_path / "one" / "m.jsonl", [example])
    (tmp_path / "one").rename(tmp_path / "two")
    assert read_manifest(tmp_path / "two" / "m.jsonl")[0].audio == str(tmp_path / "two" / "clips" / "a.wav")


@pytest.mark.parametrize(
    "field, value, says",
    [
        ("id", "", "non-empty"),
        ("id", None, "non-empty"),
        ("task", "sing", "asr, s2tt"),
        ("split", "validation", "train, dev, test"),
        ("lang", "xx", "en, de, zh"),
        ("source_lang", "xx", "en, de, zh"),
        ("audio", 3, "string"),
        ("audio", None, "needs a recording"),
        ("duration", -1, "0 or more"),
        ("duration", "1.0", "0 or more"),
        ("duration", float("nan"), "0 or more"),
        ("duration", 0, "more than 0"),
        ("targets", "hi", "list of strings"),
        ("targets", [1], "list of strings"),
        ("targets", [], "at least one"),
        ("extra", [], "object"),
        ("emotion", "sad", "'extra'"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, field, value, says):
    path = tmp_path / "m.jsonl"
    path.write_text("\n" + json.dumps({**GOOD, "id": "first"}) + "\n" + json.dumps({**GOOD, field: value}) + "\n")
    with pytest.raises(LauraError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert f"{path}, line 3: field '{field}'" in message and says in message and "\n" not in message


@pytest.mark.parametrize(
    "task, change, field",
    [("mt", {"source": " "}, "source"), ("tts", {"source": "x"}, "targets"), ("se", {}, "targets"), ("aac", {"targets": [""]}, "targets")],
)
def test_what_a_task_asks_for(tmp_path, task, change, field):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({**GOOD, "task": task, **change}))
    with pytest.raises(LauraError, match=f"line 1: field '{field}'.*{task}"):
        read_manifest(path)


def test_missing_fields_broken_lines_and_doubles(tmp_path):
    path = tmp_path / "m.jsonl"
    for text, says in [
        ('{"task": "asr"}', "line 1: field 'id' is missing"),
        ("[1]", "line 1: a line is one JSON object, not list"),
        ('{"id": ', "line 1: not JSON"),
        (json.dumps(GOOD) + "\n\n" + json.dumps(GOOD), "line 3: field 'id' 'asr/x/1' was used before, in line 1"),
    ]:
        path.write_text(text)
        with pytest.raises(LauraError) as caught:
            read_manifest(path)
        assert says in str(caught.value)


def test_files_that_are_no_manifest(tmp_path):
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    for path, says in [(tmp_path, "is a folder"), (tmp_path / "none.jsonl", "no such manifest"), (tmp_path / "b.jsonl", "not UTF-8")]:
        with pytest.raises(LauraError, match=says):
            read_manifest(path)


def test_a_wrong_example_leaves_the_old_manifest_whole(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, examples())
    before = path.read_text()
    with pytest.raises(LauraError, match="field 'lang'"):
        write_manifest(path, [examples()[0], Example("i", "asr", "train", "xx", "c", audio="a", duration=1, targets=["x"])])
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_place_that_cannot_be_written_is_named():
    with pytest.raises(LauraError, match="/proc/none/m.jsonl cannot be written"):
        write_manifest("/proc/none/m.jsonl", examples())
