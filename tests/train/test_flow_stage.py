"""The vocoder's stage where the sum of all embeddings is drawn by flow matching."""

import torch

from lauragpt.model.lauragpt import PRESETS, LauraModel, with_changes
from lauragpt.train.counting import Count
from lauragpt.train.stages import STAGES
from lauragpt.train.workload import count_batch, draw, stage_modules


def test_steps_learn(make_stage, corpus):
    """The loss of one group falls, with the same noise each time; the rest is standardised by what is measured first."""
    torch.manual_seed(0)
    model = LauraModel(with_changes(PRESETS["debug"], {"vocoder": {"flow": 4}}))
    assert not model.vocoder.spread.any()
    stage = make_stage("vocoder", model, weights={"tts": 1}, token_errors=0.0, batch_seconds=4)
    codes = [model.codec.encode(torch.from_numpy(corpus.waves(e.audio))[None]) for e in corpus.train if e.task == "tts"]
    rest = torch.cat([(model.codec.embed(each) - model.codec.embed(each[:, :1]))[0] for each in codes])
    torch.testing.assert_close(rest.std(0), model.vocoder.spread, rtol=0.2, atol=0)
    group, losses = stage.batch(0).groups[0], []
    for _ in range(6):
        loss = stage.loss(group)
        stage.optimizers["model"].zero_grad()
        loss.backward()
        for each in stage.optimizers["model"].param_groups:
            each["lr"] = 3e-3
        stage.optimizers["model"].step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.02


def test_a_plan_counts_one_velocity_whatever_the_steps(corpus):
    def counted(flow: int) -> Count:
        with torch.device("meta"):
            model = LauraModel(with_changes(PRESETS["debug"], {"vocoder": {"flow": flow}}))
        config = STAGES["vocoder"].Config(steps=4, batch_seconds=2, weights={"tts": 1})
        batch, _ = draw("vocoder", model, config, corpus.train)
        return count_batch("vocoder", model, stage_modules("vocoder", model, config), config, batch, bf16=False, fused=True)

    assert counted(1) == counted(8) and counted(8).flops > 0
