"""A stage's state on disk, as safetensors and JSON (never pickle).

    STAGE/steps/00000200/model.safetensors, optimizer.safetensors, average.safetensors, state.json   training can go on from here: the last
                                                                                                     few steps that were saved
    STAGE/best/model.safetensors, state.json                                                         the step that did best on dev

A folder is written aside and then renamed, so that it is whole or not there, wherever the program is killed. Its state.json holds the
hashes of its files: one that was damaged later is passed over, and the step saved before it is taken. `average` is there with `ema` alone.

Where the weights are divided among processes (sharding.py), a folder has pieces of them in place of these files (pieces.py): of the same
tensors, whose names begin with what they are. Either kind is read by processes of either kind.
"""

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lauragpt.checkpoint import hash_of
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.files import replace_folder
from lauragpt.train.pieces import empty_as, fill, found_in, held_as, in_pieces, read_pieces, read_whole
from lauragpt.train.stage import Stage, StageConfig

MODEL, OPTIMIZER, AVERAGE, STATE = "model.safetensors", "optimizer.safetensors", "average.safetensors", "state.json"
PIECES_MODEL, PIECES_OPTIMIZER, PIECES_AVERAGE = "model/", "optimizer/", "average/"  # names of tensors in pieces begin so


def checkpoints(folder: Path) -> list[Path]:
    """Of a stage, the newest first. Versions before 0.3 saved one, into the stage's folder itself."""
    steps = [path for path in (folder / "steps").glob("*") if path.name.isdigit()]
    return sorted(steps, reverse=True) + ([folder] if (folder / MODEL).exists() else [])


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, None where none was saved. A LauraWarning tells of each that is damaged; LauraError where all
    are."""
    found = checkpoints(folder)
    for path in found:
        if not damaged(path):
            return path
    if found:
        raise LauraError(f"{folder}: every checkpoint in it is damaged: delete it, and train {folder.name} anew")
    return None


def damaged(folder: Path) -> bool:
    """Whether the files of a checkpoint are others than were written. Each is told once, by a LauraWarning."""
    paths = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return _damaged(folder, tuple(sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)))


@cache  # by sizes and times, since to read a large checkpoint takes seconds
def _damaged(folder: Path, files: tuple) -> bool:
    wrong = _wrong(folder)
    if wrong:
        warnings.warn(f"{folder} is damaged, {wrong}: it is passed over", LauraWarning, stacklevel=3)
    return bool(wrong)


def _wrong(folder: Path) -> str:
    """What is wrong with a checkpoint's files, "" where nothing is."""
    if not folder.name.isdigit() and not (folder / STATE).exists():
        return "" if (folder / MODEL).exists() else f"{MODEL} is missing"  # weights alone, or an earlier version's
    try:
        hashes = dict(json.loads((folder / STATE).read_text(encoding="utf-8")).get("files", {}))
    except FileNotFoundError:
        return f"{STATE} is missing"
    except (OSError, ValueError, AttributeError, TypeError):
        return f"{STATE} is not as it was written"
    if folder.name.isdigit() and not hashes:
        return f"{STATE} is not as it was written"
    for name, expected in hashes.items():
        if not (folder / name).exists():
            return f"{name} is missing"
        if hash_of(folder / name) != expected:
            return f"{name} is not as it was written"
    return ""


def exists(folder: Path) -> bool:
    path = newest(folder)
    return path is not None and (path / STATE).exists()


def read(folder: Path) -> dict:
    """The state that was saved with the newest checkpoint."""
    return json.loads((newest(folder) / STATE).read_text(encoding="utf-8"))


def steps_done(folder: Path) -> int:
    return read(folder)["step"] if exists(folder) else 0


def finished(folder: Path, config: StageConfig) -> bool:
    """Whether a stage has gone all its steps, or as far as its patience, and its last validation was ended."""
    if not exists(folder):
        return False
    saved = read(folder)
    return saved.get("validated", True) and (saved["step"] >= config.steps or out_of_patience(folder, config, saved["step"]))


def out_of_patience(folder: Path, config: StageConfig, step: int) -> bool:
    """Whether the last `patience` validations up to this step were no better than the one before them."""
    found = best(folder) if config.patience else None
    return found is not None and step - found["step"] >= config.patience * config.evaluate_every


def save(
    folder: Path, stage: Stage, step: int, about: Mapping[str, object], average: Mapping[str, Tensor] | None = None, keep: int = 2,
    anew: bool = False,
) -> None:  # fmt: skip
    """Saves a step; of the others the newest stay, `keep` in all. `anew`: none of them, since they are another training's. `about`: more
    to be remembered of it."""
    place, aside = _place(folder, step), folder / "steps" / "part"
    about = {"step": step, "stage": stage.name, **about}
    make_room(folder, step, anew)
    if place.exists() and not damaged(place):  # the same weights, as training is exact
        note(folder, step, about)
        _remove_oldest(folder, keep)
        return
    tensors = {MODEL: stage.modules.state_dict(), OPTIMIZER: moments(stage.optimizers)}
    _write(aside, tensors | ({AVERAGE: stage.modules.state_dict() | dict(average)} if average is not None else {}))
    put(folder, step, about, keep)


def make_room(folder: Path, step: int, anew: bool) -> None:
    """Before a step is written aside, into `steps/part`."""
    place = _place(folder, step)
    for path in [path for path in checkpoints(folder) if anew or (path != folder and path.name > place.name)]:
        _remove(path)  # what is ahead of this step is damaged, or training would have gone on from there
    shutil.rmtree(folder / "steps" / "part", ignore_errors=True)


def put(folder: Path, step: int, about: Mapping[str, object], keep: int) -> None:
    """A step whose files were written aside is in its place from here on; of the others the newest stay."""
    place, aside = _place(folder, step), folder / "steps" / "part"
    seal(aside, about)
    if place.exists():
        _remove(place)
    os.replace(aside, place)
    _remove_oldest(folder, keep)


def _remove_oldest(folder: Path, keep: int) -> None:
    for path in checkpoints(folder)[keep:]:
        _remove(path)
    shutil.rmtree(folder / "steps" / "old", ignore_errors=True)  # of a program that was killed while it removed one


def note(folder: Path, step: int, about: Mapping[str, object]) -> None:
    """More to be remembered of a step that was saved, if it was."""
    place = _place(folder, step)
    if place.exists():
        _write_state(place, json.loads((place / STATE).read_text(encoding="utf-8")) | dict(about))


def _place(folder: Path, step: int) -> Path:
    return folder / "steps" / f"{step:08d}"


def load(folder: Path, modules: nn.ModuleDict, optimizers: dict[str, torch.optim.Optimizer]) -> dict:
    """Fills modules and optimizers by the newest checkpoint; returns the state that was saved with them. LauraError where another set of
    parameters was trained there."""
    path, owners = newest(folder), {}
    for name, optimizer in optimizers.items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        owners |= {f"{name}.{index}": parameter for index, parameter in enumerate(parameters)}
    if in_pieces(path):
        found = {key.removeprefix(PIECES_OPTIMIZER): about for key, about in found_in(path).items() if key.startswith(PIECES_OPTIMIZER)}
        stored = {key: empty_as(_owner(owners, key, path), about) for key, about in found.items()}
        own = {f"{PIECES_MODEL}{name}": tensor for name, tensor in modules.state_dict().items()}
        read_pieces(path, own | {f"{PIECES_OPTIMIZER}{key}": tensor for key, tensor in stored.items()})
    else:
        fill(modules, load_file(path / MODEL))
        stored = {key: held_as(tensor, _owner(owners, key, path)) for key, tensor in load_file(path / OPTIMIZER).items()}
    slots: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in optimizers}
    for key, tensor in stored.items():
        name, index, slot = key.split(".")
        slots[name].setdefault(int(index), {})[slot] = tensor
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict({"state": slots[name], "param_groups": optimizer.state_dict()["param_groups"]})
    return json.loads((path / STATE).read_text(encoding="utf-8"))


def _owner(owners: Mapping[str, Tensor], key: str, path: Path) -> Tensor:
    """The parameter of a moment."""
    name = key.rpartition(".")[0]
    if name not in owners:
        what = f"{path}: more parameters were trained there than the stage trains now"
        raise LauraError(f"{what}: give the keys that it was trained with, such as lora and frozen_layers, or train without --resume")
    return owners[name]


def load_average(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fills tensors by the averaged weights that the newest checkpoint holds beside the last ones, if it does."""
    path = newest(folder)
    if in_pieces(path):
        found = found_in(path)
        read_pieces(path, {key: tensor for name, tensor in tensors.items() if (key := f"{PIECES_AVERAGE}{name}") in found})
    elif (path / AVERAGE).exists():
        stored = load_file(path / AVERAGE)
        for name, tensor in tensors.items():
            tensor.copy_(held_as(stored[name], tensor))


def best(folder: Path) -> dict | None:
    """{"step": ..., the loss's name: its value} of the best weights, if there are any. LauraError where that cannot be read."""
    path = _best(folder) / STATE
    if not path.exists():
        return None
    try:
        return {name: value for name, value in json.loads(path.read_text(encoding="utf-8")).items() if name != "files"}
    except (ValueError, AttributeError):
        raise LauraError(f"{path} is damaged: delete the folder {path.parent}, and the next validation begins anew") from None


def save_best(folder: Path, stage: Stage, about: dict) -> None:
    aside = folder / "best.part"
    shutil.rmtree(aside, ignore_errors=True)
    _write(aside, {MODEL: stage.modules.state_dict()})
    seal(aside, about)
    replace_folder(aside, folder / "best")


def load_best(folder: Path, modules: nn.ModuleDict) -> None:
    path = _best(folder)
    if in_pieces(path):
        read_pieces(path, {f"{PIECES_MODEL}{name}": tensor for name, tensor in modules.state_dict().items()})
    else:
        fill(modules, load_file(path / MODEL))


def forget_best(folder: Path) -> None:
    """Before training anew: what did best was another run's."""
    for name in ("best", "best.old"):
        shutil.rmtree(folder / name, ignore_errors=True)


def weights_of(folder: Path, keep_best: bool) -> Path | None:
    """The file of the stage's weights with which others go on, if it was trained, or the folder of their pieces: the best, or the last,
    averaged where they were. `load_weights` reads either."""
    if keep_best and (_best(folder) / STATE).exists() and not damaged(_best(folder)):
        return _weights_in(_best(folder))
    path = newest(folder)
    return path and _weights_in(path)


def _weights_in(path: Path) -> Path:
    if in_pieces(path):
        return path
    return path / AVERAGE if (path / AVERAGE).exists() else path / MODEL


def load_weights(path: Path) -> dict[str, Tensor]:
    """What `weights_of` has found, as whole tensors by name."""
    return load_file(path) if path.is_file() else read_whole(path, PIECES_AVERAGE) or read_whole(path, PIECES_MODEL)


def _best(folder: Path) -> Path:
    return folder / "best" if (folder / "best").exists() else folder / "best.old"  # a run ended between two renames (replace_folder)


def moments(optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, optimizer in optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            found |= {f"{name}.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    return found


def _write(folder: Path, files: Mapping[str, Mapping[str, Tensor]]) -> None:
    folder.mkdir(parents=True)
    for name, tensors in files.items():
        save_file({key: tensor.detach().cpu().clone().contiguous() for key, tensor in tensors.items()}, folder / name)


def seal(folder: Path, about: Mapping[str, object]) -> None:
    """A new folder, in which all tensors are, is whole, and on the disk and not in its cache alone, when this returns."""
    paths = sorted(folder.glob("*.safetensors"))
    for path in paths:
        _sync(path)
    _write_state(folder, dict(about) | {"files": {path.name: hash_of(path) for path in paths}})
    _sync(folder)


def _write_state(folder: Path, about: dict) -> None:
    aside = folder / f"{STATE}.part"
    aside.write_text(json.dumps(about), encoding="utf-8")
    _sync(aside)
    os.replace(aside, folder / STATE)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Renamed first: half of a checkpoint would be taken for a damaged one."""
    if not path.name.isdigit():
        for name in (STATE, OPTIMIZER, MODEL):
            (path / name).unlink(missing_ok=True)
        return
    old = path.with_name("old")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(path, old)
    shutil.rmtree(old, ignore_errors=True)
