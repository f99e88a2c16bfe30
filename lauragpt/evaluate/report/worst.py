"""The worst answers of each task, with players: input, reference, answer.

In: a report's rows and a function that gives an answer's sound. Out: blocks of HTML by task. Sounds become Ogg Opus in data: URIs as
long as they fit into the `Budget`: the worst of every row first, so that no task fills it alone."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import soundfile

from lauragpt.audio import SAMPLE_RATE, check_wave
from lauragpt.data.channel import encode_audio
from lauragpt.data.manifest import Example
from lauragpt.data.spans import load_span
from lauragpt.errors import LauraError
from lauragpt.evaluate.answers import NOISY, Answer
from lauragpt.evaluate.inputs import input_wave
from lauragpt.evaluate.report.figures import compare, data_uri, spectrogram
from lauragpt.evaluate.report.plots import by_corpus, confidence
from lauragpt.evaluate.report.tables import Row, number

WORST = 10  # examples a row
TARGETS = 3  # references shown of one example
Sound = Callable[[Answer], np.ndarray | None]


@dataclass
class Budget:
    """How much of the page may be sound."""

    limit: int = 10_000_000  # characters of encoded players
    spent: int = 0
    left_out: int = 0  # players

    def take(self, html: str) -> bool:
        if self.spent + len(html) > self.limit:
            self.left_out += 1
            return False
        self.spent += len(html)
        return True


def worst_sections(rows: Sequence[Row], sound: Sound, budget: Budget) -> dict[str, list[str]]:
    """By task, a block for each row of the system's answers."""
    answered_rows = [row for row in rows if not row.is_reference]
    worst = [row.worst(WORST) for row in answered_rows]
    noisy = noisy_answers(rows)
    cards: dict[int, list[str]] = defaultdict(list)
    for rank in range(WORST):
        for place, (row, entries) in enumerate(zip(answered_rows, worst)):
            if rank < len(entries):
                example, answer, value = entries[rank]
                cards[place].append(card(row, example, answer, value, noisy.get((row.data.split(": ")[0], example.id)), sound, budget))
    blocks: dict[str, list[str]] = defaultdict(list)
    for place, row in enumerate(answered_rows):
        if cards[place]:
            title = f"{escape(row.data)}: the {len(cards[place])} worst of {row.n} by {escape(row.metric)}"
            blocks[row.task].append(
                f'<details class="worst"><summary>{title}</summary><div class="cards">{"".join(cards[place])}</div></details>'
            )
    return blocks


def noisy_answers(rows: Sequence[Row]) -> dict[tuple[str, str], Answer]:
    """(corpus, id) -> the noisy input of enhancement, which is a variant of the ablation."""
    return {
        (corpus, example.id): answer
        for corpus, group in by_corpus([row for row in rows if row.task == "se"]).items()
        for row in group
        for example, answer in zip(row.examples, row.answers)
        if answer.variant == NOISY
    }


def card(row: Row, example: Example, answer: Answer, value: float, noisy: Answer | None, sound: Sound, budget: Budget) -> str:
    parts = {"tts": spoken, "se": enhanced}.get(row.task, written)(row, example, answer, noisy, sound, budget)
    notes = [] if answer.finish in ("", "eos") else [f"ended by {answer.finish}"]
    certainty = confidence(answer) if row.task != "se" else None
    if certainty is not None:
        notes.insert(0, f"confidence {certainty:.0%}")
    footer = f"<footer>{escape('; '.join(notes))}</footer>" if notes else ""
    return (
        f"<article><header><h3>{escape(example.id)}</h3><b>{escape(score_text(row, value))}</b></header>{''.join(parts)}{footer}</article>"
    )


def score_text(row: Row, value: float) -> str:
    if row.metric.endswith("%") and not row.lower_is_better and value in (0, 100):
        return "right" if value else "wrong"
    return f"{row.metric} {number(value)}"


# --- what a card shows, by the kind of task ------------------------------------------------------------------------------------


def written(row: Row, example: Example, answer: Answer, noisy: Answer | None, sound: Sound, budget: Budget) -> list[str]:
    """Text answers; in transcripts, words that the other side lacks are marked."""
    parts = [text("input", example.source)] if example.source else []
    if example.audio:
        parts.append(player("input", lambda: input_wave(example), budget))
    if row.task == "asr":
        words, reference = compare(answer.text, example.targets[0] if example.targets else "", example.lang)
        return [*parts, line("reference", marked(reference)), line("answer", marked(words), "answer")]
    parts += [text("reference", target) for target in example.targets[:TARGETS]]
    likeliest = sorted(((n, p) for n, p in answer.scores.items() if math.isfinite(p)), key=lambda pair: -pair[1])[:3]
    scores = [text("probability", ", ".join(f"{name} {p:.0%}" for name, p in likeliest))] if likeliest else []
    return [*parts, text("answer", answer.text, "answer"), *scores]


def spoken(row: Row, example: Example, answer: Answer, noisy: Answer | None, sound: Sound, budget: Budget) -> list[str]:
    words, reference = compare(answer.text, example.source or "", example.lang)
    return [
        line("text", marked(reference)),
        line("recognised", marked(words), "answer"),
        player("answer", lambda: answer_sound(sound, answer), budget),
        player("a person", lambda: recording(example.audio), budget),
    ]


def enhanced(row: Row, example: Example, answer: Answer, noisy: Answer | None, sound: Sound, budget: Budget) -> list[str]:
    noisy_sound = (lambda: recording(example.noisy)) if example.noisy else (lambda: answer_sound(sound, noisy))
    measures = ", ".join(f"{name} {number(value)}" for name, value in answer.scores.items() if math.isfinite(value))
    return [
        player("noisy", noisy_sound, budget),
        player("answer", lambda: answer_sound(sound, answer), budget),
        player("clean", lambda: recording(example.audio), budget),
        text("metrics", measures),
    ]


def marked(words: list[tuple[str, bool]]) -> str:
    """Words with whether the other side has them; those it lacks are marked."""
    return " ".join(escape(word) if ok else f'<span class="off">{escape(word)}</span>' for word, ok in words)


def text(label: str, what: str, kind: str = "") -> str:
    return line(label, escape(what), kind)


def line(label: str, html: str, kind: str = "") -> str:
    html = html or '<span class="soft">(nothing)</span>'
    return f'<div class="io"><span class="tag">{label}</span><p class="text {kind}">{html}</p></div>'


def player(label: str, read: Callable[[], np.ndarray | None], budget: Budget) -> str:
    """A player above its spectrogram; a line of text if there is no sound or no room for it."""
    try:
        wave = read()
        if wave is None or not len(wave):
            return line(label, '<span class="soft">no sound</span>')
        wave = check_wave(wave)
    except (LauraError, KeyError, OSError) as error:
        return line(label, f'<span class="failed">cannot be played: {escape(str(error))}</span>')
    picture = f'<img alt="spectrogram, {len(wave) / SAMPLE_RATE:.1f} s" src="{data_uri("image/png", spectrogram(wave, 320, 56))}">'
    audio = f'<audio controls preload="metadata" src="{encoded(wave)}"></audio>'
    html = f'<div class="io"><span class="tag">{label}</span><div>{audio}{picture}</div></div>'
    return html if budget.take(html) else line(label, '<span class="soft">left out: the page is full</span>')


def recording(path: str | None) -> np.ndarray | None:
    return load_span(path) if path else None


def answer_sound(sound: Sound, answer: Answer | None) -> np.ndarray | None:
    return sound(answer) if answer is not None and answer.sound else None


def encoded(wave: np.ndarray) -> str:
    """(N,) as a data: URI of Ogg Opus; FLAC if libsndfile is too old for it."""
    opus = "OPUS" in soundfile.available_subtypes("OGG")
    data = encode_audio(wave, SAMPLE_RATE, *(("OGG", "OPUS") if opus else ("FLAC", "PCM_16")))
    return data_uri("audio/ogg" if opus else "audio/flac", data)
