"""Opening a checkpoint's folder: what it says of itself, and the backend that is to compute it.

ONNX Runtime on the CPU where the folder was exported (`laura export`), PyTorch else and on a GPU. Torch is imported in the second case alone.
"""

from pathlib import Path

from lauragpt.checkpoint import CheckpointInfo, hash_of_weights, read_config, read_info
from lauragpt.engine.backend import Backend
from lauragpt.errors import LauraError
from lauragpt.text import Tokenizer

BACKENDS = ("onnx", "torch")


def open_checkpoint(
    folder: Path, device: str | None = None, backend: str | None = None, compile: bool = False
) -> tuple[Backend, Tokenizer, CheckpointInfo]:
    """A folder's model, ready. LauraError when it is damaged, foreign, was trained on the tokens of another codec, or when the backend
    that was asked for is not at hand. `compile`: the GPT's layers, with torch."""
    if backend not in (None, *BACKENDS):
        raise LauraError(f"unknown backend {backend!r}: choose onnx or torch")
    if device not in (None, "cpu", "cuda"):
        raise LauraError(f"unknown device {device!r}: choose cpu or cuda")
    config = read_config(folder)
    info = read_info(folder, config)
    exported = (folder / "onnx" / "graphs.json").exists()
    reason = "it has no onnx/ folder: `laura export` makes it" if not exported else ""
    if device == "cuda":
        reason = "the onnx backend computes on the CPU"
    elif config["model"].get("gpt", {}).get("vocabulary") != info.vocabulary.size:
        reason = "its graphs know no other tasks than it was trained on"
    if backend == "onnx" and reason:
        raise LauraError(f"{folder} cannot run on the onnx backend: {reason}")
    if compile and backend != "torch" and not reason:
        raise LauraError("ONNX Runtime's graphs are compiled already: compile is for the torch backend (backend='torch')")
    opened = _open_torch(folder, device, config, reason, compile) if backend == "torch" or reason else _open_onnx(folder, config, info)
    try:
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    except Exception as error:  # the tokenizers library raises bare Exception
        raise LauraError(f"{folder}/tokenizer.json cannot be read ({str(error).splitlines()[0][:120]}): fetch the checkpoint again") from None
    return opened, tokenizer, info


def _open_onnx(folder: Path, config: dict, info: CheckpointInfo) -> Backend:
    from lauragpt.engine.onnx_backend import OnnxBackend

    try:
        return OnnxBackend(folder, config, info.vocabulary, hash_of_weights(folder))
    except (KeyError, TypeError, AttributeError) as error:
        raise LauraError(
            f"{folder}/onnx is not what an export makes ({type(error).__name__}: {error}): make it anew with `laura export {folder}`"
        ) from None


def _open_torch(folder: Path, device: str | None, config: dict, reason: str, compile: bool) -> Backend:
    try:
        from lauragpt.engine.torch_backend import open_torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        why = f" ({reason})" if reason else ""
        raise LauraError(f"{folder} is to run on torch{why}, which is missing: pip install 'lauragpt[train]'") from None
    return open_torch(folder, device, config, compile)
