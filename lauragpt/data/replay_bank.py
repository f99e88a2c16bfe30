"""The small bank of texts that ships: what a checkpoint is shown again while it learns something new, where its user has no others.

In: public corpora of texts. Out: `assets/replay`, a folder of manifests as `laura prepare` writes them: pairs of sentences to be
translated, and sentences whose simulated transcripts the GPT goes on to read. All may be given away; LICENCES.md there says whose they
are.

    python -m lauragpt.data.replay_bank CORPORA
"""

import gzip
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from lauragpt.checkpoint import SHIPPED
from lauragpt.data.licences import TEXT_CORPORA
from lauragpt.data.manifest import Example, write_manifest
from lauragpt.data.splits import digest
from lauragpt.files import replacing

BANK = SHIPPED / "replay"
PAIRS, MEASURED, SENTENCES = 3000, 150, 6000  # pairs of sentences of train, and of dev; sentences of a language
WORDS = range(4, 17)  # of a sentence


def make_bank(corpora: Path, out: Path = BANK) -> None:
    """Chosen by hash: the same corpora give the same bank."""
    pairs = chosen(line for line in lines(corpora / "text" / "tatoeba_en_de.tsv.gz") if line.count("\t") == 1)
    train, dev, rest = pairs[MEASURED : MEASURED + PAIRS], pairs[:MEASURED], pairs[MEASURED + PAIRS :]
    for split, some in (("train", train), ("dev", dev)):
        write_manifest(out / f"{split}.jsonl", (each for number, pair in enumerate(some) for each in both_ways(split, number, pair)))
    english = chosen(lines(corpora / "text" / "ljspeech_sentences.txt.gz"))[:SENTENCES]
    german = list(dict.fromkeys(pair.split("\t")[1] for pair in rest))[:SENTENCES]
    for lang, sentences in (("en", english), ("de", german)):
        write(out / f"text.{lang}.txt", "".join(f"{sentence}\n" for sentence in sentences))
    write(out / TEXT_CORPORA, json.dumps(["ljspeech_sentences", "tatoeba"]) + "\n")


def lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.strip() for line in file]


def chosen(texts: Iterable[str]) -> list[str]:
    """Those of a usual length, each once, in an order that a hash gives."""
    return sorted({text for text in texts if len(text.partition("\t")[0].split()) in WORDS}, key=digest)


def both_ways(split: str, number: int, pair: str) -> list[Example]:
    english, german = pair.split("\t")
    ways = (("en", english, "de", german), ("de", german, "en", english))
    return [
        Example(f"mt/tatoeba/{split}-{number}-{lang}", "mt", split, lang, "tatoeba", None, 0.0, source, source_lang, [target])
        for source_lang, source, lang, target in ways
    ]


def write(path: Path, text: str) -> None:
    with replacing(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    make_bank(Path(sys.argv[1]))
