"""The page of `laura demo`: one HTML file with everything in it; sounds and pictures are data: URIs.

In: the answered requests (`demo.Request`). Out: the file's text. demo_page.html holds its frame; nothing is fetched.
"""

import html
import io
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from lauragpt.audio import SAMPLE_RATE
from lauragpt.cli.demo_verdict import RULE, Recognition, summary
from lauragpt.evaluate.report.figures import compare, data_uri, spectrogram, style

if TYPE_CHECKING:
    from lauragpt.cli.demo import Request

TITLES = {
    "transcribe": ("Transcribe", "Speech to text. The model also names the language."),
    "translate": ("Translate", "Speech or text in one language to text in the other."),
    "speak": ("Speak", "Text to speech: the GPT writes audio tokens, and the vocoder turns them into sound."),
    "enhance": ("Enhance", "Noisy speech to clean speech, through the GPT's audio tokens."),
    "caption": ("Caption", "A sound described in words."),
    "emotion": ("Emotion", "The speaker's emotion, with the GPT's probabilities."),
    "understand": ("Understand", "A spoken order to its intent and details."),
    "chain": ("Chain", "Several verbs in a row: each takes the answer of the one before."),
}
BADGES = {"right": "ok", "partly right": "partly", "failed": "bad"}  # CSS classes


def page(model: str, requests: list["Request"], seconds: float) -> str:
    """The whole page."""
    sections = []
    for verb, (title, text) in TITLES.items():
        cards = "\n".join(card(request) for request in requests if request.verb == verb)
        if cards:
            sections.append(f'<section id="{verb}"><h2>{title}</h2><p class="what">{text}</p><div class="cards">{cards}</div></section>')
    links = " ".join(f'<a href="#{verb}">{TITLES[verb][0]}</a>' for verb in TITLES if any(request.verb == verb for request in requests))
    template = Template((Path(__file__).parent / "demo_page.html").read_text(encoding="utf-8"))
    return template.substitute(
        model=html.escape(model), count=len(requests), seconds=f"{seconds:.0f}", links=links, sections="\n".join(sections),
        summary=html.escape(summary(requests)), rule=html.escape(RULE), style=style(),
    )  # fmt: skip


def card(request: "Request") -> str:
    """One request: input, answer, what a recogniser hears in it, reference, and the verdict."""
    badge = f'<span class="badge {BADGES[request.verdict]}">{request.verdict}</span>'
    parts = [f"<h3>{html.escape(request.title)} {badge}</h3>"]
    parts.append(
        _line("input", html.escape(request.input)) if isinstance(request.input, str) else _sound("input", request.input, SAMPLE_RATE)
    )
    if request.input_recognition is not None:
        parts.append(_recognition(request.input_recognition, request))
    parts.append(_answer(request))
    if request.recognition is not None:
        parts.append(_recognition(request.recognition, request))
    if request.clean is not None:
        parts.append(_sound("clean", request.clean, SAMPLE_RATE))
    if not isinstance(request.input, str) or request.reference != request.input:
        parts.append(_line("reference", html.escape(request.reference)))
    kind = " class=bad" if request.verdict == "failed" else ""
    return f"<article{kind}>{''.join(parts)}<footer>{html.escape('; '.join(_notes(request)))}</footer></article>"


def _notes(request: "Request") -> list[str]:
    result, notes = request.result, [f"{request.seconds:.1f} s to answer"]
    if result is not None and result.confidence is not None and result.text:
        notes.append(f"the GPT's confidence {result.confidence:.0%}")
    if result is not None and request.verb == "transcribe":
        notes.append(f"language: {result.lang}")
    return [*notes, request.source] if request.source else notes


def _answer(request: "Request") -> str:
    result = request.result
    if result is None:
        return _line("answer", html.escape(request.error), "failed")
    steps = "".join(
        f"<li><b>{html.escape(step['step'])}</b> {html.escape(step.get('text') or 'sound')}</li>"
        for step in result.receipt.get("steps", [])
    )
    body = f'<ol class="steps">{steps}</ol>' if steps else ""
    if result.audio is not None:
        return body + (_sound("answer", result.audio, result.sample_rate) if len(result.audio) else _line("answer", "no sound", "failed"))
    text = html.escape(result.text or "(nothing)")
    if request.verb in ("transcribe", "translate") and result.text:
        text = _marked(result.text, request)
    body += _line("answer", text, "answer")
    if result.scores:
        likeliest = sorted(result.scores.items(), key=lambda pair: -pair[1])[:4]
        body += (
            '<ul class="bars">'
            + "".join(
                f'<li><span>{html.escape(label)}</span><i style="width:{100 * share:.0f}%"></i><em>{share:.0%}</em></li>'
                for label, share in likeliest
            )
            + "</ul>"
        )
    return body


def _recognition(recognition: Recognition, request: "Request") -> str:
    text = _marked(recognition.text, request) if recognition.text else "(nothing)"
    return _line("recognised", f'{text} <span class="by">by {html.escape(recognition.recogniser)}</span>')


def _marked(text: str, request: "Request") -> str:
    """The words of an answer; those that the reference does not have in their place are marked."""
    words, _ = compare(text, request.reference, request.lang)
    return " ".join(f"<span{'' if ok else ' class=off'}>{html.escape(word)}</span>" for word, ok in words)


def _line(label: str, content: str, kind: str = "") -> str:
    return f'<div class="io"><span class="tag">{label}</span><p class="text {kind}">{content}</p></div>'


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
