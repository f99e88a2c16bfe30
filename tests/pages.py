"""README.md and docs/*.md as the tests see them: their blocks of code, their commands, and a folder with the files that these name."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from lauragpt.audio import load_audio

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
CLIPS = ROOT / "lauragpt" / "assets" / "demo"
# What the pages' file names stand for, from the recordings that ship.
FILES = {
    "talk.flac": "librispeech-2136-5147-0021", "in.wav": "librispeech-2136-5147-0021", "noisy.wav": "kathleen-arctic_a0473_1592704836",
    "you.wav": "kathleen-arctic_a0473_1592704836", "street.ogg": "esc50-4-160999-A-10", "voice.wav": "ravdess-03-01-03-01-01-01-20",
    "one.wav": "ravdess-03-01-03-01-01-01-20", "two.wav": "ravdess-03-01-05-01-01-01-19",
    "order.wav": "barista-458e9432-c9c7-45f1-8887-0490fbccca6d",
}  # fmt: skip
TALKS = (  # clip, speaker, language, text
    ("kathleen-arctic_a0473_1592704836", "kathleen", "en", "The night was calm and snowy."),
    ("librispeech-2136-5147-0021", "2136", "en", "I returned to the drawing room."),
    ("librispeech-6272-70171-0021", "6272", "en", "It was Byron, and turning over the leaves till I came to Don Juan I read it through."),
    ("kerstin-de_rhasspy-0304", "kerstin", "de", "Großauheim war nun dessen größte Gemeinde."),
)
TRAINING = ("prepare", "synth", "claims", "plan", "train", "finetune", "export", "eval")  # verbs that need corpora or a recipe


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Every line of a page's `sh` blocks."""
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]


def verb(line: str) -> str | None:
    """The verb of `laura` that a command line runs, if any; "" for `laura` with options alone."""
    found = re.search(r"\blaura(?: +([a-z]*))", line)
    return found and found[1]


def needs_training(line: str) -> bool:
    """Whether a command needs corpora, or what was trained from them, and not a recording alone."""
    return verb(line) in TRAINING or "runs/" in line


def serves(line: str) -> bool:
    """Whether a command starts a server or asks one: tests/serve/test_page.py runs these, and test_deploy.py checks those of containers,
    test_kuberay.py those of Kubernetes, test_cluster.py those of a cluster, and tests/mapping/test_map.py those of `laura map`."""
    return verb(line) in ("serve", "map") or line.startswith(("curl ", "docker ", "kubectl ", "openssl ", "ray ", "serve "))


def make_recordings(folder: Path) -> Path:
    """Writes what the pages' names stand for."""
    for name, clip in FILES.items():
        soundfile.write(folder / name, load_audio(CLIPS / f"{clip}.opus"), 16000)
    (folder / "talks").mkdir()
    for clip, *_ in TALKS:
        shutil.copy(CLIPS / f"{clip}.opus", folder / "talks")
    rows = (f'{clip}.opus,{speaker},{lang},"{text}"' for clip, speaker, lang, text in TALKS)
    (folder / "talks" / "metadata.csv").write_text("\n".join(["file_name,speaker_id,language,transcription", *rows]) + "\n")
    microphone = folder / "bin" / "arecord"  # a machine that tests has no microphone: this one hears talk.flac
    microphone.parent.mkdir()
    microphone.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import soundfile, sys; '
                          f"sys.stdout.buffer.write(soundfile.read('{folder}/talk.flac', dtype='int16')[0].tobytes())\"\n")  # fmt: skip
    microphone.chmod(0o755)
    return folder


def shell(line: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs a command line in `folder`, with the `laura` of this Python."""
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(line, shell=True, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)


def check_command(line: str, folder: Path) -> None:
    """Runs a command line of a page that needs no corpora: it succeeds, and what it writes is sound, or JSON, or lines."""
    before = {path.name for path in folder.iterdir()}
    done = shell(line, folder)
    if line.startswith("laura chain") and done.returncode == 1:  # it found no words in what it had cleaned, and says so
        assert "nothing was said" in done.stderr and not {path.name for path in folder.iterdir()} - before
        return
    assert done.returncode == 0, done.stderr
    words = line.split()
    written = [name for sign, name in pairwise(words) if sign in ("-o", ">", "--codes", "--output-dir", "--output_dir") and name != "-"]
    for name in written:
        path = folder / name
        assert path.is_dir() if name.endswith("/") or "." not in name else path.stat().st_size > 0
        for sound in [path] if name.endswith(".wav") else path.glob("*.wav") if path.is_dir() else []:
            wave, rate = soundfile.read(sound)
            assert rate == 16000 and np.isfinite(wave).all() and np.abs(wave).max() > 0
    if "--format json" in line:
        text = (folder / written[0]).read_text() if written else done.stdout
        for row in map(json.loads, text.splitlines()):
            assert {"file", "task", "lang", "segments", "receipt", "text"} <= row.keys()
    elif verb(line) == "replay":
        assert done.stdout and all(answer.endswith(": the same") for answer in done.stdout.splitlines())
    elif not written:
        assert done.stdout.count("\n") >= 1


def run_training(lines: list[str], folder: Path) -> None:
    """Runs commands that train or measure, one after the other, on a few recordings and in two steps a stage."""
    from qwens import qwen_of, save_qwen  # it takes seconds, and few tests train

    make_recordings(folder)
    make_corpora(folder / "corpora")
    make_tuning(folder)
    save_qwen(folder / "Qwen2.5-0.5B", qwen_of("qwen2", True))  # in name alone: a published folder, but small and random
    (folder / "recipes").symlink_to(ROOT / "recipes")
    for line in sorted(lines, key=lambda line: TRAINING.index(verb(line)) if verb(line) in TRAINING else len(TRAINING)):
        if "--hyp" in line:
            answer_an_example(folder)
        done = shell(line + smaller(line), folder)
        assert done.returncode == 0, (line, done.stderr[-2000:])
    assert (folder / "report" / "report.html").exists() and (folder / "runs" / "scratch" / "export" / "config.json").exists()


def smaller(line: str) -> str:
    """What a test adds to a command that would take hours."""
    if verb(line) == "train" and "debug.yaml" not in line:
        return " preset=debug voices=[] steps=2 compile=false batch_seconds=20 quantize_from=1 synth_hours=0"
    if verb(line) == "eval":
        return ("" if "--tasks" in line else " --tasks ser") + ("" if "--limit" in line else " --limit 2")
    if verb(line) == "claims":
        return " --limit 2"
    if verb(line) == "finetune":
        return " --from runs/debug/export --steps 2 --limit 2 --batch-seconds 12 --tolerance 1e9"
    return {"synth": " --hours 0.02", "export": " --limit 1" if "--check" in line else ""}.get(verb(line), "")


def make_tuning(folder: Path) -> Path:
    """The data that docs/finetune.md teaches: new words and rooms as tones and noise, French as Pico speaks it."""
    from lauragpt.data.debug_corpus import SOUNDS, say, sound
    from lauragpt.data.synthesisers import Voice, speak_text

    for name in ("terms", "french", *(f"rooms/{room}" for room in ("hall", "kitchen", "street"))):
        (folder / name).mkdir(parents=True)
    words = ("stent", "catheter", "lumen", "artery", "suture", "biopsy", "valve", "graft", "needle")
    lines = ["file_name,speaker,transcription"]
    for number, word in enumerate(words):
        speaker, pitch = (("ada", 190.0), ("ben", 110.0), ("cleo", 150.0))[number % 3]
        soundfile.write(folder / "terms" / f"{number}.wav", say(f"the {word} was placed", pitch), 16000)
        lines.append(f"{number}.wav,{speaker},The {word} was placed.")
    (folder / "terms" / "metadata.csv").write_text("\n".join(lines) + "\n")
    french = ("Bonjour tout le monde.", "La nuit est calme.", "Le train est en retard.", "Je lis un livre.", "La porte est ouverte.")
    for number, text in enumerate(french):
        soundfile.write(folder / "french" / f"{number}.wav", speak_text(text, Voice("pico", "fr-FR", "fr", 100)), 16000)
    rows = "".join(f"{number}.wav\t{text}\n" for number, text in enumerate(french))
    (folder / "french" / "sentences.tsv").write_text(f"path\tsentence\n{rows}", encoding="utf-8")
    for room, kind in zip(("hall", "kitchen", "street"), SOUNDS):
        for number in range(5):
            soundfile.write(folder / "rooms" / room / f"{number}.wav", sound(kind, number, 1.0), 16000)
    return folder


def answer_an_example(folder: Path) -> None:
    """Writes answers.jsonl with the right answer to one dev example."""
    rows = [json.loads(line) for line in (folder / "runs" / "data" / "dev.jsonl").read_text().splitlines()]
    one = next(row for row in rows if row["task"] == "ser")
    (folder / "answers.jsonl").write_text(json.dumps({"id": one["id"], "text": one["targets"][0]}) + "\n")


def make_corpora(corpora: Path) -> None:
    """A few of the recordings that ship, as training and dev sets in the corpora's format."""
    sentences = [f"The night was calm and number {n} was quiet." for n in range(6)]
    sets = {
        "kathleen": [("kathleen-arctic_a0473_1592704836", {"text": text, "speaker": "k"}) for text in sentences],
        "digits": [("digits-4_theo_0", {"text": "four", "speaker": f"s{n}"}) for n in range(4)],
        "ravdess": [
            ("ravdess-03-01-03-01-01-01-20", {"text": "Kids are talking", "emotion": "happy", "speaker": f"a{n}"}) for n in range(4)
        ],
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
        "multi30k_train_en_de.tsv": pairs[1:], "multi30k_val_en_de.tsv": pairs[:1],
        "tatoeba_en_de.tsv": ["Hello there, my friend.\tHallo du, mein lieber Freund."],
        "slurp_devel.jsonl": [json.dumps(row) for row in slurp], "slurp_test.jsonl": [json.dumps(slurp[0])],
    }  # fmt: skip
    for name, lines in texts.items():
        with gzip.open(corpora / "text" / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
