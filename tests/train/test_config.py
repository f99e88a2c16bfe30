"""Recipes: those that ship are valid, overrides reach where they should, an error names stage and key; schedules."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from lauragpt.data.manifest import Example, write_manifest
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS
from lauragpt.train.config import load_recipe
from lauragpt.train.run import check_open, train
from lauragpt.train.stage import Phase, StageConfig
from lauragpt.train.stages import STAGES
from lauragpt.train.stages.joint import JointStageConfig

FOLDER = Path(__file__).parents[2] / "recipes"
SMALL_TASKS = {"tts", "se", "aac", "ser", "slu"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_that_ship_are_valid(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem and recipe.preset in PRESETS and recipe.stages and set(recipe.stages) <= set(STAGES)


@pytest.mark.parametrize("name", ["debug", "paper-2b"])
def test_the_papers_three_phases_are_written_out(name):
    joint = load_recipe(FOLDER / f"{name}.yaml").stages["joint"]
    first, second, third = joint.schedule
    assert first.lr > second.lr > third.lr and set(second.weights) == SMALL_TASKS and first.weights == third.weights == joint.weights
    assert set(first.weights) > SMALL_TASKS and joint.steps == first.steps + second.steps + third.steps
    if name == "paper-2b":
        assert [(phase.lr, phase.warmup) for phase in joint.schedule] == [(5e-4, 10_000), (2e-4, 10_000), (1e-4, 10_000)]


def test_the_rate_warms_up_holds_and_falls():
    config = StageConfig(steps=100, lr=1.0, warmup=10, decay=0.3)
    rates = [config.learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:70] == [1.0] * 61
    assert all(a > b for a, b in pairwise(rates[70:99])) and 0.01 <= rates[99] < 0.05
    assert StageConfig(steps=100, lr=1.0, warmup=10, decay=0.3, lr_floor=0.5).learning_rate(99) == 0.5


def test_each_phase_warms_up_and_falls_by_itself():
    config = JointStageConfig(steps=30, phases=(Phase(10, 1.0, 2, 0.5), Phase(20, 0.5, 4, 0.0)))
    rates = [config.learning_rate(step) for step in range(30)]
    assert rates[0] == 0.5 and rates[1:6] == [1.0] * 5 and rates[9] < 0.3
    assert rates[10] == pytest.approx(0.125) and rates[13:] == [0.5] * 17
    assert config.phase_at(9) == (0, 9) and config.phase_at(10) == (1, 0) and config.phase_at(35) == (1, 25)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("""
name: small
stages:
  gpt: {steps: 5, noise: 0.2}
  codec: {steps: 6}
  joint: {warmup: 3, weights: {asr: 1}, phases: [{steps: 7, lr: 1.0e-3}, {steps: 2, lr: 2e-3, weights: {se: 1}}]}
""", encoding="utf-8")  # fmt: skip
    return path


def test_phases_take_from_their_stage_what_they_leave_out(small):
    joint = load_recipe(small).stages["joint"]
    assert joint.schedule == (Phase(7, 1e-3, 3, 0.3, {"asr": 1.0}), Phase(2, 2e-3, 3, 0.3, {"se": 1.0})) and joint.steps == 9


def test_overrides_reach_every_stage_and_phase_that_has_the_key(small):
    overrides = ["out=elsewhere", "gpt.steps=9", "lr=1e-4", "noise=0.1", "joint.steps=4", "joint.weights={mt: 1}"]
    recipe = load_recipe(small, overrides)
    assert recipe.out == "elsewhere"
    assert {name: config.steps for name, config in recipe.stages.items()} == {"gpt": 9, "codec": 6, "joint": 8}
    assert {phase.lr for config in recipe.stages.values() for phase in config.schedule} == {1e-4}
    assert recipe.stages["gpt"].noise == recipe.stages["joint"].noise == 0.1
    assert [phase.weights for phase in recipe.stages["joint"].schedule] == [{"mt": 1.0}, {"se": 1.0}]


@pytest.mark.parametrize(
    "override, words",
    [
        ("stpes=3", "stpes=3: no stage of the recipe \\(gpt, codec, joint\\) has a key 'stpes'"),
        ("gpt.stpes=3", "stages.gpt: unknown key 'stpes': allowed are steps, batch_seconds"),
        ("codec.noise=0.1", "stages.codec: 'noise' is a key of encoder, listener, gpt, joint, speaker, not of codec: allowed are steps"),
        ("gpt.quantize_from=3", "stages.gpt: 'quantize_from' is a key of codec, not of gpt"),
        ("gpt.steps=many", "stages.gpt: steps must be a whole number"), ("gpt.steps=true", "stages.gpt: steps must be"),
        ("gpt.steps=0", "stages.gpt: steps must be at least 1, not 0"), ("gpt.noise=2", "stages.gpt: noise must be a share"),
        ("gpt.betas=[0.9]", "stages.gpt: betas must be 2 values"), ("gpt.posterior_bank=[a]", "gpt: posterior_bank must be a mapping"),
        ("gpt.weights={asrr: 1}", "gpt: weights: unknown task 'asrr'"), ("joint.phases=[{lr: 1}]", "stages.joint: phases must be a list"),
        ("joint.phases=5", "stages.joint: phases must be a list"),
        ("codec.dev_batches=2", "'dev_batches' is a key of encoder, listener, speller, gpt, vocoder, joint"),
        ("joint.decay=3", "stages.joint: phases: decay must be a share"), ("gpt.keep_best=true", "stages.gpt: keep_best.*evaluate_every"),
        ("gpt.patience=2", "stages.gpt: patience ends a stage some time after its best checkpoint: set keep_best"),
        ("gpt.ema=1", "ema must be at least 0 and below 1"), ("gpt.spike=0.5", "spike must be 0 or above 1"),
        ("codec.accumulate=2", "stages.codec: accumulate: codebooks and discriminator learn from one batch at a time"),
        ("gpt.accumulate=0", "accumulate must be at least 1"), ("gpt.keep_last=0", "keep_last must be at least 1"),
        ("codec.discriminator={chanels: 3}", "stages.codec: discriminator: unknown key 'chanels'"), ("lr=[", "not YAML"),
        ("seed=a", "seed must be a whole number"), ("chunks={asr: [7]}", "chunks: asr must be 2 values"),
        ("cascade=[s2tt]", "cascade must be true or false"),
        ("gpt.temperature=0.05", "stages.gpt: temperature must be 0, or at least 0.1 and finite, not 0.05"),
        ("gpt.temperature=.inf", "temperature must be 0, .*, not inf"), ("gpt.temperature=-1", "temperature must be 0"),
    ],
)  # fmt: skip
def test_an_error_names_stage_and_key(small, override, words):
    with pytest.raises(LauraError, match=words):
        load_recipe(small, [override])


def test_a_stage_with_phases_has_no_steps_of_its_own(small):
    small.write_text(small.read_text().replace("warmup: 3", "steps: 3"))
    with pytest.raises(LauraError, match="stages.joint: steps: its phases have steps of their own"):
        load_recipe(small)
    with pytest.raises(LauraError, match="steps is 5, but those of the phases are 3 together"):
        JointStageConfig(steps=5, phases=(Phase(3, 1.0, 0, 0.0),))


def test_other_files_are_errors_of_one_line(tmp_path):
    with pytest.raises(LauraError, match="none.yaml.*cannot be read"):
        load_recipe(tmp_path / "none.yaml")
    for text, words in (
        (b"a: [", "not YAML"), (b"- a", "mapping"), (b"\xff\xfe\x00", "not UTF-8"), (b"stages: {gtp: {}}", "stages.gtp is unknown: choose"),
        (b"stages: {gpt: 5}", "stages.gpt must be a mapping"), (b"stages: [gpt]", "stages must be a mapping"),
        (b"colour: red", "unknown key 'colour'"),
    ):  # fmt: skip
        (tmp_path / "bad.yaml").write_bytes(text)
        with pytest.raises(LauraError, match=words) as error:
            load_recipe(tmp_path / "bad.yaml")
        assert not re.search("\n", str(error.value))


def test_what_forbids_commercial_use_is_refused_where_the_recipe_wants_none_of_it(tmp_path):
    about = {"task": "ser", "split": "train", "corpus": "ravdess", "lang": "en", "audio": "a.wav", "duration": 1.0, "targets": ["sad"]}
    write_manifest(tmp_path / "train.jsonl", [Example(id="ser/1", **about)])
    write_manifest(tmp_path / "dev.jsonl", [])
    recipe = tmp_path / "open.yaml"
    recipe.write_text(f"open_only: true\ndata: {tmp_path}\nstages: {{encoder: {{steps: 1}}}}\n", encoding="utf-8")
    with pytest.raises(LauraError, match="holds ravdess, and open_only"):
        train(recipe)
    plan = load_recipe(recipe)
    with pytest.raises(LauraError, match="holds mine, and open_only.*no licence is known"):
        check_open(plan, [Example(id="ser/1", task="ser", split="train", corpus="mine", lang="en", targets=["sad"])])
    check_open(plan, [])
    with pytest.raises(LauraError, match="init: mini was trained on sets that forbid"):
        check_open(load_recipe(recipe, ["init=mini"]), [])
