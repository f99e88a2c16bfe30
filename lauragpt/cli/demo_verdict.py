"""Is an answer of the demo right? Words are compared with a reference; speech is first recognised.

In: a `DemoCase` and its answer. Out: one of RIGHT, PARTLY and FAILED, and what a recogniser hears in speech: pocketsphinx for English if it
is installed, else the model itself.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lauragpt.audio import MINIMUM, SAMPLE_RATE
from lauragpt.data.captions import sound_of
from lauragpt.engine.api import Laura
from lauragpt.evaluate.metrics import MissingPackage
from lauragpt.evaluate.report.figures import compare
from lauragpt.evaluate.sound_metrics import POCKETSPHINX, pocketsphinx_text
from lauragpt.tasks import text_to_slu

if TYPE_CHECKING:
    from lauragpt.cli.demo import DemoCase

RIGHT, PARTLY, FAILED = "right", "partly right", "failed"
MOST, HALF = 0.8, 0.5  # share of the words that must be right for RIGHT, for PARTLY
RULE = (
    f"Words are compared with a reference: right means at least {MOST:.0%} of them, partly right at least {HALF:.0%}. Speech is judged by "
    "what a recogniser hears in it. Enhancement fails if fewer words are recognised after it than before. Emotions and captions are right "
    "or failed; an order with the right intent but wrong details is partly right. A good translation in other words than ours can count "
    "as failed."
)


@dataclass(frozen=True)
class Recognition:
    """What was recognised in speech, and by whom."""

    text: str
    recogniser: str


def recognise(laura: Laura, wave: np.ndarray, lang: str) -> Recognition:
    """The words in a wave (N,) at 16 kHz."""
    if lang == "en":
        try:
            return Recognition(pocketsphinx_text(wave), POCKETSPHINX)
        except MissingPackage:
            pass
    text = laura.transcribe(wave, lang=lang).text if len(wave) >= MINIMUM * SAMPLE_RATE else ""
    return Recognition(text or "", "this model")


def word_share(text: str, reference: str, lang: str) -> float:
    """The share of words in their place, 0..1, of the longer of the two texts, so that invented words count as well as missing ones."""
    words, expected = compare(text, reference, lang)
    return sum(ok for _, ok in expected) / max(len(words), len(expected), 1)


def verdict(request: "DemoCase") -> str:
    """RIGHT, PARTLY or FAILED."""
    result, reference = request.result, request.reference
    if result is None:
        return FAILED
    text = result.text or ""
    if request.verb == "emotion":
        return RIGHT if text == reference else FAILED
    if request.verb == "caption":
        return RIGHT if sound_of(text) == reference else FAILED
    if request.verb == "understand":
        intent, slots = text_to_slu(reference)
        return (RIGHT if result.slots == slots else PARTLY) if result.intent == intent else FAILED
    if request.recognition is not None:
        text = request.recognition.text
    share = word_share(text, reference, request.lang)
    if request.input_recognition is not None and share < word_share(request.input_recognition.text, reference, request.lang):
        return FAILED
    return RIGHT if share >= MOST else PARTLY if share >= HALF else FAILED


def summary(requests: list["DemoCase"]) -> str:
    """All answers counted, and then by verb."""
    counts = []
    for verb in dict.fromkeys(request.verb for request in requests):
        verdicts = [request.verdict for request in requests if request.verb == verb]
        counts.append(f"{verb} {verdicts.count(RIGHT)} of {len(verdicts)}")
    verdicts = [request.verdict for request in requests]
    whole = ", ".join(f"{verdicts.count(name)} {name}" for name in (RIGHT, PARTLY, FAILED))
    return f"Of {len(requests)} answers: {whole}. Right by verb: {', '.join(counts)}."
