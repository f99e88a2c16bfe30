"""A step's gradient: of several batches that of one as large, on one process or two; wild ones are left out, and training ends at last."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train import loop, state, update
from lauragpt.train.batches import EncoderBatch, SpellerBatch, VocoderBatch
from lauragpt.train.encoding import Recordings
from lauragpt.train.precision import precision
from lauragpt.train.stage import StageConfig
from lauragpt.train.text_batches import JointBatch, ReadBatch
from lauragpt.train.update import Update


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(mixed_precision=precision(), cpu=True)


def together(batches: list):
    """One batch of all that several hold."""
    kind = type(batches[0])
    if kind is Recordings:
        return Recordings(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    if kind is EncoderBatch:
        return EncoderBatch(together([b.recordings for b in batches]), [text for b in batches for text in b.units])
    if kind is ReadBatch:
        readers = [(row, b.posteriors[i] if i < len(b.posteriors) else None) for b in batches for i, row in enumerate(b.layouts)]
        readers.sort(key=lambda pair: pair[1] is None)
        return ReadBatch([row for row, _ in readers], [read for _, read in readers if read is not None])
    if kind is JointBatch:
        examples = sorted((e for b in batches for e in b.examples), key=lambda e: e.layout.frames == 0)
        return JointBatch(examples, together([b.recordings for b in batches if b.recordings]), together([b.read for b in batches]))
    if kind is VocoderBatch:
        return VocoderBatch(batches[0].task, [group for b in batches for group in b.groups])
    assert kind is SpellerBatch
    rows = [row[:length] for b in batches for row, length in zip(b.tokens, b.lengths, strict=True)]
    lengths = torch.tensor([len(row) for row in rows])
    return SpellerBatch(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths, [text for b in batches for text in b.letters], 0)


def gradients(stage, batches: list, accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """Of one step that reads these batches."""
    step = Update(stage, accelerator, lambda step: 0.0)
    step.begin(0, batches)
    for step.batch, batch in enumerate(batches):
        stage.step(batch, 0, step)
    return {name: p.grad.clone() for name, p in stage.modules.named_parameters() if p.grad is not None}


CLEAN = {"noise": 0.0, "degraded": 0.0, "spec_augment": False, "grad_clip": 1e9}
TASKS = {"asr": 1, "mt": 1, "tts": 1, "se": 1, "aac": 1, "ser": 1}


@pytest.mark.parametrize("name, keys, numbers", [
    ("encoder", CLEAN, range(2)), ("gpt", CLEAN | {"weights": {"mt": 1, "tts": 1}}, range(3)),
    ("joint", CLEAN | {"weights": TASKS, "loss_weight": {"ser": 5.0}}, range(4)), ("vocoder", {"grad_clip": 1e9}, range(2)),
    ("speller", {"grad_clip": 1e9, "token_errors": 0.0}, range(3)),
])  # fmt: skip
def test_batches_of_a_step_have_the_gradient_of_one_batch(make_stage, accelerator, name, keys, numbers):
    debug, model = PRESETS["debug"], None
    if name == "speller":
        torch.manual_seed(0)
        model = LauraModel(replace(debug, vocoder=replace(debug.vocoder, condition="codec")))
    stage = make_stage(name, model, batch_seconds=5, **keys)
    batches = [stage.batch(number) for number in numbers]
    if name == "vocoder":
        batches = [replace(batch, task="tts") for batch in batches]
    if name == "speller":  # an untrained codec's tokens are all alike: rounding would be most of a gradient
        generator = torch.Generator().manual_seed(0)
        batches = [replace(b, tokens=torch.randint(debug.audio_size, b.tokens.shape, generator=generator)) for b in batches]
    sizes = [stage.sizes(batch) for batch in batches]
    assert any(len({each[key] for each in sizes}) > 1 for key in sizes[0]), "batches of one size would prove nothing"
    stage.modules.train()
    parts, whole = gradients(stage, batches, accelerator), gradients(stage, [together(batches)], accelerator)
    assert parts.keys() == whole.keys() and any(gradient.abs().max() > 1e-4 for gradient in whole.values())
    flat = [torch.cat([each[key].flatten() for key in sorted(whole)]) for each in (parts, whole)]
    assert float((flat[0] - flat[1]).norm() / flat[1].norm()) < 1e-4
    if name != "speller":  # whose CTC sums hundreds of nats at first
        for key, gradient in whole.items():
            torch.testing.assert_close(parts[key], gradient, rtol=1e-4, atol=1e-6 * max(1.0, float(flat[1].abs().max())))
    plain = gradients(stage, batches[:1], accelerator)
    assert any(not torch.allclose(plain[key], whole[key], rtol=1e-2) for key in plain.keys() & whole.keys())


def test_the_loop_reads_so_many_batches_a_step_each_once(make_stage, accelerator, tmp_path):
    stage, read = make_stage("gpt", accumulate=3, steps=2), []
    make = stage.batch
    stage.batch = lambda number, step: read.append((number, step)) or make(number, step)
    assert loop.run(stage, tmp_path, accelerator) and state.steps_done(tmp_path) == 2
    assert sorted(read) == [(number, number // 3) for number in range(6)]
    assert {int(slots["step"]) for slots in stage.optimizers["model"].state_dict()["state"].values()} == {2}


SCRIPT = """
import sys, json, torch
from pathlib import Path
from accelerate import Accelerator
from lauragpt.train import loop
from lauragpt.train.precision import precision
from lauragpt.train.stage import StageConfig

ROWS = {tokens!r}

class Stage:
    name, config = "mean", StageConfig(steps=2, lr=1.0, warmup=1, decay=0.0, grad_clip=1e9, accumulate=2)
    def __init__(self, rank):
        torch.manual_seed(0)
        self.rank, self.modules = rank, torch.nn.ModuleDict({{"line": torch.nn.Linear(3, 1, bias=False)}})
        self.optimizers = {{"model": torch.optim.SGD(self.modules.parameters(), lr=1.0)}}
    def batch(self, number, step):
        return torch.tensor(ROWS[number % 2][number // 2 % 2])
    def sizes(self, batch):
        return {{"tokens": len(batch)}}
    def step(self, batch, step, update):
        update("model", {{"tokens": self.modules["line"](batch).square().mean()}})
        return {{}}
    def validate(self):
        return {{}}

accelerator = Accelerator(mixed_precision="no", cpu=True)
stage = Stage(accelerator.process_index)
loop.run(stage, Path(sys.argv[1]), accelerator)
Path(sys.argv[1], f"rank{{stage.rank}}.json").write_text(json.dumps(stage.modules["line"].weight.tolist()))
"""


def test_two_processes_with_batches_of_other_sizes_have_the_gradient_of_one_batch(tmp_path):
    generator = torch.Generator().manual_seed(1)
    rows = [[torch.randn(size, 3, generator=generator).tolist() for size in sizes] for sizes in ((1, 7), (4, 2))]
    script, out = tmp_path / "mean.py", tmp_path / "out"
    script.write_text(SCRIPT.format(tokens=rows))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    line = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(line.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        line(torch.tensor([row for rank in rows for batch in rank for row in batch])).square().mean().backward()
        optimizer.step()
    for rank in (0, 1):
        weight = torch.tensor(json.loads((out / f"rank{rank}.json").read_text()))
        torch.testing.assert_close(weight, line.weight.detach(), rtol=1e-5, atol=1e-6)


class Slope:
    """One weight whose gradient at each step is as given."""

    name = "slope"

    def __init__(self, gradients: list[float], **keys):
        self.config = StageConfig(steps=len(gradients), lr=1.0, warmup=1, decay=0.0, grad_clip=1e9, **keys)
        self.modules, self.gradients, self.wait = nn.ModuleDict({"line": nn.Linear(1, 1, bias=False)}), gradients, None
        nn.init.zeros_(self.modules["line"].weight)
        self.optimizers = {"model": torch.optim.SGD(self.modules.parameters(), lr=1.0)}

    def batch(self, number: int, step: int) -> float:
        return self.gradients[step]

    def step(self, batch: float, step: int, update: Update) -> dict[str, float]:
        update("model", -batch * self.modules["line"].weight.sum())
        return {"loss": 0.0}

    def validate(self) -> dict[str, float]:
        return {}

    @property
    def weight(self) -> float:
        return self.modules["line"].weight.item()


NAN, INF = float("nan"), float("inf")


def test_a_gradient_that_is_not_finite_changes_nothing(accelerator, tmp_path, capsys):
    stage = Slope([1.0, NAN, 2.0, INF, 4.0, 1000.0])
    assert loop.run(stage, tmp_path, accelerator) and stage.weight == 1007.0
    assert state.read(tmp_path)["skipped"] == 2
    told = capsys.readouterr().err
    assert "slope: step 2 is left out: its gradient is not finite (1 so far)" in told and "slope: 2 of 6 steps were left out" in told


def test_a_spike_is_left_out_where_the_recipe_says_so(accelerator, tmp_path, capsys):
    usual = [1.0, 3.0] * (update.ENOUGH // 2)
    stage = Slope([*usual, 25.0, 15.0, 1.0], spike=10.0)  # the median is 2
    assert loop.run(stage, tmp_path, accelerator) and stage.weight == sum(usual) + 16.0
    assert "step 21 is left out: its gradient is 12 times as large as usual" in capsys.readouterr().err
    assert Slope([1.0]).config.spike == 0.0, "a knob that is off"
    early = Slope([1.0, 1.0, 1000.0], spike=10.0)
    assert loop.run(early, tmp_path / "early", accelerator) and early.weight == 1002.0, "nobody knows yet what is usual"


def test_what_is_usual_is_remembered_by_who_goes_on(accelerator, tmp_path):
    usual = [1.0] * update.ENOUGH
    assert loop.run(Slope(usual, spike=10.0), tmp_path, accelerator)
    stage = Slope([*usual, 50.0], spike=10.0)
    assert loop.run(stage, tmp_path, accelerator, resume=True) and stage.weight == sum(usual) and state.read(tmp_path)["skipped"] == 1


def test_training_ends_where_nothing_is_learnt_any_more(accelerator, tmp_path):
    good, bad = [1.0, NAN] * 20, [NAN] * update.SKIPS
    assert loop.run(Slope(good), tmp_path / "good", accelerator)
    stage = Slope([1.0, 1.0, *bad, 1.0], save_minutes=0.0)
    words = f"slope: {update.SKIPS} steps in a row were left out, the last, {2 + update.SKIPS}, since its gradient is not finite: lower lr"
    with pytest.raises(LauraError, match=words) as error:
        loop.run(stage, tmp_path / "bad", accelerator)
    assert "\n" not in str(error.value) and stage.weight == 2.0
    assert state.steps_done(tmp_path / "bad") == 2, "no step is saved whose buffers may have seen what was not finite"
