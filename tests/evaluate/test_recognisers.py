"""Recognisers from outside, beside `transcribe` and as judges of speech: a real faster-whisper with a Whisper whose only word is known."""

import json
import shutil
import sys

import pytest
from whispers import make_whisper

from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate.recognisers import open_recogniser
from lauragpt.evaluate.run import evaluate


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return make_whisper(tmp_path_factory.mktemp("whisper") / "one.en", "night")


def test_a_whisper_stands_beside_transcribe(laura, data, whisper):
    report = evaluate(laura, data, tasks=["asr"], limit=1, baselines=[f"whisper:{whisper}"], show=False)
    by = {row.data: row for row in report.rows}
    [wanted] = by["kathleen"].examples[0].targets
    assert "night" in wanted  # one word of all is right
    assert by["kathleen"].also["Whisper one.en WER %"] == pytest.approx(100 - 100 / len(wanted.split()))
    assert by["kathleen"].also["Whisper one.en x real time"] > 0
    assert "Whisper one.en WER %" not in by["kerstin"].also
    assert report.failures == {"Whisper one.en was not trained on de": ["Whisper one.en: asr kerstin"]}


def test_a_whisper_judges_speech_and_cleaned_speech(debug_checkpoint, data, whisper, tmp_path, monkeypatch):
    cache, judge = tmp_path / "cache", f"whisper:{whisper}"
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)  # it is not asked
    report = evaluate(debug_checkpoint, data, tasks=["tts", "se"], limit=1, judge=judge, cache=cache, show=False, out=tmp_path / "out")
    rows = {(row.task, row.data): row for row in report.rows}
    spoken = rows["tts", "kathleen: the true tokens"]
    assert spoken.also["heard by"] == "Whisper one.en" and spoken.answers[0].text == "night" and 0 < spoken.score.value < 100
    assert "this model itself" in rows["tts", "kerstin: the true tokens"].also["heard by"]
    wordless = ("shuffled", "condition alone")
    cleaned = [row for (task, name), row in rows.items() if task == "se" and not any(word in name for word in wordless)]
    assert cleaned and all(0 < row.also["WER % heard by Whisper one.en"] < 100 for row in cleaned)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["judge"] == "Whisper one.en"
    assert "Whisper one.en recognises" in (tmp_path / "out" / "report.md").read_text()

    monkeypatch.setattr(Laura, "speak", None)  # nothing is spoken again, by this judge or another
    monkeypatch.setattr(type(open_recogniser(judge)), "recognise", None)
    again = evaluate(debug_checkpoint, data, tasks=["tts", "se"], limit=1, judge=judge, cache=cache, show=False)
    assert [row.score for row in again.rows] == [row.score for row in report.rows]
    monkeypatch.delitem(sys.modules, "pocketsphinx")
    other = evaluate(debug_checkpoint, data, tasks=["tts"], limit=1, cache=cache, show=False)
    assert {row.also["heard by"] for row in other.rows if "kathleen" in row.data} == {"pocketsphinx"}


def test_another_folder_has_another_key(whisper, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whisper, copy)
    first = open_recogniser(f"whisper:{whisper}").key
    assert open_recogniser(f"whisper:{copy}").key == first
    (copy / "README.md").write_text("another file")
    assert open_recogniser(f"whisper:{copy}").key != first


@pytest.mark.parametrize(
    "file, content", [("model.bin", None), ("tokenizer.json", None), ("model.bin", b"no model"), ("tokenizer.json", b"{")]
)
def test_what_is_no_whisper_is_refused_in_one_line(whisper, tmp_path, file, content):
    copy = tmp_path / "copy"
    shutil.copytree(whisper, copy)
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    with pytest.raises(LauraError, match="holds no Whisper in the format of CTranslate2") as caught:
        open_recogniser(f"whisper:{copy}")
    assert "\n" not in str(caught.value)


def test_a_missing_package_or_folder_is_told_in_one_line(whisper, tmp_path, monkeypatch):
    with pytest.raises(LauraError, match="none is not a folder"):
        open_recogniser(f"whisper:{tmp_path / 'none'}")
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(LauraError, match="`pip install faster-whisper`"):
        open_recogniser(f"whisper:{whisper}")
