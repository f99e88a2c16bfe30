"""An exported graph with the weights of its checkpoint: no second copy of them lies on the disk.

`onnx/graphs.json` says of each graph which tensors of the checkpoint, one below the other, each of its initializers is: as they are,
transposed ("t"), in 8-bit blocks ("q", their scales "s"), or with an LSTM's gates in ONNX's order ("g"); and the hashes of all files, so
that a missing or altered one is told before anything runs.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from lauragpt.adapters import Adapter
from lauragpt.checkpoint import hash_of
from lauragpt.errors import LauraError
from lauragpt.stored_weights import read_tensor

FORMAT = "lauragpt-onnx-3"
BLOCK = 32  # weights that share a scale


def pack(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weight (N, K) float32, K a multiple of 32 -> 8-bit blocks (N, K / 32, 32) around 128 and their scales (N, K / 32), as MatMulNBits
    takes them."""
    blocks = weight.astype(np.float32).reshape(len(weight), -1, BLOCK)
    scales = np.abs(blocks).max(axis=2) / np.float32(127)
    packed = np.rint(blocks / np.maximum(scales, np.float32(1e-12))[..., None]) + 128
    return packed.astype(np.uint8), scales


def onnx_gates(weight: np.ndarray) -> np.ndarray:
    """An LSTM's weight (4 H, ...) with the gates in PyTorch's order (input, forget, cell, output) -> (1, 4 H, ...) in ONNX's (input,
    output, forget, cell), with its axis of directions."""
    gates = weight.reshape(4, -1, *weight.shape[1:])
    return np.ascontiguousarray(gates[[0, 3, 1, 2]].reshape(1, *weight.shape))


def taken(weights: Sequence[np.ndarray], how: str) -> np.ndarray:
    """Tensors of the checkpoint as a graph wants them."""
    weight = weights[0] if len(weights) == 1 else np.concatenate(weights)
    if weight.dtype == np.float16:
        weight = weight.astype(np.float32)
    if how == "t":
        weight = weight.T
    elif how in ("q", "s"):
        weight = pack(weight)["qs".index(how)]
    elif how == "g":
        weight = onnx_gates(weight)
    return np.ascontiguousarray(weight)


class Graphs:
    """The graphs of an exported checkpoint, each opened when first asked for. LauraError when a file is missing or was altered."""

    def __init__(self, folder: Path, threads: int, weights: str, adapter: Adapter | None = None):
        """weights: the hash of its weights as they are; adapter: what is added to them."""
        self.folder, self.threads, self.adapter = folder, threads, adapter
        try:
            self.about = json.loads((folder / "onnx" / "graphs.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LauraError(f"{folder}/onnx/graphs.json cannot be read ({error}): make it anew with `laura export {folder}`") from None
        if not isinstance(self.about, dict) or self.about.get("format") != FORMAT:
            raise LauraError(f"{folder}/onnx was exported by another version: make it anew with `laura export {folder}`")
        if weights != self.about["weights"]:
            raise LauraError(f"the weights in {folder} are not those that were exported: make the graphs anew with `laura export {folder}`")
        if adapter is not None:
            read = [keys for graph in self.about["graphs"].values() for keys, _ in graph["initializers"].values()]
            adapter.check_known({key for keys in read for key in keys})
        self._kept: list = []  # what the sessions look at without owning it

    def _check(self, path: Path, expected: str) -> None:
        try:
            actual = hash_of(path)
        except OSError:
            raise LauraError(f"{path} is missing: make it anew with `laura export {self.folder}`") from None
        if actual != expected:
            raise LauraError(f"{path} is not the file that was exported: make the graphs anew with `laura export {self.folder}`")

    def _read(self, name: str) -> np.ndarray:
        weight = read_tensor(self.folder, name)
        return weight if self.adapter is None else self.adapter.applied(name, weight)

    def weight(self, name: str) -> np.ndarray:
        """A tensor of the checkpoint, float32 where it is a float."""
        try:
            return taken([read_tensor(self.folder, name)], "")
        except (OSError, SafetensorError) as error:
            reason = str(error).splitlines()[0][:120]
            raise LauraError(f"{self.folder} is not a whole checkpoint ({reason}): fetch or export it again") from None

    def open(self, name: str):
        """An InferenceSession on the CPU."""
        import onnxruntime

        about, path = self.about["graphs"][name], self.folder / "onnx" / f"{name}.onnx"
        self._check(path, about["hash"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.enable_mem_pattern = False  # it keeps a block of memory for each shape that was ever run, and is no quicker
        weights = [taken([self._read(key) for key in keys], how) for keys, how in about["initializers"].values()]
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in weights]
        self._kept += [weights, values]
        options.add_external_initializers(list(about["initializers"]), values)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
