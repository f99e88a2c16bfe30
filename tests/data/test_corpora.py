"""Preparing corpora: a small folder in the sets' own format becomes examples of every task, with nothing measured in training."""

import gzip
import json

import pytest

from lauragpt.data import corpora
from lauragpt.data.captions import CAPTIONS, VOCAL_SOUNDS, sound_of
from lauragpt.data.corpora import CORPORA, alphanumeric_spoken, check_splits, held_out, prepare
from lauragpt.data.licences import text_corpora
from lauragpt.data.manifest import Example, read_manifest
from lauragpt.errors import LauraError
from lauragpt.spoken import normalize


def prepared(data, **how) -> dict[str, Example]:
    prepare(data, data.parent / "out", **how)
    return {e.id: e for split in ("train", "dev", "test") for e in read_manifest(data.parent / "out" / f"{split}.jsonl")}


def test_every_recorded_set_becomes_its_tasks(data):
    found = prepared(data)
    assert found["asr/librispeech/10-1"].targets == ["it was not mister brown's"]
    assert found["tts/librispeech/10-1"].source == "it was not mister brown's"
    assert found["tts/kathleen/k1"].source == "He paid 2 pence, etc."
    assert found["asr/kathleen/k1"].targets == [normalize("He paid 2 pence, etc.", "en")]
    assert found["asr/kerstin/d1"].lang == found["tts/kerstin/d1"].source_lang == "de"
    assert found["asr/alphanumeric/numbers-a"].targets == ["six three zero nine"]
    assert found["ser/ravdess/r2"].targets == ["calm"] and "asr/ravdess/r1" in found and "asr/ravdess/r2" not in found
    assert found["aac/esc50/e1"].targets == CAPTIONS["dog"] and found["aac/esc50/e1"].extra["sound"] == "dog"
    assert found["asr/esc50/e3"].targets == [""] and found["asr/esc50/e3"].corpus == "nospeech"
    assert "asr/esc50/e2" not in found  # laughter is a voice
    assert found["slu/barista/b1"].targets == ["orderDrink | coffeeDrink = iced mocha | size = large"]
    assert found["se/dns_pairs/c1"].noisy == str(data / "set/n1.opus") and "se/dns_pairs/n1" not in found
    assert "se/librispeech/30-1" not in found and "se/librispeech/10-1" in found  # over 12 s
    assert all(e.audio.startswith(str(data)) for e in found.values() if e.audio)
    assert {e.corpus for e in found.values()} <= CORPORA.keys()


def test_counts_are_those_of_the_files(data):
    counts = prepare(data, data.parent / "out")
    for split in ("train", "dev", "test"):
        tasks = [e.task for e in read_manifest(data.parent / "out" / f"{split}.jsonl")]
        assert {t: n for t, n in counts[split].items() if not t.startswith("text")} == {t: tasks.count(t) for t in set(tasks)}
    assert counts["train"]["text.de"] == len((data.parent / "out" / "text.de.txt").read_text().splitlines())


def test_translation_goes_both_ways_half_of_it_spoken(data):
    found = prepared(data)
    train = [e for e in found.values() if e.task == "mt" and e.split == "train"]
    boys = [e for e in train if "oy" in e.source or "unge" in e.source]
    assert len(boys) == 80
    for e in train:
        spoken = e.source == normalize(e.source, e.source_lang)
        assert spoken == all(t == normalize(t, e.lang) for t in e.targets)  # the targets follow the source
    assert 20 <= sum(e.source == normalize(e.source, e.source_lang) for e in boys) <= 60
    hi = [e for e in train if normalize(e.source, "en") == "hi"]
    assert len(hi) == 1 and len(hi[0].targets) == 2  # two translations of one sentence: one example
    dev = [(e.source, e.targets) for e in found.values() if e.task == "mt" and e.split == "dev"]
    assert dev == [("A cat!", ["Die Katze."]), ("Die Katze.", ["A cat!"])]


def test_nothing_measured_is_trained_on(data, slurp):
    found = prepared(data)
    for e in found.values():
        if e.split == "train" and e.task == "mt":
            assert not {normalize(t, "de") for t in [e.source, *e.targets]} & {"die katze", "a cat"}
    text = (data.parent / "out" / "text.en.txt").read_text().lower()
    for measured in ("away we went", "nobody knows", "a cat", "some other line"):
        assert measured not in text
    assert "a dog runs" in text
    kept = [r for r in slurp if corpora.slurp_split(r) == "dev"]
    assert 0 < len(kept) < len(slurp)
    lines = [normalize(line, "en") for line in text.splitlines()]
    for r in slurp:
        assert (normalize(r["sentence"], "en") in lines) == (r not in kept)


def test_open_only_leaves_out_what_forbids_commerce(data):
    corpora_used = {e.corpus for e in prepared(data, open_only=True).values()}
    assert all(CORPORA[name].commercial for name in corpora_used)
    assert {"librispeech", "tatoeba"} <= corpora_used
    assert "dog runs" not in (data.parent / "out" / "text.en.txt").read_text().lower()


def test_preparing_twice_gives_the_same_files(data):
    out = data.parent / "out"
    prepare(data, out)
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    prepare(data, out)
    assert first == {p.name: p.read_bytes() for p in out.iterdir()}


def test_sets_that_are_wrong_are_named(data, tmp_path):
    with pytest.raises(LauraError, match="not a folder"):
        prepare(tmp_path / "none", tmp_path / "out")
    (tmp_path / "bare").mkdir()
    with pytest.raises(LauraError, match="none of the corpora: .* one of librispeech.jsonl"):
        prepare(tmp_path / "bare", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(LauraError, match="file/out cannot be written"):
        prepare(data, tmp_path / "file" / "out")
    (data / "set" / "k1.opus").unlink()
    with pytest.raises(LauraError, match="1 of the recordings that the corpora list are missing, first .*set/k1.opus"):
        prepare(data, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir()), "nothing is written before all is checked"
    (data / "set" / "k1.opus").touch()
    digit = json.loads((data / "digits.jsonl").read_text())
    (data / "digits.jsonl").write_text(json.dumps(digit) + '\n{"id": "2"}\n')
    with pytest.raises(LauraError, match="digits.jsonl, line 2: .*audio"):
        prepare(data, tmp_path / "out")
    (data / "digits.jsonl").write_text(json.dumps({k: v for k, v in digit.items() if k != "text"}))
    with pytest.raises(LauraError, match="digits.jsonl: a line lacks 'text'"):
        prepare(data, tmp_path / "out")
    (data / "digits.jsonl").write_text(json.dumps(digit | {"duration": "long"}))
    with pytest.raises(LauraError, match="digits.jsonl, line 1: .*duration is a number of seconds"):
        prepare(data, tmp_path / "out")
    (data / "digits.jsonl").write_text(json.dumps(digit | {"text": 5}))
    with pytest.raises(LauraError, match="digits.jsonl: a line has a value of the wrong kind"):
        prepare(data, tmp_path / "out")
    (tmp_path / "bare" / "digits.jsonl").touch()
    with pytest.raises(LauraError, match="bare: its corpora hold no example"):
        prepare(tmp_path / "bare", tmp_path / "out")
    (data / "digits.jsonl").unlink()
    with gzip.open(data / "text" / "slurp_test.jsonl.gz", "wt") as file:
        file.write("{\n")
    with pytest.raises(LauraError, match="slurp_test.jsonl.gz: a line is not JSON"):
        prepare(data, tmp_path / "out")
    (data / "text" / "slurp_test.jsonl.gz").unlink()
    (data / "text" / "books_en.txt.gz").write_bytes(b"not gzip")
    with pytest.raises(LauraError, match="books_en.txt.gz cannot be read"):
        prepare(data, tmp_path / "out")


def test_clips_and_speakers_in_two_splits_are_refused():
    def example(name: str, split: str, speaker: str, corpus: str) -> Example:
        return Example(f"asr/{name}/{split}", "asr", split, "en", corpus, audio=name, duration=1, targets=["x"], speaker=speaker)

    with pytest.raises(LauraError, match="clip1 is in both train and dev"):
        check_splits([example("clip1", "train", "k", "kathleen"), example("clip1", "dev", "k", "kathleen")])
    with pytest.raises(LauraError, match="librispeech/7 is in both train and test"):
        check_splits([example("a", "train", "librispeech/7", "librispeech"), example("b", "test", "librispeech/7", "librispeech")])
    check_splits([example("a", "train", "k", "kathleen"), example("b", "dev", "k", "kathleen")])  # split by sentence, not by speaker


@pytest.mark.parametrize(
    "name, text, seconds, spoken",
    [
        ("numbers-1", "630-07", 9, "six three zero zero seven"),
        ("names-1", "Jo Ray", 4.0, "j o r a y"),
        ("names-1", "Jo Ray", 1.5, "jo ray"),
        ("names-1", "Jo Ray", 2.0, None),
        ("addresses-1", "48 Ridge Road 407", 5, "forty eight ridge road four zero seven"),
        ("addresses-1", "48 Ridge Road 407", 12, None),
    ],
)
def test_how_names_and_numbers_are_spoken(name, text, seconds, spoken):
    assert alphanumeric_spoken(name, text, seconds) == spoken


def test_held_out_is_the_share_asked_for_and_stays():
    keys = [f"key {i}" for i in range(5000)]
    assert sum(held_out(k, 10) for k in keys) == pytest.approx(500, abs=80)
    assert all(held_out(k, 100) for k in keys[:50]) and not any(held_out(k, 0) for k in keys)
    assert {k for k in keys if held_out(k, 5)} < {k for k in keys if held_out(k, 20)}


def test_each_wording_is_of_one_class_and_leads_back():
    assert len(CAPTIONS) == 50 and CAPTIONS.keys() > VOCAL_SOUNDS
    wordings = [text for texts in CAPTIONS.values() for text in texts]
    assert len(set(wordings)) == len(wordings)
    for sound, texts in CAPTIONS.items():
        assert 3 <= len(texts) <= 5
        assert sound_of(sound) == sound
        for text in texts:
            assert text == normalize(text, "en")
            assert sound_of(text) == sound


def test_other_captions_find_their_class_or_none():
    assert sound_of("A big dog is barking in the yard.") == "dog"
    assert sound_of("water from the toilet flushes away") == "toilet flush"
    assert sound_of("an old church bell rings twice") == "church bells"
    assert sound_of("a man is talking") is None and sound_of("") is None


def test_the_corpora_behind_the_texts_are_recorded(data):
    for open_only, wanted in ((False, {"books_en", "multi30k", "tatoeba", "slurp"}), (True, {"books_en", "tatoeba", "slurp"})):
        prepared(data, open_only=open_only)
        assert set(text_corpora(data.parent / "out")) == wanted
