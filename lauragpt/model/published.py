"""A published model's folder, as transformers saves it: config.json, and model.safetensors in one file or, with an index, in several.

In: the folder. Out: its configuration, and its tensors copied into ours.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lauragpt.errors import LauraError


def damaged(folder: Path, error: Exception) -> LauraError:
    what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
    return LauraError(f"{folder} is no model as transformers saves it ({what}): it needs config.json and model.safetensors")


def read_published_config(folder: Path, kinds: Collection[str], begins: str) -> dict:
    """The configuration. LauraError where it cannot be read, or its model type is none of `kinds`; `begins`: what would begin with it."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(folder, error) from None
    if kind not in kinds:
        raise LauraError(f"{folder} holds a model of type {kind!r}: {begins} begins with one of type {' or '.join(kinds)} alone")
    return config


def read_published_tensors(folder: Path, own: Mapping[str, Tensor]) -> None:
    """Copies the folder's tensors into ours, which are named as there, but for "model." in front. LauraError, before anything is copied,
    where one is missing or has another shape.

    Beside ours one tensor at a time is in memory. The largest come first, while memory for the others is not in use yet.
    """
    try:
        files = _files(folder)
        if missing := sorted(own.keys() - files.keys()):
            raise LauraError(f"{folder} lacks {len(missing)} of its tensors, {missing[0]} first: fetch it again")
        for name, tensor in own.items():
            path, key = files[name]
            with safe_open(path, "pt") as file:
                shape = tuple(file.get_slice(key).get_shape())
            if shape != tensor.shape:
                raise LauraError(f"{folder}: {name} has the shape {shape}, and by its config.json {tuple(tensor.shape)}: fetch it again")
        for name in sorted(own, key=lambda name: -own[name].numel()):
            path, key = files[name]
            with safe_open(path, "pt") as file, torch.no_grad():  # opened anew: what was read of a file stays in memory until it is closed
                own[name].copy_(file.get_tensor(key))
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise damaged(folder, error) from None


def _files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Our name of each tensor -> the file that holds it, and its name there."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    else:
        with safe_open(folder / "model.safetensors", "pt") as file:
            names = dict.fromkeys(file.keys(), "model.safetensors")
    return {key.removeprefix("model."): (folder / name, key) for key, name in names.items()}
