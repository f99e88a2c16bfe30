"""The experiments run as their README says, here for a moment on a few tones: their numbers mean nothing, their tables are whole."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


@pytest.mark.parametrize(
    "name, more, rows",
    [
        pytest.param("phones", ["--sentences", "24"], ["encoder, layer 1", "codec, first codes"], marks=pytest.mark.slow),
        ("fit", ["--sentences", "2"], ["kathleen"]),
        ("bound", ["--sentences", "1", "--corpus", "kathleen"], ["best path", "GPT, beams: 1", "GPT, beams: 4"]),
        pytest.param("listening", ["--minutes", "0.02"], ["everything", "no letters", "no frames"], marks=pytest.mark.slow),
        pytest.param("listening", ["--minutes", "0.02", "--vary", "layers"], ["as it is", "6 layers more"], marks=pytest.mark.slow),
        pytest.param("listening", ["--minutes", "0.02", "--vary", "loss"], ["every token alike"], marks=pytest.mark.slow),
    ],
)
def test_an_experiment_prints_its_table(name, more, rows, prepared, tmp_path):
    out = [] if name in ("phones", "fit", "bound") else ["--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(EXPERIMENTS / f"{name}.py"), "--data", str(prepared), *more, *out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if line.startswith("|")]
    assert {len(row) for row in table} == {len(table[0])} and len(table) >= 2 + len(rows)
    found = {row[0]: row[1:] for row in table[2:]}
    assert all(float(cell) >= 0 for name in rows for cell in found[name])


@pytest.mark.slow
def test_ways_to_learn_a_new_task_are_compared(prepared, debug_checkpoint, tmp_path):
    given = ["--data", str(prepared), "--checkpoint", str(debug_checkpoint), "--preset", "debug", "--out", str(tmp_path), "--steps", "2"]
    command = [sys.executable, str(EXPERIMENTS / "adapters.py"), *given, "--batch-seconds", "8", "--limit", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == [
        "as it was", "all weights", "LoRA, rank 8", "LoRA, rank 8, GPT alone", "all but the encoder"
    ]  # fmt: skip
    trained = [float(row[1]) for row in rows[3:]]
    assert trained[0] > trained[3] > trained[2] and trained[1] > trained[2]
    assert {path.parent.name for path in tmp_path.glob("*/adapter")} == {"LoRA-rank-8", "LoRA-rank-8-GPT-alone"}
    assert all(float(cell) >= 0 for row in rows[3:] for cell in row[1:])


@pytest.mark.slow
def test_a_training_that_is_killed_again_and_again_is_the_same(tmp_path):
    command = [sys.executable, str(EXPERIMENTS / "kills.py"), "--recipe", str(EXPERIMENTS.parent / "recipes" / "debug.yaml")]
    given = ["--out", str(tmp_path), "--save-minutes", "0.005", "encoder.steps=8", "gpt.steps=8", "joint.steps=4"]
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) kills", done.stdout)[1]) >= 10 and " 0 differ" in done.stdout
