"""A checkpoint's folder: where it lies, what its configuration says, how its files are called, read and hashed. No torch.

`config.json` holds every size and what the checkpoint says of itself; `codec.safetensors` the codec; `model.safetensors` all other weights.
The rest was trained on the codec's tokens, so that it may be trained further and sent anew while the codec stays as it is.

Floats are stored as float16. A weight of which half the size is wanted is stored as int8 under its own name, with a float16 scale for each
32 values of a row under NAME.scale; a convolution's kernel is a row for each output channel. R rows, K values a row.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from lauragpt.ctc_units import Units, load_ctc_units
from lauragpt.errors import LauraError
from lauragpt.sequence import Vocabulary
from lauragpt.tasks import LANGS
from lauragpt.text import CtcUnits

FORMAT = "lauragpt-2"
FILES = ("model.safetensors", "codec.safetensors")
SCALE = ".scale"  # behind the name of a weight in 8 bits
BLOCK = 32  # values that share a scale
SHIPPED = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself."""

    name: str
    codec_hash: str
    langs: tuple[str, ...]
    chunks: dict[str, tuple[float, float]]  # task -> (shortest, longest) seconds of the chunks that it is done in
    weights: str  # the first 16 digits of the hash of its weights, which an answer's receipt repeats
    time_aligned: bool  # the letters of a transcript stand at the time of their sound (ctc.py)
    cascade: bool  # speech is translated by way of its transcript
    vocabulary: Vocabulary
    ctc_units: Units = field(default_factory=CtcUnits)  # of its CTC head


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, by its path or by the name of one that ships. LauraError where a file is missing."""
    folder = Path(name_or_path)
    if not folder.exists() and len(folder.parts) == 1:
        folder = SHIPPED / name_or_path
    if not folder.is_dir():
        names = ", ".join(sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))) or "none"
        raise LauraError(f"no checkpoint {str(name_or_path)!r}: give a checkpoint folder or the name of one that ships ({names})")
    missing = [name for name in ("config.json", *FILES, "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        old = ", as those of earlier versions do, whose codec lay in model.safetensors: make it anew" if missing == [FILES[1]] else ""
        raise LauraError(f"{folder} is no checkpoint: it lacks {', '.join(missing)}{old}")
    read_config(folder)
    return folder


def read_config(folder: Path) -> dict:
    """A checkpoint's configuration. LauraError where it cannot be read or is of something else."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LauraError(f"{folder}/config.json cannot be read ({error}): fetch the checkpoint again") from None
    if not isinstance(config, dict):
        raise LauraError(f"{folder} is not a LauraGPT checkpoint: its config.json holds no mapping")
    return config


def read_info(folder: Path, config: dict) -> CheckpointInfo:
    """What `read_config` found, checked. LauraError where something is missing or unknown."""
    try:
        model = config["model"]
        return CheckpointInfo(
            name=config.get("name") or folder.resolve().name,
            codec_hash=config["codec_hash"],
            langs=tuple(config.get("langs") or LANGS),
            chunks={task: tuple(seconds) for task, seconds in (config.get("chunks") or {}).items()},
            weights=hash_of_weights(folder)[:16],
            time_aligned=bool(model.get("time_aligned")),
            cascade=bool(config.get("cascade")),  # checkpoints from before 0.2 name the task in a list
            vocabulary=Vocabulary(model["text_size"], model["audio_size"]),
            ctc_units=load_ctc_units(folder),
        )
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({what}): fetch or export it again") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({what}): fetch or export it again") from None


def file_of(tensor: str) -> str:
    """The name of the file that holds a tensor."""
    return FILES[tensor.startswith("codec.")]


def hash_of(*paths: Path) -> str:
    """SHA-256 of files, one behind the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def hash_of_weights(folder: Path) -> str:
    """SHA-256 of both files. OSError when one is missing."""
    return hash_of(*weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """Both files of a checkpoint's folder, whether they exist or not."""
    return [folder / name for name in FILES]


def quantize(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weight (R, ...), floats -> int8 of the same shape, and the scales (R, K / 32) in float16, K / 32 rounded up.

    A block's largest value becomes 127 or -127, because its scale is rounded down. So what `dequantize` gives back is quantized to the
    same numbers again.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float32)
    largest = np.maximum.reduceat(np.abs(rows), np.arange(0, rows.shape[1], BLOCK), axis=1)
    scales = (largest / 127).astype(np.float16)
    scales = np.where(scales.astype(np.float32) * 127 > largest, np.nextafter(scales, np.float16(0)), scales)
    spread = _spread(scales, rows.shape[1])
    values = np.divide(rows, spread, out=np.zeros_like(rows), where=spread > 0)
    return np.rint(values).clip(-127, 127).astype(np.int8).reshape(weight.shape), scales


def dequantize(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What `quantize` gave -> the weight in float32. ValueError where the scales are not as many as the blocks."""
    rows = values.reshape(len(values), -1)
    if scales.shape != (len(rows), -(-rows.shape[1] // BLOCK)):
        raise ValueError(f"scales {scales.shape} for rows {rows.shape}")
    return (rows * _spread(scales, rows.shape[1])).reshape(values.shape)


def _spread(scales: np.ndarray, columns: int) -> np.ndarray:
    """(R, K / 32) -> float32 (R, K): the scale of each value."""
    return scales.astype(np.float32).repeat(BLOCK, axis=1)[:, :columns]


def read_tensor(folder: Path, name: str) -> np.ndarray:
    """A tensor by its stored name, float16 or, where it is stored in 8 bits, float32. LauraError where its scales are not there."""
    with safe_open(folder / file_of(name), "np") as file:
        return _read(file, name, folder)


def all_tensors(folder: Path) -> dict[str, np.ndarray]:
    """What both files hold, each as `read_tensor` gives it."""
    tensors = {}
    for path in weight_files(folder):
        with safe_open(path, "np") as file:
            names = file.keys()
            scales = {name + SCALE for name in names}
            tensors |= {name: _read(file, name, folder) for name in names if name not in scales}
    return tensors


def _read(file: safe_open, name: str, folder: Path) -> np.ndarray:
    tensor = file.get_tensor(name)
    if tensor.dtype != np.int8:
        return tensor
    try:
        return dequantize(tensor, file.get_tensor(name + SCALE))
    except (SafetensorError, ValueError):
        raise LauraError(f"{folder} is damaged: the scales of {name} are missing or do not fit it: fetch the checkpoint again") from None
