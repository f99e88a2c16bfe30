"""Opening a checkpoint's folder: what it says of itself, and the backend that is to compute it.

ONNX Runtime on the CPU where the folder was exported (`laura export`), PyTorch else and on a GPU. Torch is imported in the second case alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from lauragpt.engine.backend import Backend
from lauragpt.errors import LauraError
from lauragpt.model.sequence import Vocabulary
from lauragpt.tasks import LANGS, THROUGH
from lauragpt.text import Tokenizer
from lauragpt.weights import hash_of_weights

BACKENDS = ("onnx", "torch")


@dataclass(frozen=True)
class Info:
    """What a checkpoint says of itself."""

    name: str
    codec_hash: str
    langs: tuple[str, ...]
    pieces: dict[str, tuple[float, float]]
    weights: str  # the beginning of the hash of its weights: what an answer's receipt names
    clock: bool  # what it writes down stands when it is said
    through: tuple[str, ...]  # tasks that it does better by way of what it writes down


def open_checkpoint(folder: Path, device: str | None = None, backend: str | None = None, compile: bool = False) -> tuple[Backend, Tokenizer, Vocabulary, Info]:
    """A folder's model, ready. LauraError when it is damaged, foreign, was trained on the tokens of another codec, or when the backend
    that was asked for is not at hand. `compile`: the GPT's layers, with torch."""
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
    reason = "it has no onnx/ folder: `laura export` makes it" if not exported else ""
    if device == "cuda":
        reason = "the onnx backend computes on the CPU"
    elif trained != vocabulary.size:
        reason = "its graphs know no other tasks than it was trained on"
    try:
        weights = hash_of_weights(folder)
    except OSError as error:
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({error.filename}: {error.strerror}): fetch or export it again") from None
    if backend == "onnx" and reason:
        raise LauraError(f"{folder} cannot run on the onnx backend: {reason}")
    if compile and backend != "torch" and not reason:
        raise LauraError("ONNX Runtime's graphs are compiled already: compile is for the torch backend (backend='torch')")
    if backend == "torch" or reason:
        opened, vocabulary = _open_torch(folder, device, config, reason, compile)
    else:
        opened = _open_onnx(folder, config, vocabulary, weights)
    try:
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    except Exception as error:  # the tokenizers library raises bare Exception
        raise LauraError(f"{folder}/tokenizer.json cannot be read ({str(error).splitlines()[0][:120]}): fetch the checkpoint again") from None
    pieces = {task: tuple(seconds) for task, seconds in (config.get("pieces") or {}).items()}
    name, langs, clock = config.get("name") or folder.resolve().name, tuple(config.get("langs") or LANGS), bool(config["model"].get("clock"))
    through = config.get("through") or []
    if not isinstance(through, list) or not set(through) <= set(THROUGH):
        raise LauraError(f"{folder}/config.json: through is {through!r}: give a list of {', '.join(THROUGH)}, or none")
    info = Info(name, opened.codec_hash, langs, pieces, weights[:16], clock, tuple(through))
    return opened, tokenizer, vocabulary, info


def _open_onnx(folder: Path, config: dict, vocabulary: Vocabulary, weights: str) -> Backend:
    from lauragpt.engine.onnx_backend import OnnxBackend

    try:
        return OnnxBackend(folder, config, vocabulary, weights)
    except (KeyError, TypeError, AttributeError) as error:
        raise LauraError(
            f"{folder}/onnx is not what an export makes ({type(error).__name__}: {error}): make it anew with `laura export {folder}`"
        ) from None


def _open_torch(folder: Path, device: str | None, config: dict, reason: str, compile: bool) -> tuple[Backend, Vocabulary]:
    try:
        from lauragpt.engine.torch_backend import open_torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        why = f" ({reason})" if reason else ""
        raise LauraError(f"{folder} is to run on torch{why}, which is missing: pip install 'lauragpt[train]'") from None
    return open_torch(folder, device, config, compile)
