"""A stage's state on disk, as safetensors and JSON (never pickle), written aside and then renamed.

    STAGE/model.safetensors, optimizer.safetensors, state.json   the last step, from which training goes on
    STAGE/best/model.safetensors, state.json                     the step that did best on dev, and its loss
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lauragpt.train.stage import Stage


def exists(folder: Path) -> bool:
    return (folder / "state.json").exists()


def steps_done(folder: Path) -> int:
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))["step"] if exists(folder) else 0


def save(folder: Path, stage: Stage, step: int) -> None:
    moments: dict[str, Tensor] = {}
    for name, optimizer in stage.optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            moments |= {f"{name}.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    _write_tensors(folder / "model.safetensors", stage.modules.state_dict())
    _write_tensors(folder / "optimizer.safetensors", moments)
    _write_state(folder, {"step": step, "stage": stage.name})  # last: it says that the rest is whole


def load(folder: Path, modules: nn.ModuleDict, optimizers: dict[str, torch.optim.Optimizer]) -> dict:
    """Fills modules and optimizers; returns the state that was saved with them."""
    modules.load_state_dict(load_file(folder / "model.safetensors"))
    moments = load_file(folder / "optimizer.safetensors")
    for name, optimizer in optimizers.items():
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in moments.items():
            owner, index, slot = key.split(".")
            if owner == name:
                slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))


def best(folder: Path) -> dict | None:
    """{"step": ..., the loss's name: its value} of the best weights, if there are any."""
    path = folder / "best" / "state.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save_best(folder: Path, stage: Stage, state: dict) -> None:
    _write_tensors(folder / "best" / "model.safetensors", stage.modules.state_dict())
    _write_state(folder / "best", state)


def load_best(folder: Path, modules: nn.ModuleDict) -> None:
    modules.load_state_dict(load_file(folder / "best" / "model.safetensors"))


def forget_best(folder: Path) -> None:
    """Before training anew: what did best was another run's."""
    shutil.rmtree(folder / "best", ignore_errors=True)


def weights_of(folder: Path, keep_best: bool) -> Path | None:
    """The file of the stage's weights with which others go on, if it was trained."""
    path = folder / "best" / "model.safetensors" if keep_best and best(folder) else folder / "model.safetensors"
    return path if path.exists() else None


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, aside)
    os.replace(aside, path)


def _write_state(folder: Path, state: dict) -> None:
    aside = folder / "state.json.part"
    aside.write_text(json.dumps(state), encoding="utf-8")
    os.replace(aside, folder / "state.json")
