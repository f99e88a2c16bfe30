"""The page of `laura demo`: one HTML file with everything in it, sounds and pictures as data: URIs.

In: what was asked and answered (`demo.Shown`). Out: the file's text. demo_page.html holds the looks; nothing is fetched from anywhere.
"""

import html
import io
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from lauragpt.audio import SAMPLE_RATE
from lauragpt.evaluate.report.figures import compare, data_uri, spectrogram

if TYPE_CHECKING:
    from lauragpt.cli.demo import Shown

TITLES = {
    "transcribe": ("Transcribe", "speech to text; the model also says which language it hears"),
    "translate": ("Translate", "speech or text in one language, text in the other"),
    "speak": ("Speak", "text to speech: the GPT writes audio tokens, the vocoder turns them into sound in one step"),
    "enhance": ("Enhance", "noisy speech to clean speech, through the GPT's audio tokens"),
    "caption": ("Caption", "what is heard, in words"),
    "emotion": ("Emotion", "how something is said, with the GPT's own probabilities"),
    "understand": ("Understand", "a spoken order to an intent and its details"),
    "chain": ("Chain", "the answer of one verb is the question of the next"),
}


def page(model: str, shown: list["Shown"], seconds: float) -> str:
    """The whole page."""
    sections = []
    for verb, (title, what) in TITLES.items():
        cards = "\n".join(card(item) for item in shown if item.verb == verb)
        if cards:
            sections.append(f'<section id="{verb}"><h2>{title}</h2><p class="what">{what}</p><div class="cards">{cards}</div></section>')
    links = " ".join(f'<a href="#{verb}">{TITLES[verb][0]}</a>' for verb in TITLES if any(item.verb == verb for item in shown))
    template = Template((Path(__file__).parent / "demo_page.html").read_text(encoding="utf-8"))
    return template.substitute(
        model=html.escape(model), count=len(shown), seconds=f"{seconds:.0f}", links=links, sections="\n".join(sections), score=html.escape(tally(shown))
    )


def tally(shown: list["Shown"]) -> str:
    """The page's own score, so that nobody has to count the red words."""
    right = total = 0
    for item in shown:
        if item.verb == "transcribe":
            marks = compare(item.result.text if item.result else "", item.reference, item.lang)
            right, total = right + sum(ok for _, ok in marks[1]), total + len(marks[1])
    named = [(item.result.text if item.result else "") == item.reference for item in shown if item.verb == "emotion"]
    return f"On this page it heard {right} of {total} reference words and named {sum(named)} of {len(named)} emotions right."


def card(item: "Shown") -> str:
    parts = [f"<h3>{html.escape(item.title)}</h3>"]
    if isinstance(item.given, str):
        parts.append(f'<div class="io"><span class="tag">in</span><p class="text">{html.escape(item.given)}</p></div>')
    else:
        parts.append(_sound("in", item.given, SAMPLE_RATE))
    parts.append(_answer(item))
    if item.clean is not None:
        parts.append(_sound("reference", item.clean, SAMPLE_RATE))
    elif item.reference:
        parts.append(f'<div class="io"><span class="tag">reference</span><p class="text">{html.escape(item.reference)}</p></div>')
    notes = [f"{item.seconds:.1f} s to answer"]
    if item.result is not None and item.result.confidence is not None and item.result.text:
        notes.append(f"the GPT's confidence {item.result.confidence:.0%}")
    if item.result is not None and item.verb == "transcribe":
        notes.append(f"language heard: {item.result.lang}")
    if item.source:
        notes.append(item.source)
    return f'<article>{"".join(parts)}<footer>{html.escape("; ".join(notes))}</footer></article>'


def _answer(item: "Shown") -> str:
    if item.result is None:
        return f'<div class="io"><span class="tag">out</span><p class="text failed">{html.escape(item.error)}</p></div>'
    result = item.result
    steps = "".join(
        f'<li><b>{html.escape(step["step"])}</b> {html.escape(step.get("text") or "sound")}</li>' for step in result.receipt.get("steps", [])
    )
    body = f'<ol class="steps">{steps}</ol>' if steps else ""
    if result.audio is not None:
        if len(result.audio):
            return body + _sound("out", result.audio, result.sample_rate)
        return body + '<div class="io"><span class="tag">out</span><p class="text failed">nothing was said</p></div>'
    text = html.escape(result.text or "(nothing)")
    if item.verb == "transcribe" and result.text:
        text = " ".join(f"<span{'' if ok else ' class=off'}>{html.escape(word)}</span>" for word, ok in compare(result.text, item.reference, item.lang)[0])
    body += f'<div class="io"><span class="tag">out</span><p class="text answer">{text}</p></div>'
    if result.scores:
        bars = sorted(result.scores.items(), key=lambda pair: -pair[1])[:4]
        body += '<ul class="bars">' + "".join(
            f'<li><span>{html.escape(label)}</span><i style="width:{100 * share:.0f}%"></i><em>{share:.0%}</em></li>' for label, share in bars
        ) + "</ul>"
    return body


def _sound(label: str, wave: np.ndarray, rate: int) -> str:
    """A player above its spectrogram. WAV, because every browser plays it."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), rate, format="WAV", subtype="PCM_16")
    seconds = len(wave) / rate
    return (
        f'<div class="io"><span class="tag">{label}</span><div class="sound">'
        f'<audio controls preload="metadata" src="{data_uri("audio/wav", file.getvalue())}"></audio>'
        f'<img alt="spectrogram, 0 to {rate // 2000} kHz, {seconds:.1f} s" src="{data_uri("image/png", spectrogram(wave))}"></div></div>'
    )
