"""The codec by itself: sound -> `Codes`, kept in a file if wanted, and back. Any length, in bounded memory.

In: a path, or samples (N,) at 16 kHz. Out: codes (K, T), T = ceil(N / 640), with the hash of the codec that they mean something to.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lauragpt.audio import SAMPLE_RATE, Audio, AudioStream, read_recording, save_stream, stream_audio
from lauragpt.engine.backend import Backend
from lauragpt.engine.chunking import HOP, TOKENS_PER_SECOND
from lauragpt.errors import LauraError
from lauragpt.files import replacing

PIECE = 10 * SAMPLE_RATE  # samples worked on at a time
FORMAT = "lauragpt-codes-1"


@dataclass(frozen=True)
class Usage:
    """How a quantizer's codes are used: how many different ones, and as many evenly used ones would be as uncertain (perplexity)."""

    codes: int
    perplexity: float


@dataclass(frozen=True)
class Codes:
    codes: np.ndarray  # (K, T) int16
    samples: int  # of the sound, at 16 kHz
    codec_hash: str
    codebook_size: int
    truncated: bool = False  # the recording was cut short or damaged

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    @property
    def bits_a_second(self) -> float:
        """What it takes to send them: log2(codebook size) a code, 25 frames a second."""
        return len(self.codes) * np.log2(self.codebook_size) * TOKENS_PER_SECOND

    @property
    def usage(self) -> list[Usage]:
        """Of each quantizer."""
        usages = []
        for row in self.codes:
            _, counts = np.unique(row, return_counts=True)
            share = counts / counts.sum()
            usages.append(Usage(len(counts), float(np.exp(-(share * np.log(share)).sum()))))
        return usages

    def first(self, quantizers: int | None) -> "Codes":
        """Those of the first quantizers alone; LauraError where there are fewer."""
        if quantizers is not None and not 1 <= quantizers <= len(self.codes):
            raise LauraError(f"{quantizers} quantizers: these codes hold {len(self.codes)}, give 1 to {len(self.codes)}")
        return replace(self, codes=self.codes[:quantizers])

    def to_row(self) -> dict:
        """All of it as plain data."""
        return {
            "seconds": round(self.seconds, 3), "truncated": self.truncated, "quantizers": len(self.codes),
            "bits_a_second": round(self.bits_a_second, 1),
            "usage": [{"codes": u.codes, "perplexity": round(u.perplexity, 2)} for u in self.usage], "codec_hash": self.codec_hash,
            "codes": self.codes.tolist(),
        }  # fmt: skip

    def to_text(self, name: str, shown: int = 12) -> str:
        """Lines to read: the bit rate, the first tokens, and how each quantizer's codes are used."""
        tokens = " ".join(map(str, self.codes[0, :shown])) + (" ..." if self.codes.shape[1] > shown else "")
        lines = [
            f"{name}: {self.seconds:.2f} s, {len(self.codes)} quantizers, {self.bits_a_second / 1000:.2f} kbit/s",
            f"  tokens {tokens}",
        ]
        for number, usage in enumerate(self.usage, 1):
            lines.append(f"  quantizer {number}: {usage.codes} of {self.codebook_size} codes, perplexity {usage.perplexity:.1f}")
        return "\n".join(lines)

    def save(self, path: str | Path) -> Path:
        """A safetensors file, which appears whole or not at all."""
        path = Path(path)
        about = {"format": FORMAT, "codec_hash": self.codec_hash, "samples": str(self.samples), "codebook_size": str(self.codebook_size)}
        try:
            with replacing(path) as file:
                file.write(save({"codes": self.codes}, about | {"truncated": str(self.truncated)}))
        except (OSError, SafetensorError) as error:
            raise LauraError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Codes":
        """LauraError for a file that holds none."""
        try:
            with safe_open(path, "np") as file:
                about, codes = file.metadata() or {}, file.get_tensor("codes")
            if about.get("format") != FORMAT:
                raise LauraError(f"{path} holds no codes: `laura codec FILE --codes OUT` writes such files")
            samples, size = int(about["samples"]), int(about["codebook_size"])
            if codes.ndim != 2 or not codes.size or codes.shape[1] != -(-samples // HOP) or not 0 <= codes.min() <= codes.max() < size:
                raise ValueError(f"codes of shape {codes.shape} do not fit {samples} samples and a codebook of {size}")
            return cls(codes, samples, about["codec_hash"], size, about.get("truncated") == "True")
        except FileNotFoundError:
            raise LauraError(f"{path}: no such file") from None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise LauraError(f"{path} holds no codes that can be read ({str(error).splitlines()[0][:100]})") from None


def encode(backend: Backend, audio: Audio, quantizers: int | None = None, sample_rate: int | None = None) -> Codes:
    """The codes of a recording, by the first `quantizers` of the codec, by all when None. LauraError for a number that the codec lacks."""
    levels = backend.codec_levels
    if quantizers is not None and not 1 <= quantizers <= levels:
        raise LauraError(f"{quantizers} quantizers: this codec has {levels}, give 1 to {levels}")
    samples = 0
    if isinstance(audio, (str, Path)) and sample_rate is None:
        audio = stream_audio(audio, PIECE / SAMPLE_RATE)
    recording = audio if isinstance(audio, AudioStream) else read_recording(audio, sample_rate, minimum=0.0)

    def counted() -> Iterator[np.ndarray]:
        nonlocal samples
        for piece in recording if isinstance(recording, AudioStream) else _pieces(recording.wave):
            samples += len(piece)
            yield piece

    codes = np.concatenate([piece.astype(np.int16) for piece in backend.codec_encode_stream(counted(), quantizers)], axis=1)
    return Codes(codes, samples, backend.codec_hash, backend.codebook_size, recording.truncated)


def decode(backend: Backend, codes: Codes) -> Iterator[np.ndarray]:
    """The sound in pieces (n,), together as long as what was encoded. LauraError, before the first, for codes that are not this codec's."""
    if codes.codec_hash != backend.codec_hash:
        raise LauraError(
            f"these are codes of codec {codes.codec_hash}, this checkpoint holds codec {backend.codec_hash}: "
            "use the one they were made with"
        )
    rows, most, size = codes.codes, backend.codec_levels, backend.codebook_size
    if rows.ndim != 2 or not 1 <= rows.shape[0] <= most or rows.shape[1] != -(-codes.samples // HOP) or not rows.shape[1]:
        raise LauraError(
            f"codes of shape {rows.shape} for {codes.samples} samples: "
            f"(K, T) is allowed with K = 1 to {most} and T = ceil(samples / {HOP}), at least 1"
        )
    if rows.min() < 0 or rows.max() >= size:
        raise LauraError(f"codes go from {rows.min()} to {rows.max()}: this codec's go from 0 to {size - 1}")
    return _cut(backend.codec_decode_stream(rows[:, k : k + PIECE // HOP] for k in range(0, rows.shape[1], PIECE // HOP)), codes.samples)


def decode_to(backend: Backend, codes: Codes, path: str | Path) -> Path:
    return save_stream(path, decode(backend, codes))


def _pieces(wave: np.ndarray) -> Iterator[np.ndarray]:
    return (wave[k : k + PIECE] for k in range(0, len(wave), PIECE))


def _cut(pieces: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    for piece in pieces:
        yield piece[:samples]
        samples -= min(samples, len(piece))
