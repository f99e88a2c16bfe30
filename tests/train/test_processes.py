"""Several processes learn what one learns, also where their number changes: the GPT's stage, float32, the same batches."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lauragpt.train import state

STEPS, BATCHES = 10, 4  # batches of a step, of all processes together
STOP = 4  # steps after which training is interrupted

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
from accelerate import Accelerator
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.text import Tokenizer
from lauragpt.train import loop
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages import STAGES

data, out, steps, batches, about = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), json.loads(sys.argv[5])
torch.set_num_threads(1)
accelerator = Accelerator(mixed_precision="no", cpu=True)
rank = accelerator.process_index
lines = [line for lang in ("en", "de") for line in (data / f"text.{lang}.txt").read_text(encoding="utf-8").splitlines()]
corpus = Corpus(*read_data(data), data, Tokenizer.train(lines, PRESETS["debug"].text_size))
torch.manual_seed(0)
model, kind = LauraModel(PRESETS["debug"]), STAGES["gpt"]
keys = {"weights": {"mt": 1, "tts": 1}, "batch_seconds": 5, "warmup": 2, "lr": 1e-2, "dev_batches": 1, "steps": steps}
keys |= {"accumulate": batches // accelerator.num_processes, "checkpoint_activations": about.get("again", False)}
stage = kind(model, corpus, kind.Config(**keys), rank=rank)
compute, told = stage.step, []

def step(batch, number, update):
    losses = compute(batch, number, update)
    if stage.modules.training:  # and not validated
        told.append((number, float(losses["loss"]), stage.sizes(batch)["tokens"]))
        if number + 1 == about.get("stop"):
            os.kill(os.getpid(), signal.SIGTERM)
    return losses

stage.step = step
assert loop.run(stage, out, accelerator, resume=about.get("resume", False)) is ("stop" not in about)
Path(out, f"{told[0][0]}-{rank}.json").write_text(json.dumps(told))
"""


def losses_of(folder: Path) -> list[float]:
    """Of each step the mean over all that its batches hold."""
    told = [row for path in folder.glob("*.json") for row in json.loads(path.read_text())]
    steps = [[(loss, size) for number, loss, size in told if number == step] for step in range(STEPS)]
    assert all(len(rows) == BATCHES for rows in steps)
    return [sum(loss * size for loss, size in rows) / sum(size for _, size in rows) for rows in steps]


@pytest.mark.slow
def test_two_and_four_processes_have_the_losses_of_one(prepared, tmp_path):
    script = tmp_path / "gpt.py"
    script.write_text(SCRIPT)

    def train(processes: int, out: Path, **about: object) -> Path:
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [sys.executable, *launch, str(script), str(prepared), str(out), str(STEPS), str(BATCHES), json.dumps(about)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        return out

    alone = train(1, tmp_path / "1")
    others = [train(2, tmp_path / "2"), train(4, tmp_path / "4"), train(2, tmp_path / "again", again=True)]
    half = train(2, tmp_path / "half", stop=STOP)
    assert state.steps_done(half) == STOP
    others += [train(processes, shutil.copytree(half, tmp_path / f"2 to {processes}"), resume=True) for processes in (4, 1)]
    losses, weights = losses_of(alone), load_file(state.newest(alone) / state.MODEL)
    assert losses[-1] < losses[0] - 0.1, "nothing was learnt that could differ"
    for other in others:
        assert state.read(other)["batches"] == STEPS * BATCHES
        assert losses_of(other) == pytest.approx(losses, abs=1e-4), other
        other_weights = load_file(state.newest(other) / state.MODEL)
        for key, tensor in weights.items():
            torch.testing.assert_close(other_weights[key], tensor, rtol=0, atol=1e-3, msg=f"{other} {key}")
