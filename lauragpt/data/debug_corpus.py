"""A corpus made on the spot by formulas: every task, English and German, three and a half minutes of sound. Nothing has to be fetched or
installed.

In: a folder. Out: recordings under `audio/`, the examples of all splits, and sentences by language. What is "spoken" is a row of vowel-like
tones and bursts of noise, one a letter, so that there is something to align; nobody would understand it. It shows that a machine can train.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lauragpt.audio import SAMPLE_RATE, save_audio
from lauragpt.data.captions import CAPTIONS
from lauragpt.data.manifest import Example, TextLine
from lauragpt.data.slu_templates import template_words
from lauragpt.spoken import normalize
from lauragpt.tasks import EMOTIONS, slu_to_text

NAME = "debug"
SENTENCES = (  # English and German; of every six pairs the last two are dev and test
    ("The night was calm.", "Die Nacht war ruhig."), ("He paid two pence.", "Er zahlte zwei Pfennig."),
    ("Away we went then.", "Da gingen wir fort."), ("A small dog barks.", "Ein kleiner Hund bellt."),
    ("She reads a book.", "Sie liest ein Buch."), ("It rains today.", "Heute regnet es."),
    ("The boat comes home.", "Das Boot kommt heim."), ("We drink warm milk.", "Wir trinken warme Milch."),
    ("The door is open.", "Die Tür ist offen."), ("My brother sings.", "Mein Bruder singt."),
    ("Nobody knows the way.", "Niemand kennt den Weg."), ("The sun is low.", "Die Sonne steht tief."),
    ("They sell red apples.", "Sie verkaufen rote Äpfel."), ("The train is late.", "Der Zug hat Verspätung."),
    ("I saw the house.", "Ich sah das Haus."), ("The cat sleeps.", "Die Katze schläft."),
    ("Come in, please.", "Kommt bitte herein."), ("The street is long.", "Die Straße ist lang."),
)  # fmt: skip
SPEAKERS = {"en": (("anna", 190.0), ("adam", 110.0)), "de": (("berta", 205.0), ("bernd", 120.0))}  # name and pitch in Hz
ORDERS = (
    {"size": "small", "coffeeDrink": "latte"}, {"size": "large", "coffeeDrink": "mocha"}, {"coffeeDrink": "latte"},
    {"roast": "dark roast", "milkAmount": "no milk"}, {"size": "medium", "sugarAmount": "some sugar"},
    {"coffeeDrink": "espresso", "numberOfShots": "double shot"},
)  # fmt: skip
FORMANTS = {  # of each vowel, in Hz
    "a": (750, 1200), "e": (500, 1900), "i": (300, 2300), "o": (480, 850), "u": (320, 800), "y": (300, 1900), "ä": (650, 1700),
    "ö": (430, 1500), "ü": (300, 1750),
}  # fmt: skip
VOICED = "bdgjlmnrvwz"
LETTER_SECONDS = 0.08


def say(text: str, pitch: float, rate: float = 1.0) -> np.ndarray:
    """Text in spoken form -> (N,) float32: a vowel is a sum of harmonics under two formants, a voiced consonant the same between fixed
    ones and softer, any other letter noise, a space silence."""
    rng, parts, time = np.random.default_rng(len(text)), [], np.arange(round(LETTER_SECONDS / rate * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.minimum(1, 60 * np.minimum(time, time[-1] - time))
    frequencies = pitch * np.arange(1, int(4000 / pitch))
    harmonics = np.sin(2 * np.pi * frequencies[:, None] * time)
    for letter in text:
        if letter == " ":
            parts.append(np.zeros_like(time))
        elif letter in FORMANTS or letter in VOICED:
            first, second = FORMANTS.get(letter, (280, 900 + 120 * VOICED.find(letter)))
            loudness = 1 / (1 + ((frequencies - first) / 90) ** 2) + 0.5 / (1 + ((frequencies - second) / 150) ** 2)
            parts.append((0.12 if letter in FORMANTS else 0.04) * fade * (loudness @ harmonics))
        else:
            parts.append(0.02 * fade * rng.normal(size=len(time)))
    silence = np.zeros(SAMPLE_RATE // 10)
    return np.concatenate([silence, *parts, silence]).astype(np.float32)


def sound(kind: str, number: int, seconds: float = 2.0) -> np.ndarray:
    """(N,) float32 of one of four classes of ESC-50's."""
    rng, time = np.random.default_rng(number), np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    waves = {
        "rain": 0.05 * rng.normal(size=len(time)),
        "siren": 0.2 * np.sin(2 * np.pi * (700 * time + 60 * np.sin(3 * time + number))),
        "clock tick": rng.uniform(-0.5, 0.5, size=len(time)) * ((2 * time + 0.1 * number) % 1 < 0.01),
        "vacuum cleaner": sum(0.1 / k * np.sin(2 * np.pi * k * (110 + 5 * number) * time) for k in range(1, 9)),
    }
    return waves[kind].astype(np.float32)


SOUNDS = ("rain", "siren", "clock tick", "vacuum cleaner")


def make_debug_corpus(out: Path) -> tuple[list[Example], list[TextLine]]:
    """Writes the recordings to `out`/audio; returns the examples and the sentences of train."""
    (out / "audio").mkdir(parents=True, exist_ok=True)
    examples = [*_sentences(out), *_emotions(out), *_sounds(out), *_orders(out)]
    train = [pair for number, pair in enumerate(SENTENCES) if split_of(number) == "train"]
    pairs = [(lang, written) for pair in train for lang, written in zip(("en", "de"), pair, strict=True)]
    return examples, [TextLine(text, lang, NAME) for lang, written in pairs for text in (written, normalize(written, lang))]


def split_of(number: int) -> str:
    return {4: "dev", 5: "test"}.get(number % 6, "train")


def _recording(out: Path, name: str, wave: np.ndarray, number: int, lang: str = "en", speaker: str | None = None) -> dict:
    """Saves a recording; returns the fields that all of its examples share."""
    path = save_audio(out / "audio" / f"{name}.flac", wave)
    return {
        "split": split_of(number),
        "corpus": NAME,
        "audio": str(path),
        "duration": len(wave) / SAMPLE_RATE,
        "lang": lang,
        "speaker": speaker,
    }


def _sentences(out: Path) -> Iterator[Example]:
    """Recognition, both translations, speech and enhancement, from one recording of each sentence in each language."""
    for number, pair in enumerate(SENTENCES):
        for here, lang in enumerate(("en", "de")):
            other, written, translated = ("de", "en")[here], pair[here], pair[1 - here]
            speaker, pitch = SPEAKERS[lang][number % 2]
            spoken, name = normalize(written, lang), f"{lang}-{number:02d}"
            fields = _recording(out, name, say(spoken, pitch), number, lang, f"{NAME}/{speaker}")
            yield Example(id=f"asr/{NAME}/{name}", task="asr", targets=[spoken], **fields)
            yield Example(id=f"tts/{NAME}/{name}", task="tts", source=written, source_lang=lang, **fields)
            yield Example(id=f"se/{NAME}/{name}", task="se", extra={"transcript": spoken}, **fields)
            into = {"source_lang": lang, "targets": [translated]}
            yield Example(id=f"s2tt/{NAME}/{name}", task="s2tt", extra={"transcript": spoken}, **fields | {"lang": other} | into)
            yield Example(id=f"mt/{NAME}/{name}", task="mt", split=split_of(number), lang=other, corpus=NAME, source=written, **into)


def _emotions(out: Path) -> Iterator[Example]:
    """Each emotion has a pitch and a speed of its own."""
    for number in range(2 * 6):
        for index, emotion in enumerate(EMOTIONS[2:6]):
            name = f"{emotion}-{number:02d}"
            wave = say("kids are talking", 110 + 45 * index + 3 * number, 0.8 + 0.2 * index)
            yield Example(
                id=f"ser/{NAME}/{name}", task="ser", targets=[emotion], extra={"emotion": emotion}, **_recording(out, name, wave, number)
            )


def _sounds(out: Path) -> Iterator[Example]:
    """Captions; and, since nobody speaks, recognition with nothing to recognise."""
    for number in range(6):
        for kind in SOUNDS:
            name = f"{kind.replace(' ', '-')}-{number}"
            fields = _recording(out, name, sound(kind, number), number) | {"extra": {"sound": kind}}
            yield Example(id=f"aac/{NAME}/{name}", task="aac", targets=list(CAPTIONS[kind]), **fields)
            yield Example(id=f"asr/{NAME}/{name}", task="asr", targets=[""], **fields)


def _orders(out: Path) -> Iterator[Example]:
    """Orders of coffee, without their words, as those of Barista come."""
    rng = np.random.default_rng(0)
    for number in range(2 * len(ORDERS)):
        slots, name = ORDERS[number // 2 % len(ORDERS)], f"order-{number:02d}"
        fields = _recording(out, name, say(template_words(slots, rng), 150 + 5 * number), number)
        extra = {"intent": "orderDrink", "slots": slots}
        yield Example(id=f"slu/{NAME}/{name}", task="slu", targets=[slu_to_text("orderDrink", slots)], extra=extra, **fields)
