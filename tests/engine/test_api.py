"""Every verb on a real model with random weights: alone equals in a batch, lengths are exact, the cache changes nothing."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lauragpt import Laura
from lauragpt.audio import save_audio
from lauragpt.engine import enhance, translate
from lauragpt.engine.chain import Step, parse_chain
from lauragpt.engine.chunking import Chunk, Span, cut, is_silent
from lauragpt.engine.decoding import Decoded, Options, Row, decode
from lauragpt.engine.recognise import ChunkResult, answer_confidence, word_confidences
from lauragpt.engine.replay import replay
from lauragpt.engine.voices import Voices
from lauragpt.errors import LauraError
from lauragpt.result import Result
from lauragpt.tasks import EMOTIONS
from lauragpt.text import agreement


def sound(seconds, seed=0):
    """Noise whose loudness and pitch wander, so that no two stretches are alike."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16000)) / 16000
    pitch = 100 + 80 * np.sin(time * 3 + seed) + 40 * np.sin(time * 0.7)
    loudness, noise = 0.1 + 0.08 * np.sin(time * 5), 0.01 * rng.normal(size=len(time))
    return (loudness * np.sin(2 * np.pi * np.cumsum(pitch) / 16000) + noise).astype(np.float32)


WAVES = [sound(1.3, 0), sound(0.4, 1), np.zeros(9000, dtype=np.float32), sound(2.9, 2), sound(1.3, 3)]
TEXTS = ["Hello there. How are you today?", "Yes.", "The quick brown fox jumps over the lazy dog."]


@pytest.fixture(scope="module")
def laura(debug_checkpoint):
    return Laura.load(debug_checkpoint, device="cpu")


def same(left: Result, right: Result):
    """Tokens are equal; numbers up to the rounding of float32 sums."""
    assert (left.text, left.lang, left.intent, left.slots) == (right.text, right.lang, right.intent, right.slots)
    assert left.receipt == right.receipt
    assert [s.text for s in left.segments] == [s.text for s in right.segments]
    if left.confidence is not None:
        assert left.confidence == pytest.approx(right.confidence, rel=1e-3)
    assert left.scores == pytest.approx(right.scores, abs=1e-4)
    if left.audio is not None:
        assert left.audio.shape == right.audio.shape and np.allclose(left.audio, right.audio, atol=1e-4)


@pytest.mark.parametrize("verb", ["transcribe", "caption", "emotion", "understand", "translate", "enhance"])
def test_a_recording_is_answered_the_same_alone_and_in_a_batch(laura, verb):
    ask = getattr(laura, verb)
    together = ask(WAVES)
    assert isinstance(together, list) and len(together) == len(WAVES)
    for wave, result in zip(WAVES, together):
        same(result, ask(wave))


def test_texts_are_translated_and_said_the_same_alone_and_in_a_batch(laura):
    for ask in (
        lambda t: laura.translate(text=t, to="de"),
        lambda t: laura.speak(t, lang="en", seed=5),
        lambda t: laura.speak(t, voice=WAVES[3], voice_text="so it is"),
    ):
        for text, result in zip(TEXTS, ask(TEXTS)):
            same(result, ask(text))


def test_a_chain_is_the_same_alone_and_in_a_batch_and_as_its_steps(laura):
    for steps in ("enhance | transcribe | translate:de | speak", "translate:de | speak"):
        for wave, result in zip(WAVES, laura.chain(steps, WAVES, seed=2)):
            same(result, laura.chain(steps, wave, seed=2))
    by_hand = laura.translate(text=laura.transcribe(WAVES[0]).text, to="de")
    assert laura.chain("transcribe | translate:de", WAVES[0]).text == by_hand.text


def test_a_chain_begins_with_a_text(laura):
    texts = ["hello", "a dog barks"]
    translated = [laura.translate(text=text, to="de").text for text in texts]
    assert [result.text for result in laura.chain("translate:de", text=texts)] == translated
    spoken = laura.chain("speak:en", text="hello", seed=2)
    assert np.array_equal(spoken.audio, laura.speak("hello", lang="en", seed=2).audio)
    result = laura.chain("speak:en | emotion", text="hello")
    assert result.receipt["input"] == result.receipt["steps"][0]["text"] == "hello"
    assert replay(laura, json.loads(result.to_json())) == []
    with pytest.raises(LauraError, match="takes audio, but gets text"):
        laura.chain("transcribe", text="hello")
    with pytest.raises(LauraError, match="either audio or text"):
        laura.chain("speak")


def test_a_chain_speaks_each_input_in_its_own_language(laura, monkeypatch):
    """The debug checkpoint's own choice of language is random, so the transcripts' languages are set."""
    transcribe, german = laura.transcribe, len(WAVES[3])

    def transcribe_in_two(audio, **more):
        results = transcribe(audio, **more)
        for wave, result in zip(audio, results):
            result.lang, result.text = ("de", "der fuchs springt") if len(wave) == german else ("en", "the quick fox")
        return results

    monkeypatch.setattr(laura, "transcribe", transcribe_in_two)
    waves, calls = [WAVES[0], WAVES[3], WAVES[4]], []
    together = laura.chain("transcribe | speak", waves, seed=1, progress=lambda done, total: calls.append((done, total)))
    assert [result.lang for result in together] == ["en", "de", "en"]
    assert calls == sorted(calls) and calls[-1][0] == pytest.approx(calls[-1][1])
    for wave, result in zip(waves, together):
        same(result, laura.chain("transcribe | speak", wave, seed=1))


@pytest.mark.slow
def test_speech_is_translated_by_way_of_its_transcript_where_the_checkpoint_says_so(laura):
    direct, through = laura, laura.with_cascade(True)
    waves = [*WAVES, sound(31.0, 4)]
    heard, told = laura.transcribe(waves), through.translate(waves, to="de")
    assert [r.receipt["transcript"] for r in told] == [r.text for r in heard] and any(r.lang != "de" for r in heard)
    for transcript, result in zip(heard, told, strict=True):
        assert result.task == "s2tt" and result.lang == "de"
        assert [(s.start, s.end) for s in result.segments] == [(s.start, s.end) for s in transcript.segments]
        assert len(result.segments) > 1 or result is not told[-1]
        for before, after in zip(transcript.segments, result.segments):
            part = waves[-1][round(before.start * 16000) : round(before.end * 16000)]
            alone = laura.transcribe(part) if result is told[-1] else transcript
            unchanged = alone.lang == "de" or not before.text
            written = before.text if unchanged else laura.translate(text=translate.as_written(before.text), to="de").text
            assert after.text == written and not after.words
    assert [r.text for r in told] != [r.text for r in direct.translate(waves, to="de")]
    assert through.ask("s2tt", waves[0], "de").text == told[0].text
    assert all(r.receipt["cascade"] is True for r in told) and direct.translate(waves[0], to="de").receipt["cascade"] is False
    assert through.ask("s2tt", waves[0]).receipt["cascade"] is False  # into a language of its own choice, it is direct
    assert "cascade" not in heard[0].receipt
    unsure = through.ask("s2tt", waves[0], "de", min_confidence=1.0)
    assert unsure.text == "" and unsure.receipt["rejected"] == 1 and unsure.receipt["transcript"] == heard[0].text
    with pytest.raises(LauraError, match="min_confidence"):
        through.ask("s2tt", waves[0], "de", min_confidence=2.0)


def test_what_has_words_is_read_in_the_pieces_of_the_checkpoint(laura):
    wave, silence = sound(5.7, 4), np.zeros(16000 * 6, dtype=np.float32)
    pieces = Laura(replace(laura.runtime, info=replace(laura.runtime.info, chunks={"asr": (1.0, 2.5)})), laura.voices)
    whole, parts = laura.transcribe(wave, lang="en"), pieces.transcribe([wave, silence], lang="en")
    assert len(whole.segments) == 1 and whole.text and len(parts[0].segments) >= 3
    ends = [(segment.start, segment.end) for segment in parts[0].segments]
    assert ends[0][0] == 0 and ends[-1][1] == pytest.approx(5.7, abs=1e-3) and all(a[1] == b[0] for a, b in pairwise(ends))
    assert all(end - start <= 2.5 for start, end in ends) and parts[0].receipt["seconds_read"] == pytest.approx(5.7, abs=1e-3)
    for segment in parts[0].segments:  # each as it would be heard alone
        assert segment.text == laura.transcribe(wave[round(segment.start * 16000) : round(segment.end * 16000)], lang="en").text
    assert parts[1].text == "" and parts[1].receipt["chunks"] == 1


@pytest.mark.parametrize("samples", [1600, 6399, 6400, 6401, 20000, 16000 * 31 + 17])
def test_enhanced_audio_is_exactly_as_long_as_its_input(laura, samples):
    wave = sound(samples / 16000 + 0.01)[:samples]
    result = laura.enhance(wave)
    assert result.audio.shape == (samples,) and np.isfinite(result.audio).all()
    assert result.receipt["finish"] == "eos"
    assert result.receipt["seconds_given"] == result.receipt["seconds_read"] == round(samples / 16000, 3)


def test_long_audio_is_cleaned_in_chunks_that_fade_into_each_other(laura):
    wave = np.random.default_rng(3).normal(scale=0.1, size=100 * 16000 + 123).astype(np.float32)
    wave[12 * 16000 : 60 * 16000] = 0  # a chunk without sound has no neighbour to fade into
    chunks, wanted = cut(wave), np.zeros_like(wave)
    assert len(chunks) >= 3
    loud = [not is_silent(wave[chunk.start : chunk.end]) for chunk in chunks]
    for number, chunk in enumerate(chunks):
        if not loud[number]:
            continue
        more = enhance.OVERLAP if loud[number + 1 : number + 2] == [True] else 0
        [alone] = enhance.enhance(laura.runtime, [wave[chunk.start : chunk.end + more]])
        assert alone.receipt["chunks"] == 1
        before = enhance.OVERLAP if number and loud[number - 1] else 0
        fade = np.ones(len(alone.audio))
        fade[:before] = (np.arange(before) + 0.5) / max(1, before)
        fade[len(fade) - more :] = 1 - (np.arange(more) + 0.5) / max(1, more)
        wanted[chunk.start : chunk.end + more] += (fade * alone.audio).astype(np.float32)
    assert sum(loud[:-1][i] and loud[1:][i] for i in range(len(loud) - 1)) >= 1 and not all(loud)
    got = laura.enhance(wave).audio
    assert len(got) == len(wave) and np.abs(got - wanted).max() < 1e-4


def test_long_audio_is_cleaned_beside_other_as_it_is_alone(laura):
    waves = [sound(31.0, 1), sound(0.7, 2), sound(26.0, 3)]
    for got, wave in zip(laura.enhance(waves), waves, strict=True):
        alone = laura.enhance(wave)
        assert got.audio.shape == wave.shape and np.abs(got.audio - alone.audio).max() < 1e-5
        assert got.receipt == alone.receipt


@pytest.mark.slow
def test_every_chunk_whose_words_change_stays_as_it_was(laura, monkeypatch):
    waves = [sound(75.0, 1), sound(26.0, 3)]
    monkeypatch.setattr("lauragpt.engine.enhance.SAME_WORDS", 1.1)
    for left, wave in zip(laura.enhance(waves, verify=True), waves, strict=True):
        assert np.abs(left.audio - wave).max() < 1e-6
        chunks = left.receipt["chunks"]
        assert chunks > 1 and left.receipt["verify"]["kept_input"] == len(left.receipt["verify"]["agreement"]) == chunks


def test_the_enhanced_sound_depends_on_the_gpts_tokens(laura):
    """Nothing goes round the GPT: other tokens under the same noisy condition give another sound."""
    codes = np.arange(50) % laura.runtime.vocabulary.audio_size
    mine, other = laura.runtime.backend.vocode([codes, codes[::-1].copy()], noisy=[sound(2.0)] * 2)
    assert mine.shape == (32000,) and np.abs(mine - other).max() > 1e-3 * np.abs(mine).max()


def test_cached_decoding_equals_reading_everything_anew(laura):
    runtime, waves = laura.runtime, [WAVES[0], WAVES[3]]
    encoded = runtime.backend.encode(waves)
    prompts = [[runtime.vocabulary.task("asr"), runtime.vocabulary.lang("en")]] * 2
    options = Options(loop=None)
    cached = decode(runtime.backend.open(encoded, prompts), [Row(30)] * 2, runtime.text_mask, runtime.vocabulary.eos, options)
    allowed = runtime.text_mask.copy()
    allowed[runtime.vocabulary.eos] = True
    for row, wave in enumerate(waves):
        ids, alone = [], runtime.backend.encode([wave])
        while len(ids) < 30:
            logits = runtime.backend.open(alone, [prompts[row] + ids]).logits[0]
            token = int(np.where(allowed, logits, -np.inf).argmax())
            if token == runtime.vocabulary.eos:
                break
            ids.append(token)
        assert cached[row].ids == ids


def test_cached_speech_equals_reading_everything_anew(laura):
    """Audio tokens carry their time, whether they were given as a prompt, read back or just written."""
    runtime, v = laura.runtime, laura.runtime.vocabulary
    prompts = [[5, 6, 7, v.task("tts"), v.lang("en")], [8, v.task("tts"), v.lang("en"), *v.audio([3, 1, 4])]]
    rows = [Row(maximum=20, minimum=20)] * 2
    cached = decode(runtime.backend.open(None, prompts), rows, runtime.audio_mask, v.eos, Options(loop=None))
    for prompt, decoded in zip(prompts, cached):
        for n, token in enumerate(decoded.ids):
            logits = runtime.backend.open(None, [prompt + decoded.ids[:n]]).logits[0]
            assert token == int(np.where(runtime.audio_mask, logits, -np.inf).argmax())


def test_session_extend_rollback_and_select_against_opening_anew(laura):
    runtime = laura.runtime
    encoded = runtime.backend.encode([WAVES[0], WAVES[1], WAVES[3]])
    prompts = [[runtime.vocabulary.task("asr"), 5], [runtime.vocabulary.task("asr")], [runtime.vocabulary.task("asr"), 6, 7]]
    session = runtime.backend.open(encoded, prompts)
    assert session.lengths.tolist() == [int(n) + len(p) for n, p in zip(encoded.lengths, prompts)]
    start = session.lengths.copy()
    session.extend(np.array([[8, 9, 10], [11, 12, 13], [14, 15, 16]]))
    session.rollback(start + np.array([1, 0, 2]))
    out = session.extend(np.array([[17, 18], [19, 20], [21, 22]]))
    session.select([2, 0])
    session.extend(np.array([[23], [24]]))
    anew = runtime.backend.open(encoded.rows([2, 0]), [prompts[2] + [14, 15, 21, 22, 23], prompts[0] + [8, 17, 18, 24]])
    assert np.allclose(session.logits, anew.logits, atol=1e-4)
    assert session.lengths.tolist() == anew.lengths.tolist()
    assert np.allclose(out[1, 1], runtime.backend.open(encoded.rows([1]), [prompts[1] + [19, 20]]).logits[0], atol=1e-4)


def test_emotion_scores_are_the_gpts_own_probabilities(laura):
    runtime, wave = laura.runtime, WAVES[0]
    result = laura.emotion(wave)
    assert list(result.scores) == list(EMOTIONS) and sum(result.scores.values()) == pytest.approx(1)
    assert result.text == max(result.scores, key=result.scores.get)
    encoded, by_hand = runtime.backend.encode([wave]), []
    for label in EMOTIONS:
        ids, total = [runtime.vocabulary.task("ser"), runtime.vocabulary.lang(result.lang)], 0.0
        for token in [*runtime.tokenizer.encode(label), runtime.vocabulary.eos]:
            logits = runtime.backend.open(encoded, [ids]).logits[0].astype(np.float64)
            total += logits[token] - logits.max() - np.log(np.exp(logits - logits.max()).sum())
            ids.append(token)
        by_hand.append(total)
    shares = np.exp(np.array(by_hand) - max(by_hand))
    assert list(result.scores.values()) == pytest.approx(list(shares / shares.sum()), abs=1e-4)


def test_confidence_is_the_chance_of_being_right(laura):
    """Of a transcript the mean over its words of how likely all letters of each are, so that it is the share of words expected to be right;
    of an order how likely all of it is; of a translation the geometric mean of its tokens."""
    runtime, log = laura.runtime, np.log

    def result(text: str, log_probs: list[float], letters: bool) -> ChunkResult:
        decoded = Decoded(runtime.tokenizer.encode(text, letters), log_probs, "eos")
        return ChunkResult(Chunk(0, Span(0, 16000), sound(1)), "en", text, decoded)

    transcript = result("no one", [log(0.5), log(0.5), log(0.8), 0.0, log(0.5), 0.0, log(0.1)], letters=True)  # the last is <eos>
    assert word_confidences(runtime.tokenizer, transcript.decoded) == pytest.approx([0.25, 0.4])
    assert answer_confidence(runtime, "asr", [transcript]) == pytest.approx(0.325)
    assert answer_confidence(runtime, "asr", [transcript, result("a", [log(0.9)], letters=True)]) == pytest.approx((0.25 + 0.4 + 0.9) / 3)
    count = len(runtime.tokenizer.encode("no one"))
    other = result("no one", [log(0.5)] * count, letters=False)
    assert answer_confidence(runtime, "slu", [other]) == pytest.approx(0.5**count)
    assert answer_confidence(runtime, "s2tt", [other]) == pytest.approx(0.5)
    assert answer_confidence(runtime, "asr", []) is None


def test_a_seed_says_it_again_and_another_says_it_otherwise(laura):
    first, again, other = (laura.speak("Hello there.", lang="en", seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.audio, again.audio)
    assert first.confidence != other.confidence and not np.array_equal(first.audio, other.audio)


def test_the_receipt_reproduces_what_was_said(laura):
    result = laura.speak("Hello there.", seed=7, temperature=0.8, top_k=5)
    receipt = result.receipt
    settings = {name: receipt[name] for name in ("voice", "seed", "temperature", "top_k")}
    again = laura.speak("Hello there.", lang=result.lang, **settings)
    assert np.array_equal(result.audio, again.audio)
    assert receipt["model"] and receipt["codec_hash"] and receipt["version"]


def test_a_span_of_speech_is_made_anew_and_nothing_else(laura):
    text, options = "Hello there. How are you today?", {"temperature": 1.0, "top_k": 0}
    speech = laura.speak(text, lang="en", seed=3, **options)
    first, second = speech.segments
    middle = second.start + 0.4
    start, end = middle, middle + 0.4
    anew = laura.regenerate(speech, start, end, seed=4, **options)
    assert len(anew.audio) == len(speech.audio) and anew.segments[0].codes == first.codes
    codes, span = anew.segments[1].codes, slice(10, 20)
    assert codes[:10] == second.codes[:10] and codes[20:] == second.codes[20:] and codes[span] != second.codes[span]
    assert anew.segments[1].probabilities[20:] == pytest.approx(second.probabilities[20:])
    again = laura.regenerate(anew, start, end, seed=3, **options)  # what is drawn depends on the seed and the place, so it comes back
    assert [s.codes for s in again.segments] == [s.codes for s in speech.segments]
    assert np.allclose(again.audio, speech.audio, atol=1e-4) and not np.allclose(anew.audio, speech.audio, atol=1e-4)
    assert [(made["seed"], made["start"]) for made in again.receipt["regenerated"]] == [(4, start), (3, start)]


def test_a_span_may_reach_over_sentences_and_is_replayed(laura, tmp_path):
    speech = laura.speak("Hello there. How are you?", lang="en", seed=3)
    first, second = speech.segments
    anew = laura.regenerate(speech, first.end - 0.2, second.start + 0.2, seed=5)
    assert anew.segments[0].codes[:-5] == first.codes[:-5] and anew.segments[1].codes[5:] == second.codes[5:]
    assert {row["output"] for row in anew.receipt["sequences"]} == {5}
    save_audio(tmp_path / "a.wav", anew.audio)
    row = json.loads(anew.to_json()) | {"audio": str(tmp_path / "a.wav")}
    assert replay(laura, row) == []
    row["receipt"]["regenerated"][0]["seed"] = 6
    assert replay(laura, row)
    for start, end in ((0.5, 0.5), (-1.0, 1.0), (0.0, float("nan")), (first.end + 0.02, first.end + 0.1), (1000.0, 1001.0)):
        with pytest.raises(LauraError):
            laura.regenerate(speech, start, end)


def test_the_receipt_counts_what_the_gpt_read_and_wrote(laura):
    [frames], count = laura.runtime.backend.encode([WAVES[0]]).lengths.tolist(), laura.runtime.tokenizer.encode
    for verb, task in (("transcribe", "asr"), ("caption", "aac"), ("emotion", "ser")):
        result = getattr(laura, verb)(WAVES[0])
        [row] = result.receipt["sequences"]
        assert (row["task"], row["lang"], row["frames"]) == (task, result.lang, frames)
        assert verb != "emotion" or row["output"] == len(count(result.text))  # random letters are not always what they were written as
    clean = laura.enhance(WAVES[0])
    [row] = clean.receipt["sequences"]
    assert (row["task"], row["frames"], row["output"]) == ("se", frames, -(-len(WAVES[0]) // 640))
    rows = laura.translate(text="A dog barks. It rains.", to="de", lang="en").receipt["sequences"]
    assert [row["letters"] for row in rows] == [len(count("A dog barks.")), len(count("It rains."))]
    assert {(row["task"], row["lang"]) for row in rows} == {("mt", "de")}
    voice = laura.find_voice(WAVES[0], "a tone", "en")
    spoken = laura.speak("Hello.", voice=voice, lang="en")
    letters = len(count("a tone hello", True))
    [row] = spoken.receipt["sequences"]
    assert row["letters"] in (letters, letters + 1) and row["prompt"] == len(voice.codes)  # with or without the full stop
    assert row["output"] * 640 == len(spoken.audio) and laura.transcribe(WAVES[2]).receipt["sequences"] == []  # silence is not read


def test_speech_is_bounded_by_its_text(laura):
    for text in TEXTS:
        seconds = len(laura.speak(text, lang="en", temperature=2.0, top_k=0).audio) / 16000
        assert len(text) / 40 < seconds < 4 + len(text) / 5


def test_long_audio_is_read_whole_with_a_segment_a_chunk(laura):
    wave = sound(47.3)
    result = laura.transcribe(wave)
    assert result.receipt["seconds_read"] == 47.3 and result.receipt["chunks"] == len(result.segments) >= 3
    assert result.segments[0].start == 0 and result.segments[-1].end == 47.3
    assert all(left.end == right.start for left, right in zip(result.segments, result.segments[1:]))
    cut = int(result.segments[0].end * 16000)
    assert laura.transcribe(wave[:cut]).text == result.segments[0].text


def test_silence_is_answered_with_nothing(laura):
    silence = np.zeros(40000, dtype=np.float32)
    for verb in ("transcribe", "caption", "emotion", "understand"):
        result = getattr(laura, verb)(silence)
        assert result.text == "" and not result.scores and not result.slots and result.receipt["finish"] == "empty"
    assert not laura.enhance(silence).audio.any()
    assert not len(laura.chain("transcribe | translate:de | speak", silence).audio)


def test_bytes_paths_and_samples_are_the_same_sound(laura, tmp_path):
    from lauragpt.audio import load_audio, save_audio

    path = save_audio(tmp_path / "a.flac", WAVES[0])
    by_path, by_bytes, by_samples = laura.transcribe([path, path.read_bytes(), load_audio(path)])
    same(by_path, by_bytes)
    same(by_path, by_samples)
    same(by_path, laura.transcribe(str(path)))


def test_named_voices_speak_their_language_and_unknown_ones_are_refused(laura):
    assert laura.voices.names(), "the debug checkpoint ships a voice"
    name = laura.voices.names()[0]
    result = laura.speak("Hello.", voice=name)
    assert result.lang == laura.voices.cards[name]["lang"] and result.receipt["voice"] == name
    with pytest.raises(LauraError, match=f"names are .*{name}"):
        laura.speak("Hello.", voice="nobody")


def test_the_default_voice_is_the_one_so_marked_else_the_first_of_the_language(laura, tmp_path):
    clip = laura.voices.cards[laura.voices.names()[0]]["path"]
    for name, lang, more in (("a", "en", {}), ("b", "en", {"default": True}), ("c", "de", {}), ("d", "de", {})):
        shutil.copy(clip, tmp_path / f"{name}.wav")
        card = {"name": name, "lang": lang, "text": "the quick brown fox", "licence": "CC0-1.0", "source": "a copy"} | more
        (tmp_path / f"{name}.json").write_text(json.dumps(card))
    voices = Voices(tmp_path, laura.runtime.backend)
    assert [voices.default(lang).name for lang in ("en", "de", "zh")] == ["b", "c", "b"]


def test_a_list_of_voices_may_hold_names_and_recordings(laura):
    voices = ["anna", WAVES[0], None]
    for text, voice, result in zip(TEXTS, voices, laura.speak(TEXTS, voice=voices, lang="en")):
        same(result, laura.speak(text, voice=voice, lang="en"))


def test_a_translation_above_a_confidence_is_replayed_with_it(laura, tmp_path):
    path = tmp_path / "a.wav"
    save_audio(path, WAVES[0])
    for least in (0.0, 1.0):
        result = laura._listen("s2tt", str(path), "de", least, None, None, "en")
        row = json.loads(result.to_json()) | {"file": str(path)}
        assert replay(laura, row) == [] and bool(result.text) == (least == 0)


@pytest.mark.parametrize("cascade", [False, True])
def test_a_translation_is_replayed_in_the_way_that_its_receipt_says(laura, tmp_path, cascade):
    path = tmp_path / "a.wav"
    save_audio(path, WAVES[0])
    way, other = laura.with_cascade(cascade), laura.with_cascade(not cascade)
    for result in (way.translate(path, to="de"), way.chain("enhance | translate:de", path), way.chain("translate:de | translate:en", path)):
        row = json.loads(result.to_json()) | {"file": str(path)}
        assert replay(way, row) == replay(other, row) == []
        steps = [row["receipt"], *row["receipt"].get("steps", [])]
        assert [step.pop("cascade") for step in steps if "cascade" in step] == [cascade]
        assert replay(other, row) == []  # a receipt from before held the transcript of a cascade
    row = json.loads(way.translate(path, to="de").to_json()) | {"file": str(path)}
    row["receipt"]["cascade"] = not cascade
    assert replay(way, row)
    row["receipt"]["steps"] = 1
    with pytest.raises(LauraError, match="does not say how it came about"):
        replay(way, row)


@pytest.mark.parametrize(
    "ask, says",
    [
        (lambda laura: laura.transcribe(WAVES[0], lang="xx"), "unknown language"),
        (lambda laura: laura.transcribe(np.full(16000, np.nan, dtype=np.float32)), "NaN"),
        (lambda laura: laura.transcribe(np.zeros(160, dtype=np.float32)), "10 ms"),
        (lambda laura: laura.transcribe("/no/such/file.wav"), "no such file"),
        (lambda laura: laura.transcribe(b"not audio"), "is not audio"),
        (lambda laura: laura.translate(), "either audio or text"),
        (lambda laura: laura.speak("   "), "nothing to say"),
        (lambda laura: laura.speak("hi", top_k=-1), "top_k"),
        (lambda laura: laura.speak(["a", "b"], voice=["anna"]), "1 voices for 2 texts"),
        (lambda laura: laura.speak("a", voice=["anna", "anna"]), "2 voices for 1 texts"),
        (lambda laura: laura.speak(["a", "b"], voice=["anna", "nobody"]), "neither a recording nor a named voice"),
        (lambda laura: laura.speak(["a", "b"], voice=["anna", "anna"], voice_text="a"), "transcript of one recording"),
        (lambda laura: laura.speak(5), "this is int"),
        (lambda laura: laura.speak(["a", None]), "this is NoneType"),
        (lambda laura: laura.speak("a", voice=WAVES[0], voice_text=5), "this is int"),
        (lambda laura: laura.speak_stream(5), "this is int"),
        (lambda laura: laura.translate(text=5), "this is int"),
        (lambda laura: laura.translate(text=[1, 2]), "this is int"),
        (lambda laura: laura.transcribe(WAVES[0], min_confidence="x"), "min_confidence is 'x'"),
        (lambda laura: laura.transcribe_stream([WAVES[0]], min_confidence="x"), "min_confidence is 'x'"),
        (lambda laura: laura.speak("hi", voice=np.zeros(16000, dtype=np.float32), voice_text="a"), "no sound"),
    ],
)
def test_wrong_input_is_told_in_one_line(laura, ask, says):
    with pytest.raises(LauraError, match=says) as told:
        ask(laura)
    assert "\n" not in str(told.value)


def test_chains_are_parsed_and_checked():
    steps = [Step("enhance"), Step("transcribe"), Step("translate", "de"), Step("speak")]
    assert parse_chain("enhance|transcribe | translate:de | speak") == steps
    for line, says in [
        ("", "is unknown"), ("enhance |", "is unknown"), ("translate", "needs a language"), ("translate:xx", "unknown language"),
        ("speak", "gets audio from"), ("transcribe | caption", "gets text from 'transcribe'"),
    ]:  # fmt: skip
        with pytest.raises(LauraError, match=says):
            parse_chain(line)


def test_the_best_of_several_tries_is_kept_and_says_what_was_heard(laura):
    tries = [laura.speak("Good morning.", lang="en", seed=seed) for seed in (3, 4, 5)]
    agreed = [agreement("good morning", laura.transcribe(result.audio, lang="en").text) for result in tries]
    found = laura.speak("Good morning.", lang="en", seed=3, verify=3)
    assert found.receipt["verify"]["agreement"] == pytest.approx(max(agreed), abs=1e-3) and found.receipt["verify"]["tries"] == 3
    best = agreed.index(max(agreed))
    assert found.receipt["seed"] == 3 + best and np.array_equal(found.audio, tries[best].audio)


def test_what_changes_the_words_is_not_kept(laura, monkeypatch):
    wave = sound(1.3)
    cleaned = laura.enhance(wave)
    monkeypatch.setattr("lauragpt.engine.enhance.SAME_WORDS", 0.0)
    kept = laura.enhance(wave, verify=True)
    assert np.array_equal(kept.audio, cleaned.audio) and kept.receipt["verify"]["kept_input"] == 0
    monkeypatch.setattr("lauragpt.engine.enhance.SAME_WORDS", 1.1)
    left = laura.enhance(wave, verify=True)
    assert np.array_equal(left.audio, wave) and left.receipt["verify"]["kept_input"] == 1 and len(left.receipt["verify"]["agreement"]) == 1


def test_a_language_that_is_predicted_is_as_one_that_is_given(laura):
    """What sounds stands at its own time in both."""
    runtime, waves = laura.runtime, [WAVES[0], WAVES[3]]
    encoded, tasks = runtime.backend.encode(waves), [[runtime.vocabulary.task("se")]] * 2
    predicted, langs = runtime.begin(encoded, tasks, [None, None])
    given, _ = runtime.begin(encoded, tasks, langs)
    ids = np.array([[runtime.vocabulary.text_size + 5, runtime.vocabulary.text_size + 9]] * 2)
    assert np.array_equal(predicted.logits, given.logits) and np.array_equal(predicted.extend(ids), given.extend(ids))
    for wave in waves:
        found = laura.enhance(wave)
        assert np.array_equal(found.audio, enhance.enhance(runtime, [wave], found.lang)[0].audio)
