"""The vocoder's stage where quantizers are predicted one after the other."""

import torch

from lauragpt.model.lauragpt import PRESETS, LauraModel, with_changes


def test_a_step_teaches_the_level_that_is_drawn(make_stage):
    torch.manual_seed(0)
    model = LauraModel(with_changes(PRESETS["debug"], {"vocoder": {"steps": 3}}))
    stage = make_stage("vocoder", model, weights={"tts": 1})
    taught = set()
    for step in range(4):
        for group in stage.batch(step).groups:
            model.vocoder.zero_grad()
            loss = stage.loss(group)
            loss.backward()
            rows = model.vocoder.level.weight.grad.abs().sum(1).nonzero().flatten().tolist()
            assert rows == [1 + group.seed % 2] and loss.isfinite() and model.vocoder.sharpness.grad[rows[0]] != 0
            taught |= set(rows)
    assert taught == {1, 2}


def test_steps_learn(make_stage):
    """The loss of one group falls below what is due to chance alone."""
    torch.manual_seed(0)
    model = LauraModel(with_changes(PRESETS["debug"], {"vocoder": {"steps": 2}}))
    stage = make_stage("vocoder", model, weights={"tts": 1}, token_errors=0.0)
    group = stage.batch(0).groups[0]
    losses = []
    for _ in range(8):
        loss = stage.loss(group)
        stage.optimizers["model"].zero_grad()
        loss.backward()
        for each in stage.optimizers["model"].param_groups:
            each["lr"] = 3e-3
        stage.optimizers["model"].step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.02
