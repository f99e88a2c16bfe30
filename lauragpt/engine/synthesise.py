"""Text or noisy audio -> clean audio: `speak` and `enhance`. What the GPT writes are codec tokens; the vocoder makes them sound.

speak:   `[prompt text, text, <tts>, <lang>, prompt audio tokens | audio tokens, <eos>]`; the prompt's tokens are a forced prefix
enhance: `[noisy frames, <se>, <lang>, audio tokens]`; ceil(n / 640) of them, no more and no fewer; long recordings in chunks that overlap
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine.backend import Session, Spoken
from lauragpt.engine.chunking import HOP, batches, is_silent
from lauragpt.engine.decoding import SPEECH_LOOP, Decoded, Options, Row, decode, steps
from lauragpt.engine.recognise import Piece, cut_all, listen
from lauragpt.engine.runtime import BATCH_SAMPLES, Runtime
from lauragpt.engine.texts import split_sentences
from lauragpt.engine.voices import Voice
from lauragpt.errors import LauraError
from lauragpt.result import Result, Segment, confidence_of
from lauragpt.sequence import PACE
from lauragpt.spoken import normalize
from lauragpt.tasks import TASKS
from lauragpt.text import agreement, kept_of

TOKENS_A_SECOND = SAMPLE_RATE // HOP  # 25
SAME_WORDS = 0.95  # share of the letters of a transcript that must be heard again after cleaning
AT_ONCE = 8  # tokens that are made sound together while more are written
OVERLAP = 10 * HOP  # samples of the next chunk that a chunk is cleaned with: there one fades into the other
PAUSE = SAMPLE_RATE * 3 // 20  # samples between two sentences
# Characters a second of the slowest and the fastest speech; a word in Chinese is a character or two.
PACES = {"en": (6.0, 30.0), "de": (6.0, 30.0), "zh": (2.0, 8.0)}


@dataclass
class Utterance:
    """A sentence to be said: of which item, as its how-many-th, in which voice."""

    item: int
    number: int
    text: str  # spoken form
    lang: str
    voice: Voice | None
    decoded: Decoded | None = None
    wave: np.ndarray | None = None  # (N,)


def enhance(
    runtime: Runtime, waves: list[np.ndarray], lang: str | None = None, options: Options = Options(loop=None), verify: bool = False
) -> list[Result]:
    """Each wave cleaned, exactly as long as it was. Chunks without sound stay silent. `verify`: a chunk in which other words are heard
    afterwards stays as it was; the receipt says how much agreed, chunk by chunk."""
    pieces = cut_all(waves)
    cleaned = [np.zeros(len(wave), dtype=np.float32) for wave in waves]  # a chunk is added when it is done: to keep all would take as much again
    loud = [piece for piece in pieces if not is_silent(piece.wave)]
    into = dict.fromkeys(map(id, loud), 0)  # samples that the chunk before reaches into a chunk
    agreed: dict[int, float] | None = {} if verify else None
    for piece, following in zip(loud, loud[1:]):
        if following.item == piece.item and following.chunk.start == piece.chunk.end:
            piece.wave = waves[piece.item][piece.chunk.start : min(piece.chunk.end + OVERLAP, following.chunk.end)]
            into[id(following)] = piece.chunk.start + len(piece.wave) - piece.chunk.end
    for group in batches([len(piece.wave) for piece in loud], BATCH_SAMPLES):
        batch = [loud[index] for index in group]
        encoded = runtime.backend.encode([piece.wave for piece in batch])
        session, langs = runtime.begin(encoded, [[runtime.vocabulary.task("se")]] * len(batch), [lang] * len(batch))
        frames = [-(-len(piece.wave) // HOP) for piece in batch]
        rows = [Row(maximum=count, minimum=count, key=_number_in_item(pieces, piece)) for count, piece in zip(frames, batch)]
        done = decode(session, rows, runtime.audio_mask, runtime.vocabulary.eos, options)
        sounds = runtime.backend.vocode([to_codes(runtime, d.ids) for d in done], noisy=[piece.wave for piece in batch])
        sounds = [sound[: len(piece.wave)] for piece, sound in zip(batch, sounds)]
        if agreed is not None:
            agreed |= _verify(runtime, batch, sounds)
        for piece, decoded, sound, chosen in zip(batch, done, sounds, langs):
            piece.decoded, piece.lang = decoded, chosen
            faded = fade(sound, into[id(piece)], len(sound) - (piece.chunk.end - piece.chunk.start))
            cleaned[piece.item][piece.chunk.start : piece.chunk.start + len(sound)] += faded
    return [_cleaned(runtime, [p for p in pieces if p.item == item], wave, lang, options, agreed) for item, wave in enumerate(cleaned)]


def _verify(runtime: Runtime, pieces: list[Piece], sounds: list[np.ndarray]) -> dict[int, float]:
    """How much of the words heard before was heard after; where it is too little, the sound is replaced by the chunk itself."""
    agreed = {}
    for number, (piece, before) in enumerate(zip(pieces, listen(runtime, "asr", [piece.wave for piece in pieces]))):
        # Where nothing was heard before, nothing can have been lost.
        after = listen(runtime, "asr", [sounds[number]], before.lang)[0].text if before.text else ""
        agreed[id(piece)] = kept_of(before.text, after) if before.text else 1.0
        if agreed[id(piece)] < SAME_WORDS:
            sounds[number] = piece.wave
    return agreed


def _number_in_item(pieces: list[Piece], piece: Piece) -> int:
    return sum(other.item == piece.item and other.chunk.start < piece.chunk.start for other in pieces)


def fade(part: np.ndarray, before: int, behind: int) -> np.ndarray:
    """(n,) that rises over its first `before` samples and falls over its last `behind`: added to its neighbours, which fall and rise there."""
    faded = part.astype(np.float32)  # a copy
    faded[:before] *= _rise(before)
    faded[len(part) - behind :] *= 1 - _rise(behind)
    return faded


def _rise(samples: int) -> np.ndarray:
    return (np.arange(samples, dtype=np.float32) + 0.5) / samples


def _cleaned(
    runtime: Runtime, pieces: list[Piece], audio: np.ndarray, lang: str | None, options: Options, agreed: dict[int, float] | None
) -> Result:
    seconds = len(audio) / SAMPLE_RATE
    log_probs = [log_prob for piece in pieces for log_prob in piece.decoded.log_probs]
    checked = [agreed[id(piece)] for piece in pieces if id(piece) in agreed] if agreed is not None else []
    kept = {"agreement": [round(value, 3) for value in checked], "kept_input": sum(value < SAME_WORDS for value in checked)}
    more = {"verify": kept} if agreed is not None else {}
    return Result(
        task="se",
        lang=lang or next((piece.lang for piece in pieces if piece.lang), runtime.info.langs[0]),
        audio=audio,
        segments=[
            Segment(piece.chunk.start / SAMPLE_RATE, piece.chunk.end / SAMPLE_RATE, "", confidence_of(piece.decoded.log_probs))
            for piece in pieces
        ],
        confidence=confidence_of(log_probs),
        receipt=runtime.receipt(seconds, seconds, len(pieces), [piece.decoded for piece in pieces], options.seed, **more),
    )


def speak(runtime: Runtime, texts: list[str], langs: list[str], voices: list[Voice | None], options: Options) -> list[Result]:
    """Each text said in its voice. Long texts are said sentence by sentence, each after the same prompt. LauraError for a text
    that holds nothing to say."""
    options = replace(options, loop=SPEECH_LOOP)
    utterances = [
        Utterance(item, number, sentence, lang, voice)
        for item, (text, lang, voice) in enumerate(zip(texts, langs, voices))
        for number, sentence in enumerate(sentences_of(text, lang))
    ]
    for item, text in enumerate(texts):
        if not any(utterance.item == item for utterance in utterances):
            raise LauraError(f"the text {text.strip()[:40]!r} holds nothing to say: give some words")
    sizes = [bounds(utterance.text, utterance.lang)[1] * HOP for utterance in utterances]
    for group in batches(sizes, BATCH_SAMPLES):
        _say(runtime, [utterances[index] for index in group], options)
    return [_said(runtime, [s for s in utterances if s.item == item], options) for item in range(len(texts))]


def speak_verified(
    runtime: Runtime, texts: list[str], langs: list[str], voices: list[Voice | None], options: Options, tries: int
) -> list[Result]:
    """`speak`, listened to by the model itself: what it does not hear as it was written is said again with the next seed, `tries` times at
    most, and the best is kept. The receipt says what was heard and how much of it agreed."""
    if tries < 1:
        raise LauraError(f"{tries} tries: give 1 or more")
    best: list[tuple[float, Result] | None] = [None] * len(texts)
    for number in range(tries):
        open_ = [i for i, found in enumerate(best) if found is None or found[0] < 1]
        given = ([each[i] for i in open_] for each in (texts, langs, voices))
        said = speak(runtime, *given, replace(options, seed=options.seed + number)) if open_ else []
        for i, result in zip(open_, said):
            heard = listen(runtime, "asr", [result.audio], langs[i])[0].text if len(result.audio) else ""
            agreed = agreement(" ".join(sentences_of(texts[i], langs[i])), heard)
            if best[i] is None or agreed > best[i][0]:
                result.receipt["verify"] = {"agreement": round(agreed, 3), "heard": heard}
                best[i] = agreed, result
            best[i][1].receipt["verify"]["tries"] = number + 1
    return [result for _, result in best]


def sentences_of(text: str, lang: str) -> list[str]:
    """The text's sentences in spoken form; those that hold no letter or number are left out."""
    return [spoken for sentence in split_sentences(text) if (spoken := normalize(sentence, lang).strip())]


def bounds(text: str, lang: str) -> tuple[int, int]:
    """(fewest, most) audio tokens that a text in spoken form may take, so that speech neither vanishes nor never ends."""
    slowest, fastest = PACES[lang]
    return int(len(text) / fastest * TOKENS_A_SECOND), int((1.5 + len(text) / slowest) * TOKENS_A_SECOND)


def to_codes(runtime: Runtime, ids: list[int]) -> np.ndarray:
    """Audio tokens as the codec counts them, (T,) from 0."""
    return np.array(ids, dtype=np.int64) - runtime.vocabulary.text_size


def languages(runtime: Runtime, texts: list[str], langs: list[str | None]) -> list[str]:
    """The language given, or what the GPT takes the text for: its own probabilities of `<lang>` behind the text and `<tts>`."""
    langs = list(langs)
    unknown = [index for index, lang in enumerate(langs) if lang is None]
    if unknown:
        ids = [runtime.tokenizer.encode((texts[i].strip() or ".")[:300].lower(), TASKS["tts"].letters) + [runtime.vocabulary.task("tts")] for i in unknown]
        # A row at a time in groups, so that one long text does not pad all.
        for start in range(0, len(unknown), 16):
            _, chosen = runtime.begin(None, ids[start : start + 16], [None] * len(ids[start : start + 16]))
            for index, lang in zip(unknown[start : start + 16], chosen):
                langs[index] = lang
    return langs


def _say(runtime: Runtime, utterances: list[Utterance], options: Options) -> None:
    """Fills in one batch."""
    session, rows, spoken = _open(runtime, utterances)
    done = decode(session, rows, runtime.audio_mask, runtime.vocabulary.eos, options)
    prompts = [utterance.voice.wave if utterance.voice else None for utterance in utterances]
    waves = runtime.backend.vocode([to_codes(runtime, d.ids) for d in done], text=spoken, prompt=prompts)
    for utterance, decoded, wave in zip(utterances, done, waves):
        utterance.decoded, utterance.wave = decoded, wave


def _open(runtime: Runtime, utterances: list[Utterance]) -> tuple[Session, list[Row], list[Spoken]]:
    """What the GPT goes on with, the bounds of each row, and the texts as the vocoder reads them."""
    vocabulary = runtime.vocabulary
    ids, spoken, rows = [], [], []
    for utterance in utterances:
        before = utterance.voice.spoken + " " if utterance.voice and utterance.voice.spoken else ""
        written = runtime.tokenizer.encode(before + utterance.text, TASKS["tts"].letters)
        letters = len(runtime.tokenizer.encode(before, TASKS["tts"].letters))
        # A voice whose words are not known is heard by the vocoder alone: tokens without their text would stand for the text to come.
        prompt_codes = utterance.voice.codes.tolist() if utterance.voice and utterance.voice.spoken else []
        audio = [code + vocabulary.text_size for code in prompt_codes]
        ids.append([*written, vocabulary.task("tts"), vocabulary.lang(utterance.lang), *audio])
        pace = len(prompt_codes) / letters if letters and prompt_codes else PACE  # a voice goes on as fast as it began
        spoken.append(Spoken(written[letters:], pace))
        fewest, most = bounds(utterance.text, utterance.lang)
        rows.append(Row(maximum=most, minimum=max(fewest, 1), key=utterance.number))
    return runtime.backend.open(None, ids, [each.pace for each in spoken]), rows, spoken


def speak_stream(runtime: Runtime, text: str, lang: str, voice: Voice | None, options: Options) -> Iterator[np.ndarray]:
    """A text's sound in pieces, while it is still being written; together what `speak` gives, unless the guard ended it, which cannot take
    back what was said. LauraError, before the first piece, for a text that holds nothing to say."""
    sentences = sentences_of(text, lang)
    if not sentences:
        raise LauraError(f"the text {text.strip()[:40]!r} holds nothing to say: give some words")
    return _pieces(runtime, [Utterance(0, number, sentence, lang, voice) for number, sentence in enumerate(sentences)], replace(options, loop=SPEECH_LOOP))


def _pieces(runtime: Runtime, utterances: list[Utterance], options: Options) -> Iterator[np.ndarray]:
    for utterance in utterances:
        if utterance.number:
            yield np.zeros(PAUSE, dtype=np.float32)
        session, rows, spoken = _open(runtime, [utterance])
        prompt = utterance.voice.wave if utterance.voice else None
        yield from runtime.backend.vocode_stream(_tokens(runtime, session, rows, options), spoken[0], prompt)


def _tokens(runtime: Runtime, session: Session, rows: list[Row], options: Options) -> Iterator[np.ndarray]:
    """One row's codes (n,) as they are written, some at a time."""
    given = 0
    for (done,) in steps(session, rows, runtime.audio_mask, runtime.vocabulary.eos, options):
        if len(done.ids) >= given + AT_ONCE:
            yield to_codes(runtime, done.ids[given:])
            given = len(done.ids)
    yield to_codes(runtime, done.ids[given:])


def _said(runtime: Runtime, utterances: list[Utterance], options: Options) -> Result:
    parts, segments, at = [], [], 0
    for utterance in utterances:
        if parts:
            parts.append(np.zeros(PAUSE, dtype=np.float32))
            at += PAUSE
        end = at + len(utterance.wave)
        segments.append(Segment(at / SAMPLE_RATE, end / SAMPLE_RATE, utterance.text, confidence_of(utterance.decoded.log_probs)))
        parts.append(utterance.wave)
        at = end
    voice = utterances[0].voice
    return Result(
        task="tts",
        lang=utterances[0].lang,
        audio=np.concatenate(parts).astype(np.float32),
        segments=segments,
        confidence=confidence_of([log_prob for utterance in utterances for log_prob in utterance.decoded.log_probs]),
        receipt=runtime.receipt(
            0.0, 0.0, len(utterances), [utterance.decoded for utterance in utterances], options.seed,
            temperature=options.temperature, top_k=options.top_k, voice=voice.name if voice else None,
        ),
    )


def nothing(runtime: Runtime, lang: str) -> Result:
    """The answer where there is nothing to say: no sound at all."""
    return Result(task="tts", lang=lang, audio=np.zeros(0, dtype=np.float32), receipt=runtime.receipt(0.0, 0.0, 0, []))
