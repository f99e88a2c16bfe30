"""A claim from its file to its page: two arms, two seeds, a few steps each; found again, and gone on with."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from lauragpt.claims.claim import changed, find_claims, load_claim
from lauragpt.claims.judge import UNJUDGED
from lauragpt.claims.run import Settings, check_data, compared, run_claim, write_recipes
from lauragpt.cli.app import app
from lauragpt.data.corpora import prepare
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.evaluate.report.tables import Row
from lauragpt.evaluate.tally import Score, ratio
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel, with_changes
from lauragpt.sequence import layout
from lauragpt.train.config import load_recipe
from lauragpt.train.run import preset_config

ROOT = Path(__file__).parents[2]
ARMS = {
    "aligned": {"about": "letters at their times"},
    "plain": {"about": "letters behind the frames", "recipe": {"model": {"time_aligned": False}}},
    "greedy": {"about": "the first, with one beam", "of": "aligned", "decode": {"beams": 1, "drafts": False}},
}
ASR = {"task": "asr", "higher_is_better": False}
COMPARISONS = [
    {"metric": "WER %", "better": "aligned", "worse": "plain", "paper": [4, 8.5], "paper_data": "x"},
    {"metric": "loops %", "better": "aligned", "worse": "plain"},
    {"metric": "x real time", "better": "greedy", "worse": "aligned"},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims-data")
    prepare("debug", folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, debug_checkpoint, data):
    """A folder of claims with one of debug size, which begins with a checkpoint and trains two steps."""
    folder = tmp_path_factory.mktemp("claims")
    stages = {"joint": {"steps": 2, "batch_seconds": 6, "warmup": 1, "phrases": 0, "weights": {"asr": 1}}}
    base = {"preset": "debug", "init": str(debug_checkpoint), "data": str(data), "voices": [], "stages": stages}
    (folder / "base.txt").write_text(yaml.safe_dump(base))
    claim = {"title": "Places", "says": "Letters at their times are better.", "base": "base.txt", "arms": ARMS, "seeds": [0, 1], "limit": 6}
    claim |= {"comparisons": [ASR | each for each in COMPARISONS], "notes": ["small & fast"]}
    (folder / "places.yaml").write_text(yaml.safe_dump(claim, sort_keys=False))
    return folder


def run(folder, out, *more: str):
    done = CliRunner().invoke(app, ["claims", "--claims", str(folder), "-o", str(out), *more])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    stopped = run(folder, out, "places", "--minutes", "1e-9")
    return out, stopped, run(folder, out, "places")


def test_a_claim_that_is_stopped_says_what_is_missing_and_goes_on(done):
    _, stopped, whole = done
    assert stopped.stderr.count("not begun") == 4 and "not judged, since nothing was run" in stopped.stdout
    assert "done before" not in whole.stderr and "places: measuring plain, seed 1" in whole.stderr


def test_the_result_has_both_arms_every_seed_and_the_papers_numbers(done):
    out, _, whole = done
    found = json.loads((out / "places.json").read_text())
    first, loops, speed = found["comparisons"]
    assert found["missing"] == [] and found["arms"]["plain"]["seeds"] == found["arms"]["greedy"]["seeds"] == [0, 1]
    assert first["n"] == loops["n"] == speed["n"] > 5 and len(first["by_seed"]) == 2 and first["paper"] == [4, 8.5]
    assert first["low"] <= first["difference"] <= first["high"] and first["verdict"] != UNJUDGED
    assert first["better_value"] - first["worse_value"] == pytest.approx(first["difference"])
    assert speed["better_value"] > 0 and speed["verdict"] == UNJUDGED and "one timing" in speed["why"]
    assert found["sentence"] in whole.stdout
    recipes = {path.parent.name: load_recipe(path) for path in out.glob("places/*/recipe.yaml")}
    assert recipes.keys() == {"aligned-0", "aligned-1", "plain-0", "plain-1"} and recipes["plain-1"].seed == 1
    assert not preset_config(recipes["plain-0"]).time_aligned and preset_config(recipes["aligned-0"]).time_aligned


def test_the_page_stands_alone_with_both_numbers(done):
    text = (done[0] / "claims.html").read_text()
    assert "small &amp; fast" in text and "4, 8.5 x" in text and "Letters at their times are better." in text
    assert not re.search(r'(?:src|href)="(?!#)', text) and "$" not in text and text.count("<tr>") == text.count("</tr>") == 4


def test_what_is_finished_is_found_again(folder, done, tmp_path):
    out, before = done[0], (done[0] / "places.json").read_text()
    weights = {path: path.stat().st_mtime_ns for path in out.glob("places/*/export/*")}
    again = run(folder, out, "places")
    assert again.stderr.count("done before") == 4
    assert {path: path.stat().st_mtime_ns for path in out.glob("places/*/export/*")} == weights
    assert json.loads(before) == json.loads((out / "places.json").read_text())  # answers are kept, with their times


def test_a_claim_without_data_does_not_end_the_others(folder, done, tmp_path):
    shutil.copytree(done[0], tmp_path / "out")
    (tmp_path / "out" / "foreign.json").write_text("[1]")
    shutil.copytree(folder, tmp_path / "claims")
    text = (folder / "places.yaml").read_text()
    (tmp_path / "claims" / "another.yaml").write_text(text.replace("task: asr", "task: asr\n  data: [nowhere]"))
    ended = CliRunner().invoke(app, ["claims", "--claims", str(tmp_path / "claims"), "-o", str(tmp_path / "out")])
    assert ended.exit_code == 1 and "1 of 2 claims could not be run: another" in ended.stderr and "Places: " in ended.stdout
    assert "Letters at their times are better." in (tmp_path / "out" / "claims.html").read_text()


def test_a_value_that_an_example_lacks_is_not_judged(folder):
    claim = load_claim(folder / "places.yaml")
    examples = [Example(f"asr/{i}", "asr", "dev", "en", "debug", targets=["a"]) for i in range(8)]
    rows = [Row("asr", "debug", 8, 8, "WER %", Score(1.0), examples=examples, tally=ratio([1] * count, [1] * count)) for count in (8, 7)]
    measured = {("aligned", seed): rows[:1] for seed in (0, 1)} | {("plain", seed): rows[1:] for seed in (0, 1)}
    found = compared(claim, claim.comparisons[0], measured)
    assert found["verdict"] == UNJUDGED and found["why"] == "not every example has a value of WER %"


def test_a_folder_of_another_recipe_is_refused(folder, done, tmp_path):
    shutil.copytree(folder, tmp_path / "claims")
    path = tmp_path / "claims" / "places.yaml"
    path.write_text(path.read_text().replace("base: base.txt", "base: base.txt\nrecipe: {stages: {joint: {steps: 3}}}"))
    with pytest.raises(LauraError, match="another recipe"):
        write_recipes(load_claim(path), Settings(done[0]))


@pytest.mark.parametrize(("old", "new", "error"), [
    ("better: aligned", "better: alined", "unknown arm 'alined'"),
    ("task: asr", "task: asrr", "unknown task 'asrr'"),
    ("of: aligned", "of: nobody", "name an arm"),
    ("says:", "said:", "unknown key 'said'"),
    ("about: letters behind the frames", "recipes: {}", "unknown key 'recipes'"),
    ("beams: 1", "beams: 0", "give 1 or more"),
    ("base: base.txt", "ours: true", "base: name the recipe"),
    ("title: Places", "ours: true", "title is missing"),
])  # fmt: skip
def test_a_wrong_claim_is_told_in_a_line(folder, tmp_path, old, new, error):
    text = (folder / "places.yaml").read_text()
    assert old in text
    (tmp_path / "wrong.yaml").write_text(text.replace(old, new))
    with pytest.raises(LauraError, match=error) as raised:
        load_claim(tmp_path / "wrong.yaml")
    assert "\n" not in str(raised.value) and "wrong.yaml" in str(raised.value)


def test_data_that_are_missing_are_told_before_any_training(folder, data, tmp_path):
    text, said = (folder / "places.yaml").read_text().replace("base: base", f"base: {folder}/base"), []
    (tmp_path / "places.yaml").write_text(text.replace("metric: loops %", "metric: loops %\n  data: [nowhere]"))
    check_data(load_claim(tmp_path / "places.yaml"), Settings(tmp_path), said.append)
    assert said == [f"places: {data} holds no dev examples of asr of nowhere, so that is not judged"]
    (tmp_path / "none.yaml").write_text(text.replace("task: asr", "task: asr\n  data: [nowhere]"))
    with pytest.raises(LauraError, match="laura prepare"):
        run_claim(load_claim(tmp_path / "none.yaml"), Settings(tmp_path / "out"), None, said.append)
    assert not (tmp_path / "out").exists()


def test_frames_without_posteriors():
    torch.manual_seed(0)
    model = LauraModel(with_changes(PRESETS["debug"], {"posteriors": False})).eval()
    waves, samples = 0.1 * torch.randn(2, 16000), torch.tensor([16000, 9000])
    heard, alone = model.encode(waves, samples), model.encode(waves[1:, :9000], samples[1:])
    assert torch.equal(heard.embeddings, model.encoder(*model.features(waves, samples)).embeddings)
    torch.testing.assert_close(heard.embeddings[1, : alone.lengths[0]], alone.embeddings[0], atol=1e-5, rtol=1e-4)
    row = layout(model.vocabulary, "asr", "en", [3, 4], int(heard.lengths[0]))
    model.loss([row], model.encode(waves[:1], samples[:1]).embeddings).mean().backward()
    assert model.posterior_embedding.weight.grad is None and model.encoder.output.weight.grad.abs().sum() > 0


def test_no_claim_of_that_name(folder):
    with pytest.raises(LauraError, match="choose from places"):
        find_claims(["place"], folder)


def test_changes_of_a_recipe():
    base = {"name": "a", "model": {"gpt": {"layers": 4}}, "stages": {"encoder": {"steps": 1, "weights": {"asr": 1}}, "joint": {"steps": 2}}}
    new = changed(base, {"model": {"gpt": {"width": 8}}, "stages": {"encoder": {"weights": {"ser": 1}}, "joint": None}})
    assert new["model"] == {"gpt": {"layers": 4, "width": 8}} and new["stages"] == {"encoder": {"steps": 1, "weights": {"ser": 1}}}
    assert base["stages"]["joint"] == {"steps": 2}


def test_sizes_other_than_the_presets():
    debug = PRESETS["debug"]
    assert with_changes(debug, {}) is debug and with_changes(debug, {"gpt": {"layers": 2}}) == debug
    wide = with_changes(debug, {"gpt": {"width": 48}, "encoder": {"norm": "batch"}, "codec": {"quantizer": {"guide": 0}}})
    assert wide.encoder.output == 48 and wide.encoder.norm == "batch" and LauraConfig.from_dict(wide.to_dict()) == wide
    LauraModel(wide)
    for change, error in (
        ({"gtp": {}}, "unknown key 'gtp'"), ({"gpt": 3}, "a mapping"), ({"encoder": {"norm": "x"}}, "layer or batch"),
        ({"gpt": {"layers": "8"}}, "gpt.layers must be a whole number, not '8'"), ({"time_aligned": "no"}, "true or false"),
        ({"vocoder": {"steps": 99}}, "give no more"),
    ):  # fmt: skip
        with pytest.raises(LauraError, match=error):
            with_changes(debug, change)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "claims").glob("*.yaml")), ids=lambda path: path.stem)
def test_claims_that_ship_are_whole(path, tmp_path, monkeypatch):
    """Every run's recipe is one, and its sizes fit together."""
    monkeypatch.chdir(ROOT)
    claim = load_claim(path)
    paths = write_recipes(claim, Settings(tmp_path))
    for recipe in {arm: load_recipe(file) for (arm, _), file in paths.items()}.values():
        preset_config(recipe)
    assert len(claim.seeds) >= 3 and all(arm.minutes <= 40 for arm in claim.arms.values())
    assert {each.better for each in claim.comparisons} | {each.worse for each in claim.comparisons} == set(claim.arms)


def test_the_page_of_the_docs_lists_every_claim_with_its_runs():
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \|.*\| (\w+) \|$", text, re.MULTILINE))
    effort = {claim.name: claim.effort().split(" ")[0] for claim in find_claims([], ROOT / "recipes" / "claims")}
    assert listed == {name: "none" if runs == "nothing" else runs for name, runs in effort.items()}
