"""The README's own commands, run as they are written, in a folder that holds the files that they name."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lauragpt.audio import load_audio

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLIPS = ROOT / "lauragpt" / "assets" / "demo"
# What the README's names stand for, from the recordings that ship.
FILES = {
    "talk.flac": "librispeech-2136-5147-0021", "in.wav": "librispeech-2136-5147-0021", "noisy.wav": "kathleen-arctic_a0473_1592704836",
    "you.wav": "kathleen-arctic_a0473_1592704836", "street.ogg": "esc50-4-160999-A-10", "voice.wav": "ravdess-03-01-03-01-01-01-20",
    "one.wav": "ravdess-03-01-03-01-01-01-20", "two.wav": "ravdess-03-01-05-01-01-01-19", "order.wav": "barista-458e9432-c9c7-45f1-8887-0490fbccca6d",
}  # fmt: skip


def block(heading: str, language: str = "") -> str:
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.search(rf"```{language}\n(.*?)```", section, re.S)[1]


def commands(heading: str) -> list[str]:
    return [line for line in block(heading).splitlines() if line.startswith("laura ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    for name, clip in FILES.items():
        soundfile.write(folder / name, load_audio(CLIPS / f"{clip}.opus"), 16000)
    return folder


def shell(line: str, folder: Path) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(line, shell=True, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("line", commands("On the command line"))
def test_command(line, folder):
    before = {path.name for path in folder.iterdir()}
    done = shell(line, folder)
    if line.startswith("laura chain") and "nothing was said" in done.stderr:  # it heard no words in what it had cleaned, and says so
        assert done.returncode == 1 and not (folder / "out.wav").exists()
        return
    assert done.returncode == 0, done.stderr
    words = line.split()
    written = [name for sign, name in zip(words, words[1:]) if sign in ("-o", ">") and name != "-"]
    for name in written:
        assert name not in before and (folder / name).stat().st_size > 0
        if name.endswith(".wav"):
            wave, rate = soundfile.read(folder / name)
            assert rate == 16000 and np.isfinite(wave).all()
            assert np.abs(wave).max() > 0
    if "--format json" in line:
        text = (folder / written[0]).read_text() if written else done.stdout
        for row in map(json.loads, text.splitlines()):
            assert {"file", "task", "lang", "segments", "receipt", "text"} <= row.keys()
    elif line.startswith("laura replay"):
        assert done.stdout and all(answer.endswith(": the same") for answer in done.stdout.splitlines())
    elif not written:
        assert done.stdout.count("\n") == 1


def test_python(folder):
    done = subprocess.run([sys.executable, "-c", block("In Python", "python")], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 5 and soundfile.info(folder / "morning.wav").duration > 0.2


def test_the_two_commands_are_targets_of_make():
    for line in README.split("```")[1].strip().splitlines():
        assert subprocess.run([*line.split("#")[0].split(), "-n"], cwd=ROOT, capture_output=True).returncode == 0, line


def test_what_training_installs_exists():
    extras = metadata("lauragpt").get_all("Provides-Extra")
    line = next(line for line in block("Training").splitlines() if line.startswith("pip"))
    assert set(re.search(r"\[(.*)\]", line)[1].split(",")) <= set(extras) and (ROOT / "constraints.txt").exists()


def test_training_from_corpora_to_a_measured_checkpoint(tmp_path):
    """The four commands after each other on a few recordings; the sizes of `mini`, two steps a stage."""
    make_corpora(tmp_path / "corpora")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    more = {"synth": " --hours 0.02", "train": " voices=[] steps=2 compile=false batch_seconds=20 quantize_from=1", "eval": " --limit 1"}
    for line in commands("Training"):
        done = shell(line + more.get(line.split()[1], ""), tmp_path)
        assert done.returncode == 0, (line, done.stderr[-2000:])
    assert {"WER", "chrF", "right sound"} <= {word for word in ("WER", "chrF", "right sound") if word in done.stdout}
    known = [json.loads(line) for line in (tmp_path / "runs" / "data" / "dev.jsonl").read_text().splitlines()]
    [one, *_] = [row for row in known if row["task"] == "ser"]
    (tmp_path / "answers.jsonl").write_text(json.dumps({"id": one["id"], "text": one["targets"][0]}) + "\n")
    for line in commands("Evaluation"):
        done = shell(line + ("" if "--tasks" in line else " --tasks ser") + ("" if "--limit" in line else " --limit 2"), tmp_path)
        assert done.returncode == 0 and "│" in done.stdout, (line, done.stderr[-2000:])
    assert "100.0" in done.stdout and (tmp_path / "report" / "report.html").exists()


def make_corpora(corpora: Path) -> None:
    """A few of the recordings that ship, as training and dev sets in the corpora's format."""
    sentences = [f"The night was calm and number {n} was quiet." for n in range(6)]
    sets = {
        "kathleen": [("kathleen-arctic_a0473_1592704836", {"text": text, "speaker": "k"}) for text in sentences],
        "digits": [("digits-4_theo_0", {"text": "four", "speaker": f"s{n}"}) for n in range(4)],
        "ravdess": [("ravdess-03-01-03-01-01-01-20", {"text": "Kids are talking", "emotion": "happy", "speaker": f"a{n}"}) for n in range(4)],
        "esc50": [("esc50-4-160999-A-10", {"sound": "rain", "fold": 1})] * 4,
        "barista": [("barista-458e9432-c9c7-45f1-8887-0490fbccca6d", {"intent": "orderDrink", "slots": {"size": "large"}})] * 4,
    }
    (corpora / "text").mkdir(parents=True)
    for name, rows in sets.items():
        lines = []
        for number, (clip, known) in enumerate(rows):
            audio = f"{name}-{number}.opus"
            shutil.copy(CLIPS / f"{clip}.opus", corpora / audio)
            split = "dev" if number == len(rows) - 1 else "train"
            about = {"id": str(number), "audio": audio, "duration": soundfile.info(corpora / audio).duration, "split": split, "lang": "en"}
            lines.append(json.dumps(about | known))
        (corpora / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    slurp = [
        {"slurp_id": n, "sentence": f"wake me at {hour}", "sentence_annotation": f"wake me at [time : {hour}]", "scenario": "alarm",
         "action": "set", "intent": "alarm_set"}
        for n, hour in enumerate("one two three four five six seven eight nine ten eleven noon midnight dawn dusk".split())
    ]  # fmt: skip
    pairs = [f"A dog runs to house {word}.\tEin Hund rennt zum Haus {word}." for word in ("alpha", "beta", "gamma", "delta")]
    texts = {
        "books_en.txt": [f"We saw the little boat come home with {word} men." for word in ("two", "three", "many", "few", "no", "some")],
        "multi30k_train_en_de.tsv": pairs[1:], "multi30k_val_en_de.tsv": pairs[:1], "tatoeba_en_de.tsv": ["Hello there.\tHallo du."],
        "slurp_devel.jsonl": [json.dumps(row) for row in slurp], "slurp_test.jsonl": [json.dumps(slurp[0])],
    }  # fmt: skip
    for name, lines in texts.items():
        with gzip.open(corpora / "text" / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
