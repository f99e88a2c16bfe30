"""The loop: stopping, going on as if it had never stopped, validation at intervals and the best checkpoint, several processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from lauragpt.errors import LauraError
from lauragpt.train import loop, state
from lauragpt.train.precision import precision
from lauragpt.train.stage import StageConfig, Update

JOINT = {"noise": 0.5, "batch_seconds": 4, "dev_batches": 1, "weights": {"asr": 1, "mt": 1, "tts": 1, "se": 1, "aac": 1}}


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(mixed_precision=precision(), cpu=True)


def stop_at(stage, last: int) -> None:
    """From here on the stage's step number `last` is interrupted as a scheduler would interrupt it."""
    step_of_stage = stage.step

    def interrupted(batch, step, update):
        losses = step_of_stage(batch, step, update)
        if step == last and stage.modules.training:  # not in a validation
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    stage.step = interrupted


@pytest.mark.parametrize("name, keys", [
    ("joint", JOINT), ("codec", {"quantize_from": 1, "kmeans_batches": 2, "batch_seconds": 3, "adversarial_from": 2}),
    ("encoder", {"dev_batches": 1, "evaluate_every": 1}), ("vocoder", {"dev_batches": 1, "weights": {"tts": 1, "se": 1}}),
])  # fmt: skip
def test_going_on_equals_never_having_stopped(make_stage, accelerator, tmp_path, name, keys):
    assert loop.run(make_stage(name, **keys), tmp_path / "straight", accelerator)
    stage = make_stage(name, **keys)
    stop_at(stage, 1)
    assert not loop.run(stage, tmp_path / "halves", accelerator)
    assert state.steps_done(tmp_path / "halves") == 2
    stage = make_stage(name, **keys)
    torch.manual_seed(7)
    for parameter in stage.modules.parameters():
        parameter.data.zero_()  # all must come from the checkpoint
    assert loop.run(stage, tmp_path / "halves", accelerator, resume=True)
    best = ["best/model.safetensors"] if "evaluate_every" in keys else []
    for file in ["model.safetensors", "optimizer.safetensors", *best]:
        straight, halves = load_file(tmp_path / "straight" / file), load_file(tmp_path / "halves" / file)
        assert straight.keys() == halves.keys()
        assert all(torch.equal(straight[key], halves[key]) for key in straight)
    assert state.best(tmp_path / "straight") == state.best(tmp_path / "halves")


def test_until_leaves_a_checkpoint_that_can_go_on(make_stage, accelerator, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    stage = make_stage("gpt")
    validated, validate = [], stage.validate
    stage.validate = lambda: validated.append(1) or validate()
    assert not loop.run(stage, tmp_path, accelerator, until=time.monotonic())
    assert json.loads((tmp_path / "state.json").read_text()) == {"step": 0, "stage": "gpt"}
    assert not list(tmp_path.glob("*.part")) and validated == [1]
    assert loop.run(stage, tmp_path, accelerator, resume=True) and validated == [1, 1]
    stop_at(stage, 0)
    assert not loop.run(stage, tmp_path / "again", accelerator) and validated == [1, 1]  # interrupted: the machine is wanted back
    assert state.steps_done(tmp_path) == 4
    assert signal.getsignal(signal.SIGTERM) is before


class Descent:
    """One weight that goes up by 1 each step; dev says what it is told to."""

    name = "descent"

    def __init__(self, dev: list[float], **keys):
        self.config = StageConfig(steps=6, lr=1.0, warmup=1, decay=0.0, grad_clip=1.0, **keys)
        self.modules, self.dev, self.modes = nn.ModuleDict({"line": nn.Linear(1, 1, bias=False)}), list(dev), []
        nn.init.zeros_(self.weight)
        self.optimizers = {"model": torch.optim.SGD(self.modules.parameters(), lr=1.0)}

    @property
    def weight(self) -> torch.Tensor:
        return self.modules["line"].weight

    def batch(self, step: int) -> float:
        return 1.0

    def step(self, batch: float, step: int, update: Update) -> dict[str, float]:
        self.modes.append(self.modules.training)
        update("model", -10 * batch * self.weight.sum())  # clipped to a slope of 1
        return {"loss": 0.0}

    def validate(self) -> dict[str, float]:
        assert not self.modules.training
        return {"loss": self.dev.pop(0), "other": 0.0}


@pytest.mark.parametrize("keep_best, weight", [(True, 4.0), (False, 6.0)])
def test_the_best_of_the_validations_is_kept_beside_the_last_step(accelerator, tmp_path, keep_best, weight):
    stage = Descent([3.0, 1.0, 2.0], evaluate_every=2, keep_best=keep_best)
    assert loop.run(stage, tmp_path, accelerator)
    assert stage.dev == [] and stage.modes == [True] * 6
    assert state.best(tmp_path) == {"step": 4, "loss": 1.0} and state.steps_done(tmp_path) == 6
    assert stage.weight.item() == pytest.approx(weight)
    for file, value in (("model.safetensors", 6.0), ("best/model.safetensors", 4.0)):
        assert load_file(tmp_path / file)["line.weight"].item() == pytest.approx(value)
    chosen = state.weights_of(tmp_path, keep_best)
    assert chosen == tmp_path / ("best/model.safetensors" if keep_best else "model.safetensors")


def test_without_intervals_dev_is_measured_at_the_end_alone(accelerator, tmp_path):
    stage = Descent([3.0])
    assert loop.run(stage, tmp_path, accelerator) and stage.dev == [] and state.best(tmp_path) is None
    assert state.weights_of(tmp_path, True) == tmp_path / "model.safetensors" and state.weights_of(tmp_path / "none", False) is None


def test_training_anew_forgets_what_did_best_before(accelerator, tmp_path):
    assert loop.run(Descent([0.0, 0.0, 0.0], evaluate_every=2), tmp_path, accelerator)
    assert loop.run(Descent([3.0, 2.0, 1.0], evaluate_every=2), tmp_path, accelerator)
    assert state.best(tmp_path) == {"step": 6, "loss": 1.0}


def test_the_loss_to_choose_by_must_be_measured(accelerator, tmp_path):
    with pytest.raises(LauraError, match="descent.best_by: dev has no loss 'wer': choose from loss, other"):
        loop.run(Descent([1.0], evaluate_every=2, best_by="wer"), tmp_path, accelerator)


TWO = """
import sys, json, torch
from pathlib import Path
from accelerate import Accelerator
from lauragpt.train import loop
from lauragpt.train.stage import StageConfig

class Slope(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.unused = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))

class Stage:
    name, config = "slope", StageConfig(steps=50, lr=1.0, warmup=1, decay=0.0)
    def __init__(self, rank):
        self.rank, self.modules = rank, torch.nn.ModuleDict({"slope": Slope()})
        self.optimizers = {"model": torch.optim.SGD(self.modules.parameters(), lr=1.0)}
    def batch(self, step):
        return {"slope": torch.tensor([1.0, 10.0, 0.0]) if self.rank == 0 else torch.tensor([3.0, 0.0, 0.0])}
    def step(self, batch, step, update):
        update("model", 0.01 * (batch["slope"] * self.modules["slope"].weight).sum())
        if self.rank == 1 and step == 1:
            import os, signal
            os.kill(os.getpid(), signal.SIGTERM)  # one process alone is told
        return {"loss": 0.0}
    def validate(self):
        return {"asked": float(self.rank)}

accelerator = Accelerator(mixed_precision="no", cpu=True)
stage = Stage(accelerator.process_index)
done = loop.run(stage, Path(sys.argv[1]), accelerator)
Path(sys.argv[1], f"rank{stage.rank}.json").write_text(json.dumps([done, stage.modules["slope"].weight.tolist()]))
"""


def test_two_processes_share_their_gradients_and_stop_together(tmp_path):
    script, out = tmp_path / "two.py", tmp_path / "out"
    script.write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    state = json.loads((out / "state.json").read_text())
    assert state["step"] == 2
    for rank in (0, 1):  # two steps down the mean of the two slopes
        finished, weight = json.loads((out / f"rank{rank}.json").read_text())
        assert not finished and weight == pytest.approx([-0.04, -0.1, 0.0])
    assert "dev asked" not in done.stderr  # who interrupts does not wait for a validation


@pytest.mark.parametrize(
    "able, wanted", [({"avx2": True, "avx512_bf16": False}, "no"), ({"avx512_bf16": True}, "bf16"), ({"bf16": True}, "bf16")]
)
def test_bf16_is_for_processors_that_multiply_in_it(monkeypatch, able, wanted):
    assert torch.cpu.get_capabilities()["architecture"] != "x86_64" or {"avx512_bf16", "amx_bf16"} <= set(torch.cpu.get_capabilities())
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert precision() == wanted


def test_a_line_tells_how_long_no_batch_was_ready(make_stage, accelerator, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    assert loop.run(make_stage("encoder", dev_batches=1), tmp_path, accelerator)
    lines = re.findall(r"encoder \d+/\d+ ctc \S+ \(waited for batches (\d+)% of the time\)", capsys.readouterr().err)
    assert lines and all(0 <= int(share) <= 100 for share in lines)
