"""Several processes learn what one learns: the GPT's stage, float32, the same batches divided among them."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from lauragpt.train import state

STEPS, BATCHES = 10, 4  # batches of a step, of all processes together

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from accelerate import Accelerator
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.text import Tokenizer
from lauragpt.train import loop
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages import STAGES

data, out, steps, batches, again = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "True"
torch.set_num_threads(1)
accelerator = Accelerator(mixed_precision="no", cpu=True)
rank, each = accelerator.process_index, batches // accelerator.num_processes
lines = [line for lang in ("en", "de") for line in (data / f"text.{lang}.txt").read_text(encoding="utf-8").splitlines()]
corpus = Corpus(*read_data(data), data, Tokenizer.train(lines, PRESETS["debug"].text_size))
torch.manual_seed(0)
model, kind = LauraModel(PRESETS["debug"]), STAGES["gpt"]
keys = {"weights": {"mt": 1, "tts": 1}, "batch_seconds": 5, "warmup": 2, "lr": 1e-2, "dev_batches": 1}
stage = kind(model, corpus, kind.Config(steps=steps, accumulate=each, checkpoint_activations=again, **keys))
make, compute, told = stage.batch, stage.step, []
stage.batch = lambda number: make(number // each * batches + rank * each + number % each)  # a process's part of what one reads in a step

def step(batch, number, update):
    losses = compute(batch, number, update)
    if stage.modules.training:  # and not validated
        told.append((number, float(losses["loss"]), stage.sizes(batch)["tokens"]))
    return losses

stage.step = step
assert loop.run(stage, out, accelerator)
Path(out, f"rank{rank}.json").write_text(json.dumps(told))
"""


def losses_of(folder, processes: int) -> list[float]:
    """Of each step the mean over all that its batches hold."""
    told = [row for rank in range(processes) for row in json.loads((folder / f"rank{rank}.json").read_text())]
    steps = [[(loss, size) for number, loss, size in told if number == step] for step in range(STEPS)]
    assert all(len(rows) == BATCHES for rows in steps)
    return [sum(loss * size for loss, size in rows) / sum(size for _, size in rows) for rows in steps]


@pytest.mark.slow
def test_two_and_four_processes_have_the_losses_of_one(prepared, tmp_path):
    script = tmp_path / "gpt.py"
    script.write_text(SCRIPT)
    runs = {}
    for processes, again in ((1, False), (2, False), (4, False), (2, True)):
        out = tmp_path / f"{processes}-{again}"
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [sys.executable, *launch, str(script), str(prepared), str(out), str(STEPS), str(BATCHES), str(again)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        runs[processes, again] = losses_of(out, processes), load_file(state.newest(out) / state.MODEL)
    losses, weights = runs.pop((1, False))
    assert losses[-1] < losses[0] - 0.1, "nothing was learnt that could differ"
    for other, others_weights in runs.values():
        assert other == pytest.approx(losses, abs=1e-4)
        for key, tensor in weights.items():
            torch.testing.assert_close(others_weights[key], tensor, rtol=0, atol=1e-3, msg=key)
