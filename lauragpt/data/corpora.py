"""Recorded corpora and texts -> manifests: `prepare` writes train.jsonl, dev.jsonl, test.jsonl, text.en.txt, text.de.txt and
text.corpora.json.

In: a folder with one JSONL file a corpus and `text/*.gz` (docs/corpora.md describes each). Out: examples of every task. A corpus that is
not there is left out. The corpora's splits are kept: dev and test stay out of training by clip, by speaker and by sentence.
"""

import gzip
import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lauragpt.data.captions import CAPTIONS, VOCAL_SOUNDS
from lauragpt.data.checks import check_folder
from lauragpt.data.debug_corpus import NAME as DEBUG
from lauragpt.data.debug_corpus import make_debug_corpus
from lauragpt.data.licences import CORPORA, TEXT_CORPORA
from lauragpt.data.manifest import SPLITS, Example, TextLine, write_manifest
from lauragpt.errors import LauraError
from lauragpt.spoken import normalize
from lauragpt.tasks import EMOTIONS, slu_to_text

SE_MAX_SECONDS = 12.0
PLAIN_TEXTS = {
    "books_en": "books_en.txt",
    "ljspeech_sentences": "ljspeech_sentences.txt",
    "captions_en": "captions_en.txt",
}  # corpus -> text/FILE.gz
TRANSLATED = ("multi30k_train_en_de.tsv", "multi30k_val_en_de.tsv", "tatoeba_en_de.tsv")
Row = dict


def prepare(data: str | Path, out: str | Path, open_only: bool = False) -> dict[str, Counter[str]]:
    """Writes the manifests and the texts; returns the number of examples by split and task.

    data: a folder of corpora (docs/corpora.md), or `debug`, where no folder is called so: a small corpus that is made here.
    `open_only` leaves out every corpus that forbids commercial use. LauraError, before anything is written, where something is missing.
    """
    data, out = Path(data), Path(out).absolute()
    made = str(data) == DEBUG and not data.is_dir()
    if not made:
        check_corpora(data.absolute())
    check_folder(out)
    examples, lines = make_debug_corpus(out) if made else read_corpora(data.absolute(), open_only)
    if not examples:
        raise LauraError(
            f"{data}: its corpora hold no example: their .jsonl files are empty" + (", or forbid commercial use" if open_only else "")
        )
    check_splits(examples)
    return write_prepared(out, examples, lines)


def write_prepared(out: Path, examples: list[Example], lines: list[TextLine]) -> dict[str, Counter[str]]:
    """The manifests of all splits and the sentences of every language; the numbers of examples by split and task."""
    counts: dict[str, Counter[str]] = {}
    for split in SPLITS:
        chosen = [example for example in examples if example.split == split]
        write_manifest(out / f"{split}.jsonl", chosen)
        counts[split] = Counter(example.task for example in chosen)
    for lang in dict.fromkeys(line.lang for line in lines):
        texts = [line.text for line in lines if line.lang == lang]
        write_text(out / f"text.{lang}.txt", "\n".join(texts) + "\n")
        counts["train"][f"text.{lang}"] = len(texts)
    write_text(out / TEXT_CORPORA, json.dumps(sorted({line.corpus for line in lines})) + "\n")
    return counts


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def read_corpora(data: Path, open_only: bool) -> tuple[list[Example], list[TextLine]]:
    """The examples and the sentences of a folder of corpora."""
    examples: list[Example] = []
    for name, make in RECIPES.items():
        if CORPORA[name].commercial or not open_only:
            try:
                examples += make(read_recordings(data, name))
            except KeyError as missing:
                raise LauraError(
                    f"{data / name}.jsonl: a line lacks {missing}, or has a value that is not known (docs/corpora.md)"
                ) from None
            except (AttributeError, TypeError) as error:
                raise LauraError(f"{data / name}.jsonl: a line has a value of the wrong kind ({error}; docs/corpora.md)") from None
    for example in examples:
        example.audio, example.noisy = (path and os.path.join(data, path) for path in (example.audio, example.noisy))
    recordings = dict.fromkeys(path for example in examples for path in (example.audio, example.noisy) if path)
    lost = [path for path in recordings if not os.path.exists(path)]
    if lost:
        raise LauraError(
            f"{len(lost)} of the recordings that the corpora list are missing, first {lost[0]}: put them there (docs/corpora.md)"
        )
    examples += translation(data, open_only)
    return examples, texts(data, measured_sentences(examples), open_only)


def check_corpora(data: Path) -> None:
    """LauraError where a folder holds none of the corpora."""
    if not data.is_dir():
        raise LauraError(
            f"{data} is not a folder of corpora: it should hold librispeech.jsonl and so on (docs/corpora.md); `debug` makes a small one"
        )
    files = [f"{name}.jsonl" for name in RECIPES] + [f"text/{name}.gz" for name in TRANSLATED]
    if not any((data / file).exists() for file in files):
        raise LauraError(f"{data} holds none of the corpora: it should hold at least one of {', '.join(files)} (docs/corpora.md)")


def check_splits(examples: Iterable[Example]) -> None:
    """LauraError where a recording is in two splits, or a speaker of a corpus that is split by speaker."""
    clips: dict[str, str] = {}
    speakers: dict[str, str] = {}
    for example in examples:
        keys = [(clips, example.audio)] if example.audio else []
        if example.speaker and example.corpus in SPLIT_BY_SPEAKER:
            keys.append((speakers, example.speaker))
        for table, key in keys:
            if table.setdefault(key, example.split) != example.split:
                raise LauraError(f"{key} is in both {table[key]} and {example.split} ({example.id}): correct the split in its corpus")


SPLIT_BY_SPEAKER = ("librispeech", "ravdess", "digits", "alphanumeric")


def held_out(key: str, percent: float) -> bool:
    """A fixed `percent` of all keys, the same on every machine: by hash, not by chance."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") < percent / 100 * 2**32


def read_recordings(data: Path, name: str) -> list[Row]:
    """The lines of NAME.jsonl; [] where it does not exist."""
    path = data / f"{name}.jsonl"
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            if not all(isinstance(row[key], str) for key in ("id", "audio", "split")) or not isinstance(row["duration"], int | float):
                raise TypeError("id, audio and split are text, and duration is a number of seconds")
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise LauraError(f"{path}, line {number}: needs JSON with id, audio, duration and split ({error})") from None
        rows.append(row)
    return rows


def _example(corpus: str, task: str, row: Row, /, **more: object) -> Example:
    speaker = f"{corpus}/{row['speaker']}" if row.get("speaker") else None
    return Example(
        **{
            "id": f"{task}/{corpus}/{row['id']}", "task": task, "split": row["split"], "lang": row.get("lang") or "en", "corpus": corpus,
            "audio": row["audio"], "duration": row["duration"], "speaker": speaker, **more,
        }
    )  # fmt: skip


def read_speech(corpus: str, lower: bool = False) -> Callable[[list[Row]], Iterator[Example]]:
    """Read speech with its texts, for recognition, speech and enhancement. `lower`: the texts are upper case throughout."""

    def make(rows: list[Row]) -> Iterator[Example]:
        for row in rows:
            written = row["text"].lower() if lower else row["text"]
            lang = row.get("lang") or "en"
            spoken = normalize(written, lang)
            yield _example(corpus, "asr", row, targets=[spoken])
            yield _example(corpus, "tts", row, source=written, source_lang=lang)
            if row["duration"] <= SE_MAX_SECONDS:
                yield _example(corpus, "se", row, extra={"transcript": spoken})

    return make


DIGITS = "zero one two three four five six seven eight nine".split()


def alphanumeric_spoken(row_id: str, text: str, seconds: float) -> str | None:
    """The likeliest spoken form; None where it is uncertain. Phone numbers are spoken digit by digit. Most names are spelled letter by
    letter, which takes longer: seconds a letter fall into two clusters, 0.19 to 0.34 and 0.48 to 1.3. So do addresses."""
    if row_id.startswith("numbers"):
        return " ".join(DIGITS[int(c)] for c in text if c.isdigit())
    letters = [c for c in text.lower() if c.isalnum()]
    pace = seconds / max(1, len(letters))
    if row_id.startswith("names"):
        return " ".join(letters) if pace >= 0.45 else normalize(text, "en") if pace <= 0.35 else None
    # House numbers of three or more digits are mostly read digit by digit, as a recogniser transcribes them; shorter ones as a number.
    text = re.sub(r"\d{3,}", lambda m: " ".join(DIGITS[int(c)] for c in m[0]), text)
    return normalize(text, "en") if pace <= 0.6 else None


def alphanumeric(rows: list[Row]) -> Iterator[Example]:
    for row in rows:
        if target := alphanumeric_spoken(row["id"], row["text"], row["duration"]):
            yield _example("alphanumeric", "asr", row, targets=[target])


def digits(rows: list[Row]) -> Iterator[Example]:
    for row in rows:
        yield _example("digits", "asr", row, targets=[normalize(row["text"], "en")])


def ravdess(rows: list[Row]) -> Iterator[Example]:
    """Emotions; and recognition, for training only, since there are but two sentences."""
    for row in rows:
        if row["emotion"] not in EMOTIONS:
            raise LauraError(f"ravdess {row['id']}: emotion {row['emotion']!r} is not one of {', '.join(EMOTIONS)}")
        extra = {"emotion": row["emotion"], "intensity": row.get("intensity")}
        yield _example("ravdess", "ser", row, targets=[row["emotion"]], extra=extra)
        if row["split"] == "train":
            yield _example("ravdess", "asr", row, targets=[normalize(row["text"], "en")], extra=extra)


def esc50(rows: list[Row]) -> Iterator[Example]:
    """Captions; and recognition with nothing to recognise, where no mouth makes the sound."""
    for row in rows:
        sound = row["sound"]
        extra = {"sound": sound, "fold": row.get("fold")}
        yield _example("esc50", "aac", row, targets=list(CAPTIONS[sound]), extra=extra)
        if sound not in VOCAL_SOUNDS:
            yield _example("esc50", "asr", row, targets=[""], corpus="nospeech", extra=extra)


def barista(rows: list[Row]) -> Iterator[Example]:
    for row in rows:
        target = slu_to_text(row["intent"], row["slots"])
        yield _example("barista", "slu", row, targets=[target], extra={"intent": row["intent"], "slots": row["slots"]})


def dns_pairs(rows: list[Row]) -> Iterator[Example]:
    noisy = {row["id"]: row["audio"] for row in rows if row["role"] == "noisy"}
    for row in rows:
        if row["role"] == "clean" and row["pair"] in noisy:
            yield _example("dns_pairs", "se", row, noisy=noisy[row["pair"]])


RECIPES: dict[str, Callable[[list[Row]], Iterator[Example]]] = {
    "librispeech": read_speech("librispeech", lower=True),
    "kathleen": read_speech("kathleen"),
    "ljspeech": read_speech("ljspeech"),
    "kerstin": read_speech("kerstin"),
    "alphanumeric": alphanumeric,
    "digits": digits,
    "ravdess": ravdess,
    "esc50": esc50,
    "barista": barista,
    "dns_pairs": dns_pairs,
}


def read_lines(data: Path, name: str) -> list[str]:
    """The lines of text/NAME.gz; [] where it does not exist."""
    path = Path(data) / "text" / f"{name}.gz"
    if not path.exists():
        return []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [line for line in file.read().split("\n") if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise LauraError(f"{path} cannot be read: {error}") from None


def read_rows(data: Path, name: str) -> list[Row]:
    """The lines of text/NAME.jsonl.gz, parsed."""
    try:
        return [json.loads(line) for line in read_lines(data, f"{name}.jsonl")]
    except json.JSONDecodeError as error:
        raise LauraError(f"{data / 'text' / name}.jsonl.gz: a line is not JSON ({error})") from None


def read_pairs(data: Path, name: str) -> list[tuple[str, str]]:
    """The (English, German) pairs of text/NAME.tsv.gz."""
    rows = (line.split("\t") for line in read_lines(data, f"{name}.tsv"))
    return [(row[0].strip(), row[1].strip()) for row in rows if len(row) >= 2 and row[0].strip() and row[1].strip()]


def translation(data: Path, open_only: bool = False) -> list[Example]:
    """MT both ways. Half of the training inputs are in spoken form, by hash, and their targets with them, as in a chain after
    recognition; dev is written text. Several translations of one sentence become one example with several targets."""
    val = [] if open_only else read_pairs(data, "multi30k_val_en_de")
    measured = {normalize(text, lang) for pair in val for text, lang in zip(pair, ("en", "de"), strict=True)}
    examples = list(_translate("multi30k", "dev", val)) if val else []
    for corpus, pairs in (("multi30k", read_pairs(data, "multi30k_train_en_de")), ("tatoeba", read_pairs(data, "tatoeba_en_de"))):
        if open_only and not CORPORA[corpus].commercial:
            continue
        unmeasured = [(en, de) for en, de in pairs if normalize(en, "en") not in measured and normalize(de, "de") not in measured]
        examples += _translate(corpus, "train", unmeasured)
    return examples


def _translate(corpus: str, split: str, pairs: list[tuple[str, str]]) -> Iterator[Example]:
    for source_lang, lang in (("en", "de"), ("de", "en")):
        targets: dict[str, list[str]] = defaultdict(list)
        for en, de in pairs:
            source, target = (en, de) if source_lang == "en" else (de, en)
            if target not in targets[source]:
                targets[source].append(target)
        for number, (source, answers) in enumerate(targets.items()):
            name = f"mt/{corpus}/{split}-{number:05d}/{source_lang}-{lang}"
            if split == "train" and held_out(name, 50):
                source, answers = normalize(source, source_lang), list(dict.fromkeys(normalize(a, lang) for a in answers))
            answers = [answer for answer in answers if answer]
            if source and answers:
                yield Example(name, "mt", split, lang, corpus, source=source, source_lang=source_lang, targets=answers)


def slurp_split(row: Row) -> str:
    """A tenth of SLURP's devel sentences, by hash, is dev; the rest is train."""
    return "dev" if held_out(f"slurp/{row['sentence']}", 10) else "train"


def measured_sentences(examples: Iterable[Example]) -> set[str]:
    """The spoken forms of every sentence that dev and test measure, both sides of translations."""
    sentences = set()
    for example in examples:
        if example.split != "train":
            if example.source:
                sentences.add(normalize(example.source, example.source_lang or example.lang))
            sentences |= {normalize(text, example.lang) for text in example.targets if text and example.task in ("asr", "mt", "s2tt")}
    return sentences - {""}


def texts(data: Path, measured: set[str], open_only: bool = False) -> list[TextLine]:
    """Sentences to pre-train the GPT on, each once, without any that are measured; half of them (by hash) in spoken form."""
    slurp_rows = read_rows(data, "slurp_devel")
    slurp = [row["sentence"] for row in slurp_rows if slurp_split(row) == "train"]
    measured = measured | {normalize(row["sentence"], "en") for row in slurp_rows if slurp_split(row) == "dev"}
    measured |= {normalize(row["sentence"], "en") for row in read_rows(data, "slurp_test")}
    sources = [(name, "en", read_lines(data, file)) for name, file in PLAIN_TEXTS.items()] + [("slurp", "en", slurp)]
    for name, file in (("multi30k", "multi30k_train_en_de"), ("tatoeba", "tatoeba_en_de")):
        pairs = read_pairs(data, file)
        sources += [(name, "en", [en for en, _ in pairs]), (name, "de", [de for _, de in pairs])]
    lines: dict[tuple[str, str], TextLine] = {}
    for corpus, lang, sentences in sources:
        if open_only and not CORPORA[corpus].commercial:
            continue
        for written in sentences:
            spoken = normalize(written, lang)
            if spoken and spoken not in measured:
                text = spoken if held_out(f"text/{written}", 50) else written.strip()
                lines.setdefault((lang, text), TextLine(text, lang, corpus))
    return list(lines.values())
