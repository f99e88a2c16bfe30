"""`laura prepare CORPUS FOLDER OUT`: a published corpus -> manifests.

In: the folder of the corpus as it is published. Out: train.jsonl, dev.jsonl, test.jsonl, and the sentences of train. The corpus's own
splits are kept; where it has none, it is split by speaker.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import soundfile

from lauragpt.audio import SAMPLE_RATE, AudioStream
from lauragpt.data.checks import check_folder
from lauragpt.data.corpora import SE_MAX_SECONDS, write_prepared
from lauragpt.data.manifest import Example, TextLine
from lauragpt.data.readers import published
from lauragpt.data.readers.recipes import by_recipe
from lauragpt.data.readers.rows import Row
from lauragpt.data.spans import span_name
from lauragpt.data.splits import make_split
from lauragpt.errors import LauraError
from lauragpt.spoken import normalize
from lauragpt.tasks import LANGS, slu_to_text


@dataclass(frozen=True)
class Corpus:
    """read: folder -> rows. read_aloud: single voices, close to the microphone: its recordings teach speech and enhancement as well."""

    read: Callable[[Path], Iterable[Row]]
    read_aloud: bool = False


PUBLISHED: dict[str, Corpus] = {
    "librispeech": Corpus(partial(by_recipe, "librispeech"), True),
    "libritts": Corpus(partial(by_recipe, "libritts"), True),
    "aishell": Corpus(partial(by_recipe, "aishell"), True),
    "aishell2": Corpus(partial(by_recipe, "aishell2"), True),
    "gigaspeech": Corpus(published.gigaspeech),
    "wenetspeech": Corpus(partial(by_recipe, "wenet_speech")),
    "commonvoice": Corpus(partial(by_recipe, "commonvoice")),
    "covost2": Corpus(published.covost2),
    "slurp-speech": Corpus(published.slurp),
    "audiocaps": Corpus(published.audiocaps),
    "clotho": Corpus(published.clotho),
    "meld": Corpus(published.meld),
    "iemocap": Corpus(published.iemocap),
    "crema-d": Corpus(published.cremad),
    "ravdess": Corpus(published.ravdess),
    "voicebank-demand": Corpus(published.voicebank_demand),
    "dns": Corpus(published.dns),
}


def prepare_published(name: str, folder: Path, out: Path) -> dict[str, Counter[str]]:
    """Writes the manifests; returns the number of examples by split and task. LauraError, before anything is written, for another corpus or
    a folder of another layout."""
    if name not in PUBLISHED:
        raise LauraError(f"there is no corpus {name!r}: choose one of {', '.join(PUBLISHED)}")
    folder, out = folder.absolute(), out.absolute()
    if not folder.is_dir():
        raise LauraError(f"{folder}: no such folder")
    corpus = PUBLISHED[name]
    try:
        rows = {row.id: row for row in corpus.read(folder) if row.lang in LANGS}  # WenetSpeech's subsets are in one another
    except (KeyError, IndexError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise LauraError(f"{folder} is not {name} as it is published ({type(error).__name__}: {error})") from None
    if not rows:
        raise LauraError(f"{folder} holds no recordings of {name} in {', '.join(LANGS)}")
    lost = [path for row in rows.values() for path in (row.audio, row.more.get("noisy")) if path and not os.path.exists(path)]
    if lost:
        raise LauraError(f"{len(lost)} of the recordings that {name} lists are missing, first {lost[0]}: unpack them there")
    for row in rows.values():
        row.corpus = name
        if row.duration is None:
            row.duration = seconds_of_file(row.audio)
    without = [row for row in rows.values() if row.split is None]
    make_split(without)
    examples = [example for row in rows.values() for example in examples_of(row, corpus.read_aloud)]
    check_folder(out)
    texts = {(e.lang, e.targets[0]): TextLine(e.targets[0], e.lang, name) for e in examples if e.task == "asr" and e.split == "train"}
    measured = {(e.lang, e.targets[0]) for e in examples if e.task == "asr" and e.split != "train"}
    return write_prepared(out, examples, [line for key, line in texts.items() if key not in measured])


def seconds_of_file(path: str) -> float:
    try:
        return soundfile.info(path).duration
    except soundfile.SoundFileError:  # MP4 and others that libsndfile does not read
        return sum(len(piece) for piece in AudioStream(path).seconds()) / SAMPLE_RATE


def examples_of(row: Row, read_aloud: bool) -> Iterator[Example]:
    """An example for each task of which the row knows the answer."""
    more, lang, name = dict(row.more), row.lang or "en", row.corpus or ""
    audio = row.audio if row.start is None else span_name(row.audio, row.start, row.start + (row.duration or 0.0))
    written = row.text.lower() if row.text and row.text.isupper() else row.text  # LibriSpeech is upper case throughout
    spoken = normalize(written, lang) if written else ""
    transcript = {"transcript": spoken} if spoken else {}

    def example(task: str, **fields: object) -> Example:
        about = {"lang": lang, "audio": audio, "duration": row.duration, "speaker": f"{name}/{row.speaker}" if row.speaker else None}
        return Example(f"{task}/{name}/{row.id}", task, row.split or "train", corpus=name, **about | fields)

    noisy = more.pop("noisy", None)
    if spoken:
        yield example("asr", targets=[spoken])
    if spoken and (read_aloud or noisy):
        yield example("tts", source=written, source_lang=lang)
    if noisy or (read_aloud and (row.duration or 0) <= SE_MAX_SECONDS):
        yield example("se", noisy=noisy, extra=transcript)
    if "emotion" in more:
        yield example("ser", targets=[more["emotion"]], extra=more)
    if "captions" in more:
        yield example("aac", targets=more["captions"])
    if "intent" in more:
        yield example("slu", targets=[slu_to_text(more["intent"], more["slots"])], extra=more | transcript)
    if "translation" in more and more["to"] in LANGS:
        yield example("s2tt", targets=[more["translation"]], lang=more["to"], source_lang=lang, extra=transcript)
