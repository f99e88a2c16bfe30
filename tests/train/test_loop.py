"""The loop: stopping, going on as if it had never stopped, validation at intervals and the best checkpoint, several processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from lauragpt.errors import LauraError
from lauragpt.train import loop, state
from lauragpt.train.precision import precision
from lauragpt.train.stage import StageConfig, Update

LAST = "steps/00000006/model.safetensors"
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
    for file in ["steps/00000004/model.safetensors", "steps/00000004/optimizer.safetensors", *best]:
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
    assert state.read(tmp_path)["step"] == 0 and state.read(tmp_path)["stage"] == "gpt"
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["00000000"] and validated == [1]
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

    def batch(self, number: int, step: int) -> float:
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
    for file, value in ((LAST, 6.0), ("best/model.safetensors", 4.0)):
        assert load_file(tmp_path / file)["line.weight"].item() == pytest.approx(value)
    assert state.weights_of(tmp_path, keep_best) == tmp_path / ("best/model.safetensors" if keep_best else LAST)


def test_without_intervals_dev_is_measured_at_the_end_alone(accelerator, tmp_path):
    stage = Descent([3.0])
    assert loop.run(stage, tmp_path, accelerator) and stage.dev == [] and state.best(tmp_path) is None
    assert state.weights_of(tmp_path, True) == tmp_path / LAST and state.weights_of(tmp_path / "none", False) is None


def test_training_anew_forgets_what_did_best_before(accelerator, tmp_path):
    assert loop.run(Descent([0.0, 0.0, 0.0], evaluate_every=2), tmp_path, accelerator)
    assert loop.run(Descent([3.0, 2.0, 1.0], evaluate_every=2), tmp_path, accelerator)
    assert state.best(tmp_path) == {"step": 6, "loss": 1.0}


def test_a_stage_ends_where_dev_has_not_become_better_for_long(accelerator, tmp_path):
    keys = {"evaluate_every": 1, "keep_best": True, "patience": 2}
    stage = Descent([3.0, 1.0, 2.0, 1.0, 0.5, 0.4], **keys)
    assert loop.run(stage, tmp_path, accelerator) and stage.dev == [0.5, 0.4], "as good as the best is no better"
    assert state.best(tmp_path) == {"step": 2, "loss": 1.0} and stage.weight.item() == pytest.approx(2.0)
    assert state.steps_done(tmp_path) == 4 and state.finished(tmp_path, stage.config)
    assert not state.finished(tmp_path, replace(stage.config, patience=3))
    again = Descent([], **keys)
    assert loop.run(again, tmp_path, accelerator, resume=True) and again.modes == [], "it is done"
    more = Descent([0.5, 0.4], **keys | {"patience": 3})
    assert loop.run(more, tmp_path, accelerator, resume=True) and state.best(tmp_path) == {"step": 6, "loss": 0.4}


def test_the_averaged_weights_are_measured_and_handed_on(accelerator, tmp_path):
    stage, measured = Descent([3.0, 2.0, 1.0], evaluate_every=2, ema=0.5), []
    validate = stage.validate
    stage.validate = lambda: measured.append(stage.weight.item()) or validate()
    average, averages = 0.0, []
    for step in range(6):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * (step + 1)
        averages.append(average)
    assert loop.run(stage, tmp_path, accelerator)
    assert measured == pytest.approx(averages[1::2]) and stage.weight.item() == pytest.approx(average)
    chosen = state.weights_of(tmp_path, False)
    assert chosen == tmp_path / "steps/00000006/average.safetensors"
    assert load_file(chosen)["line.weight"].item() == pytest.approx(average)
    assert load_file(tmp_path / LAST)["line.weight"].item() == pytest.approx(6.0), "training goes on from its own weights"
    assert load_file(tmp_path / "best/model.safetensors")["line.weight"].item() == pytest.approx(average)


def test_the_average_goes_on_as_if_it_had_never_stopped(make_stage, accelerator, tmp_path):
    keys = JOINT | {"ema": 0.9, "accumulate": 2, "batch_seconds": 2}
    assert loop.run(make_stage("joint", **keys), tmp_path / "straight", accelerator)
    stage = make_stage("joint", **keys)
    stop_at(stage, 1)
    assert not loop.run(stage, tmp_path / "halves", accelerator) and state.steps_done(tmp_path / "halves") == 2
    assert loop.run(make_stage("joint", **keys), tmp_path / "halves", accelerator, resume=True)
    straight, halves = (load_file(state.weights_of(tmp_path / name, False)) for name in ("straight", "halves"))
    assert straight.keys() == halves.keys() and all(straight[key].equal(halves[key]) for key in straight)
    last = load_file(tmp_path / "halves" / "steps" / "00000004" / "model.safetensors")
    assert any(not last[key].equal(halves[key]) for key in last)


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
    def batch(self, number, step):
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
    assert state.steps_done(out) == 2
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
