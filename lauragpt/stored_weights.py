"""The weights of a checkpoint as they are stored. No torch.

Floats are stored as float16. A weight of which half the size is wanted is stored as int8 under its own name, with a float16 scale for each
32 values of a row under NAME.scale; a convolution's kernel is a row for each output channel. R rows, K values a row.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from lauragpt.checkpoint import file_of, weight_files
from lauragpt.errors import LauraError

SCALE = ".scale"  # behind the name of a weight in 8 bits
BLOCK = 32  # values that share a scale


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


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The names by which `read_tensor` gives what both files hold, and the shapes. SafetensorError for a damaged file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        with safe_open(path, "np") as file:
            names = file.keys()
            scales = {name + SCALE for name in names}
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in names if name not in scales}
    return shapes


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
