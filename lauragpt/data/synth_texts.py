"""The texts of synthetic speech: texts -> `TextSet`s for data/synth.py. No sound here.

Each line carries the examples that its recording will be (`uses`). Sentences that dev and test measure are not spoken for training;
the dev lines, and SLURP's test lines, are sentences of those splits, spoken by voices that are not in training.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from lauragpt.data.corpora import DIGITS, RECIPES, held_out, read_lines, read_pairs, read_recordings, read_rows, slurp_split
from lauragpt.errors import LauraError
from lauragpt.spoken import normalize
from lauragpt.tasks import joined_slots, slu_to_text

# The share of each synthesiser in training. Pico and flite are understood about as well as people; espeak-ng adds variety.
ENGLISH = {"pico": 0.45, "flite": 0.35, "piper": 0.15, "espeak": 0.05}
GERMAN = {"pico": 0.65, "espeak": 0.35}
MEASURED = {"flite": 0.8, "espeak": 0.2}


@dataclass(frozen=True)
class Line:
    """A text to be spoken. `uses`: for each example, the manifest fields that depend on the text."""

    key: str
    text: str
    split: str
    uses: tuple[dict, ...]


@dataclass(frozen=True)
class TextSet:
    """Lines and how they are spoken. `engines`: the share of each synthesiser in training. `measured`: the same in dev and test, where it
    stays as it is, so that measurements compare. `copies`: how many voices speak each line."""

    corpus: str
    lang: str
    lines: list[Line]
    hours: float
    dev_hours: float = 0.05
    test_hours: float = 0.0
    engines: dict[str, float] = field(default_factory=lambda: dict(ENGLISH))
    measured: dict[str, float] = field(default_factory=lambda: dict(MEASURED))
    copies: int = 1
    varied: bool = True  # speed and pitch vary; not for tts, which learns the voice
    only: tuple[str, ...] = ()  # these voices only


_PLAIN = {"en": re.compile(r"[A-Za-z' ,.;:!?\"-]+"), "de": re.compile(r"[A-Za-zÄÖÜäöüß' ,.;:!?\"-]+")}
_ABBREVIATION = re.compile(r"\b(?:[A-Z][a-z]{0,3}|[a-z]{1,2}|etc|viz|[A-Z])\.(?=\s+\S)|\b[A-Z]{2,}\b|\b[B-HJ-NP-Zb-np-z]\b(?!')")


def speakable(text: str, lang: str = "en") -> bool:
    """Whether a synthesiser and `normalize` are sure to read a text alike: no figures, abbreviations, capitals or lone letters."""
    text = text.replace("'s", "").replace("'t", "").replace("'d", "").replace("'m", "")
    return bool(_PLAIN[lang].fullmatch(text)) and not _ABBREVIATION.search(text) and bool(re.search(r"[a-zäöü]{2}", text))


def asr_use(text: str, lang: str = "en") -> dict:
    return {"task": "asr", "lang": lang, "targets": [normalize(text, lang)]}


def _tidy(text: str) -> str:
    """Dashes as commas and straight quotes: what the synthesisers read well."""
    text = text.replace("’", "'").replace("“", '"').replace("”", '"').replace("_", "")
    return re.sub(r"\s*(?:--+|—|–)\s*", ", ", text).replace('"', "").strip(" ,;:-")


@cache
def _dev_sentences(data: Path) -> list[str]:
    """Sentences of the dev splits of read English: no training text has them."""
    sentences = []
    for name in ("librispeech", "kathleen", "ljspeech"):
        rows = [row for row in read_recordings(data, name) if row["split"] == "dev"]
        sentences += [row["text"].lower() if name == "librispeech" else row["text"] for row in rows]
    return [text for text in dict.fromkeys(map(_tidy, sentences)) if speakable(text)]


@cache
def _measured(data: Path) -> frozenset[str]:
    """The spoken forms of what the recordings of dev and test say, and of SLURP's sentences of these splits."""
    rows = [row for name in RECIPES for row in read_recordings(data, name) if row["split"] != "train" and row.get("text")]
    requests = {normalize(row["sentence"], "en") for row, split in _requests(data) if split != "train"}
    return frozenset({normalize(row["text"], row.get("lang") or "en") for row in rows} | requests)


def _requests(data: Path) -> list[tuple[dict, str]]:
    """(row, split) of SLURP."""
    devel, test = read_rows(data, "slurp_devel"), read_rows(data, "slurp_test")
    return [*((row, slurp_split(row)) for row in devel), *((row, "test") for row in test)]


@cache
def _sentences(data: Path) -> list[str]:
    """Sentences of books for training: speakable, 2 words or more, not measured."""
    sentences = dict.fromkeys(_tidy(text) for name in ("books_en.txt", "ljspeech_sentences.txt") for text in read_lines(data, name))
    return [t for t in sentences if len(t.split()) > 1 and speakable(t) and normalize(t, "en") not in _measured(data)]


def _rng(key: str) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(key.encode()).hexdigest()[:16], 16))


def _phrase(sentence: str) -> str | None:
    """Two to five words in a row out of a sentence, not across punctuation."""
    rng = _rng(sentence)
    parts = [part.split() for part in re.split(r"[.,;:!?]", sentence) if len(part.split()) >= 2]
    if not parts:
        return None
    words = parts[rng.integers(len(parts))]
    length = int(rng.integers(2, min(5, len(words)) + 1))
    start = int(rng.integers(len(words) - length + 1))
    return " ".join(words[start : start + length]).strip("' -")


def short_lines(data: Path) -> Iterator[Line]:
    """Digit strings, numbers, names and phrases of 2 to 5 words: CTC learns to align what is short first."""
    for number in range(700):
        rng = _rng(f"digits {number}")
        text = " ".join(DIGITS[i] for i in rng.integers(0, 10, size=rng.integers(1, 8)))
        yield Line(f"digits-{number}", text, "dev" if number < 20 else "train", (asr_use(text),))
    for number in range(400):
        text = normalize(str(int(_rng(f"number {number}").integers(10, 10 ** (2 + number % 3)))), "en")
        yield Line(f"number-{number}", text, "train", (asr_use(text),))
    sentences = _sentences(data)
    names = dict.fromkeys(name for text in sentences for name in re.findall(r"(?<=[a-z] )[A-Z][a-z]{2,}(?: [A-Z][a-z]{2,})*", text))
    for text in list(names)[:600]:
        yield Line(f"name-{text}", text, "train", (asr_use(text),))
    for split, texts in (("dev", _dev_sentences(data)), ("train", sentences)):
        for text in dict.fromkeys(filter(None, map(_phrase, texts))):
            spoken = normalize(text, "en")  # a twenty-fifth of train's phrases, or there would be few digits and names among them
            if spoken and (split == "dev" or (held_out(f"phrase/{text}", 4) and spoken not in _measured(data))):
                yield Line(f"phrase-{text}", text, split, (asr_use(text),))


def book_lines(data: Path) -> Iterator[Line]:
    for split, texts, longest in (("dev", _dev_sentences(data), 26), ("train", _sentences(data), 45)):
        for text in texts:
            if 3 <= len(text.split()) <= longest:
                yield Line(text, text, split, (asr_use(text),))


def tts_lines(data: Path) -> Iterator[Line]:
    """Sentences of 4 to 14 words as written, to learn to speak from."""
    return _to_speak(_sentences(data), "en")


def german_tts_lines(data: Path) -> Iterator[Line]:
    sentences = dict.fromkeys(_tidy(pair[1]) for pair in read_pairs(data, "tatoeba_en_de"))
    return _to_speak([t for t in sentences if speakable(t, "de") and normalize(t, "de") not in _measured(data)], "de")


def _to_speak(sentences: Iterable[str], lang: str) -> Iterator[Line]:
    for text in sentences:
        if 4 <= len(text.split()) <= 14:
            yield Line(text, text, "train", ({"task": "tts", "lang": lang, "source": text, "source_lang": lang}, asr_use(text, lang)))


def pair_lines(corpus: str, source: str) -> Callable[[Path], Iterator[Line]]:
    """Speech in one language, its words and its translation as written: s2tt and asr. Multi30k has sentences of its own to measure on."""
    target, column = ("de", 0) if source == "en" else ("en", 1)

    def make(data: Path) -> Iterator[Line]:
        val = read_pairs(data, "multi30k_val_en_de")
        measured = {normalize(pair[column], source) for pair in val} | _measured(data)
        train = read_pairs(data, f"{'multi30k_train' if corpus == 'multi30k' else corpus}_en_de")
        for split, pairs in (("dev", val if corpus == "multi30k" else []), ("train", train)):
            for pair in dict.fromkeys(pairs):
                text, answer = _tidy(pair[column]), pair[1 - column]
                if not speakable(text, source) or (split == "train" and normalize(text, source) in measured):
                    continue
                use = {"task": "s2tt", "lang": target, "source_lang": source, "targets": [answer], "extra": {"transcript": text}}
                yield Line(f"{source} {text} {answer}", text, split, (use, asr_use(text, source)))

    return make


def parse_slurp(annotation: str) -> tuple[str, list[tuple[str, str]]]:
    """Annotation -> sentence and slots: "wake me at [time : five am]" -> ("wake me at five am", [("time", "five am")])."""
    entities: list[tuple[str, str]] = []

    def plain(match: re.Match[str]) -> str:
        entities.append((match[1].strip(), re.sub(r"\s+", " ", match[2]).strip()))
        return entities[-1][1]

    text = re.sub(r"\[([^\[\]:]+):([^\[\]]*)\]", plain, annotation)
    if "[" in text or "]" in text:
        raise LauraError(f"cannot read the annotation {annotation!r}: slots are written [name : value]")
    return re.sub(r"\s+", " ", text).strip(), entities


def slurp_lines(data: Path) -> Iterator[Line]:
    """Requests with intent and slots. Several values of one slot are joined by a comma; `extra.entities` keeps them apart."""
    measured = _measured(data)
    for row, split in _requests(data):
        spoken = normalize(row["sentence"], "en")
        if not spoken or (split == "train" and spoken in measured):
            continue
        _, entities = parse_slurp(row["sentence_annotation"])
        slots = joined_slots(entities)
        extra = {"intent": row["intent"], "slots": slots, "entities": [list(pair) for pair in entities], "scenario": row["scenario"],
                 "action": row["action"], "transcript": spoken}  # fmt: skip
        use = {"task": "slu", "lang": "en", "targets": [slu_to_text(row["intent"], slots)], "extra": extra}
        yield Line(str(row["slurp_id"]), spoken, split, (use, asr_use(spoken)))


# In the order they are made: what aligns easily first.
SETS: dict[str, tuple[Callable[[Path], Iterator[Line]], dict]] = {
    "synth-short": (short_lines, {"hours": 1.5, "measured": {"flite": 0.95, "espeak": 0.05}}),
    "synth-books": (book_lines, {"hours": 20.0, "dev_hours": 0.1}),
    "synth-multi30k": (pair_lines("multi30k", "en"), {"hours": 8.0, "dev_hours": 0.15, "measured": {"flite": 1.0}}),
    "synth-slurp": (
        slurp_lines,
        {"hours": 12.0, "dev_hours": 0.3, "test_hours": 0.5, "measured": {"flite": 0.85, "espeak": 0.15}, "copies": 3},
    ),
    "synth-tts": (
        tts_lines,
        {"hours": 6.0, "engines": {"piper": 0.75, "flite": 0.25}, "measured": {"flite": 1.0}, "varied": False, "only": ("joe", "slt")},
    ),
    "synth-tts-de": (
        german_tts_lines,
        {"lang": "de", "hours": 4.0, "engines": {"pico": 1.0}, "measured": {"espeak": 1.0}, "varied": False, "only": ("de-DE",)},
    ),
    "synth-multi30k-de": (
        pair_lines("multi30k", "de"),
        {"lang": "de", "hours": 8.0, "dev_hours": 0.1, "engines": GERMAN, "measured": {"espeak": 1.0}},
    ),
    "synth-tatoeba": (pair_lines("tatoeba", "en"), {"hours": 4.0, "measured": {"flite": 1.0}}),
    "synth-tatoeba-de": (pair_lines("tatoeba", "de"), {"lang": "de", "hours": 8.0, "engines": GERMAN, "measured": {"espeak": 1.0}}),
}


# The files in text/ of which each set needs one at least.
TEXT_FILES: dict[str, tuple[str, ...]] = {
    "synth-short": ("books_en.txt", "ljspeech_sentences.txt"),
    "synth-books": ("books_en.txt", "ljspeech_sentences.txt"),
    "synth-tts": ("books_en.txt", "ljspeech_sentences.txt"),
    "synth-tts-de": ("tatoeba_en_de.tsv",),
    "synth-slurp": ("slurp_devel.jsonl",),
    "synth-multi30k": ("multi30k_train_en_de.tsv",),
    "synth-multi30k-de": ("multi30k_train_en_de.tsv",),
    "synth-tatoeba": ("tatoeba_en_de.tsv",),
    "synth-tatoeba-de": ("tatoeba_en_de.tsv",),
}


def check_set(name: str) -> None:
    if name not in SETS:
        raise LauraError(f"unknown synthetic set {name!r}: choose from {', '.join(SETS)}")


def how_spoken(name: str) -> tuple[str, dict[str, float]]:
    """The language of a set and the share of each synthesiser in training."""
    options = SETS[name][1]
    return options.get("lang", "en"), options.get("engines", ENGLISH)


def text_set(name: str, data: str | Path, hours: float = 1.0) -> TextSet:
    """The set of that name, its length multiplied by `hours`."""
    check_set(name)
    make, options = SETS[name]
    options = {"lang": "en", "dev_hours": 0.05, "test_hours": 0.0, **options}
    longer = {part: options[part] * hours for part in ("hours", "dev_hours", "test_hours")}
    return TextSet(name, lines=list(make(Path(data).absolute())), **options | longer)
