"""The demo: its recordings are whole and licensed, its page stands alone, its pictures are what an independent reader sees, and all
of it runs with the debug checkpoint."""

import base64
import io
import json
import re
import struct
import subprocess
import sys
import zlib
from functools import partial

import numpy as np
import pytest
import soundfile

from lauragpt.cli.demo import CHAIN, RECORDINGS, DemoCase, plan, read_clips, run_demo
from lauragpt.cli.demo_page import card
from lauragpt.cli.demo_verdict import FAILED, PARTLY, RIGHT, Recognition, recognise, summary, verdict, word_share
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate.report.figures import COLOURS, compare, png, spectrogram
from lauragpt.result import Result


def read_png(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(pixels, palette): chunk by chunk, checking every checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 3) and b"IEND" in chunks
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(256, 3)


def test_a_picture_holds_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 13)).astype(np.uint8)
    read, palette = read_png(png(pixels))
    np.testing.assert_array_equal(read, pixels)
    np.testing.assert_array_equal(palette[[0, 255]], COLOURS[[0, -1]])


def test_a_tone_is_a_line_at_its_height():
    time = np.arange(32000) / 16000
    for hertz in (1000, 4000, 7000):
        pixels, _ = read_png(spectrogram(np.sin(2 * np.pi * hertz * time).astype(np.float32)))
        row = int(pixels.astype(int).sum(1).argmax())
        assert abs((1 - row / (len(pixels) - 1)) * 8000 - hertz) < 100


@pytest.mark.parametrize("samples", [1, 100, 16000, 200_000])
def test_pictures_of_any_length_of_sound_including_silence(samples):
    pixels, _ = read_png(spectrogram(np.zeros(samples, np.float32)))
    assert pixels.shape[0] == 96 and 1 <= pixels.shape[1] <= 561


def test_wrong_words_are_marked():
    mine, theirs = compare("The cat sat on 2 mats", "the cat sits on two mats today", "en")
    assert [word for word, ok in mine if not ok] == ["sat"]
    assert [word for word, ok in theirs if not ok] == ["sits", "today"]
    assert compare("", "one", "en")[1] == [("one", False)]


def request(verb: str, result: Result | None, reference: str, **fields) -> DemoCase:
    made = DemoCase(
        verb, "a title", lambda: result, fields.pop("input", "a text"), reference, fields.pop("lang", "en"), result=result, **fields
    )
    made.verdict = verdict(made)
    return made


@pytest.mark.parametrize(
    "verb, text, reference, expected",
    [
        ("transcribe", "one two three four five", "One two three four five.", RIGHT),
        ("transcribe", "one two three or five", "one two three four five", RIGHT),
        ("transcribe", "one two three", "one two three four five", PARTLY), ("transcribe", "one", "one two three four five", FAILED),
        ("transcribe", "one two and much that nobody said", "one two", FAILED), ("transcribe", "", "one", FAILED),
        ("translate", "Ein Hund rennt", "Eine Katze schläft", FAILED), ("emotion", "sad", "sad", RIGHT), ("emotion", "calm", "sad", FAILED),
        ("caption", "A dog barks.", "dog", RIGHT), ("caption", "Church bells ring.", "dog", FAILED), ("caption", "", "dog", FAILED),
    ],
)  # fmt: skip
def test_an_answer_is_right_partly_right_or_failed(verb, text, reference, expected):
    assert verdict(request(verb, Result("asr", "en", text), reference)) == expected


def test_an_order_is_right_with_all_its_details():
    reference = "orderDrink | size = small"
    for intent, slots, expected in (
        ("orderDrink", {"size": "small"}, RIGHT),
        ("orderDrink", {"size": "large"}, PARTLY),
        ("payBill", {"size": "small"}, FAILED),
    ):
        assert request("understand", Result("slu", "en", "x", intent=intent, slots=slots), reference).verdict == expected


def test_speech_is_judged_by_what_is_recognised_and_enhancement_by_what_it_loses():
    sound = Result("tts", "en", audio=np.ones(100, np.float32))
    heard = partial(Recognition, recogniser="pocketsphinx")
    assert request("speak", sound, "a b c d", recognition=heard("a b c d")).verdict == RIGHT
    assert request("speak", sound, "a b c d", recognition=heard("x")).verdict == FAILED
    assert request("enhance", sound, "a b c d", recognition=heard("a b x"), input_recognition=heard("a x")).verdict == PARTLY
    assert request("enhance", sound, "a b c d", recognition=heard("a b x"), input_recognition=heard("a b c")).verdict == FAILED
    assert request("enhance", None, "a", error="no").verdict == FAILED
    assert word_share("", "a", "en") == 0 and word_share("a a", "a", "en") == 0.5


def test_a_failed_answer_is_marked_and_shows_what_is_heard_in_it():
    sound = Result("tts", "en", audio=np.ones(100, np.float32))
    failed = card(request("speak", sound, "the night is calm", recognition=Recognition("the nine", "pocketsphinx")))
    assert "<article class=bad>" in failed and '<span class="badge bad">failed</span>' in failed and "by pocketsphinx" in failed
    assert "<span>the</span> <span class=off>nine</span>" in failed
    empty = card(request("speak", Result("tts", "en", audio=np.zeros(0, np.float32)), "a", recognition=Recognition("", "this model")))
    assert "no sound" in empty and "(nothing)" in empty and "failed" in empty
    right = card(request("emotion", Result("ser", "en", "sad"), "sad"))
    assert "<article>" in right and "right" in right and "failed" not in right


def test_the_summary_counts_every_answer():
    rows = [request("emotion", Result("ser", "en", text), "sad") for text in ("sad", "calm", "sad")] + [
        request("caption", None, "dog", error="no")
    ]
    assert summary(rows) == "Of 4 answers: 2 right, 0 partly right, 2 failed. Right by verb: emotion 2 of 3, caption 0 of 1."


def test_the_recordings_are_whole_of_dev_splits_and_licensed():
    rows = json.loads((RECORDINGS / "index.json").read_text(encoding="utf-8"))
    licences = (RECORDINGS / "LICENCES.md").read_text(encoding="utf-8")
    assert {row["file"] for row in rows} == {path.name for path in RECORDINGS.glob("*.opus")}
    for row, clip in zip(rows, read_clips(), strict=True):
        assert row["split"] == "dev" and row["reference"]
        assert f"`{row['corpus']}-*`" in licences and row["licence"] in licences
        assert len(clip.wave) / 16000 == pytest.approx(row["duration"], abs=0.05)
    assert sum(path.stat().st_size for path in RECORDINGS.iterdir()) < 300_000


@pytest.fixture(scope="module")
def shown(debug_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "new"
    laura = Laura.load(debug_checkpoint)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "pocketsphinx", None)  # it takes a minute to find no words in what an untrained model speaks
            return laura, run_demo(laura, out), out
    except LauraError as error:  # tells which request failed
        pytest.fail(str(error))


def test_every_verb_is_shown_and_answered(shown):
    _, items, out = shown
    assert {item.verb for item in items} == {"transcribe", "translate", "speak", "enhance", "caption", "emotion", "understand", "chain"}
    assert any(item.title == CHAIN for item in items)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(items) and all("receipt" in row and "error" not in row for row in rows)
    assert len({item.name for item in items}) == len(items)
    assert all(item.verdict in (RIGHT, PARTLY, FAILED) for item in items) and [row["verdict"] for row in rows] == [
        item.verdict for item in items
    ]
    spoken = [item for item in items if item.result.audio is not None]
    assert spoken and all(item.recognition.recogniser == "this model" for item in spoken)


def test_english_is_recognised_by_pocketsphinx_if_it_is_installed(shown, monkeypatch):
    laura, clip = shown[0], next(clip for clip in read_clips() if clip.corpus == "kathleen")
    heard = recognise(laura, clip.wave, "en")
    assert heard.recogniser == "pocketsphinx" and "night" in heard.text
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    assert recognise(laura, clip.wave, "en") == Recognition(laura.transcribe(clip.wave, lang="en").text, "this model")
    assert recognise(laura, clip.wave[:100], "de") == Recognition("", "this model")


def test_sounds_are_written_and_enhanced_ones_keep_their_length(shown):
    _, items, out = shown
    for item in items:
        if item.result.audio is not None and len(item.result.audio):
            wave, rate = soundfile.read(out / f"{item.name}.wav")
            assert rate == 16000 and len(wave) == len(item.result.audio)
        if item.verb == "enhance":
            assert len(item.result.audio) == len(item.input) == len(item.clean)


def test_the_page_stands_alone(shown):
    _, items, out = shown
    text = (out / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|<script|<link|@import|url\(", text)
    sources = re.findall(r'src="([^"]*)"', text)
    assert sources and all(source.startswith(("data:audio/wav;base64,", "data:image/png;base64,")) for source in sources)
    assert "$" not in re.sub(r'src="[^"]*"', "", text)  # every place of the template is filled
    assert "What to expect" in text and "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    assert all(f'id="{item.verb}"' in text for item in items)


def test_the_same_seed_asks_the_same_things(shown):
    laura, items, _ = shown
    again = plan(laura, read_clips())
    noisy = [next(i for i in each if i.verb == "enhance").input for each in (items, again)]
    np.testing.assert_array_equal(*noisy)


def test_a_failing_request_is_shown_and_the_others_are_answered(shown, tmp_path, monkeypatch):
    laura, items, _ = shown

    def refuse(*args, **kwargs):
        raise LauraError("no captions today")

    monkeypatch.setattr(laura, "caption", refuse)
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(LauraError, match=f"2 of {len(items)} requests raised an error.*no captions today"):
        run_demo(laura, tmp_path)
    assert "no captions today" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_place_that_cannot_be_written_is_one_line(shown, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LauraError, match="cannot be made"):
        run_demo(shown[0], tmp_path / "file" / "demo")
    with pytest.raises(LauraError):
        run_demo(shown[0], tmp_path / "file")


def test_players_hold_the_sound_that_was_made(shown):
    _, items, out = shown
    text = (out / "index.html").read_text(encoding="utf-8")
    first = base64.b64decode(re.search(r'src="data:audio/wav;base64,([^"]*)"', text)[1])
    wave, _ = soundfile.read(io.BytesIO(first), dtype="float32")
    np.testing.assert_allclose(wave, items[0].input, atol=1e-4)


@pytest.mark.slow
def test_a_plain_install_has_all_that_the_demo_needs(tmp_path):
    """It runs without the packages of the extras, torch among them."""
    lacking = (
        "torch",
        "accelerate",
        "tensorboard",
        "onnx",
        "jiwer",
        "whisper_normalizer",
        "sacrebleu",
        "pystoi",
        "pesq",
        "pocketsphinx",
        "matplotlib",
        "transformers",
    )
    program = f"import sys; sys.modules.update(dict.fromkeys({lacking})); from lauragpt.cli.app import app; app(['demo', '-o', 'made'])"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "index.html").stat().st_size > 100_000 and len(list((tmp_path / "made").glob("*.wav"))) > 2
