"""Recipes: those that ship are valid, overrides reach where they should, an error names the key."""

from pathlib import Path

import pytest

from lauragpt.data.manifest import Example, write_manifest
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS
from lauragpt.tasks import TASKS
from lauragpt.train.config import STAGES, load_recipe
from lauragpt.train.run import check_open, train

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_that_ship_are_valid(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem and recipe.preset in PRESETS and set(recipe.stages) <= set(STAGES)
    for config in recipe.stages.values():
        assert {key.partition("/")[0] for key in config.weights} <= set(TASKS)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("name: small\nstages:\n  gpt: {steps: 5}\n  laura: {steps: 7, weights: {asr: 1}}\n", encoding="utf-8")
    return path


def test_overrides(small):
    recipe = load_recipe(small, ["out=elsewhere", "gpt.steps=9", "lr=0.5"])
    assert recipe.out == "elsewhere" and recipe.stages["gpt"].steps == 9 and recipe.stages["laura"].steps == 7
    assert {config.lr for config in recipe.stages.values()} == {0.5}


@pytest.mark.parametrize(
    "override, words",
    [("stpes=3", "stpes"), ("gpt.stpes=3", "stages.gpt.*stpes"), ("gpt.steps=many", "stages.gpt.*steps.*int"), ("seed=a", "seed.*int")],
)
def test_an_error_names_the_key(small, override, words):
    with pytest.raises(LauraError, match=words):
        load_recipe(small, [override])


def test_other_files_are_errors_of_one_line(tmp_path):
    with pytest.raises(LauraError, match="none.yaml.*cannot be read"):
        load_recipe(tmp_path / "none.yaml")
    for text, words in (("a: [", "not YAML"), ("- a", "mapping"), ("stages: {gtp: {}}", "stages.gtp"), ("colour: red", "colour")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(LauraError, match=words):
            load_recipe(tmp_path / "bad.yaml")


def test_what_forbids_commercial_use_is_refused_where_the_recipe_wants_none_of_it(tmp_path):
    write_manifest(tmp_path / "train.jsonl", [Example(id="ser/1", task="ser", split="train", corpus="ravdess", lang="en", audio="a.wav", duration=1.0, targets=["sad"])])
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
