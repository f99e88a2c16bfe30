"""Checkpoints of a stage: which are kept, which is taken where one is damaged, and what is lost where the program is killed: nothing but
the time since the last."""

import json
import os
import shutil
import signal
import sys
import warnings
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from lauragpt.errors import LauraError, LauraWarning
from lauragpt.train import loop, state
from lauragpt.train.precision import precision
from lauragpt.train.stage import StageConfig, Update


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(mixed_precision=precision(), cpu=True)


class Walk:
    """A few weights that go at random; dev says how far they have gone."""

    name = "walk"

    def __init__(self, **keys):
        self.config = StageConfig(**{"steps": 6, "lr": 0.1, "warmup": 1, "save_minutes": 0.0} | keys)
        torch.manual_seed(0)
        self.modules = nn.ModuleDict({"line": nn.Linear(4, 4)})
        self.optimizers = {"model": torch.optim.AdamW(self.modules.parameters(), lr=0.1)}

    def batch(self, number: int, step: int) -> torch.Tensor:
        return torch.randn(3, 4, generator=torch.Generator().manual_seed(step))

    def step(self, batch: torch.Tensor, step: int, update: Update) -> dict[str, torch.Tensor]:
        loss = self.modules["line"](batch + torch.randn(3, 4)).square().mean()
        update("model", loss)
        return {"loss": loss.detach()}

    def validate(self) -> dict[str, float]:
        return {"loss": float(self.modules["line"].weight.detach().square().sum())}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "steps").iterdir())


def everything(folder: Path) -> dict[str, object]:
    """What training has come to: the tensors of the last checkpoint and of the best, with what is said of them."""
    found = {"best": state.best(folder), **{k: v for k, v in state.read(folder).items() if k != "files"}}
    for path in [*state.newest(folder).glob("*.safetensors"), folder / "best" / "model.safetensors"]:
        if path.exists():
            found |= {f"{path.name} {key}": tensor.tolist() for key, tensor in load_file(path).items()}
    return found


@pytest.mark.parametrize("keep, kept", [(1, ["00000006"]), (3, ["00000004", "00000005", "00000006"])])
def test_the_last_checkpoints_are_kept(accelerator, tmp_path, keep, kept):
    assert loop.run(Walk(keep_last=keep), tmp_path, accelerator) and names(tmp_path) == kept


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink, lambda path: path.write_bytes(b"")], ids=["cut", "flip", "none", "empty"])
def test_a_damaged_checkpoint_is_passed_over_and_the_one_before_taken(accelerator, tmp_path, file, damage):
    if damage is _flip and file == "state.json":
        damage = lambda path: path.write_text(path.read_text().replace('"files"', '"flies'))  # noqa: E731
    assert loop.run(Walk(), tmp_path / "whole", accelerator)
    shutil.copytree(tmp_path / "whole", tmp_path / "out")
    damage(tmp_path / "out" / "steps" / "00000006" / file)
    with pytest.warns(LauraWarning, match=f"steps/00000006 is damaged, {file} is .*: it is passed over") as told:
        assert state.steps_done(tmp_path / "out") == 5 and not state.finished(tmp_path / "out", Walk().config)
        assert state.weights_of(tmp_path / "out", False) == tmp_path / "out" / "steps" / "00000005" / "model.safetensors"
    assert len(told) == 1 and "\n" not in str(told[0].message), "once, on one line"
    assert loop.run(Walk(), tmp_path / "out", accelerator, resume=True)
    assert names(tmp_path / "out") == names(tmp_path / "whole")
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")


def test_where_all_are_damaged_one_line_says_what_to_do(accelerator, tmp_path):
    assert loop.run(Walk(keep_last=1), tmp_path, accelerator)
    _cut(tmp_path / "steps" / "00000006" / "model.safetensors")
    with pytest.warns(LauraWarning), pytest.raises(LauraError, match="every checkpoint in it is damaged: delete it, and train .* anew"):
        state.steps_done(tmp_path)


def test_damaged_best_weights_are_not_handed_on(accelerator, tmp_path):
    assert loop.run(Walk(evaluate_every=2), tmp_path, accelerator)
    assert state.weights_of(tmp_path, True) == tmp_path / "best" / "model.safetensors"
    _flip(tmp_path / "best" / "model.safetensors")
    with pytest.warns(LauraWarning, match="best is damaged"):
        assert state.weights_of(tmp_path, True) == tmp_path / "steps" / "00000006" / "model.safetensors"
    (tmp_path / "best" / "state.json").write_text("{")
    with pytest.raises(LauraError, match="state.json is damaged: delete the folder .*best"):
        state.best(tmp_path)
    with pytest.warns(LauraWarning, match="best is damaged"):
        assert state.weights_of(tmp_path, True) == tmp_path / "steps" / "00000006" / "model.safetensors"


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(accelerator, tmp_path):
    """It lay in the stage's folder itself, without hashes."""
    assert loop.run(Walk(steps=4, decay=0.0), tmp_path / "new", accelerator)
    (tmp_path / "old").mkdir()
    for path in (tmp_path / "new" / "steps" / "00000004").iterdir():
        shutil.copy(path, tmp_path / "old")
    (tmp_path / "old" / "state.json").write_text('{"step": 4, "stage": "walk"}')
    assert state.finished(tmp_path / "old", Walk(steps=4).config)
    assert state.weights_of(tmp_path / "old", False) == tmp_path / "old" / "model.safetensors"
    for name in ("old", "new"):
        assert loop.run(Walk(decay=0.0), tmp_path / name, accelerator, resume=True)
    assert everything(tmp_path / "old") == everything(tmp_path / "new")
    assert not (tmp_path / "old" / "model.safetensors").exists(), "it is one of those that are no longer kept"


def test_training_anew_takes_the_place_of_what_was_before(accelerator, tmp_path):
    assert loop.run(Walk(), tmp_path, accelerator)
    assert loop.run(Walk(steps=3), tmp_path, accelerator) and names(tmp_path) == ["00000002", "00000003"]


def killed_at(event: int, folder: Path, accelerator: Accelerator, keys: dict) -> bool:
    """Trains on in a process that kills itself at so many calls that change the file system; whether it did."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
        return os.WIFSIGNALED(status)
    left = event

    def hook(name: str, arguments: tuple) -> None:
        nonlocal left
        writes = name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or name in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")) and str(folder) in str(arguments[0]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        loop.run(Walk(**keys), folder, accelerator, resume=True)
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


SAVES = [pytest.param({"evaluate_every": 2, "keep_best": True}, marks=pytest.mark.slow), {"ema": 0.9, "keep_last": 1, "accumulate": 2}]


@pytest.mark.parametrize("keys", SAVES, ids=str)
def test_killed_at_any_moment_of_a_save_nothing_is_lost(accelerator, tmp_path, keys):
    """Killed before every single change to the disk of two steps that are each saved and measured, then gone on with."""
    keys = {"steps": 5} | keys
    assert loop.run(Walk(**keys), tmp_path / "whole", accelerator)
    stage = Walk(**keys)
    loop.run(stage, tmp_path / "begun", accelerator, until=0.0, clock=iter([-1.0, -1.0, -1.0, 1.0, 1.0]).__next__)
    assert state.steps_done(tmp_path / "begun") == 3
    kills, steps = 0, []
    while True:
        out = tmp_path / str(kills)
        shutil.copytree(tmp_path / "begun", out)
        if not killed_at(kills, out, accelerator, keys):
            break
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what was killed has left nothing that looks damaged
            steps.append(state.steps_done(out))
            assert loop.run(Walk(**keys), out, accelerator, resume=True)
        assert everything(out) == everything(tmp_path / "whole"), f"killed before change {kills}"
        assert names(out) == names(tmp_path / "whole")
        shutil.rmtree(out)
        kills += 1
    assert kills > 20 and steps == sorted(steps) and set(steps) == {3, 4, 5}, "each step is lost at most until the next is saved"


def test_the_state_says_what_was_validated(accelerator, tmp_path):
    """Killed while dev is measured: whoever goes on measures it first, so that the best is the same."""
    keys = {"evaluate_every": 3, "keep_best": True}
    assert loop.run(Walk(**keys), tmp_path / "whole", accelerator)
    stage, validate = Walk(**keys), Walk.validate

    def interrupted() -> dict[str, float]:
        raise KeyboardInterrupt

    stage.validate = interrupted
    with pytest.raises(KeyboardInterrupt):
        loop.run(stage, tmp_path / "out", accelerator)
    assert state.read(tmp_path / "out")["validated"] is False and state.steps_done(tmp_path / "out") == 3
    stage, at = Walk(**keys), []
    stage.validate = lambda: at.append(state.steps_done(tmp_path / "out")) or validate(stage)
    assert loop.run(stage, tmp_path / "out", accelerator, resume=True) and at == [3, 6]
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")
    assert state.finished(tmp_path / "out", stage.config)
    path = tmp_path / "out" / "steps" / "00000006" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"validated": False}))
    assert not state.finished(tmp_path / "out", stage.config), "the last step was not measured yet"


def test_a_state_of_before_batches_were_counted_goes_on_at_the_next_batch(accelerator, tmp_path):
    read = []

    def run(out: Path, resume: bool = False, until: float | None = None) -> bool:
        stage = Walk(accumulate=2)
        make = stage.batch
        stage.batch = lambda number, step: read.append((number, step)) or make(number, step)
        times = iter(range(9))
        return loop.run(stage, out, accelerator, resume=resume, until=until, clock=lambda: next(times))

    assert not run(tmp_path, until=2.0) and state.steps_done(tmp_path) == 2
    path = state.newest(tmp_path) / state.STATE
    saved = json.loads(path.read_text())
    assert saved.pop("batches") == 4
    path.write_text(json.dumps(saved))
    read.clear()
    assert run(tmp_path, resume=True) and read == [(number, number // 2) for number in range(4, 12)]
    assert state.read(tmp_path)["batches"] == 12
