"""A stage's state on disk: weights, optimizers and position, as safetensors and JSON (never pickle), written aside and then renamed."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def save(folder: Path, modules: nn.ModuleDict, optimizers: dict[str, torch.optim.Optimizer], state: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "model.safetensors", dict(modules.state_dict()))
    moments: dict[str, Tensor] = {}
    for name, optimizer in optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            moments |= {f"{name}.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    _write(folder / "optimizer.safetensors", moments)
    aside = folder / "state.json.part"
    aside.write_text(json.dumps(state), encoding="utf-8")
    os.replace(aside, folder / "state.json")  # last: it says that the rest is whole


def load(folder: Path, modules: nn.ModuleDict, optimizers: dict[str, torch.optim.Optimizer]) -> dict:
    """Fills modules and optimizers; the state that was saved with them comes back."""
    modules.load_state_dict(load_file(folder / "model.safetensors"))
    moments = load_file(folder / "optimizer.safetensors")
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in moments.items():
            owner, index, slot = key.split(".")
            if owner == name:
                state.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    aside = path.with_name(path.name + ".part")
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, aside)
    os.replace(aside, path)
