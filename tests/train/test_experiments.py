"""The experiments run as their README says, here for a moment on a few tones: their numbers mean nothing, their tables are whole."""

import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


@pytest.mark.parametrize(
    "name, more, rows",
    [
        pytest.param(
            "multi_step",
            ["--minutes", "0.02", "--limit", "1"],
            ["one step", "quantizer by quantizer, 8", "quantizer by quantizer, 32"],
            marks=pytest.mark.slow,
        ),
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
