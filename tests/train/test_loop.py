"""The loop: schedule, stopping, and that going on equals never having stopped."""

import json
import os
import signal
import time
from itertools import pairwise

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from lauragpt.model.laura import PRESETS, LauraModel
from lauragpt.text import Tokenizer
from lauragpt.train import loop
from lauragpt.train.recipe import StageConfig
from lauragpt.train.run import read_data
from lauragpt.train.stages import STAGE_CLASSES, Corpus

CONFIG = StageConfig(
    steps=4, batch_seconds=8, warmup=2, noise=0.5, weights={"asr": 1, "mt": 1, "tts": 1, "se": 1, "aac": 1}, small_from=0.5
)


@pytest.fixture(scope="module")
def corpus(prepared):
    train, dev = read_data(prepared)
    lines = (prepared / "text.en.txt").read_text().splitlines() + (prepared / "text.de.txt").read_text().splitlines()
    return Corpus(train, dev, prepared, Tokenizer.train(lines, PRESETS["debug"].text_size))


def make(name: str, corpus: Corpus, weights=None):
    torch.manual_seed(0)
    config = CONFIG if name == "laura" else StageConfig(steps=4, batch_seconds=8, warmup=2, weights=weights)
    return STAGE_CLASSES[name](LauraModel(PRESETS["debug"]), corpus, config), config


def stop_at(stage, last: int) -> None:
    """From here on the stage's step number `last` is interrupted as a scheduler would interrupt it."""
    step = stage.step

    def interrupted(batch, update):
        losses = step(batch, update)
        if batch["step"] == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    stage.step = interrupted


def test_the_rate_warms_up_holds_and_falls():
    config = StageConfig(steps=100, lr=1.0, warmup=10, decay=0.3)
    rates = [loop.rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:70] == [1.0] * 61
    assert all(a > b for a, b in pairwise(rates[70:99])) and 0.01 <= rates[99] < 0.05


@pytest.mark.parametrize("name, weights", [("laura", None), ("encoder", {"asr": 1}), ("vocoder", {"tts": 1, "se": 1})])
def test_going_on_equals_never_having_stopped(corpus, tmp_path, name, weights):
    accelerator = Accelerator(mixed_precision="bf16")
    stage, config = make(name, corpus, weights)
    assert loop.run(stage, config, tmp_path / "straight", accelerator)
    stage, config = make(name, corpus, weights)
    stop_at(stage, 1)
    assert not loop.run(stage, config, tmp_path / "halves", accelerator)
    assert json.loads((tmp_path / "halves" / "state.json").read_text())["step"] == 2
    torch.manual_seed(7)
    stage, config = make(name, corpus, weights)
    for parameter in stage.modules.parameters():
        parameter.data.zero_()  # all must come from the checkpoint
    assert loop.run(stage, config, tmp_path / "halves", accelerator, resume=True)
    for file in ("model.safetensors", "optimizer.safetensors"):
        straight, halves = load_file(tmp_path / "straight" / file), load_file(tmp_path / "halves" / file)
        assert straight.keys() == halves.keys()
        assert all(torch.equal(straight[key], halves[key]) for key in straight)


def test_until_leaves_a_checkpoint_that_can_go_on(corpus, tmp_path):
    accelerator, before = Accelerator(mixed_precision="bf16"), signal.getsignal(signal.SIGTERM)
    stage, config = make("gpt", corpus, {"mt": 1})
    assert not loop.run(stage, config, tmp_path, accelerator, until=time.monotonic())
    assert json.loads((tmp_path / "state.json").read_text()) == {"step": 0, "stage": "gpt"}
    assert not list(tmp_path.glob("*.part"))
    assert loop.run(stage, config, tmp_path, accelerator, resume=True)
    assert json.loads((tmp_path / "state.json").read_text())["step"] == 4
    assert signal.getsignal(signal.SIGTERM) is before
