"""What would fail after hours is said at once; and hours are hours, by a clock that the test turns."""

import sys
from pathlib import Path

import pytest
import torch

from lauragpt.cli.training import Stage
from lauragpt.data import synthesisers
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train import checks, run, state
from lauragpt.train.config import Recipe
from lauragpt.train.run import train
from lauragpt.train.stages import STAGES
from lauragpt.train.stages.speller import SpellerStageConfig
from lauragpt.train.stages.vocoder import VocoderStageConfig

DEBUG = Path(__file__).parents[2] / "recipes" / "debug.yaml"


def overridden(prepared, out, *more: str) -> dict:
    return {"recipe": DEBUG, "overrides": [f"data={prepared}", f"out={out}", "voices=[]", *more]}


class Clock:
    """Seconds, `tick` more each time somebody looks."""

    def __init__(self, tick: float):
        self.now, self.tick = 1000.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["data=none", "corpora=nowhere"],
            "none holds no train.jsonl, and there is nothing to make it from: .*nowhere is not a folder of corpora.*corpora=FOLDER",
        ),
        (["init=nobody"], "no checkpoint 'nobody'"),
        (["preset=huge"], "unknown preset 'huge'"),
        (["voices=[{name: anna, id: tts/nobody}]"], "voices: anna names the example 'tts/nobody'"),
        (["joint.posterior_bank={nobody: 1}"], "joint: posterior_bank: .* holds no recording of nobody"),
        (["vocoder.weights={tts/nobody: 1}"], "vocoder: .* holds no example of tts/nobody"),
    ],
)
def test_what_is_missing_is_said_before_any_step(prepared, tmp_path, monkeypatch, overrides, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LauraError, match=words):
        train(**overridden(prepared, tmp_path / "out", *overrides))
    assert not list(tmp_path.rglob("state.json"))


def test_a_folder_and_a_disk_that_cannot_hold_it(prepared, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(LauraError, match="file/out cannot be written"):
        train(**overridden(prepared, tmp_path / "file" / "out"))
    usage = checks.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(LauraError, match="a checkpoint of preset debug takes about .* GB, and the disk has 0.0 GB left"):
        train(**overridden(prepared, tmp_path / "out"))


def test_a_compiler_is_looked_for_where_a_stage_compiles(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LauraError, match="gpt.compile: .* C[+][+] compiler.*apt-get install g[+][+].*compile=false"):
        train(**overridden(prepared, tmp_path / "out", "gpt.compile=true"))
    (tmp_path / "my-c++").write_text("#!/bin/sh\n")
    (tmp_path / "my-c++").chmod(0o755)
    monkeypatch.setenv("CXX", "my-c++")
    assert checks.can_compile()


def test_what_speech_is_analysed_with_is_looked_for_where_a_vocoder_learns_to_speak(tmp_path, monkeypatch):
    places = {name: str(tmp_path / name) for name in ("out", "data", "corpora")}
    recipe = Recipe(**places, stages={"vocoder": VocoderStageConfig(), "speller": SpellerStageConfig()})
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(LauraError, match="frames that pyworld makes, which lacks pyworld: run pip install"):
        checks.check_recipe(recipe, ["vocoder"], PRESETS["mini-lyra"])
    for stages, preset in ((["vocoder"], "debug"), (["speller"], "mini-lyra")):
        with pytest.raises(LauraError, match="holds no train.jsonl"):  # which is looked for next
            checks.check_recipe(recipe, stages, PRESETS[preset])


def test_synthesisers_are_looked_for_before_corpora_are_prepared(tmp_path, monkeypatch):
    (tmp_path / "corpora" / "text").mkdir(parents=True)
    (tmp_path / "corpora" / "kathleen.jsonl").write_text("")
    monkeypatch.setattr(synthesisers, "is_installed", lambda engine: False)
    with pytest.raises(LauraError, match="synthetic speech for .*synth-tts needs flite.*apt-get install espeak-ng flite.*synth_hours=0"):
        train(**overridden(tmp_path / "data", tmp_path / "out", f"corpora={tmp_path / 'corpora'}", "synth_hours=1"))


def test_the_command_line_offers_the_stages_that_there_are():
    assert {stage.value for stage in Stage} == set(STAGES)


def test_parameters_are_counted_without_making_them():
    assert checks.parameters(PRESETS["debug"]) == sum(parameter.numel() for parameter in LauraModel(PRESETS["debug"]).parameters())
    assert 1.5e9 < checks.parameters(PRESETS["paper-2b"]) < 2.5e9


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan")])
def test_no_time_is_no_time(prepared, tmp_path, hours):
    with pytest.raises(LauraError, match="--hours .*above 0"):
        train(**overridden(prepared, tmp_path / "out"), hours=hours)


def test_hours_mean_hours(prepared, tmp_path, capsys):
    """An hour of steps that take a quarter each; what is left goes on with --resume, and a stage for which no time is left is not begun."""
    out = tmp_path / "out"

    def step() -> int:
        return state.steps_done(out / "encoder")

    how = overridden(prepared, out, "encoder.steps=5")
    train(**how, hours=1.0, clock=Clock(900))  # looks: at the beginning, before the stage, before each step
    assert step() == 2 and "encoder: stopped early; `--resume` goes on" in capsys.readouterr().err
    train(**how, hours=1.5, clock=Clock(900), resume=True)
    assert step() == 5 and not (out / "codec").exists()
    assert "codec: not begun, since the time is over" in capsys.readouterr().err
    before = state.weights_of(out / "encoder", False).read_bytes()
    train(**how, hours=0.1, clock=Clock(900), resume=True)
    assert not (out / "codec").exists() and state.weights_of(out / "encoder", False).read_bytes() == before


def test_preparing_data_counts(tmp_path, monkeypatch, capsys):
    clock = Clock(0)

    def slow(*args: object) -> None:
        clock.now += 7200
        prepare(*args)

    prepare = run.prepare
    monkeypatch.setattr(run, "prepare", slow)
    train(DEBUG, hours=1.0, overrides=[f"data={tmp_path / 'data'}", f"out={tmp_path / 'out'}"], clock=clock)
    assert "encoder: not begun, since the time is over" in capsys.readouterr().err and (tmp_path / "data" / "train.jsonl").exists()
