"""One real evaluation of the debug checkpoint on the recordings that ship, shared by the tests that look at its rows, files and page."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import example

from lauragpt.audio import SAMPLE_RATE, load_audio, save_audio
from lauragpt.cli.demo import RECORDINGS
from lauragpt.data.manifest import write_manifest
from lauragpt.engine.api import Laura
from lauragpt.evaluate.report.tables import Report
from lauragpt.evaluate.run import evaluate
from lauragpt.tasks import slu_to_text

SHORT = 1.6  # seconds


@dataclass
class Evaluation:
    report: Report
    out: Path  # its files
    cache: Path  # its answers
    printed: str


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Manifests of all eight tasks over the package's own recordings; the training lines are only counted for floors."""
    folder = tmp_path_factory.mktemp("data")
    rows = json.loads((RECORDINGS / "index.json").read_text(encoding="utf-8"))
    dev = []
    for row in rows:
        about = {"audio": str(RECORDINGS / row["file"]), "duration": row["duration"], "corpus": row["corpus"], "lang": row["lang"]}
        number = len(dev)
        if row["task"] == "asr":
            dev.append(example("asr", number, **about | {"targets": [row["reference"]]}))
        if row["corpus"] in ("kathleen", "kerstin"):
            save_audio(
                folder / f"{number}.wav", load_audio(RECORDINGS / row["file"])[: int(SHORT * SAMPLE_RATE)]
            )  # measured in many variants
            short = about | {"audio": str(folder / f"{number}.wav"), "duration": SHORT, "targets": []}
            dev.append(example("tts", number, **short | {"source": row["reference"], "source_lang": row["lang"]}))
        if row["corpus"] == "kathleen":
            dev.append(example("se", number, **short | {"extra": {"transcript": row["reference"]}}))
            dev.append(example("s2tt", number, **about | {"targets": ["die nacht war ruhig"], "lang": "de", "source_lang": "en"}))
        if row["task"] in ("ser", "slu"):
            dev.append(example(row["task"], number, **about | {"targets": [row["reference"]]}))
        if row["task"] == "aac":
            dev.append(example("aac", number, **about | {"targets": ["a sound is heard"], "extra": {"sound": row["reference"]}}))
    quiet = next(row for row in rows if row["task"] == "noise")
    dev.append(example("asr", 90, audio=str(RECORDINGS / quiet["file"]), duration=5.0, corpus="nospeech", targets=[""]))
    dev.append(example("mt", 91, source="Two dogs run.", source_lang="en", lang="de", targets=["Zwei Hunde laufen.", "Zwei Hunde rennen."]))
    train = [
        example("ser", n, split="train", corpus="ravdess", audio="x.opus", duration=1.0, targets=[t])
        for n, t in enumerate(["calm", "calm", "sad"])
    ]
    train += [
        example(
            "slu", 9, split="train", corpus="barista", audio="x.opus", duration=1.0, targets=[slu_to_text("orderDrink", {"size": "small"})]
        )
    ]
    write_manifest(folder / "dev.jsonl", dev)
    write_manifest(folder / "train.jsonl", train)
    synth = [
        example("slu", n, split=split, corpus="synth-slurp", audio=dev[0].audio, duration=dev[0].duration)
        for n, split in enumerate(["train", "dev"])
    ]
    write_manifest(folder / "synth-slurp.jsonl", synth)
    return folder


@pytest.fixture(scope="session")
def laura(debug_checkpoint) -> Laura:
    return Laura.load(debug_checkpoint)


@pytest.fixture(scope="session")
def evaluation(debug_checkpoint, data, tmp_path_factory) -> Evaluation:

    out, cache = tmp_path_factory.mktemp("report"), tmp_path_factory.mktemp("answers")
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        report = evaluate(debug_checkpoint, data, limit=2, out=out, cache=cache)
    return Evaluation(report, out, cache, stdout.getvalue())
