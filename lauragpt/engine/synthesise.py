"""Text -> speech: `[prompt text, text, <tts>, <lang>, prompt audio tokens | audio tokens, <eos>]`; the prompt's tokens are a forced prefix.

In: texts as written, a language and a voice each. A sentence of a text is an `Utterance`; the GPT writes its audio tokens, the vocoder
makes sound of them under the text and the voice. Out: a `Result` a text, with audio (N,) at 16 kHz, or pieces of it while the rest is
still being written.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine.backend import Session, TextCondition
from lauragpt.engine.chunking import HOP, TOKENS_PER_SECOND, batches, is_silent
from lauragpt.engine.decoding import SPEECH_LOOP, Decoded, Options, Row, decode, steps
from lauragpt.engine.progress import Meter, Progress, share_of
from lauragpt.engine.recognise import listen
from lauragpt.engine.runtime import BATCH_SAMPLES, Runtime
from lauragpt.engine.sentences import split_sentences
from lauragpt.engine.voices import Voice
from lauragpt.errors import LauraError, SpeechWarning
from lauragpt.result import AudioResult, Segment, confidence_of
from lauragpt.sequence import PACE
from lauragpt.spoken import normalize
from lauragpt.tasks import TASKS
from lauragpt.text import agreement

STREAM_TOKENS = 8  # that are made sound together while more are written
PAUSE = SAMPLE_RATE * 3 // 20  # samples between two sentences
# Characters a second of the slowest and the fastest speech; a word in Chinese is a character or two.
PACES = {"en": (6.0, 30.0), "de": (6.0, 30.0), "zh": (2.0, 8.0)}
LONGEST_SENTENCE = 160  # characters, 12 s: longer ones than were learnt are cut
SHORTEST_SPEECH = 0.12  # seconds: no word is spoken in less
NO_WORD = "the model recognises no word in the sound"


@dataclass(frozen=True, eq=False)
class Utterance:
    """A sentence to be spoken."""

    item: int  # which of the texts
    number: int  # which of its sentences
    text: str  # spoken form
    lang: str
    voice: Voice | None


@dataclass(frozen=True, eq=False)
class Speech:
    """An utterance and its sound."""

    utterance: Utterance
    decoded: Decoded
    wave: np.ndarray  # (n,)
    guarded: bool = True  # whether a loop would have been ended


def speak(
    runtime: Runtime,
    texts: list[str],
    langs: list[str],
    voices: list[Voice | None],
    options: Options,
    progress: Progress | None = None,
) -> list[AudioResult]:
    """Each text in its voice. Long texts are spoken sentence by sentence, each after the same prompt. A sentence whose sound cannot be the
    text is spoken again with the next seed and then without the guard, which leaves some sound of it in any case: `retried` in the receipt
    says of how many, and `failed` why the sound cannot be the text even so. LauraError for a text that holds nothing to say."""
    options = replace(options, loop=SPEECH_LOOP)
    utterances = [
        each for item, (text, lang, voice) in enumerate(zip(texts, langs, voices)) for each in utterances_of(item, text, lang, voice)
    ]
    meter = Meter(progress, len(utterances))
    speeches = _speak_all(runtime, utterances, options, meter)
    retried = [each for each in utterances if failed(speeches[each])]
    for again in (replace(options, seed=options.seed + 1), replace(options, seed=options.seed + 1, loop=None)):
        if still := [each for each in retried if failed(speeches[each])]:
            speeches |= _speak_all(runtime, still, again)
    return [
        result_of(
            runtime, [speeches[each] for each in utterances if each.item == item], options, sum(each.item == item for each in retried)
        )
        for item in range(len(texts))
    ]


def speak_verified(
    runtime: Runtime,
    texts: list[str],
    langs: list[str],
    voices: list[Voice | None],
    options: Options,
    tries: int,
    progress: Progress | None = None,
) -> list[AudioResult]:
    """`speak`, transcribed by the model itself: where the transcript is not the text, it is spoken again with the next seed, `tries`
    times at most, and the best is kept. The receipt says what was recognised and how much of it agreed."""
    if tries < 1:
        raise LauraError(f"{tries} tries: give 1 or more")
    best: dict[int, AudioResult] = {}
    sentences = float(sum(len(sentences_of(text, lang)) for text, lang in zip(texts, langs)))
    for number in range(tries):
        open_items = [i for i in range(len(texts)) if i not in best or best[i].receipt["verify"]["agreement"] < 1]
        open_texts, open_langs = [texts[i] for i in open_items], [langs[i] for i in open_items]
        open_voices = [voices[i] for i in open_items]
        share = share_of(progress, number / tries, (number + 1) / tries, sentences)
        results = speak(runtime, open_texts, open_langs, open_voices, replace(options, seed=options.seed + number), share)
        for i, result in zip(open_items, results):
            transcript = listen(runtime, "asr", [result.audio], langs[i])[0].text if len(result.audio) else ""
            agreed = agreement(" ".join(sentences_of(texts[i], langs[i])), transcript)
            if not transcript:
                result.receipt.setdefault("failed", NO_WORD)
            if i not in best or agreed > best[i].receipt["verify"]["agreement"]:
                result.receipt["verify"] = {"agreement": agreed, "heard": transcript}
                best[i] = result
            best[i].receipt["verify"]["tries"] = number + 1
    for result in best.values():
        result.receipt["verify"]["agreement"] = round(result.receipt["verify"]["agreement"], 3)
    if progress is not None:
        progress(sentences, sentences)  # fewer tries may have been enough
    return [best[i] for i in range(len(texts))]


def check_words(runtime: Runtime, results: list[AudioResult]) -> None:
    """Puts `failed` into the receipts of those in which the model recognises no word."""
    unchecked = [result for result in results if "failed" not in result.receipt]
    for result in unchecked:
        if not listen(runtime, "asr", [result.audio], result.lang)[0].text:
            result.receipt["failed"] = NO_WORD


def speak_stream(runtime: Runtime, text: str, lang: str, voice: Voice | None, options: Options) -> Iterator[np.ndarray]:
    """A text's sound in pieces (n,), while it is still being written; together what `speak` gives, unless the guard ended it, which
    cannot take back what was sent. LauraError, before the first piece, for a text that holds nothing to say; SpeechWarning behind a
    sentence that failed."""
    return _stream(runtime, utterances_of(0, text, lang, voice), replace(options, loop=SPEECH_LOOP))


def utterances_of(item: int, text: str, lang: str, voice: Voice | None) -> list[Utterance]:
    """A text's sentences. LauraError where it has none."""
    utterances = [Utterance(item, number, sentence, lang, voice) for number, sentence in enumerate(sentences_of(text, lang))]
    if not utterances:
        raise LauraError(f"the text {text.strip()[:40]!r} holds nothing to say: give some words")
    return utterances


def sentences_of(text: str, lang: str) -> list[str]:
    """The text's sentences in spoken form; those that hold no letter or number are left out."""
    return [spoken for sentence in split_sentences(text, LONGEST_SENTENCE) if (spoken := normalize(sentence, lang).strip())]


def bounds(text: str, lang: str) -> tuple[int, int]:
    """(fewest, most) audio tokens that a text in spoken form may take, so that speech neither vanishes nor never ends."""
    slowest, fastest = PACES[lang]
    return int(len(text) / fastest * TOKENS_PER_SECOND), int((1.5 + len(text) / slowest) * TOKENS_PER_SECOND)


def failed(speech: Speech) -> str | None:
    reason = failure(speech.utterance, speech.decoded.finish, speech.wave)
    if reason is None and not speech.guarded and speech.decoded.finish == "length":
        seconds, text = len(speech.wave) / SAMPLE_RATE, speech.utterance.text[:40]
        reason = f"{seconds:.2f} s of sound for {text!r}, where the GPT never ended"
    return reason


def failure(utterance: Utterance, finish: str, wave: np.ndarray) -> str | None:
    """Why a sound (n,) cannot be the utterance, or None: it is silent, or shorter than the fastest speech, as when the guard cut a loop.
    finish: how the GPT ended (`Decoded.finish`)."""
    seconds, fastest = len(wave) / SAMPLE_RATE, max(bounds(utterance.text, utterance.lang)[0] / TOKENS_PER_SECOND, SHORTEST_SPEECH)
    ending = {"guard": ", where the GPT fell into a loop", "length": ", where the GPT never ended"}.get(finish, "")
    if seconds < fastest:
        return f"{seconds:.2f} s of sound for {utterance.text[:40]!r}, which takes at least {fastest:.2f} s{ending}"
    return f"no sound for {utterance.text[:40]!r}{ending}" if is_silent(wave) else None


def languages(runtime: Runtime, texts: list[str], langs: list[str | None]) -> list[str]:
    """The caller's language of each text, or the one that the GPT finds most probable behind the text and `<tts>`."""
    chosen = list(langs)
    unknown = [index for index, lang in enumerate(langs) if lang is None]
    for start in range(0, len(unknown), 16):  # a few at a time, so that one long text does not pad all
        group = unknown[start : start + 16]
        ids = [
            [*runtime.tokenizer.encode((texts[i].strip() or ".")[:300].lower(), TASKS["tts"].letters), runtime.vocabulary.task("tts")]
            for i in group
        ]
        for index, lang in zip(group, runtime.begin(None, ids, [None] * len(ids))[1]):
            chosen[index] = lang
    return [lang for lang in chosen if lang is not None]


def _speak_all(runtime: Runtime, utterances: list[Utterance], options: Options, meter: Meter | None = None) -> dict[Utterance, Speech]:
    """In batches."""
    sizes, speeches = [bounds(utterance.text, utterance.lang)[1] * HOP for utterance in utterances], {}
    for group in batches(sizes, BATCH_SAMPLES):
        batch = [utterances[index] for index in group]
        speeches |= dict(zip(batch, _speak_batch(runtime, batch, options)))
        if meter is not None:
            meter.add(len(batch))
    return speeches


def _speak_batch(runtime: Runtime, utterances: list[Utterance], options: Options) -> list[Speech]:
    session, rows, conditions = _open(runtime, utterances)
    read, langs = session.lengths.tolist(), [utterance.lang for utterance in utterances]
    decoded = decode(session, rows, runtime.audio_mask, runtime.vocabulary.eos, options)
    runtime.counted("tts", langs, read, decoded, [len(prompt_codes(utterance)) for utterance in utterances])
    prompts = [utterance.voice.wave if utterance.voice else None for utterance in utterances]
    waves = runtime.backend.vocode([runtime.codes(each.ids) for each in decoded], text=conditions, prompt=prompts)
    return [Speech(*each, guarded=options.loop is not None) for each in zip(utterances, decoded, waves)]


def _open(runtime: Runtime, utterances: list[Utterance]) -> tuple[Session, list[Row], list[TextCondition]]:
    """A session behind the prompts, the bounds of each row, and the texts as the vocoder reads them."""
    ids, conditions = zip(*(prompt_of(runtime, utterance) for utterance in utterances))
    limits = [bounds(utterance.text, utterance.lang) for utterance in utterances]
    rows = [Row(maximum=most, minimum=max(fewest, 1), key=each.number) for (fewest, most), each in zip(limits, utterances)]
    return runtime.backend.open(None, list(ids), [each.pace for each in conditions]), rows, list(conditions)


def prompt_of(runtime: Runtime, utterance: Utterance) -> tuple[list[int], TextCondition]:
    """What the GPT reads before it speaks, and the text as the vocoder reads it."""
    vocabulary, voice = runtime.vocabulary, utterance.voice
    # A voice whose words are not known is a condition of the vocoder alone: tokens without their text would stand for the text to come.
    prompt_text = voice.spoken + " " if voice and voice.spoken else ""
    codes = prompt_codes(utterance)
    letters = runtime.tokenizer.encode(prompt_text + utterance.text, TASKS["tts"].letters)
    prompt_letters = len(runtime.tokenizer.encode(prompt_text, TASKS["tts"].letters))
    audio = [code + vocabulary.text_size for code in codes]
    pace = len(codes) / prompt_letters if prompt_letters and codes else PACE  # a voice goes on as fast as it began
    ids = [*letters, vocabulary.task("tts"), vocabulary.lang(utterance.lang), *audio]
    return ids, TextCondition(letters[prompt_letters:], pace)


def prompt_codes(utterance: Utterance) -> list[int]:
    """What the GPT goes on from: the audio tokens of the voice, if its words are known."""
    return utterance.voice.codes.tolist() if utterance.voice and utterance.voice.spoken else []


def _stream(runtime: Runtime, utterances: list[Utterance], options: Options) -> Iterator[np.ndarray]:
    for utterance in utterances:
        if utterance.number:
            yield np.zeros(PAUSE, dtype=np.float32)
        session, rows, conditions = _open(runtime, [utterance])
        prompt = utterance.voice.wave if utterance.voice else None
        writing = steps(session, rows, runtime.audio_mask, runtime.vocabulary.eos, options)
        [decoded] = next(writing)  # grows with each step
        sound = [np.zeros(0, dtype=np.float32)]
        for piece in runtime.backend.vocode_stream(_codes(runtime, decoded, writing), conditions[0], prompt):
            sound.append(piece)
            yield piece
        if reason := failure(utterance, decoded.finish, np.concatenate(sound)[: len(decoded.ids) * HOP]):
            warnings.warn(f"speech failed: {reason}", SpeechWarning, stacklevel=2)


def _codes(runtime: Runtime, decoded: Decoded, writing: Iterator) -> Iterator[np.ndarray]:
    """One row's codes (n,) as they are written, some at a time."""
    sent = 0
    for _ in writing:
        if len(decoded.ids) >= sent + STREAM_TOKENS:
            yield runtime.codes(decoded.ids[sent:])
            sent = len(decoded.ids)
    yield runtime.codes(decoded.ids[sent:])


def result_of(runtime: Runtime, speeches: list[Speech], options: Options, retried: int = 0) -> AudioResult:
    """Sentences put together; `retried`: how many were not spoken with the first seed."""
    parts: list[np.ndarray] = []
    segments, at = [], 0
    for speech in speeches:
        if parts:
            parts.append(np.zeros(PAUSE, dtype=np.float32))
            at += PAUSE
        end = at + len(speech.wave)
        decoded = speech.decoded
        confidence, codes = confidence_of(decoded.log_probs), runtime.codes(decoded.ids).tolist()
        probabilities = [math.exp(log_prob) for log_prob in decoded.log_probs[: len(codes)]]  # without that of <eos>
        segments.append(
            Segment(at / SAMPLE_RATE, end / SAMPLE_RATE, speech.utterance.text, confidence, codes=codes, probabilities=probabilities)
        )
        parts.append(speech.wave)
        at = end
    voice = speeches[0].utterance.voice
    reasons = [reason for speech in speeches if (reason := failed(speech))]
    more = ({"retried": retried} if retried else {}) | ({"failed": "; ".join(reasons)} if reasons else {})
    return AudioResult(
        task="tts",
        lang=speeches[0].utterance.lang,
        audio=np.concatenate(parts).astype(np.float32),
        segments=segments,
        confidence=confidence_of([log_prob for speech in speeches for log_prob in speech.decoded.log_probs]),
        receipt=runtime.receipt(
            0.0, 0.0, len(speeches), [speech.decoded for speech in speeches], options.seed,
            temperature=options.temperature, top_k=options.top_k, voice=voice.name if voice else None, **more,
        ),
    )  # fmt: skip


def no_speech(runtime: Runtime, lang: str) -> AudioResult:
    """The answer where there is nothing to say: no sound at all."""
    return AudioResult(task="tts", lang=lang, audio=np.zeros(0, dtype=np.float32), receipt=runtime.receipt(0.0, 0.0, 0, []))
