"""LoRA: adapters begin as nothing, are all that is trained, are merged where they are handed on, and may be loaded beside the weights."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from lauragpt.adapters import read_adapter
from lauragpt.audio import load_audio
from lauragpt.checkpoint import hash_of_weights
from lauragpt.cli.app import app
from lauragpt.engine.api import Laura
from lauragpt.engine.onnx_export import export_graphs
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.model.lauragpt import load_checkpoint
from lauragpt.train import loop, state
from lauragpt.train.config import load_recipe
from lauragpt.train.lora import SCALE, LoraConfig, merged
from lauragpt.train.precision import precision
from lauragpt.train.run import assemble, train

DEBUG = Path(__file__).parents[2] / "recipes" / "debug.yaml"
LORA = {"batch_seconds": 4, "weights": {"asr": 1, "mt": 1}, "lora": LoraConfig(rank=3), "lr": 1e-2}


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """A checkpoint with ONNX graphs, and what was fine-tuned on it by adapters alone: its folder and its recipe."""
    folder = tmp_path_factory.mktemp("lora")
    train(DEBUG, overrides=[f"data={prepared}", "voices=[]", f"out={folder / 'base'}"])
    base = folder / "base" / "export"
    export_graphs(base)
    recipe = folder / "lora.yaml"
    recipe.write_text(
        f"name: tuned\npreset: debug\ndata: {prepared}\ninit: {base}\nout: {folder / 'tuned'}\nstages:\n"
        "  joint: {steps: 3, batch_seconds: 6, lr: 0.05, warmup: 1, weights: {asr: 1, mt: 1}, lora: {rank: 4, parts: [gpt, encoder]}}\n"
    )
    train(recipe)
    return base, folder / "tuned", recipe


def test_adapters_change_nothing_at_first_and_are_all_that_is_trained(make_stage):
    plain, stage = make_stage("joint", **LORA | {"lora": LoraConfig()}), make_stage("joint", **LORA)
    batch, losses = stage.batch(0), []
    for each in (plain, stage):
        each.modules.eval()
        losses.append(float(each.step(batch, 0, lambda name, loss: None)["loss"]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    free = {name for name, p in stage.modules.named_parameters() if p.requires_grad}
    assert free and all(".lora_" in name for name in free)
    assert {name.partition(".")[0] for name in free} == {"gpt", "encoder"}
    assert {len(p) for name, p in stage.modules.named_parameters() if "lora_A" in name} == {3}
    assert sum(p.numel() for group in stage.optimizers["model"].param_groups for p in group["params"]) == sum(
        p.numel() for p in stage.modules.parameters() if p.requires_grad
    )
    alone = make_stage("joint", **LORA | {"lora": LoraConfig(3, ("gpt",))})
    assert {name.partition(".")[0] for name, p in alone.modules.named_parameters() if p.requires_grad} == {"gpt"}


def test_merged_weights_compute_what_weights_and_adapters_do(make_stage, tmp_path):
    stage = make_stage("joint", steps=2, **LORA)
    before = {name: tensor.clone() for name, tensor in merged(stage.modules.state_dict()).items()}
    assert loop.run(stage, tmp_path, Accelerator(mixed_precision=precision(), cpu=True))
    plain, tensors = make_stage("joint", **LORA | {"lora": LoraConfig()}), load_file(state.weights_of(tmp_path, False))
    plain.modules.load_state_dict(merged(tensors))
    losses = []
    for each in (plain, stage):
        each.modules.eval()
        losses.append(float(each.step(stage.batch(9), 9, lambda name, loss: None)["loss"]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    changed = {name for name, tensor in merged(tensors).items() if not tensor.equal(before[name])}
    assert changed == {name.replace(".base_layer", "") for name in tensors if name.endswith("base_layer.weight")}
    name = "gpt.layers.0.mlp.up_proj"
    A, B = (tensors[f"{name}.lora_{letter}.default.weight"] for letter in "AB")
    torch.testing.assert_close(merged(tensors)[f"{name}.weight"], before[f"{name}.weight"] + SCALE * B @ A)


def test_going_on_equals_never_having_stopped(make_stage, tmp_path):
    accelerator = Accelerator(mixed_precision=precision(), cpu=True)
    assert loop.run(make_stage("gpt", lora=LoraConfig(2)), tmp_path / "straight", accelerator)
    assert loop.run(make_stage("gpt", lora=LoraConfig(2), steps=2, decay=0.0), tmp_path / "halves", accelerator)
    shutil.rmtree(tmp_path / "straight")
    for name, begun in (("straight", False), ("halves", True)):
        assert loop.run(make_stage("gpt", lora=LoraConfig(2), decay=0.0), tmp_path / name, accelerator, resume=begun)
    one, other = (load_file(state.weights_of(tmp_path / name, False)) for name in ("straight", "halves"))
    assert one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)


@pytest.mark.slow
def test_the_exported_checkpoint_has_the_merged_weights(trained):
    base, tuned, recipe = trained
    start, exported = load_checkpoint(base).state_dict(), load_checkpoint(tuned / "export").state_dict()
    adapter, final = read_adapter(tuned / "adapter", hash_of_weights(base)[:16]), assemble(load_recipe(recipe)).state_dict()
    for name, tensor in start.items():
        moved = torch.from_numpy(adapter.applied(name, tensor.numpy())) if name in adapter.factors else tensor
        torch.testing.assert_close(final[name], moved, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(exported[name], moved, rtol=2e-3, atol=1e-3)
    assert any(not final[name].equal(start[name]) for name in adapter.factors)
    assert {name.partition(".")[0] for name in adapter.factors} == {"gpt", "encoder"}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_an_adapter_beside_the_weights_answers_as_they_do_merged(trained, prepared, backend):
    base, tuned, _ = trained
    plain, adapted = Laura.load(base, backend=backend), Laura.load(base, backend=backend, adapter=tuned / "adapter")
    whole = Laura.load(tuned / "export", backend="torch")
    waves = [load_audio(prepared / f"dev-{number}.wav") for number in range(2)]
    heard = [laura.runtime.backend.encode(waves) for laura in (plain, adapted, whole)]
    assert np.abs(heard[1].ctc_log_probs - heard[0].ctc_log_probs).max() > 0.05, "it does something"
    np.testing.assert_allclose(heard[1].ctc_log_probs, heard[2].ctc_log_probs, atol=0.02)
    ids = [[5, 9, 20], [7, 3, 11]]
    logits = [laura.runtime.backend.open(each, ids).logits for laura, each in zip((plain, adapted, whole), heard, strict=True)]
    assert np.abs(logits[1] - logits[0]).max() > 0.05
    np.testing.assert_allclose(logits[1], logits[2], atol=0.02)
    assert isinstance(adapted.transcribe(waves[0]).text, str)
    assert adapted.runtime.info.weights != plain.runtime.info.weights, "a receipt tells them apart"


@pytest.mark.slow
def test_peft_reads_the_adapter(trained):
    peft = pytest.importorskip("peft")
    base, tuned, _ = trained
    model = peft.PeftModel.from_pretrained(load_checkpoint(base), str(tuned / "adapter")).merge_and_unload()
    adapter, start = read_adapter(tuned / "adapter", hash_of_weights(base)[:16]), load_checkpoint(base).state_dict()
    for name in adapter.factors:
        torch.testing.assert_close(model.state_dict()[name], torch.from_numpy(adapter.applied(name, start[name].numpy())))


@pytest.mark.slow
def test_an_adapter_needs_neither_torch_nor_peft(trained, prepared):
    base, tuned, _ = trained
    script = (
        "import sys\nfor name in ('torch', 'peft', 'transformers'): sys.modules[name] = None\n"
        "from lauragpt import Laura\n"
        f"print(type(Laura.load({str(base)!r}, adapter={str(tuned / 'adapter')!r}).transcribe({str(prepared / 'dev-0.wav')!r}).text))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "str" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_command_line_takes_an_adapter(trained, prepared):
    base, tuned, _ = trained
    arguments = ["transcribe", str(prepared / "dev-0.wav"), "--model", str(base), "--format", "json", "--adapter"]
    done = CliRunner().invoke(app, [*arguments, str(tuned / "adapter")])
    assert done.exit_code == 0, done.output
    weights = json.loads(done.stdout)["receipt"]["weights"]
    assert weights == read_adapter(tuned / "adapter", hash_of_weights(base)[:16]).hash != hash_of_weights(base)[:16]
    refused = CliRunner().invoke(app, [*arguments, "nothing"])
    assert refused.exit_code == 1 and refused.stderr.startswith("laura: nothing is no adapter") and refused.stderr.count("\n") == 1


def _altered(folder: Path, tuned: Path, **config) -> Path:
    shutil.copytree(tuned / "adapter", folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@pytest.mark.slow
def test_an_adapter_that_does_not_fit_is_refused_in_one_line(trained, tmp_path):
    base, tuned, _ = trained
    wrong = {
        "is no adapter": tmp_path / "nothing", "no plain LoRA adapter": _altered(tmp_path / "dora", tuned, use_dora=True),
        "is a damaged adapter": _altered(tmp_path / "cut", tuned), "here is no weight gpt.other": _altered(tmp_path / "name", tuned),
        "is for another checkpoint: its gpt": _altered(tmp_path / "shape", tuned),
    }  # fmt: skip
    path = tmp_path / "cut" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    stem = "base_model.model.gpt"
    for name, layer in (("name", "other"), ("shape", "layers.0.mlp.up_proj")):
        factors = {f"{stem}.{layer}.lora_{letter}.weight": torch.ones(2, 2) for letter in "AB"}
        save_file(factors, tmp_path / name / "adapter_model.safetensors")
    for words, folder in wrong.items():
        for backend in ("torch", "onnx"):
            with pytest.raises(LauraError, match=words) as error:
                laura = Laura.load(base, backend=backend, adapter=folder)
                laura.runtime.backend.open(None, [[5]])
            assert "\n" not in str(error.value)
    with pytest.raises(LauraError, match="was trained on weights .*, and these are .*: load the checkpoint that it belongs to"):
        Laura.load(tuned / "export", adapter=tuned / "adapter")
    with pytest.raises(LauraError, match="the backend is open"):
        Laura.load(base, adapter=tuned / "adapter", backend=Laura.load(base).runtime.backend)


@pytest.mark.slow
def test_what_is_more_than_an_adapter_is_told(trained, tmp_path):
    """The adapter would be for weights that nobody has."""
    base, _, recipe = trained
    other = tmp_path / "other"
    model = load_checkpoint(base)
    shutil.copytree(base, other)
    tensors = load_file(other / "model.safetensors")
    tensors["gpt.norm.weight"] = tensors["gpt.norm.weight"] + 1
    save_file(tensors, other / "model.safetensors")
    train(recipe, overrides=[f"out={tmp_path / 'out'}", "joint.steps=1"])
    plan = replace(load_recipe(recipe), init=str(other), out=str(tmp_path / "out"))
    from lauragpt.train.run import export_run, make_corpus, read_data

    with pytest.warns(LauraWarning, match="no adapter is written, as gpt.norm.weight is not that of `init`"):
        shutil.rmtree(tmp_path / "out" / "adapter")
        export_run(plan, make_corpus(plan, *read_data(Path(plan.data))))
    assert not (tmp_path / "out" / "adapter").exists() and model.config == load_checkpoint(tmp_path / "out" / "export").config


@pytest.mark.slow
@pytest.mark.parametrize("value, words", [
    ("{rank: 4, parts: [vocoder]}", "lora: parts: 'vocoder' cannot have adapters in this stage: choose from gpt, encoder"),
    ("{rank: -1}", "rank must not be below 0"), ("{parts: [gpt]}", "parts without a rank"),
    ("{rnak: 4}", "stages.joint: lora: unknown key 'rnak'"),
])  # fmt: skip
def test_a_recipe_that_makes_no_sense_is_refused(trained, tmp_path, value, words):
    _, _, recipe = trained
    with pytest.raises(LauraError, match=words):
        train(recipe, overrides=[f"out={tmp_path}", f"joint.lora={value}"])


@pytest.mark.slow
def test_without_peft_one_line_says_what_to_install(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(LauraError, match="lora needs peft: run pip install -e '.\\[lora\\]'"):
        train(trained[2], overrides=[f"out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
