"""Translation of texts and of recordings.

A text is translated sentence by sentence: `[source text, <mt>, <lang>, text, <eos>]`. A recording is translated directly, `[frames,
<s2tt>, <lang>, text, <eos>]`, or as a cascade, transcript first, where the checkpoint does that better (`cascade` in its config.json);
both steps are the GPT's. What is in the target language already is left as it is, with a `LauraWarning` and `untranslated` in the
receipt.
"""

import warnings
from dataclasses import replace

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine.chunking import LONGEST, PAUSE, batches, cut_all, is_silent
from lauragpt.engine.decoding import Decoded, Row, choose_one, joined, log_softmax
from lauragpt.engine.progress import Meter, Progress, share_of
from lauragpt.engine.recognise import (
    ChunkResult,
    answer_confidence,
    by_item,
    check_confidence,
    join,
    joined_text,
    listen,
    longest_language,
    recognise,
)
from lauragpt.engine.runtime import Runtime
from lauragpt.engine.sentences import split_sentences
from lauragpt.errors import LauraWarning
from lauragpt.result import Segment, TextResult, confidence_of
from lauragpt.tasks import TASKS

BATCH_TOKENS = 2048  # padded tokens of a batch of sentences
TOKENS_PER_TOKEN, EXTRA_TOKENS = 2, 24  # of the source that a translation may have, and on top
# Probability of the target language behind `<mt>` under which a text is in it already: of 2,028 sentences on dev none is taken for one that
# is and should not, and one is missed.
SAME_LANGUAGE = 0.1
ONE_WORD = 16  # characters, and no space: too little to know a language by, and many words belong to several
TRANSCRIPT_SHARE = 0.75  # of the time of a cascade that its transcripts take, about


def translate_texts(
    runtime: Runtime, texts: list[str], to: str, langs: list[str | None] | None = None, progress: Progress | None = None
) -> list[TextResult]:
    """Each text in the language `to`. langs: of the texts; the GPT tells where one is None."""
    langs = langs or [None] * len(texts)
    same = [lang == to for lang in langs]
    unknown = [index for index, lang in enumerate(langs) if lang is None and texts[index].strip()]
    for index, decision in zip(unknown, in_language(runtime, [texts[index] for index in unknown], to)):
        same[index] = decision
    foreign = [index for index in range(len(texts)) if not same[index]]
    written = dict(zip(foreign, translate_sentences(runtime, [texts[index] for index in foreign], to, progress)))
    return [
        _translation(runtime, text, to, lang, written[index]) if index in written else _untranslated(runtime, text, to, lang)
        for index, (text, lang) in enumerate(zip(texts, langs))
    ]


def _translation(runtime: Runtime, text: str, to: str, lang: str | None, sentences: list[Decoded]) -> TextResult:
    return TextResult(
        task="mt",
        lang=to,
        text=text_of(runtime, sentences, to),
        segments=[Segment(0.0, 0.0, text_of(runtime, [decoded], to), confidence_of(decoded.log_probs)) for decoded in sentences],
        confidence=confidence_of([log_prob for decoded in sentences for log_prob in decoded.log_probs]),
        receipt=runtime.receipt(0.0, 0.0, len(sentences), sentences, text=text, **({"source_lang": lang} if lang else {})),
    )


def _untranslated(runtime: Runtime, text: str, to: str, lang: str | None) -> TextResult:
    reason = f"the text {text.strip()[:40]!r} is in {to!r} already and is left as it is: choose another language to translate it into"
    warnings.warn(reason, LauraWarning, stacklevel=4)
    receipt = runtime.receipt(0.0, 0.0, 0, [], text=text, untranslated=reason, **({"source_lang": lang} if lang else {}))
    return TextResult(task="mt", lang=to, text=text, segments=[Segment(0.0, 0.0, text)], receipt=receipt)


def in_language(runtime: Runtime, texts: list[str], to: str) -> list[bool]:
    """Whether each text, which is not empty, is in the language `to` already: the GPT would then translate it into another one. A single
    word is taken for foreign."""
    vocabulary, langs = runtime.vocabulary, runtime.info.langs
    tokens = [vocabulary.lang(lang) for lang in langs]

    def probabilities(task: str, letters: bool) -> list[float]:
        shares: list[float] = []
        for start in range(0, len(texts), 16):
            ids = [[*runtime.tokenizer.encode(text.strip()[:300], letters), vocabulary.task(task)] for text in texts[start : start + 16]]
            log_probs = log_softmax(runtime.backend.open(None, ids).logits[:, tokens])
            shares += np.exp(log_probs[:, langs.index(to)]).tolist()
        return shares

    same = [share < SAME_LANGUAGE for share in probabilities("mt", TASKS["mt"].letters)]
    if len(langs) > 2:  # there are several languages to translate into: the one that is spoken behind `<tts>` decides as well
        same = [both and share > 0.5 for both, share in zip(same, probabilities("tts", TASKS["tts"].letters))]
    return [each and (len(text.split()) > 1 or len(text) > ONE_WORD) for each, text in zip(same, texts)]


def translate_sentences(runtime: Runtime, texts: list[str], to: str, progress: Progress | None = None) -> list[list[Decoded]]:
    """What the GPT writes for each of a text's sentences, a sentence a row."""
    sentences = [(item, runtime.tokenizer.encode(sentence)) for item, text in enumerate(texts) for sentence in split_sentences(text)]
    written: list[Decoded] = [Decoded(finish="empty") for _ in sentences]
    meter = Meter(progress, len(sentences))
    for group in batches([len(ids) for _, ids in sentences], runtime.at_once(BATCH_TOKENS)):
        session, langs = runtime.begin(None, [[*sentences[index][1], runtime.vocabulary.task("mt")] for index in group], [to] * len(group))
        rows = [Row(maximum=TOKENS_PER_TOKEN * len(sentences[index][1]) + EXTRA_TOKENS) for index in group]
        read = session.lengths.tolist()
        for index, decoded in zip(group, runtime.counted("mt", langs, read, runtime.write("mt", session, rows))):
            written[index] = decoded
        meter.add(len(group))
    return [[decoded for (owner, _), decoded in zip(sentences, written) if owner == item] for item in range(len(texts))]


def text_of(runtime: Runtime, sentences: list[Decoded], lang: str) -> str:
    return ("" if lang == "zh" else " ").join(filter(None, (runtime.tokenizer.decode(decoded.ids).strip() for decoded in sentences)))


def translate_recordings(
    runtime: Runtime,
    waves: list[np.ndarray],
    to: str,
    lang: str | None = None,
    min_confidence: float = 0.0,
    progress: Progress | None = None,
) -> list[TextResult]:
    """Each wave (N,) in the language `to`; a recording in that language is answered with its transcript. lang: of the recordings; None:
    the GPT tells. LauraError for a confidence outside 0 to 1."""
    check_confidence(min_confidence)
    if runtime.info.cascade:
        return _cascade(runtime, waves, to, lang, min_confidence, progress)
    langs = [lang] * len(waves) if lang else [spoken_language(runtime, wave) for wave in waves]
    same, foreign = ([i for i in range(len(waves)) if in_target == (langs[i] == to)] for in_target in (True, False))
    results: dict[int, TextResult] = {}
    total = sum(map(len, waves)) / SAMPLE_RATE
    split = sum(len(waves[i]) for i in same) / SAMPLE_RATE / total if total else 0.0
    step = share_of(progress, 0.0, split, total) if same else None
    for index, result in zip(same, listen(runtime, "asr", [waves[i] for i in same], to, min_confidence, step)):
        results[index] = _as_spoken(result, to)
    step = share_of(progress, split, 1.0, total) if foreign else None
    results |= zip(foreign, listen(runtime, "s2tt", [waves[i] for i in foreign], to, min_confidence, step))
    return [results[index] for index in range(len(waves))]


def _as_spoken(result: TextResult, to: str) -> TextResult:
    """A transcript as the answer to who asked for a translation."""
    reason = f"the recording is in {to!r} already and its transcript is the answer: choose another language to translate it into"
    warnings.warn(reason, LauraWarning, stacklevel=5)
    result.task = "s2tt"
    result.receipt["untranslated"] = reason
    return result


def spoken_language(runtime: Runtime, wave: np.ndarray) -> str | None:
    """The language of the first seconds in which something sounds, by the GPT's `<lang>` behind `<asr>`; None where nothing does."""
    for chunk in cut_all([wave], PAUSE):
        if not is_silent(chunk.wave):
            encoded = runtime.backend.encode([chunk.wave[: int(LONGEST * SAMPLE_RATE)]])
            tokens = [runtime.vocabulary.lang(lang) for lang in runtime.info.langs]
            [token] = choose_one(runtime.backend.open(encoded, [[runtime.vocabulary.task("asr")]]), tokens)
            return runtime.info.langs[tokens.index(token)]
    return None


def _cascade(
    runtime: Runtime, waves: list[np.ndarray], to: str, lang: str | None, min_confidence: float, progress: Progress | None
) -> list[TextResult]:
    """Transcripts, then their translations, chunk by chunk. A chunk's confidence is the transcript's times the translation's."""
    transcripts = recognise(runtime, "asr", cut_all(waves, PAUSE), lang, progress=share_of(progress, 0.0, TRANSCRIPT_SHARE))
    groups = by_item(transcripts, len(waves))
    langs = [longest_language(group) for group in groups]
    # Without the times of words, which translation replaces.
    results = [replace(result, confidence=answer_confidence(runtime, "asr", [result]), ctc_log_probs=None) for result in transcripts]
    foreign = [index for index, result in enumerate(results) if result.text and langs[result.chunk.item] != to]
    seconds = sum(map(len, waves)) / SAMPLE_RATE
    step = share_of(progress, TRANSCRIPT_SHARE, 1.0, seconds)
    sentences = translate_sentences(runtime, [as_written(results[index].text) for index in foreign], to, step)
    for index, written in zip(foreign, sentences):
        results[index] = _translated(runtime, results[index], written, to)
    if progress is not None:
        progress(seconds, seconds)
    answers = [join(runtime, "s2tt", group, to, min_confidence) for group in by_item(results, len(waves))]
    for answer, group, spoken in zip(answers, groups, langs):
        answer.receipt |= {"transcript": joined_text(group, spoken), "heard": spoken}
        if spoken == to:
            _as_spoken(answer, to)
    return answers


def _translated(runtime: Runtime, transcript: ChunkResult, sentences: list[Decoded], to: str) -> ChunkResult:
    translation, both = joined(sentences), joined([transcript.decoded, *sentences])
    return replace(
        transcript,
        text=text_of(runtime, sentences, to),
        decoded=Decoded(translation.ids, translation.log_probs, both.finish, both.guards, both.sequences),
        confidence=(transcript.confidence or 0.0) * (confidence_of(translation.log_probs) or 0.0),
    )


def as_written(transcript: str) -> str:
    """A transcript with a capital and a full stop, as the texts have them that translation was trained on."""
    return transcript[:1].upper() + transcript[1:] + "."
