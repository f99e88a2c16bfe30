"""The corpus that is made on the spot: every task, both languages, the same each time, and nothing measured in training."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from lauragpt.data.corpora import prepare
from lauragpt.data.debug_corpus import SENTENCES, SOUNDS, say, sound, split_of
from lauragpt.data.manifest import SPLITS, read_manifest
from lauragpt.spoken import normalize
from lauragpt.tasks import TASKS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("debug") / "data"
    prepare("debug", out)
    return out


def test_every_task_in_every_split_and_both_languages(folder):
    for split in SPLITS:
        examples = read_manifest(folder / f"{split}.jsonl")
        assert {example.task for example in examples} == set(TASKS)
        for task in ("asr", "tts", "s2tt", "mt", "se"):
            assert {example.lang for example in examples if example.task == task} == {"en", "de"}
        assert {example.corpus for example in examples} == {"debug"}
        for example in examples:
            if example.audio:
                assert soundfile.info(example.audio).duration == pytest.approx(example.duration, abs=1e-3)


def test_a_voice_has_other_recordings_to_be_a_prompt(folder):
    speakers = Counter(example.speaker for example in read_manifest(folder / "train.jsonl") if example.task == "tts")
    assert len(speakers) == 4 and min(speakers.values()) >= 2


def test_no_measured_sentence_is_in_the_texts(folder):
    lines = {normalize(line, lang) for lang in ("en", "de") for line in (folder / f"text.{lang}.txt").read_text().splitlines()}
    for number, pair in enumerate(SENTENCES):
        for lang, text in zip(("en", "de"), pair, strict=True):
            assert (normalize(text, lang) in lines) == (split_of(number) == "train")


def test_made_twice_it_is_the_same(folder, tmp_path):
    prepare("debug", tmp_path / "again")
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 90
    for path in files:
        assert (folder / path).read_bytes() == (tmp_path / "again" / path).read_bytes(), path


def test_letters_differ_in_sound_and_nothing_clips():
    vowels = {letter: np.abs(np.fft.rfft(say(letter * 8, 120.0))) for letter in "aeiou"}
    for letter, spectrum in vowels.items():
        for other in vowels.keys() - {letter}:
            assert np.corrcoef(spectrum, vowels[other])[0, 1] < 0.98
    waves = [say("the quick brown fox", 200.0), *(sound(kind, 3) for kind in SOUNDS)]
    assert all(0.02 < np.abs(wave).max() < 1 and wave.dtype == np.float32 for wave in waves)
