"""Nothing goes round the GPT, and the vocoder uses its whole condition: each test fails where an answer comes from somewhere else."""

from dataclasses import replace

import numpy as np
import pytest

from lauragpt import Laura
from lauragpt.audio import load_audio
from lauragpt.cli.demo import RECORDINGS
from lauragpt.engine.backend import EncoderOutput, TextCondition
from lauragpt.engine.beam_search import Beams, search
from lauragpt.engine.chunking import PAUSE, cut_all
from lauragpt.engine.decoding import Options, Row, decode
from lauragpt.engine.recognise import ctc_aligners
from lauragpt.engine.synthesise import speak
from lauragpt.engine.voices import make_voice
from lauragpt.evaluate.systems import ctc_text
from lauragpt.tasks import TASKS


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    time = np.arange(round(seconds * 16000)) / 16000
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (0.2 * np.sin(2 * np.pi * (180 + 60 * seed + 90 * time) * time) + 0.02 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def laura(debug_checkpoint):
    return Laura.load(debug_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def mini():
    return Laura.load("mini")


class Wrapper:
    """Another backend in all that a subclass does not define."""

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name: str):
        return getattr(self.backend, name)


class OtherCtc(Wrapper):
    """Its CTC head takes every unit for another one."""

    def encode(self, waves: list[np.ndarray]) -> EncoderOutput:
        encoded = self.backend.encode(waves)
        return replace(encoded, ctc_log_probs=np.roll(encoded.ctc_log_probs, 7, axis=2))


class OtherGpt(Wrapper):
    """Its GPT takes every letter for another one."""

    def open(self, *args, **options):
        session = self.backend.open(*args, **options)
        session.logits = np.roll(session.logits, 3, axis=1)
        return session


class Scripted(Wrapper):
    """Its GPT writes one text, whatever it hears; after any other beginning it stops."""

    def __init__(self, backend, ids: list[int], eos: int):
        super().__init__(backend)
        self.script = [*ids, eos]

    def open(self, *args, **options):
        return ScriptedSession(self.backend.open(*args, **options), self.script)


class ScriptedSession:
    """The Session protocol: real lengths, and logits that follow what each row has written."""

    def __init__(self, session, script: list[int]):
        self.session, self.script = session, script
        self.start, self.written = session.lengths.copy(), [[] for _ in session.lengths]
        self.logits = self._logits(session.logits)

    @property
    def lengths(self) -> np.ndarray:
        return self.session.lengths

    def _logits(self, real: np.ndarray) -> np.ndarray:
        logits = np.zeros_like(real)
        for row, written in enumerate(self.written):
            right = written == self.script[: len(written)] and len(written) < len(self.script)
            logits[row, self.script[len(written)] if right else self.script[-1]] = 30.0
        return logits

    def extend(self, ids: np.ndarray) -> np.ndarray:
        real, places = self.session.extend(ids), []
        for column in range(ids.shape[1]):
            self.written = [[*written, int(token)] for written, token in zip(self.written, ids[:, column])]
            places.append(self._logits(real[:, column]))
        self.logits = places[-1]
        return np.stack(places, axis=1)

    def rollback(self, lengths: np.ndarray) -> None:
        self.session.rollback(lengths)
        self.written = [written[: length - start] for written, length, start in zip(self.written, lengths, self.start)]
        self.logits = self._logits(self.session.logits)

    def select(self, rows: list[int]) -> None:
        self.session.select(rows)
        self.start, self.written = self.start[list(rows)], [self.written[row] for row in rows]
        self.logits = self.logits[list(rows)]


class Recording(Wrapper):
    """Keeps what it was asked to vocode."""

    def __init__(self, backend):
        super().__init__(backend)
        self.calls: list[tuple[list[np.ndarray], dict]] = []

    def vocode(self, codes: list[np.ndarray], **conditions) -> list[np.ndarray]:
        self.calls.append((codes, conditions))
        return self.backend.vocode(codes, **conditions)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_transcript_is_the_gpts_and_not_the_ctc_heads(laura, beams):
    """The CTC head's draft saves steps: another draft changes no letter, and another GPT does."""
    info = replace(laura.runtime.info, time_aligned=False)  # or the head would also say when a letter is spoken
    laura = Laura(replace(laura.runtime, beams=beams, info=info), laura.voices)
    waves, backend = [sound(1.3), sound(2.7, 2), sound(0.6, 3)], laura.runtime.backend
    texts = [result.text for result in laura.transcribe(waves, lang="en")]
    assert [result.text for result in laura.with_backend(OtherCtc(backend)).transcribe(waves, lang="en")] == texts
    others = [result.text for result in laura.with_backend(OtherGpt(backend)).transcribe(waves, lang="en")]
    assert all(text != other for text, other in zip(texts, others, strict=True))


SHIPPED = ("librispeech-2136-5147-0021", "kerstin-de_rhasspy-0304", "librispeech-6272-70171-0021")


@pytest.mark.parametrize("beams", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_every_way_to_a_transcript_ends_in_what_the_gpt_writes(mini, beams):
    """Alone, in a batch, in several chunks and streamed, with the language given or not: what the CTC head hears is another text."""
    waves, said = [load_audio(RECORDINGS / f"{name}.opus") for name in SHIPPED], "my own words"
    runtime = replace(mini.runtime, beams=beams)
    backend = Scripted(runtime.backend, runtime.tokenizer.encode(said, letters=True), runtime.vocabulary.eos)
    laura = Laura(replace(runtime, backend=backend), mini.voices)
    gap = np.zeros(32000, np.float32)
    long = np.concatenate([part for wave in waves * 2 for part in (wave, gap)])
    for lang in ("en", None):
        results = [*laura.transcribe(waves, lang=lang), laura.transcribe(waves[0], lang=lang), laura.transcribe(long, lang=lang)]
        results += laura.transcribe_stream(iter(np.array_split(long, 40)), lang=lang)
        assert len(results[4].segments) > 1 and any(not result.final for result in results[5:])
        for result in results:
            assert all(segment.text == said for segment in result.segments)
            assert result.text == " ".join([said] * len(result.segments))
            assert all([word.text for word in segment.words] in ([], said.split()) for segment in result.segments)


@pytest.mark.parametrize("beams", [1, 4])
def test_the_checkpoint_that_ships_answers_with_its_gpt(mini, beams):
    """The answer is that of decoding by hand without a draft, where the CTC head hears something else."""
    laura = Laura(replace(mini.runtime, beams=beams), mini.voices)
    runtime, vocabulary = laura.runtime, laura.runtime.vocabulary
    for name in SHIPPED:
        wave, lang = load_audio(RECORDINGS / f"{name}.opus"), "de" if "kerstin" in name else "en"
        [chunk] = cut_all([wave], PAUSE)
        encoded = runtime.backend.encode([chunk.wave])
        session, _ = runtime.begin(encoded, [[vocabulary.task("asr")]], [lang], ctc_aligners(runtime, encoded))
        row = Row(TASKS["asr"].most_tokens(chunk.seconds))
        if beams == 1:
            [written] = decode(session, [row], runtime.text_mask, vocabulary.eos)
        else:
            [written] = search(session, [row], runtime.text_mask, vocabulary.eos, Beams(beams, TASKS["asr"].bonus))
        text = laura.transcribe(wave, lang=lang).text
        assert text == runtime.tokenizer.decode(written.ids).strip()
        assert text.split() != ctc_text(laura, wave).split(), name


def test_speech_is_the_gpts_tokens_under_the_text_and_the_voice(laura):
    runtime = laura.runtime
    backend, voice = runtime.backend, make_voice(runtime.backend, "a", sound(1.2), "a tone", "en")
    recording = Recording(backend)
    [result] = speak(replace(runtime, backend=recording), ["Hello there."], ["en"], [voice], Options(temperature=0.3, seed=3))
    [([codes], _)] = recording.calls
    letters = runtime.tokenizer.encode("hello there", letters=True)
    condition = {"text": [TextCondition(letters, len(voice.codes) / len("a tone "))], "prompt": [voice.wave]}
    [by_hand] = backend.vocode([codes], **condition)
    assert np.array_equal(result.audio, by_hand)
    backwards = [TextCondition(letters[::-1], condition["text"][0].pace)]
    for name, other in (("text", backwards), ("text", None), ("prompt", [sound(1.2, 5)]), ("prompt", None)):
        [without] = backend.vocode([codes], **condition | {name: other})
        assert np.abs(without - by_hand).max() > 1e-4 * np.abs(by_hand).max(), name


def test_cleaned_sound_is_the_gpts_tokens_under_the_noisy_recording(laura):
    backend, wave = laura.runtime.backend, sound(1.5, 1)
    recording = Recording(backend)
    result = laura.with_backend(recording).enhance(wave)
    [([codes], _)] = recording.calls
    [by_hand] = backend.vocode([codes], noisy=[wave])
    assert np.array_equal(result.audio, by_hand[: len(wave)])
    for other in ([sound(1.5, 4)], None):
        [without] = backend.vocode([codes], noisy=other)
        assert np.abs(without - by_hand).max() > 1e-4 * np.abs(by_hand).max()


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_the_vocoder_that_ships_uses_all_of_its_condition(mini, backend):
    """Other text, another voice, another noisy recording, and other tokens: each changes the sound by .01 of its loudness at least."""
    computed = (mini if backend == "onnx" else Laura.load("mini", backend="torch")).runtime.backend
    codes, prompt, noisy = np.arange(7, 57), sound(1.0), sound(2.0, 1)
    letters, others = (mini.runtime.tokenizer.encode(text, letters=True) for text in ("good morning everyone", "we are at the station"))

    def loudness(wave: np.ndarray) -> float:
        return float(np.sqrt(np.square(wave, dtype=np.float64).mean()))

    spoken = {"codes": [codes], "text": [TextCondition(letters)], "prompt": [prompt]}
    cleaned = {"codes": [codes], "noisy": [noisy]}
    for condition, changes in (
        (spoken, {"codes": [codes[::-1].copy()], "text": [TextCondition(others)], "prompt": [sound(1.0, 6)]}),
        (cleaned, {"codes": [codes[::-1].copy()], "noisy": [sound(2.0, 5)]}),
    ):
        [wave] = computed.vocode(**condition)
        for name, other in changes.items():
            [changed] = computed.vocode(**condition | {name: other})
            assert loudness(changed - wave) > 0.01 * loudness(wave), name
