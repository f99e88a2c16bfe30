"""Chains of verbs: "enhance | transcribe | translate:de | speak".

In: the line a person types. Out: checked `Step`s, each fed with what the step before it gives, and the results of running them.
Speech to speech translation keeps the speaker as the paper does: `speak` goes on in the voice of the input recording, whose text
and audio tokens are the prompt.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lauragpt.engine import synthesise
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


def parse_chain(line: str, given: str = "audio") -> list[Step]:
    """The steps, or LauraError naming the step that does not exist, lacks a language or cannot take what comes to it."""
    steps = []
    for part in line.split("|"):
        verb, colon, lang = (piece.strip() for piece in part.partition(":"))
        if verb not in VERBS:
            raise LauraError(f"chain step {part.strip()!r} is unknown: steps are {', '.join(VERBS)}, joined by |")
        if colon or verb == "translate":
            if not lang:
                raise LauraError(f"chain step {part.strip()!r} needs a language, as in {verb}:de")
            check_lang(lang)
        takes, gives = VERBS[verb]
        if given not in takes:
            raise LauraError(f"chain step {verb!r} takes {' or '.join(takes)}, but gets {given} from {str(steps[-1]) if steps else 'the input'!r}")
        steps.append(Step(verb, lang or None))
        given = gives
    return steps


def run_chain(laura: "Laura", steps: list[Step], waves: list[np.ndarray], seed: int, temperature: float, top_k: int) -> list[Result]:
    """Every step over all inputs at once. The result is the last step's; its receipt holds the receipts of the steps before it."""
    results: list[Result] = []
    receipts: list[list[dict]] = [[] for _ in waves]
    heard: list[str | None] = [None] * len(waves)
    for number, step in enumerate(steps):
        before = results
        inputs = waves if not before or before[0].audio is not None else None
        if inputs is not None and before:
            inputs = [result.audio for result in before]
        texts = [result.text or "" for result in before] if inputs is None else []
        if step.verb == "speak":
            lang = step.lang or next((s.lang for s in reversed(steps[:number]) if s.lang), None)
            results = _speak(laura, waves, texts, heard, lang or before[0].lang, seed, temperature, top_k)
        elif step.verb == "translate":
            results = laura.translate(inputs, to=step.lang) if inputs is not None else laura.translate(text=texts, to=step.lang)
        elif step.verb in ("transcribe", "understand"):
            results = getattr(laura, step.verb)(inputs, lang=step.lang)
        else:
            results = getattr(laura, step.verb)(inputs)
        if step.verb == "transcribe":
            heard = [result.text for result in results]
        for kept, result in zip(receipts, results):
            kept.append({"step": str(step), "text": result.text} | result.receipt)
    for kept, result in zip(receipts, results):
        drawn = {"seed": seed, "temperature": temperature, "top_k": top_k}
        result.receipt = {**kept[-1], **drawn, "chain": " | ".join(map(str, steps)), "steps": kept[:-1]}
    return results


def _speak(
    laura: "Laura", waves: list[np.ndarray], texts: list[str], heard: list[str | None], lang: str, seed: int, temperature: float, top_k: int
) -> list[Result]:
    """`speak` in the voice of each input; where nothing was said, an empty recording, since there is nothing to say."""
    said = [index for index, text in enumerate(texts) if synthesise.sentences_of(text, lang)]
    voices = laura.voices_of([waves[i] for i in said], [heard[i] for i in said])
    spoken = laura.speak(
        [texts[i] for i in said], lang=lang, voice=voices, seed=seed, temperature=temperature, top_k=top_k
    ) if said else []
    results = [synthesise.nothing(laura.runtime, lang) for _ in texts]
    for index, result in zip(said, spoken):
        results[index] = result
    return results
