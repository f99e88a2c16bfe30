"""The protocol between decoding and whatever computes the networks: numpy in, numpy out, so that a runtime can be swapped.

In flow order: `encode` waveforms, `open` a session of the GPT on them, `extend` it token by token, `vocode` or read what it wrote.
`B` batch, `T` frames or codes, `D` width, `U` CTC units, `V` the GPT's vocabulary, `K` codebooks, `N` samples at 16 kHz.
A row's numbers never depend on the rows beside it, beyond the rounding of float32 sums.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from lauragpt.ctc import CtcAligner
from lauragpt.sequence import PACE


@dataclass
class EncoderOutput:
    """Audio as the GPT reads it. Frames from `lengths[b]` on are padding."""

    embeddings: np.ndarray  # (B, T, D) float32
    lengths: np.ndarray  # (B,) int64, frames
    ctc_log_probs: np.ndarray  # (B, T, U) float32

    def rows(self, rows: list[int]) -> "EncoderOutput":
        return EncoderOutput(self.embeddings[rows], self.lengths[rows], self.ctc_log_probs[rows])


class Spoken(NamedTuple):
    """What the vocoder is told of a text: the ids of its letters, and how many tokens each is asked to take."""

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
    threads: int  # that a computation is shared by
    frame: float  # seconds from one of the encoder's frames to the next

    def encode(self, waves: list[np.ndarray]) -> EncoderOutput: ...

    def open(
        self, encoded: EncoderOutput | None, ids: list[list[int]], paces: list[float] | None = None, aligners: list[CtcAligner] | None = None
    ) -> Session:
        """Prefill: row b reads its audio frames, if any, then ids[b]; rows may be of uneven length, none may be empty. paces: audio
        tokens that each row's letters are to take, where it speaks (`Vocabulary.times`). aligners: when what each row writes is said, where
        it writes down what it hears."""
        ...

    def vocode(
        self,
        codes: list[np.ndarray],  # (T,) the GPT's audio tokens
        text: list[Spoken] | None = None,
        prompt: list[np.ndarray | None] | None = None,  # waves of the voice to speak in
        noisy: list[np.ndarray | None] | None = None,  # waves to be cleaned
    ) -> list[np.ndarray]:
        """One predictor pass and the codec's decoder: waves of T * 640 samples."""
        ...

    look_ahead: int  # tokens behind a token that its part of the sound depends on

    def vocode_stream(self, codes: Iterable[np.ndarray], text: Spoken, prompt: np.ndarray | None) -> Iterator[np.ndarray]:
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
