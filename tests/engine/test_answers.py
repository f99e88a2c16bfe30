"""What comes with an answer: progress, what was left out, what failed, what needs no translation, plain numbers, types."""

import dataclasses
import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lauragpt import Laura
from lauragpt.audio import load_audio
from lauragpt.engine.chunking import cut_all
from lauragpt.engine.progress import Meter, share_of
from lauragpt.engine.recognise import recognise
from lauragpt.engine.synthesise import bounds
from lauragpt.engine.translate import in_language
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.tasks import TASKS, Task, add_task

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "lauragpt" / "assets" / "demo"


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    time = np.arange(round(seconds * 16000)) / 16000
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (0.2 * np.sin(2 * np.pi * (180 + 60 * seed + 90 * np.sin(time)) * time) + 0.02 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def laura(debug_checkpoint):
    return Laura.load(debug_checkpoint, device="cpu", beams=1)


@pytest.fixture(scope="module")
def mini():
    return Laura.load("mini")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return load_audio(next(path for path in sorted(RECORDINGS.iterdir()) if path.name.startswith("kathleen")))


VERBS = {
    "transcribe": lambda laura, wave, progress: laura.transcribe(wave, progress=progress),
    "translate": lambda laura, wave, progress: laura.translate(wave, to="de", lang="en", progress=progress),
    "caption": lambda laura, wave, progress: laura.caption(wave, progress=progress),
    "emotion": lambda laura, wave, progress: laura.emotion(wave, progress=progress),
    "understand": lambda laura, wave, progress: laura.understand(wave, progress=progress),
    "ask": lambda laura, wave, progress: laura.ask("aac", wave, progress=progress),
    "enhance": lambda laura, wave, progress: laura.enhance(wave, progress=progress),
    "chain": lambda laura, wave, progress: laura.chain("enhance | transcribe | translate:de", wave, progress=progress),
}


@pytest.mark.parametrize("verb", VERBS)
def test_progress_goes_up_chunk_by_chunk_to_all_seconds(laura, verb, monkeypatch):
    """Batches of a chunk, the two steps of a cascade, and shorter chunks behind their probe: it never falls, and ends with everything."""
    wave = np.concatenate([sound(41.0), np.zeros(16000, dtype=np.float32), sound(3.0, 2)])
    monkeypatch.setattr("lauragpt.engine.recognise.BATCH_SAMPLES", 1)
    monkeypatch.setattr("lauragpt.engine.enhance.BATCH_SAMPLES", 1)
    variants = {"as it is": {}, "cascade": {"cascade": True}, "shorter chunks": {"chunks": {"asr": (3.0, 7.0)}}}
    for name, fields in variants.items() if verb in ("transcribe", "translate") else [("as it is", {})]:
        variant, calls = Laura(replace(laura.runtime, info=replace(laura.runtime.info, **fields)), laura.voices), []
        VERBS[verb](variant, wave, lambda done, total, calls=calls: calls.append((done, total)))
        assert all(total == pytest.approx(45.0) for _, total in calls), name
        done = [each for each, _ in calls]
        assert done == sorted(done) and done[-1] == pytest.approx(45.0) and len(set(done)) >= 3, name


def test_progress_of_texts_counts_sentences(laura):
    for ask in (
        laura.speak,
        lambda text, progress: laura.speak(text, verify=2, progress=progress),
        lambda text, progress: laura.translate(text=text, to="de", lang="en", progress=progress),
    ):
        calls = []
        ask("Hello there. How are you? I am well.", progress=lambda done, total, calls=calls: calls.append((done, total)))
        assert calls[-1] == (3, 3) and all(total == 3 for _, total in calls)


def test_a_share_of_the_progress_is_scaled_into_the_whole():
    calls = []
    meter = Meter(share_of(lambda done, total: calls.append((done, total)), 0.5, 1.0, total=8.0), 0.3)
    for _ in range(3):
        meter.add(0.1)
    assert calls == [(pytest.approx(16 / 3), 8.0), (pytest.approx(20 / 3), 8.0), (8.0, 8.0)] and meter.done == 0.3
    assert share_of(None, 0.0, 0.5) is None
    Meter(None, 1.0).add(1.0)


def test_words_of_less_confidence_are_left_out_one_by_one(mini, speech):
    everything = mini.transcribe(speech)
    words = [word for segment in everything.segments for word in segment.words]
    confidences = sorted(word.confidence for word in words)
    bound = confidences[len(confidences) // 2]
    sure = mini.transcribe(speech, min_confidence=bound)
    kept = [word for word in words if word.confidence >= bound]
    assert 0 < len(kept) < len(words)
    assert [word for segment in sure.segments for word in segment.words] == kept  # with the times that they had
    assert sure.text == " ".join(word.text for word in kept) == " ".join(segment.text for segment in sure.segments if segment.text)
    assert sure.receipt["rejected"] == len(words) - len(kept)
    assert sure.confidence == pytest.approx(sum(word.confidence for word in kept) / len(kept))
    nothing = mini.transcribe(speech, min_confidence=1.0)
    assert nothing.text == "" and nothing.confidence is None and nothing.receipt["rejected"] == len(words)
    assert not any(segment.words or segment.text for segment in nothing.segments)


def test_whole_answers_of_less_confidence_are_left_out_of_other_tasks(mini, speech):
    for ask in (mini.caption, mini.emotion, mini.understand):
        answer, rejected = ask(speech), ask(speech, min_confidence=1.0)
        assert answer.text and rejected.text == "" and rejected.receipt["rejected"] == 1 and not any(s.text for s in rejected.segments)


class Stuck:
    """A backend whose GPT writes the same audio token for ever, or whose vocoder is mute."""

    def __init__(self, backend, token: int | None = None, mute: bool = False):
        self.backend, self.token, self.mute = backend, token, mute

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def open(self, *args, **options):
        session = self.backend.open(*args, **options)
        if self.token is not None:
            token, extend = self.token, session.extend
            session.logits[:, token] += 1e3

            def stuck(ids):
                logits = extend(ids)
                logits[..., token] += 1e3
                return logits

            session.extend = stuck
        return session

    def vocode(self, codes, **conditions):
        waves = self.backend.vocode(codes, **conditions)
        return [np.zeros_like(wave) for wave in waves] if self.mute else waves


TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps until the morning comes."


def test_speech_that_cannot_be_the_text_is_told(laura):
    token = laura.runtime.vocabulary.text_size + 5
    looped = laura.with_backend(Stuck(laura.runtime.backend, token)).speak(["Hello there. " + TEXT, "Yes."], lang="en")
    assert looped[0].receipt["retried"] == 2  # guarded, no more than a token of each would be left
    assert looped[0].receipt["finish"] == "length" and len(looped[0].audio) > bounds(TEXT, "en")[1] * 640
    assert re.search(r"s of sound for 'the quick.*, where the GPT never ended$", looped[0].receipt["failed"])
    assert "\n" not in looped[0].receipt["failed"]
    mute = laura.with_backend(Stuck(laura.runtime.backend, mute=True)).speak("Hello there.", lang="en")
    assert mute.receipt["failed"].startswith("no sound for 'hello there'")
    with pytest.warns(LauraWarning, match="speech failed: 0.04 s of sound"):
        list(laura.with_backend(Stuck(laura.runtime.backend, token)).speak_stream(TEXT, lang="en"))


def test_good_speech_does_not_fail_and_a_voice_without_words_does(mini, speech):
    spoken = mini.speak([TEXT, "Good morning."], lang="en", seed=1)
    assert all("failed" not in result.receipt and "retried" not in result.receipt for result in spoken)
    noise = 0.1 * np.random.default_rng(0).normal(size=32000).astype(np.float32)
    cloned = mini.speak("Good morning.", lang="en", voice=noise, voice_text="")
    words = mini.transcribe(cloned.audio, lang="en").text if len(cloned.audio) >= 1600 else ""
    assert ("failed" in cloned.receipt) == (not words)
    unheard = mini.with_backend(Stuck(mini.runtime.backend, mute=True)).speak("Good morning.", lang="en", verify=1)
    assert unheard.receipt["failed"] and unheard.receipt["verify"]["heard"] == ""


def test_cleaning_that_ends_in_silence_is_told(laura):
    assert "failed" not in laura.enhance(sound(1.0)).receipt and "failed" not in laura.enhance(np.zeros(16000, dtype=np.float32)).receipt
    assert "is silent" in laura.with_backend(Stuck(laura.runtime.backend, mute=True)).enhance(sound(1.0)).receipt["failed"]


ENGLISH = ["A man rides a horse.", "Where is the station?", "We love music.", "Two dogs are playing in the snow."]
GERMAN = ["Ein Mann reitet ein Pferd.", "Wo ist der Bahnhof?", "Wir lieben Musik.", "Zwei Hunde spielen im Schnee."]


def test_a_text_in_the_target_language_is_left_as_it_is(mini):
    assert in_language(mini.runtime, [*ENGLISH, *GERMAN], "de") == [False] * 4 + [True] * 4
    assert in_language(mini.runtime, [*ENGLISH, *GERMAN], "en") == [True] * 4 + [False] * 4
    assert in_language(mini.runtime, ["Danke.", "Hallo", "Yes."], "en") == [False] * 3  # one word tells no language
    with pytest.warns(LauraWarning, match="'Wo ist der Bahnhof.' is in 'de' already"):
        translated, left = mini.translate(text=[ENGLISH[1], GERMAN[1]], to="de")
    assert left.text == GERMAN[1] and "is in 'de' already" in left.receipt["untranslated"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert translated.text == mini.translate(text=ENGLISH[1], to="de").text != ENGLISH[1] and "untranslated" not in translated.receipt
        told = mini.translate(text=GERMAN[1], to="de", lang="en")  # the caller knows better
    assert "untranslated" not in told.receipt and told.receipt["source_lang"] == "en"


def test_a_recording_in_the_target_language_is_answered_with_its_transcript(mini, speech):
    transcript = mini.transcribe(speech)
    for cascade in (False, True):
        laura = mini.with_cascade(cascade)
        with pytest.warns(LauraWarning, match="the recording is in 'en' already"):
            result = laura.translate(speech, to="en")
        assert (result.task, result.lang, result.text) == ("s2tt", "en", transcript.text) and "already" in result.receipt["untranslated"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert laura.translate(speech, to="de").text != transcript.text


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(entry) for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


def test_results_hold_plain_numbers(mini, speech):
    noisy = speech + 0.01 * np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
    for result in (
        mini.transcribe(speech), mini.translate(speech, to="de"), mini.translate(text="A dog.", to="de"), mini.caption(speech),
        mini.emotion(speech), mini.understand(speech), mini.enhance(noisy, verify=True), mini.speak("Good morning.", verify=1),
        mini.chain("transcribe | translate:de", speech),
    ):  # fmt: skip
        values = dataclasses.asdict(result)
        assert values.pop("audio") is None or result.audio.dtype == np.float32
        assert plain(values), result.task
        json.dumps(values, allow_nan=False)


def test_a_backend_that_is_open_may_be_given(laura, debug_checkpoint, tmp_path):
    shared = Laura.load(debug_checkpoint, backend=laura.runtime.backend, beams=1)
    assert shared.runtime.backend is laura.runtime.backend and shared.transcribe(sound(1.0)).text == laura.transcribe(sound(1.0)).text
    with pytest.raises(LauraError, match="but the backend holds codec"):
        Laura.load("mini", backend=laura.runtime.backend)
    with pytest.raises(dataclasses.FrozenInstanceError):
        laura.runtime.backend = None
    other = Stuck(laura.runtime.backend)
    assert laura.with_backend(other).runtime.backend is other and laura.runtime.backend is not other


def test_threads_are_those_that_were_asked_for(debug_checkpoint):
    import torch

    assert Laura.load("mini", threads=1).runtime.backend.threads == 1
    assert Laura.load("mini", threads=3).runtime.backend.graphs.threads == 3
    before = torch.get_num_threads()
    try:
        assert Laura.load(debug_checkpoint, threads=2).runtime.backend.threads == 2 == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    for wrong in (0, -1, "two"):
        with pytest.raises(LauraError, match="threads is .*whole number from 1"):
            Laura.load("mini", threads=wrong)


def test_a_row_of_the_task_table_is_all_that_a_task_needs(laura, monkeypatch):
    """Labels, limits and joining of an added task are read from its row."""
    for wrong, says in (({"joining": "worst"}, "joining is 'worst': choose one of concatenate"), ({"labels": ("a",)}, "both or neither")):
        with pytest.raises(LauraError, match=says):
            Task("bird", "name", "audio", "text", "accuracy", **wrong)
    monkeypatch.setitem(TASKS, "aac", replace(TASKS["aac"], labels=("dog", "cat"), joining="mean scores"))
    monkeypatch.setitem(TASKS, "slu", replace(TASKS["slu"], tokens_per_second=0, extra_tokens=3))
    scored = laura.caption(sound(25.0))
    assert scored.text in ("dog", "cat") and sum(scored.scores.values()) == pytest.approx(1) and len(scored.segments) > 1
    [limited] = recognise(laura.runtime, "slu", cut_all([sound(1.0)]), "en")
    assert len(limited.decoded.ids) == 3 and limited.decoded.finish == "length"
    with pytest.raises(LauraError, match="there is a task"):
        add_task(Task("asr", "hear", "audio", "text", "WER"))


CODE = '''
from pathlib import Path
from typing import assert_type
import numpy as np
from lauragpt.result import AudioResult, Result, TextResult
names: list[str] = []
paths: list[Path] = []
assert_type(laura, Laura)
assert_type(laura.transcribe("a.wav").text, str)
assert_type(laura.transcribe((np.zeros(3), 8000)), TextResult)
assert_type(laura.transcribe(["a.wav", "b.wav"]), list[TextResult])
assert_type(laura.emotion(names), list[TextResult])
assert_type(laura.caption(paths), list[TextResult])
assert_type(laura.understand(b"RIFF"), TextResult)
assert_type(laura.ask("asr", [0.1, 0.2]), TextResult)
assert_type(laura.enhance([np.zeros(3)]), list[AudioResult])
assert_type(laura.translate(text="a", to="de"), TextResult)
assert_type(laura.translate(text=["a"]), list[TextResult])
assert_type(laura.translate("a.wav", to="de"), TextResult)
assert_type(laura.translate(names), list[TextResult])
assert_type(laura.speak(["a"], progress=lambda done, total: print(done / total)), list[AudioResult])
assert_type(laura.chain("transcribe | translate:de", "a.wav"), Result)
'''


def test_the_readmes_python_is_typed(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    file = tmp_path / "readme.py"
    file.write_text("\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)) + CODE, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports", "--cache-dir", str(tmp_path), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (ROOT / "lauragpt" / "py.typed").exists() and '"py.typed"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_voice_that_is_too_short_is_refused(laura):
    with pytest.raises(LauraError, match=r"is 0\.20 s long, which is too short: give 2 to 10 s of somebody speaking"):
        laura.speak("Hello there.", lang="en", voice=sound(0.2), voice_text="so it is")
