"""Chains of verbs: "enhance | transcribe | translate:de | speak".

In: the line a person types. Out: checked `Step`s, each fed with the results of the one before it, and the results of running them.
Speech to speech translation keeps the speaker as the paper does: `speak` goes on in the voice of the input recording, whose text
and audio tokens are the prompt. A chain may also begin with a text, which is spoken in the voice of its language.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine import synthesise
from lauragpt.engine.progress import Progress, share_of
from lauragpt.engine.sentences import split_sentences
from lauragpt.engine.translate import translate_texts
from lauragpt.engine.voices import Voice
from lauragpt.errors import LauraError
from lauragpt.result import Result
from lauragpt.tasks import check_lang

if TYPE_CHECKING:
    from lauragpt.engine.api import Laura

# verb -> (kinds it takes, kind it gives)
VERBS = {
    "enhance": (("audio",), "audio"),
    "transcribe": (("audio",), "text"),
    "translate": (("audio", "text"), "text"),
    "caption": (("audio",), "text"),
    "emotion": (("audio",), "text"),
    "understand": (("audio",), "text"),
    "speak": (("text",), "audio"),
}


@dataclass(frozen=True)
class Step:
    verb: str
    lang: str | None = None

    def __str__(self) -> str:
        return f"{self.verb}:{self.lang}" if self.lang else self.verb


def parse_chain(line: str, kind: str = "audio") -> list[Step]:
    """The steps. `kind`: of the input. LauraError naming the step that does not exist, lacks a language or cannot take what comes to it."""
    steps: list[Step] = []
    for part in line.split("|"):
        verb, colon, lang = map(str.strip, part.partition(":"))
        if verb not in VERBS:
            raise LauraError(f"chain step {part.strip()!r} is unknown: steps are {', '.join(VERBS)}, joined by |")
        if colon or verb == "translate":
            if not lang:
                raise LauraError(f"chain step {part.strip()!r} needs a language, as in {verb}:de")
            check_lang(lang)
        takes, gives = VERBS[verb]
        if kind not in takes:
            source = str(steps[-1]) if steps else "the input"
            raise LauraError(f"chain step {verb!r} takes {' or '.join(takes)}, but gets {kind} from {source!r}")
        steps.append(Step(verb, lang or None))
        kind = gives
    return steps


def run_chain(
    laura: "Laura",
    steps: list[Step],
    inputs: list[np.ndarray] | list[str],
    kind: str,
    seed: int,
    temperature: float,
    top_k: int,
    progress: Progress | None = None,
) -> list[Result]:
    """Every step over all inputs, waves (N,) or texts as `kind` says, at once. The result is the last step's; its receipt holds the
    receipts of the steps before it."""
    options = {"seed": seed, "temperature": temperature, "top_k": top_k}
    waves, texts = (inputs, None) if kind == "audio" else (None, inputs)
    total = sum(map(len, waves)) / SAMPLE_RATE if waves is not None else float(sum(len(split_sentences(text)) for text in texts))
    receipts: list[list[dict]] = [[] for _ in inputs]
    transcripts: list[str | None] = [None] * len(inputs)
    sounds, langs, results = waves, [None] * len(inputs), []
    for number, step in enumerate(steps):
        share = share_of(progress, number / len(steps), (number + 1) / len(steps), total)
        if step.verb == "speak":
            target = next((s.lang for s in reversed(steps[: number + 1]) if s.lang), None)
            results = _speak(laura, waves, texts or [], transcripts, [target or lang for lang in langs], share, **options)
        elif step.verb == "translate" and texts is not None:
            results = translate_texts(laura.runtime, texts, step.lang, langs, share)
        elif step.verb == "translate":
            results = laura.translate(sounds, to=step.lang, progress=share)
        elif step.verb in ("transcribe", "understand"):
            results = getattr(laura, step.verb)(sounds, lang=step.lang, progress=share)
        else:
            results = getattr(laura, step.verb)(sounds, progress=share)
        if VERBS[step.verb][1] == "audio":
            sounds, texts = [result.audio for result in results], None
        else:
            sounds, texts = None, [result.text or "" for result in results]
        langs = [result.lang for result in results]
        if step.verb == "transcribe":
            transcripts = [result.text for result in results]
        for history, result in zip(receipts, results):
            answer = {"text": result.text} if result.text is not None else {}  # else what was said, if it was speech
            history.append({"step": str(step)} | result.receipt | answer)
    for history, result in zip(receipts, results):
        result.receipt = {**history[-1], **options, "chain": " | ".join(map(str, steps)), "steps": history[:-1]}
    return results


def _speak(
    laura: "Laura",
    waves: list[np.ndarray] | None,
    texts: list[str],
    transcripts: list[str | None],
    langs: list[str | None],
    progress: Progress | None,
    **options: float,
) -> list[Result]:
    """`speak` in the voice and the language of each recording, None: as the GPT tells; an empty recording where there is nothing to
    say."""
    results: list[Result] = [synthesise.no_speech(laura.runtime, lang or "en") for lang in langs]
    sentences = {i: float(len(synthesise.sentences_of(text, lang or "en"))) for i, (text, lang) in enumerate(zip(texts, langs))}
    spoken = [i for i, count in sentences.items() if count]
    if not spoken:
        return results
    voices: dict[int, Voice | None] = dict.fromkeys(spoken)
    if waves is not None:
        voices = dict(zip(spoken, laura.voices_of([waves[i] for i in spoken], [transcripts[i] for i in spoken])))
    done, total = 0.0, sum(sentences.values())
    for lang in dict.fromkeys(langs[i] for i in spoken):  # one call for each language
        group = [i for i in spoken if langs[i] == lang]
        size = sum(sentences[i] for i in group)
        share = share_of(progress, done / total, (done + size) / total, total)
        answers = laura.speak([texts[i] for i in group], lang=lang, voice=[voices[i] for i in group], progress=share, **options)
        for i, result in zip(group, answers):
            results[i] = result
        done += size
    return results
