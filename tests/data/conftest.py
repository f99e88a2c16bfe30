"""A small folder in the corpora's own format, made anew for each test."""

import gzip
import json

import pytest


def row(name: str, split: str = "train", **more: object) -> dict:
    return {"id": name, "audio": f"set/{name}.opus", "duration": 3.0, "split": split, "lang": "en", **more}


SLURP = [
    {"slurp_id": i, "sentence": f"wake me at {w}", "sentence_annotation": f"wake me at [time : {w}]", "scenario": "alarm", "action": "set",
     "intent": "alarm_set"}
    for i, w in enumerate("one two three four five six seven eight nine ten eleven noon midnight dawn dusk teatime".split())
]  # fmt: skip


@pytest.fixture
def slurp() -> list[dict]:
    return SLURP


@pytest.fixture
def data(tmp_path):
    """A folder with every set, a few lines each."""
    folder = tmp_path / "data"
    (folder / "text").mkdir(parents=True)
    sets = {
        "librispeech": [row("10-1", speaker="10", text="IT WAS NOT MISTER BROWN'S"),
                        row("20-1", "dev", speaker="20", text="AWAY WE WENT THEN"),
                        row("30-1", "test", speaker="30", text="NOBODY KNOWS", duration=20.0)],
        "kathleen": [row("k1", speaker="kathleen", text="He paid 2 pence, etc."),
                     row("k2", "dev", speaker="kathleen", text="The night was calm.")],
        "kerstin": [row("d1", speaker="kerstin", lang="de", text="Schöne Grüße!")],
        "ljspeech": [row("l1", speaker="ljspeech", text="Printing is an art.")],
        "alphanumeric": [row("numbers-a", speaker="a", text="6309"), row("names-a", speaker="a", text="Jo Ray", duration=4.0)],
        "digits": [row("0_x_1", speaker="x", text="zero")],
        "ravdess": [row("r1", speaker="actor01", text="Kids are talking", emotion="sad"),
                    row("r2", "dev", speaker="actor19", text="Kids are talking", emotion="calm")],
        "esc50": [row("e1", sound="dog", fold=1), row("e2", "dev", sound="laughing", fold=4), row("e3", "dev", sound="rain", fold=4)],
        "barista": [row("b1", intent="orderDrink", slots={"size": "large", "coffeeDrink": "iced mocha"})],
        "dns_pairs": [row("c1", "test", pair="n1", role="clean"), row("n1", "test", pair="c1", role="noisy")],
    }  # fmt: skip
    for name, rows in sets.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        for r in rows:
            (folder / r["audio"]).parent.mkdir(exist_ok=True)
            (folder / r["audio"]).touch()
    texts = {
        "books_en.txt": ["Away we went, then!", "Some other line.", "Nobody knows.", "We saw the little boat come home."],
        "multi30k_train_en_de.tsv": ["A dog runs.\tEin Hund rennt.", "A cat.\tEine Katze."] + [f"Boy {i}.\tJunge {i}." for i in range(40)],
        "multi30k_val_en_de.tsv": ["A cat!\tDie Katze."],
        "tatoeba_en_de.tsv": [
            "Hi.\tHallo!", "Hi.\tGrüß Gott!", "Something else.\tDie Katze.", "The cat sleeps all day.\tDie Katze schläft den ganzen Tag.",
        ],
        "slurp_devel.jsonl": [json.dumps(r) for r in SLURP],
        "slurp_test.jsonl": [
            json.dumps({**SLURP[0], "slurp_id": 99, "sentence": "Some other line.", "sentence_annotation": "Some [time : other] line."})
        ],
    }
    for name, lines in texts.items():
        with gzip.open(folder / "text" / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return folder
