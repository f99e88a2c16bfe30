"""The protocol between decoding and whatever computes the networks: numpy in, numpy out, so that a runtime can be swapped.

In flow order: `encode` waveforms, `open` a session of the GPT on them, `extend` it token by token, `vocode` or decode what it wrote.
`open_backend` makes the one for a checkpoint: ONNX Runtime on the CPU where the folder was exported (`laura export`), else PyTorch, which
is imported only then.
`B` batch, `T` frames or codes, `D` width, `U` CTC units, `V` the GPT's vocabulary, `K` codebooks, `N` samples at 16 kHz. A row's numbers
never depend on the rows beside it, beyond the rounding of float32 sums.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from lauragpt.adapters import Adapter
from lauragpt.checkpoint import CheckpointInfo, hash_of_weights
from lauragpt.ctc import CtcAligner
from lauragpt.errors import LauraError, install_hint
from lauragpt.sequence import PACE

BACKENDS = ("onnx", "torch")


@dataclass
class EncoderOutput:
    """Audio as the GPT reads it. Frames from `lengths[b]` on are padding."""

    embeddings: np.ndarray  # (B, T, D) float32
    lengths: np.ndarray  # (B,) int64, frames
    ctc_log_probs: np.ndarray  # (B, T, U) float32

    def rows(self, rows: list[int]) -> "EncoderOutput":
        return EncoderOutput(self.embeddings[rows], self.lengths[rows], self.ctc_log_probs[rows])


class TextCondition(NamedTuple):
    """A text as the vocoder's condition: the ids of its letters, and how many audio tokens each is to take."""

    letters: list[int]
    pace: float = PACE


class Session(Protocol):
    """Sequences in progress, one a row, with the GPT's cache."""

    logits: np.ndarray  # (B, V) float32, after each row's last token; stale between a rollback and the next extend
    lengths: np.ndarray  # (B,) int64, positions each row holds (frames and ids)

    def extend(self, ids: np.ndarray) -> np.ndarray:
        """Append ids (B, n) to every row; logits (B, n, V) after each of them."""
        ...

    def rollback(self, lengths: np.ndarray) -> None:
        """Forget everything from position `lengths[b]` on."""
        ...

    def select(self, rows: list[int]) -> None:
        """Keep only these rows, in this order (a row may be named more than once)."""
        ...


class Backend(Protocol):
    name: str  # onnx | torch
    device: str  # cpu | cuda
    threads: int  # of a computation
    frame: float  # seconds from one of the encoder's frames to the next

    def encode(self, waves: list[np.ndarray]) -> EncoderOutput: ...

    def open(
        self,
        encoded: EncoderOutput | None,
        ids: list[list[int]],
        paces: list[float] | None = None,
        aligners: list[CtcAligner] | None = None,
    ) -> Session:
        """Prefill: row b reads its audio frames, if any, then ids[b]; rows may be of uneven length, none may be empty. paces: audio
        tokens that each letter of a row is to take, where it speaks (`Vocabulary.times`). aligners: of transcripts, when the letters that a
        row writes are spoken (ctc.py)."""
        ...

    def vocode(
        self,
        codes: list[np.ndarray],  # (T,) the GPT's audio tokens
        text: list[TextCondition] | None = None,
        prompt: list[np.ndarray | None] | None = None,  # waves of the voice to speak in
        noisy: list[np.ndarray | None] | None = None,  # waves to be cleaned
    ) -> list[np.ndarray]:
        """One predictor pass and the codec's decoder: waves of T * 640 samples."""
        ...

    look_ahead: int  # tokens behind a token that its part of the sound depends on

    def vocode_stream(self, codes: Iterable[np.ndarray], text: TextCondition, prompt: np.ndarray | None) -> Iterator[np.ndarray]:
        """Pieces of one row's tokens (n,) -> pieces of the wave, which together are what `vocode` gives."""
        ...

    codec_hash: str
    codec_levels: int  # quantizers the codec has, K at most
    codebook_size: int

    def codec_encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """Codes (K, T) of each wave, T = ceil(N / 640)."""
        ...

    def codec_decode(self, codes: list[np.ndarray]) -> list[np.ndarray]:
        """Waves of T * 640 samples."""
        ...

    def codec_encode_stream(self, pieces: Iterable[np.ndarray], quantizers: int | None = None) -> Iterator[np.ndarray]:
        """Pieces of a wave (n,) -> pieces of its codes (K, m), by the first `quantizers`; what `codec_encode` gives, in bounded memory."""
        ...

    def codec_decode_stream(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pieces of codes (K, m) -> pieces of the wave (n,); what `codec_decode` gives, in bounded memory."""
        ...


def open_backend(
    folder: Path,
    config: dict,
    info: CheckpointInfo,
    device: str | None = None,
    name: str | None = None,
    compile: bool = False,
    threads: int | None = None,
    adapter: Adapter | None = None,
) -> Backend:
    """The backend that computes a checkpoint, to whose weights an `adapter` adds: `name` is "onnx", "torch" or None for onnx where the
    folder was exported. `compile`: the GPT's layers, with torch. `threads`: of a computation; None: all cores that the process may use.
    LauraError for a damaged or foreign folder, one that was trained on the tokens of another codec, or a backend that is not available."""
    if name not in (None, *BACKENDS):
        raise LauraError(f"unknown backend {name!r}: choose onnx or torch")
    if device not in (None, "cpu", "cuda"):
        raise LauraError(f"unknown device {device!r}: choose cpu or cuda")
    if threads is not None and not (isinstance(threads, int) and threads > 0):
        raise LauraError(f"threads is {threads!r}: give a whole number from 1, or leave it out for all cores")
    if adapter is not None and adapter.rows:
        known, added = config["model"]["gpt"]["vocabulary"], max(len(rows) for rows in adapter.rows.values())
        if info.vocabulary.size < known + added:
            raise LauraError(f"{adapter.folder} knows more tasks than were added here: add them in the same order before (tasks.add_task)")
    exported = (folder / "onnx" / "graphs.json").exists()
    reason = "it has no onnx/ folder: `laura export` makes it" if not exported else ""
    if device == "cuda":
        reason = "the onnx backend computes on the CPU"
    elif config["model"].get("gpt", {}).get("vocabulary") != info.vocabulary.size:
        reason = "its graphs know no other tasks than it was trained on"
    if name == "onnx" and reason:
        raise LauraError(f"{folder} cannot run on the onnx backend: {reason}")
    if compile and name != "torch" and not reason:
        raise LauraError("ONNX Runtime's graphs are compiled already: compile is for the torch backend (backend='torch')")
    if name == "torch" or reason:
        return _open_torch(folder, device, config, reason, compile, threads, adapter)
    return _open_onnx(folder, config, info, threads, adapter)


def _open_onnx(folder: Path, config: dict, info: CheckpointInfo, threads: int | None, adapter: Adapter | None) -> Backend:
    from lauragpt.engine.onnx_backend import OnnxBackend

    try:
        return OnnxBackend(folder, config, info.vocabulary, hash_of_weights(folder), threads, adapter)
    except (KeyError, TypeError, AttributeError) as error:
        raise LauraError(
            f"{folder}/onnx is not what an export makes ({type(error).__name__}: {error}): make it anew with `laura export {folder}`"
        ) from None


def _open_torch(
    folder: Path, device: str | None, config: dict, reason: str, compile: bool, threads: int | None, adapter: Adapter | None
) -> Backend:
    try:
        from lauragpt.engine.torch_backend import open_torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        why = f" ({reason})" if reason else ""
        raise LauraError(f"{folder} is to run on torch{why}, which is missing: {install_hint('train')}") from None
    return open_torch(folder, device, config, compile, threads, adapter)
