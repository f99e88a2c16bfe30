"""A whole recipe for real: from manifests to a folder that the engine loads."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lauragpt.audio import load_audio
from lauragpt.checkpoint import find_checkpoint
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, load_checkpoint
from lauragpt.text import Tokenizer
from lauragpt.train import state
from lauragpt.train.config import load_recipe
from lauragpt.train.run import assemble, final_model, read_data, train

DEBUG = Path(__file__).parents[2] / "recipes" / "debug.yaml"


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    recipe = out / "recipe.yaml"
    recipe.write_text(DEBUG.read_text() + "voices:\n  - {name: anna, id: tts/kathleen/train-0}\n")
    overrides = [f"data={prepared}", f"out={out}"]
    train(recipe, overrides=overrides)
    return recipe, overrides, out


def test_training_reads_train_alone(prepared):
    training, dev = read_data(prepared)
    assert {e.split for e in training} == {"train"} and {e.split for e in dev} == {"dev"}
    assert not any("dev" in e.id or "test" in e.id for e in training) and not any("test" in e.id for e in dev)
    assert any(e.corpus == "synth" for e in training) and any(e.corpus == "synth" for e in dev)


def test_every_stage_leaves_its_checkpoint_and_the_engine_loads_the_last(trained, prepared):
    recipe, overrides, out = trained
    for name, config in load_recipe(recipe, overrides).stages.items():
        assert state.finished(out / name, config) and state.read(out / name)["stage"] == name
    laura = Laura.load(out / "export")
    wave = load_audio(prepared / "dev-0.wav")
    result = laura.transcribe(wave)
    assert isinstance(result.text, str) and result.lang in ("en", "de")
    assert len(laura.enhance(wave).audio) > 0
    card = json.loads((out / "export" / "voices" / "anna.json").read_text())
    assert card["source"] == "tts/kathleen/train-0" and (out / "export" / "voices" / "anna.wav").exists()
    assert "kathleen" in (out / "export" / "MODEL_CARD.md").read_text()


def test_the_parts_come_from_the_last_stage_that_trained_them(trained):
    recipe, overrides, out = trained
    parts = {f"{part}.{k}": v for part in ("codec", "encoder", "gpt", "vocoder")
             for k, v in getattr(assemble(load_recipe(recipe, overrides)), part).state_dict().items()}  # fmt: skip
    for stage in ("codec", "vocoder", "joint"):
        saved = {k: v for k, v in load_file(state.weights_of(out / stage, False)).items() if k in parts}
        assert saved and all(parts[key].equal(value) for key, value in saved.items())


def test_resume_finds_what_was_done(trained, capsys):
    recipe, overrides, out = trained
    before = state.weights_of(out / "gpt", False).stat().st_mtime_ns
    train(recipe, resume=True, overrides=overrides)
    assert capsys.readouterr().err.count("done before") == 5
    assert state.weights_of(out / "gpt", False).stat().st_mtime_ns == before


def test_stages_that_are_trained_one_by_one_give_what_they_give_in_one_go(trained, tmp_path):
    """The first weights of a part do not depend on what was done before in the same program."""
    recipe, overrides, out = trained
    given = [*overrides, f"out={tmp_path}"]
    train(recipe, stage="encoder", overrides=given)
    torch.manual_seed(7)
    train(recipe, resume=True, overrides=given)
    files = sorted(path.relative_to(out) for path in out.rglob("*.safetensors"))
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.safetensors"))
    different = [str(path) for path in files if (out / path).read_bytes() != (tmp_path / path).read_bytes()]
    assert len(files) > 10 and not different


def test_a_stage_that_the_recipe_lacks(trained, tmp_path):
    (tmp_path / "one.yaml").write_text("stages: {gpt: {steps: 1}}")
    with pytest.raises(LauraError, match="no stage 'joint'.*gpt"):
        train(tmp_path / "one.yaml", stage="joint")


def test_training_starts_from_a_checkpoint(trained, tmp_path):
    recipe, overrides, out = trained
    start = load_checkpoint(out / "export").state_dict()
    begun = load_recipe(recipe, [*overrides, f"out={tmp_path}", f"init={out / 'export'}"])
    assert all(start[key].equal(value) for key, value in assemble(begun).state_dict().items())
    (tmp_path / "other.yaml").write_text(f"preset: mini\ninit: {out / 'export'}\nstages: {{gpt: {{steps: 1}}}}")
    with pytest.raises(LauraError, match="not of the size of preset 'mini'"):
        assemble(load_recipe(tmp_path / "other.yaml", []))
    other = load_recipe(recipe, [*overrides, f"out={out}"])
    with pytest.raises(LauraError, match="holds a .* of other sizes"):  # the stages before had another preset
        assemble(replace(other, preset="mini"))


def test_a_run_that_is_refused_leaves_nothing_behind(prepared, tmp_path):
    given = [f"data={prepared}", f"out={tmp_path / 'out'}", "voices=[]"]
    with pytest.raises(LauraError, match="not of the size of preset 'debug'"):
        train(DEBUG, stage="encoder", overrides=[*given, "init=mini"])
    with pytest.raises(LauraError, match="gpt: the codec, whose tokens it learns, is untrained"):
        train(DEBUG, stage="gpt", overrides=given)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    train(DEBUG, stage="encoder", overrides=[*given, "encoder.steps=1"])
    assert "mini" not in (tmp_path / "out" / "provenance.json").read_text()
    assert Tokenizer.load(tmp_path / "out" / "tokenizer.json").size <= PRESETS["debug"].text_size


def test_a_tokenizer_larger_than_the_preset_is_refused(prepared, tmp_path):
    shutil.copy(find_checkpoint("mini") / "tokenizer.json", tmp_path)
    with pytest.raises(LauraError, match="tokenizer.json has 2048 units, and preset 'debug' at most .*choose another `out`"):
        train(DEBUG, stage="encoder", overrides=[f"data={prepared}", f"out={tmp_path}", "voices=[]"])
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_with_init_the_preset_gives_way_where_nothing_trains_the_part(trained, tmp_path, monkeypatch):
    """A codec of other sizes is trained anew; where no stage trains one, the codec of `init` stays."""
    recipe, overrides, out = trained
    start = load_checkpoint(out / "export")
    codec = replace(PRESETS["debug"].codec, seanet=replace(PRESETS["debug"].codec.seanet, filters=3))
    monkeypatch.setitem(PRESETS, "debug", replace(PRESETS["debug"], codec=codec))
    begun = load_recipe(recipe, [*overrides, f"out={tmp_path}", f"init={out / 'export'}"])
    mixed = assemble(begun)
    assert mixed.config.codec == codec
    assert all(value.equal(mixed.state_dict()[key]) for key, value in start.state_dict().items() if not key.startswith("codec."))
    kept = assemble(replace(begun, stages={"joint": begun.stages["joint"]}))
    assert kept.codec.hash == start.codec.hash


def test_a_part_of_the_same_shapes_and_other_heads_is_refused(trained, tmp_path, monkeypatch):
    recipe, overrides, out = trained
    gpt = replace(PRESETS["debug"].gpt, heads=1, kv_heads=1, head_width=2 * PRESETS["debug"].gpt.head_width)
    encoder = replace(PRESETS["debug"].encoder, heads=1)
    for name, part in (("gpt", gpt), ("encoder", encoder)):
        with monkeypatch.context() as patch:
            patch.setitem(PRESETS, "debug", replace(PRESETS["debug"], **{name: part}))
            with pytest.raises(LauraError, match=f"{name} of .* is not of the size of preset 'debug'"):
                assemble(load_recipe(recipe, [*overrides, f"out={tmp_path}", f"init={out / 'export'}"]))


def test_what_ships_keeps_its_codec_where_none_is_trained():
    recipe = load_recipe(DEBUG.parent / "further.yaml", ["out=none"])
    shipped = load_checkpoint(find_checkpoint("mini"))
    kept = assemble(replace(recipe, stages={"joint": recipe.stages["joint"]}))
    assert kept.codec.hash == shipped.codec.hash
    assert kept.config == shipped.config
    assert assemble(recipe).config.posterior_temperature == PRESETS["mini"].posterior_temperature, "what learns reads as its preset"


def test_a_stage_does_not_learn_from_what_nobody_trained(prepared, tmp_path):
    given = [f"data={prepared}", f"out={tmp_path}"]
    with pytest.raises(LauraError, match="codec: its first codes are guided by the encoder, which is untrained"):
        train(DEBUG, stage="codec", overrides=given)
    with pytest.raises(LauraError, match="gpt: the codec, whose tokens it learns, is untrained"):
        train(DEBUG, stage="gpt", overrides=given)


def test_the_finished_parts_are_averaged_with_what_they_started_from(trained, tmp_path):
    recipe, overrides, out = trained
    (tmp_path / "more").mkdir()
    begun = load_recipe(recipe, [*overrides, f"out={tmp_path / 'more'}", f"init={out / 'export'}", "interpolate={gpt: 0.75, encoder: 1}"])
    made = load_checkpoint(out / "export")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.5
    for name in ("encoder", "gpt", "vocoder"):
        (tmp_path / "more" / name).mkdir()
        tensors = {f"{name}.{key}": value for key, value in getattr(made, name).state_dict().items()}
        save_file(tensors, tmp_path / "more" / name / "model.safetensors")
    start, mean = load_checkpoint(out / "export"), final_model(begun)
    for name, share in (("encoder", 1.0), ("gpt", 0.75), ("vocoder", 0.0)):
        for before, after in zip(getattr(start, name).parameters(), getattr(mean, name).parameters(), strict=True):
            torch.testing.assert_close(after, before + 0.5 * (1 - share))


@pytest.mark.parametrize("given, wrong", [
    ("interpolate={gpt: 0.5}", "without init"), ("interpolate={gpt: 2} init=mini", "gpt: 2.*0 to 1"),
    ("interpolate={codec: 0.5} init=mini", "codec.*encoder, posterior_embedding, gpt, vocoder"),
])  # fmt: skip
def test_what_cannot_be_averaged_is_told_before_training(trained, given, wrong):
    recipe, overrides, _ = trained
    with pytest.raises(LauraError, match=wrong):
        train(recipe, overrides=[*overrides, *given.replace(" init", "\ninit").split("\n")])


def test_a_stage_goes_on_from_the_best_of_the_one_before_when_asked(trained, tmp_path):
    recipe, overrides, out = trained
    shutil.copytree(out / "gpt", tmp_path / "gpt")
    best = load_file(out / "gpt" / "best" / "model.safetensors")
    save_file({key: value + 1 for key, value in best.items()}, tmp_path / "gpt" / "best" / "model.safetensors")
    (tmp_path / "gpt" / "best" / "state.json").write_text(json.dumps(state.best(out / "gpt")))
    for keep_best, shift in ((True, 1.0), (False, 0.0)):
        begun = load_recipe(recipe, [*overrides, f"out={tmp_path}", f"gpt.keep_best={keep_best}"])
        weight = assemble(begun, up_to="vocoder").gpt.norm.weight
        expected = (best if keep_best else load_file(state.weights_of(out / "gpt", False)))["gpt.norm.weight"] + shift
        torch.testing.assert_close(weight, expected)
