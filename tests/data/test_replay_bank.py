"""The bank of texts that ships: small, free, and made again from its corpora by one function."""

import gzip

from lauragpt.data.licences import CORPORA, text_corpora
from lauragpt.data.manifest import read_manifest
from lauragpt.data.replay_bank import BANK, MEASURED, PAIRS, make_bank


def test_it_is_small_free_and_whole():
    assert sum(path.stat().st_size for path in BANK.iterdir()) < 5e6
    train, dev = (read_manifest(BANK / f"{split}.jsonl") for split in ("train", "dev"))
    assert (len(train), len(dev)) == (2 * PAIRS, 2 * MEASURED) and {example.task for example in train} == {"mt"}
    assert not {example.source for example in train} & {example.source for example in dev if len(example.source.split()) > 6}
    corpora = {example.corpus for example in [*train, *dev]} | set(text_corpora(BANK))
    assert all(CORPORA[name].commercial for name in corpora)
    said = (BANK / "LICENCES.md").read_text()
    assert all(CORPORA[name].licence in said for name in corpora)


def test_the_same_corpora_give_the_same_bank(tmp_path):
    (tmp_path / "text").mkdir()
    texts = {
        "tatoeba_en_de.tsv": [f"The dog number {n} barks.\tDer Hund Nummer {n} bellt." for n in range(200)] + ["Hi.\tHallo!"],
        "ljspeech_sentences.txt": [f"This is sentence {n} of a book." for n in range(9)] + ["Short."],
    }
    for name, lines in texts.items():
        with gzip.open(tmp_path / "text" / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    for name in ("one", "two"):
        make_bank(tmp_path, tmp_path / name)
    assert all(path.read_bytes() == (tmp_path / "two" / path.name).read_bytes() for path in (tmp_path / "one").iterdir())
    assert [len(read_manifest(tmp_path / "one" / f"{split}.jsonl")) for split in ("dev", "train")] == [2 * MEASURED, 100]
    assert len((tmp_path / "one" / "text.en.txt").read_text().splitlines()) == 9
