"""What a new user does first, offline and from a fresh clone: train recipes/debug.yaml, export it, transcribe with it."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lauragpt.cli.app import app
from lauragpt.engine.api import Laura
from lauragpt.train import state
from lauragpt.train.config import load_recipe

pytestmark = pytest.mark.slow  # the README's training, which is quick, goes the same way

DEBUG = Path(__file__).parents[2] / "recipes" / "debug.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands that the recipe prints were run one after the other, with a recording called as they call it."""
    folder, before = tmp_path_factory.mktemp("new-user"), Path.cwd()
    (folder / "recipes").mkdir()
    (folder / "recipes" / "debug.yaml").write_text(DEBUG.read_text())
    commands = re.findall(r"^#   laura (.*)$", DEBUG.read_text(), re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["train", "export", "transcribe"]
    os.chdir(folder)
    try:
        for command in commands:
            if command.startswith("transcribe"):
                (folder / "talk.flac").symlink_to("runs/debug-data/audio/en-04.flac")
            done = CliRunner().invoke(app, shlex.split(command))
            assert done.exit_code == 0, f"{command}: {done.output} {done.exception}"
    finally:
        os.chdir(before)
    return folder


def test_the_commands_that_the_recipe_prints_work(folder):
    recipe = load_recipe(DEBUG)
    for name, config in recipe.stages.items():
        assert state.finished(folder / recipe.out / name, config)
    graphs = json.loads((folder / recipe.out / "export" / "onnx" / "graphs.json").read_text())["graphs"]
    assert graphs.keys() == {"listen", "step", "predict", "sound", "codes"}


def test_every_verb_answers_without_torch(folder):
    laura = Laura.load(folder / "runs/debug/export", backend="onnx")
    recording = folder / "talk.flac"
    assert isinstance(laura.transcribe(recording).text, str) and laura.emotion(recording).text
    assert isinstance(laura.caption(recording).text, str) and isinstance(laura.understand(recording).text, str)
    assert isinstance(laura.translate(recording, to="de").text, str) and isinstance(
        laura.translate(text="Good morning.", to="de").text, str
    )
    assert len(laura.enhance(recording).audio) > 0 and laura.speak("hello", voice="anna").sample_rate == 16000
    assert set(laura.voices.cards) == {"anna", "bernd"}


def test_what_was_made_by_formulas_is_free(folder):
    config = json.loads((folder / "runs/debug/export/config.json").read_text())
    assert config["corpora"] == {"debug": "CC0 1.0"} and config["commercial"] is True and config["ancestors"] == []
    assert "may be used commercially" in (folder / "runs/debug/export/MODEL_CARD.md").read_text()
