"""laura plan: counts against the models, optimizers and files themselves, arithmetic against numbers made by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from lauragpt.cli.app import app
from lauragpt.errors import LauraError
from lauragpt.model.gpt import GPT, GPTConfig
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train import state
from lauragpt.train.config import load_recipe
from lauragpt.train.counting import Count, count
from lauragpt.train.encoding import Recordings, encode_recordings
from lauragpt.train.gpus import GPU, find_gpu
from lauragpt.train.plan import Parameters, cached_frames, parameters_of, plan_recipe, replicated, sharded
from lauragpt.train.stage import StageConfig
from lauragpt.train.stages import STAGES
from lauragpt.train.trial import Trial
from lauragpt.train.typical import typical_examples
from lauragpt.train.workload import count_batch, draw, stage_modules

RECIPES = Path(__file__).parents[2] / "recipes"
H100 = find_gpu("h100")
PARAMETERS = Parameters(trained=10, frozen=20, tensors=2, buffers=8, saved=60, sharded=14, root=2, layer=6)
COUNT = Count(flops=1e3, kept=100.0, layers=[30.0, 40.0], inputs=[5.0, 5.0])


def meta(preset: str) -> LauraModel:
    with torch.device("meta"):
        return LauraModel(PRESETS[preset])


def planned(recipe: str, *overrides: str, gpu: GPU = H100, **how: object):
    return plan_recipe(load_recipe(RECIPES / f"{recipe}.yaml", overrides), gpu, **how)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "paper-2b"])
def test_parameters_are_those_of_the_built_model(preset):
    built = LauraModel(PRESETS[preset])
    found = parameters_of(meta(preset), nn.ModuleDict())
    assert found.frozen == sum(p.numel() for p in built.parameters())
    assert found.buffers == sum(b.nbytes for b in built.buffers())


def test_parameters_of_the_paper_are_counted_without_its_weights():
    """By hand: the GPT's matrices, biases and norms."""
    config, gpt = PRESETS["paper-2b"].gpt, meta("paper-2b").gpt
    D, F = config.width, config.ffn
    layer = 4 * D * D + 3 * D + 3 * D * F + 2 * D
    assert sum(p.numel() for p in gpt.parameters()) == 2 * config.vocabulary * D + 24 * layer + D


@pytest.mark.parametrize("name", ["encoder", "codec", "gpt", "vocoder", "joint", "speaker"])
def test_a_stage_holds_and_saves_what_was_planned(make_stage, tmp_path, name):
    stage = make_stage(name)
    speakers = stage.classes.out_features if name == "speaker" else 0
    model = meta("debug")
    found = parameters_of(model, stage_modules(name, model, stage.config, speakers))
    gradients = moments = 0
    for optimizer in stage.optimizers.values():
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            parameter.grad = torch.zeros_like(parameter)
            gradients += parameter.grad.nbytes
        optimizer.step()
        moments += sum(tensor.nbytes for slots in optimizer.state.values() for tensor in slots.values())
    assert (4 * found.trained, found.optimizer) == (gradients, moments)
    state.save(tmp_path, stage, 1, {})
    written = sum(path.stat().st_size for path in (tmp_path / "steps" / "00000001").iterdir())
    assert found.saved + found.optimizer == pytest.approx(written, rel=0.05)


@pytest.mark.parametrize("keys", [{"frozen_layers": 4}, {"lora": {"rank": 4, "parts": ["gpt"]}}])
def test_what_is_frozen_is_not_trained(keys):
    recipe = load_recipe(RECIPES / "mini.yaml", ['encoder.init=""', *(f"joint.{key}={json.dumps(value)}" for key, value in keys.items())])
    model = meta("mini")
    found = parameters_of(model, stage_modules("joint", model, recipe.stages["joint"]))
    whole = sum(p.numel() for p in meta("mini").parameters())
    if "lora" in keys:
        linear = [each for each in meta("mini").gpt.layers.modules() if isinstance(each, nn.Linear)]
        assert found.trained == 4 * sum(each.in_features + each.out_features for each in linear)
    else:
        with_all = meta("mini")
        frozen = nn.ModuleList([with_all.encoder.conv1, with_all.encoder.conv2, *with_all.encoder.layers[:6]])
        assert found.trained + found.frozen == whole
        assert found.frozen >= sum(p.numel() for p in frozen[:6].parameters())


@pytest.fixture(scope="module")
def gpt():
    return GPTConfig(vocabulary=50, width=32, layers=2, heads=2, kv_heads=1, head_width=16, ffn=64)


def gpt_loss(model: GPT, device: str):
    return lambda: model(model.embed(torch.zeros(3, 10, dtype=torch.int64, device=device))).sum()


def test_operations_of_a_gpt_are_six_a_weight_and_token_and_attention(gpt):
    with torch.device("meta"):
        model = GPT(gpt)
    layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64
    weights, tokens = 2 * layer + 50 * 32, 3 * 10
    attention = 12 * 2 * 3 * 2 * 10 * 10 * 16  # 3 times 4 for layers, rows, heads, places, places, width
    for bf16, fused in ((True, True), (False, False)):
        assert count(model, gpt_loss(model, "meta"), bf16, fused).flops == 6 * weights * tokens + attention


def test_without_memory_as_much_is_kept_as_on_the_cpu(gpt):
    with torch.device("meta"):
        without = GPT(gpt)
    real = GPT(gpt)
    expected = count(real, gpt_loss(real, "cpu"), bf16=False, fused=False)
    assert count(without, gpt_loss(without, "meta"), bf16=False, fused=False) == expected
    assert expected.kept > expected.checkpointed > 0 and len(expected.layers) == 2


def test_autocast_keeps_inputs_and_weights_in_sixteen_bits():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Linear(16, 4, bias=False))
    loss = lambda: model(torch.zeros(5, 8, device="meta")).sum()  # noqa: E731
    assert count(model, loss, bf16=False).kept == 4 * 5 * (8 + 16)
    assert count(model, loss, bf16=True).kept == 2 * (5 * (8 + 16) + 16 * 4)  # the first weights serve no gradient


def test_memory_by_hand():
    config = StageConfig()
    one, two = replicated("DDP", PARAMETERS, COUNT, 1, config), replicated("DDP", PARAMETERS, COUNT, 2, config)
    assert (one.weights, one.gradients, one.optimizer, one.exchange) == (4 * 30 + 8, 40, 8 * 10 + 4 * 2, 0)
    assert two.exchange == 40 and one.total == 128 + 40 + 88 + 100
    assert one.checkpointed == 100 - 70 + 10 + 40
    parted = sharded(PARAMETERS, COUNT, 2, replace(config, ema=0.9))
    assert parted.weights == 4 * (30 - 14) + 8 + 4 * (14 + 14) / 2
    assert (parted.gradients, parted.optimizer, parted.exchange) == (20, 44, 4 * (2 * 2 + 3 * 6))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A recipe of two stages."""
    path = tmp_path_factory.mktemp("small") / "small.yaml"
    path.write_text("preset: debug\nstages:\n  joint: {steps: 40, batch_seconds: 12, weights: {asr: 1, mt: 1}}\n  encoder: {steps: 30}\n")
    return load_recipe(path)


def test_hours_and_price_by_hand(small):
    plan = plan_recipe(small, H100, mfu=0.25, gpus=4, gpu_hour=2.0)
    single = plan_recipe(small, H100, mfu=0.25)
    for many, one in zip(plan.stages, single.stages, strict=True):
        assert many.flops == 4 * one.flops and many.audio_seconds == 4 * one.audio_seconds
        assert many.step_seconds == pytest.approx(one.flops / (0.25 * 989.4e12))
        assert many.hours == pytest.approx(many.steps * many.step_seconds / 3600)
        assert many.price == pytest.approx(many.hours * 4 * 2.0)
        assert many.mfu == pytest.approx(0.25)
    assert [stage.name for stage in plan.stages] == ["encoder", "joint"]


@pytest.mark.parametrize("name", ["listener", "speller", "vocoder"])
def test_stages_of_a_codec_with_a_listener_are_counted(name):
    recipe = load_recipe(RECIPES / "voice.yaml", ['codec.init=""'])
    config, model = recipe.stages[name], meta("mini-lyra")
    modules = stage_modules(name, model, config)
    batch, _ = draw(name, model, config, typical_examples(name, config))
    found = count_batch(name, model, modules, config, batch, bf16=True, fused=True)
    weights = sum(p.numel() for p in modules.parameters() if p.requires_grad and p.dim() > 1)
    assert found.flops > 2 * weights and found.kept > found.checkpointed
    assert (batch.heard > 0) is (name != "speller") and (batch.audio > 0) is (name != "listener")


def test_frames_on_disk_are_those_of_the_data_or_what_was_allowed():
    keys = ['encoder.init=""', "encoder.variants=1"]
    recipe = load_recipe(RECIPES / "mini.yaml", keys)
    size = lambda hours, gpus=1: cached_frames(recipe, "encoder", hours, gpus)  # noqa: E731
    assert size(None) is None
    assert size(10) == 10 * 3600 * 50 * 2 * 512 * 2  # docs/training.md: 0.37 GB an hour
    assert (size(1000), size(1000, gpus=2)) == (60e9, 120e9)


@pytest.mark.slow
def test_a_larger_gpu_fits_more(small):
    fits = [plan_recipe(small, GPU("small", size, 1e12)).stages[0].memory[0].fits for size in (1e6, 1e9)]
    assert fits == [False, True]


def test_frames_that_are_kept_are_made_once():
    config, trial = STAGES["joint"].Config(steps=100, frozen_layers=1, variants=2, frames_gigabytes=1.0), Trial(1.0, 3.0, 0.1, None)
    assert trial.once(config, None, heard=50.0) == 200
    assert trial.once(config, 0.5, heard=50.0) == 2 * 36 * 2
    assert trial.once(replace(config, frames_gigabytes=0.0), 1.0, heard=50.0) == 0


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False])
def test_a_trial_measures_real_steps(prepared, tmp_path, monkeypatch, there):
    monkeypatch.chdir(tmp_path)
    data = f"data={prepared if there else tmp_path / 'none'}"
    plan = planned("debug", data, f"out={tmp_path / 'out'}", gpu=find_gpu("cpu"), trial=True, gpu_hour=0.0)
    for stage in plan.stages:
        assert 0 < stage.trial.step_seconds < 60 and stage.trial.batch_seconds > 0
        assert stage.hours == pytest.approx(stage.steps * stage.trial.step_seconds / 3600)
        assert stage.price == 0 and stage.mfu is None
    assert (plan.recordings is None) is not there
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"gpus": 0}, "--gpus 0: give a number of at least 1"),
        ({"gpu_hour": -1.0}, "--gpu-hour -1: give what a GPU costs"),
        ({"gpu_hour": float("nan")}, "--gpu-hour nan"),
        ({"mfu": 0.0}, "--mfu 0: give a share"),
        ({"mfu": 1.5}, "--mfu 1.5: give a share"),
        ({"mfu": float("nan")}, "--mfu nan"),
        ({"mfu": 0.3, "trial": True}, "give one of them"),
        ({"mfu": 0.3, "gpu": find_gpu("cpu")}, "no peak of this processor"),
        ({"trial": True}, "and not h100"),
        ({"data_hours": -2.0}, "--data-hours -2"),
    ],
)
def test_what_makes_no_sense_is_refused(how, told, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LauraError, match=told):
        planned("debug", **how)


def test_unknown_gpus_recipes_and_stages_are_refused(tmp_path):
    with pytest.raises(LauraError, match="this GPU is unknown: choose from h100, h200"):
        find_gpu("tpu")
    (tmp_path / "empty.yaml").write_text("name: empty\n")
    with pytest.raises(LauraError, match="has no stages"):
        plan_recipe(load_recipe(tmp_path / "empty.yaml"), H100)
    (tmp_path / "speller.yaml").write_text("preset: debug\nstages: {speller: {steps: 1}}\n")
    with pytest.raises(LauraError, match="the preset has no speller"):
        plan_recipe(load_recipe(tmp_path / "speller.yaml"), H100)


def test_the_command_prints_tables_or_json(tmp_path):
    stages = "{encoder: {steps: 40, weights: {asr: 1}}, joint: {steps: 40, weights: {asr: 1, mt: 1}}}"
    (tmp_path / "small.yaml").write_text(f"preset: debug\nstages: {stages}\n")
    runner, words = CliRunner(), ["plan", str(tmp_path / "small.yaml"), "--gpus", "2", "--mfu", "0.3", "--gpu-hour", "2"]
    shown = runner.invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "memory a GPU, in MB" in shown.stdout and "FSDP2" in shown.stdout and "all stages:" in shown.stdout
    padding = r"\npadding \(share of computed places\): encoder [\d.]+%; joint: encoder [\d.]+%, gpt [\d.]+%\n"
    assert re.search(padding, shown.stdout)
    made = json.loads(runner.invoke(app, [*words, "--json"]).stdout)
    assert made["gpus"] == 2 and len(made["stages"]) == 2
    assert {row["how"] for row in made["stages"][1]["memory"]} == {"DDP", "FSDP2", "LoRA"}
    for wrong, status in ((["--gpu", "tpu"], 1), (["--gpus", "0"], 1), (["lr"], 2)):
        refused = runner.invoke(app, [*words, *wrong])
        assert refused.exit_code == status and len(refused.stderr.splitlines()) == 1, refused.output
    assert runner.invoke(app, ["plan", str(RECIPES.parent / "README.md")]).exit_code == 1


def test_the_padding_that_is_told_is_that_of_the_encoder(corpus, monkeypatch):
    """Of one batch, against the shapes that the model hears."""
    model, seen = LauraModel(PRESETS["debug"]).eval(), []
    batch, mean = draw("encoder", model, STAGES["encoder"].Config(steps=1, batch_seconds=20), corpus.train)
    listen = model.listen
    monkeypatch.setattr(model, "listen", lambda x, lengths: seen.append((x.shape, int(lengths.sum()))) or listen(x, lengths))
    encode_recordings(model, Recordings.of([corpus.waves(example.audio) for example in batch.examples]), augment=False)
    computed, held = sum(shape[0] * shape[1] for shape, _ in seen), sum(count for _, count in seen)
    assert mean.padding == {"encoder": pytest.approx(1 - held / computed)} and 0 < mean.padding["encoder"] <= 0.1
