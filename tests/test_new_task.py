"""The worked example of docs/new-task.md, run as it is written: only the sizes are smaller."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from lauragpt.cli.demo import RECORDINGS
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import load_checkpoint
from lauragpt.sequence import Vocabulary
from lauragpt.tasks import TASKS, Task, add_lang, add_rows, add_task, added_rows, own_task

PAGE = (Path(__file__).parents[1] / "docs" / "new-task.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture()
def folder(tmp_path, debug_checkpoint):
    """An empty folder with the page's files in it, a few clips, and a small checkpoint in place of the one that ships."""
    (tmp_path / "kws.py").write_text(block("python"))
    (tmp_path / "kws.yaml").write_text(block("yaml"))
    shutil.copytree(debug_checkpoint, tmp_path / "small")
    lines = [json.loads(line) for line in block("jsonl").splitlines()]
    for place in (tmp_path / "clips", tmp_path / "data" / "clips"):
        place.mkdir(parents=True)
        for line in lines:  # soundfile reads what is in it, whatever it is called
            shutil.copy(RECORDINGS / "digits-4_theo_0.opus", place / Path(line["audio"]).name)
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    held_out = [line | {"id": line["id"] + "-dev", "split": "dev"} for line in lines]
    (tmp_path / "data" / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in held_out))
    return tmp_path


def test_a_ninth_task_in_one_file(folder):
    given = ["preset=debug", "init=small", "joint.steps=2", "joint.warmup=1", "joint.batch_seconds=4"]
    environment = os.environ | {"LAURA_CACHE": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "kws.py", *given], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    [row] = json.loads((folder / "report" / "report.json").read_text())["rows"]
    assert (row["task"], row["metric"], row["n"], row["floor"]) == ("kws", "accuracy %", 2, 50.0)
    assert "<kws>" not in TASKS and "kws" not in TASKS  # it was added there, not here
    before = load_checkpoint(folder / "small")
    tuned = load_checkpoint(folder / "runs" / "kws" / "export")  # it remembers what was added
    assert TASKS["kws"].verb == "spot" and tuned.vocabulary.task("kws") == tuned.vocabulary.size - 1
    after = json.loads((folder / "runs" / "kws" / "export" / "config.json").read_text())
    assert after["model"]["gpt"]["vocabulary"] == before.config.gpt.vocabulary + 1


def test_what_a_checkpoint_knows_more_is_added_in_its_order_or_refused():
    rows = ["fr", asdict(own_task("room", ("hall", "street")))]
    add_rows(json.loads(json.dumps(rows)), "one")
    assert added_rows() == rows and Vocabulary(8, 4).special[-2:] == ("<fr>", "<room>") and TASKS["room"].labels == ("hall", "street")
    assert Vocabulary(8, 4).task("ser") == Vocabulary(8, 4).task("asr") + 6 and Vocabulary(8, 4).lang("zh") < Vocabulary(8, 4).lang("fr")
    add_rows(rows[:1], "a checkpoint that knows less")
    with pytest.raises(LauraError, match="two has 'es' where this program has added 'fr': open it in a program of its own"):
        add_rows(["es"], "two")
    with pytest.raises(LauraError, match="two: what it says was added cannot be read"):
        add_rows([*rows, {"nom": "x"}], "two")


def test_names_that_are_taken_and_tasks_that_sound_are_refused():
    with pytest.raises(LauraError, match="'asr' already"):
        add_task(Task("asr", "hear", "audio", "text", "WER"))
    with pytest.raises(LauraError, match="not text to audio"):
        add_task(Task("sing", "sing", "text", "audio", "WER"))
    with pytest.raises(LauraError, match="'x-y' is no language's code"):
        add_lang("x-y")
    with pytest.raises(LauraError, match="a name is lower-case letters"):
        add_task(own_task("My task"))
    add_task(TASKS["asr"])  # the same row again changes nothing
