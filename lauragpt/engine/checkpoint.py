"""Opening a checkpoint's folder: what it says of itself, and the backend that is to compute it.

ONNX Runtime on the CPU where the folder was exported (`laura export`), PyTorch else and on a GPU. Torch is imported in the second case alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from lauragpt.engine.backend import Backend
from lauragpt.errors import LauraError
from lauragpt.model.sequence import Vocabulary
from lauragpt.tasks import LANGS
from lauragpt.text import Tokenizer

BACKENDS = ("onnx", "torch")


@dataclass(frozen=True)
class Info:
    """What a checkpoint says of itself."""

    name: str
    codec_hash: str
    langs: tuple[str, ...]
    pieces: dict[str, tuple[float, float]]


def open_checkpoint(folder: Path, device: str | None = None, backend: str | None = None) -> tuple[Backend, Tokenizer, Vocabulary, Info]:
    """A folder's model, ready. LauraError when it is damaged, foreign, was trained on the tokens of another codec, or when the backend
    that was asked for is not at hand."""
    if backend not in (None, *BACKENDS):
        raise LauraError(f"unknown backend {backend!r}: choose onnx or torch")
    if device not in (None, "cpu", "cuda"):
        raise LauraError(f"unknown device {device!r}: choose cpu or cuda")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        vocabulary = Vocabulary(config["model"]["text_size"], config["model"]["audio_size"])
        trained = config["model"]["gpt"]["vocabulary"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({type(error).__name__}: {error}): fetch or export it again") from None
    exported = (folder / "onnx" / "graphs.json").exists()
    if backend is None:
        # A graph knows no tokens of tasks that were added since.
        backend = "onnx" if exported and device != "cuda" and trained == vocabulary.size else "torch"
    if backend == "onnx":
        if device == "cuda":
            raise LauraError("the onnx backend computes on the CPU: choose the torch backend for cuda")
        if not exported:
            raise LauraError(f"{folder} has no onnx/ folder: make it with `laura export {folder}`")
        from lauragpt.engine.onnx_backend import OnnxBackend

        opened: Backend = OnnxBackend(folder, config, vocabulary)
    else:
        opened, vocabulary = _open_torch(folder, device, config)
    try:
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    except Exception as error:  # the tokenizers library raises bare Exception
        raise LauraError(f"{folder}/tokenizer.json cannot be read ({str(error).splitlines()[0][:120]}): fetch the checkpoint again") from None
    pieces = {task: tuple(seconds) for task, seconds in (config.get("pieces") or {}).items()}
    info = Info(config.get("name") or folder.resolve().name, opened.codec_hash, tuple(config.get("langs") or LANGS), pieces)
    return opened, tokenizer, vocabulary, info


def _open_torch(folder: Path, device: str | None, config: dict) -> tuple[Backend, Vocabulary]:
    try:
        from lauragpt.engine.torch_backend import open_torch
    except ImportError as error:
        if error.name != "torch":
            raise
        raise LauraError(f"{folder} was not exported and torch is missing: pip install 'lauragpt[train]', or export it where torch is") from None
    return open_torch(folder, device, config)
