"""The files of a checkpoint's weights and their hash; no torch.

`codec.safetensors` holds the codec, `model.safetensors` all else: the rest was trained on the codec's tokens, so that it may be trained
further and sent anew while the codec stays as it is.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

FILES = ("model.safetensors", "codec.safetensors")


def file_of(tensor: str) -> str:
    """Which of them holds a tensor."""
    return FILES[tensor.startswith("codec.")]


def hash_of(*paths: Path) -> str:
    """SHA-256 of files, one behind the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
    return digest.hexdigest()


def hash_of_weights(folder: Path) -> str:
    """SHA-256 of both files. OSError when one is missing."""
    return hash_of(*weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """Both files of a checkpoint's folder, whether they exist or not."""
    return [folder / name for name in FILES]


def all_tensors(folder: Path, load: Callable[[Path], dict]) -> dict:
    """What both files hold, name -> tensor, as `load` reads one (safetensors' `load_file`, of numpy or of torch)."""
    return {name: tensor for path in weight_files(folder) for name, tensor in load(path).items()}
