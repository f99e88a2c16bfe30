"""The codec: waveform (B, N) at 16 kHz <-> codes (B, K, T) at 25 Hz, K = 32 codebooks of 1024 codes x 128 dims.

The first codebook's indices are the GPT's audio tokens; the sum of all embeddings (B, T, D) is what the one-step vocoder
predicts and `decode_embeddings` turns into sound. T = ceil(N / 640).

B batch, N samples, K codebooks, T frames, D embedding width.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.codec.lyra import LyraConfig, LyraDecoder, LyraEncoder
from lauragpt.codec.quantizer import QuantizerConfig, ResidualQuantizer
from lauragpt.codec.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from lauragpt.codec.spectral import SpectralConfig, SpectralDecoder, SpectralEncoder
from lauragpt.errors import LauraError


@dataclass(frozen=True)
class CodecConfig:
    """Everything that decides what a code means, apart from the weights."""

    architecture: str = "seanet"  # "seanet" as in the paper, "lyra", which begins with published weights, or "spectral"
    sample_rate: int = 16000
    strides: tuple[int, ...] = (8, 5, 4, 2, 2)  # in the decoder's order; their product is the hop
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    seanet: SEANetConfig = field(default_factory=SEANetConfig)
    spectral: SpectralConfig = field(default_factory=SpectralConfig)
    lyra: LyraConfig = field(default_factory=lambda: LyraConfig(stack=2))

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.strides)

    @property
    def dim(self) -> int:
        return self.quantizer.dim

    def to_dict(self) -> dict:
        """Plain data. A guide of no width and Lyra's sizes in another codec are left out, so that codecs from before there were any keep
        their hash."""
        values = asdict(self)
        if self.architecture != "lyra":
            del values["lyra"]
        values["quantizer"] = {key: value for key, value in values["quantizer"].items() if key != "guide" or value}
        return values

    @classmethod
    def from_dict(cls, values: dict) -> "CodecConfig":
        """The inverse of `to_dict`, also after a trip through JSON."""
        parts = {"quantizer": QuantizerConfig, "seanet": SEANetConfig, "spectral": SpectralConfig, "lyra": LyraConfig}
        try:
            values = {k: parts[k](**_tuples(v)) if k in parts else v for k, v in values.items()}
            return cls(**_tuples(values))
        except TypeError as error:
            raise LauraError(f"codec configuration: {error}; allowed keys: {', '.join(cls.__dataclass_fields__)}") from error


def _tuples(values: dict) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


CODEC_PRESETS: dict[str, CodecConfig] = {
    "debug": CodecConfig(
        quantizer=QuantizerConfig(n_quantizers=4, guide=8, dropout_levels=(1, 2, 4)), seanet=SEANetConfig(filters=2, lstm_layers=1)
    ),
    "mini": CodecConfig(
        architecture="spectral", quantizer=QuantizerConfig(guide=32), spectral=SpectralConfig(channels=384, decoder_coarse=3)
    ),
    "paper": CodecConfig(architecture="seanet"),
}

TRAINING_STATE = ("quantizer.counts", "quantizer.initialised", "quantizer.updates")  # buffers that no code's meaning depends on


@dataclass
class CodecOutput:
    wave: Tensor  # (B, N): the reconstruction, as long as the input
    codes: Tensor  # (B, K, T); -1 where a row used fewer levels
    latents: Tensor  # (B, T, D + G) before quantization
    embeddings: Tensor  # (B, T, D) after it
    commitment: Tensor  # (K,) a level


class Codec(nn.Module):
    """Handed its parts built: encoder (B, N) -> (B, T, D), quantizer, decoder (B, T, D) -> (B, N)."""

    def __init__(self, config: CodecConfig, encoder: nn.Module, quantizer: ResidualQuantizer, decoder: nn.Module):
        super().__init__()
        self.config = config
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder

    @classmethod
    def from_config(cls, config: CodecConfig) -> "Codec":
        encoders = {
            "seanet": lambda: SEANetEncoder(config.seanet, config.strides, config.dim + config.quantizer.guide),
            "spectral": lambda: SpectralEncoder(config.spectral, config.hop, config.dim, config.quantizer.guide),
            "lyra": lambda: LyraEncoder(config.lyra),
        }
        decoders = {
            "seanet": lambda: SEANetDecoder(config.seanet, config.strides, config.dim),
            "spectral": lambda: SpectralDecoder(config.spectral, config.hop, config.dim),
            "lyra": lambda: LyraDecoder(config.lyra),
        }
        if config.architecture not in encoders:
            raise LauraError(f"unknown codec architecture {config.architecture!r}: choose {', '.join(encoders)}")
        if config.architecture == "lyra" and (config.lyra.hop, config.lyra.stack * config.lyra.dim) != (config.hop, config.dim):
            raise LauraError(
                f"codec: Lyra's frames of {config.lyra.hop} samples and {config.lyra.stack * config.lyra.dim} numbers do not fit strides of "
                f"{config.hop} and a quantizer of {config.dim}: set stack, strides and dim so that they do"
            )
        quantizer = ResidualQuantizer(config.quantizer)
        return cls(config, encoders[config.architecture](), quantizer, decoders[config.architecture]())

    def latents(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        """wave (B, N) -> continuous latents (B, T, D + G), G the quantizer's guide. `lengths` (B,): each row's own samples."""
        N = wave.shape[1]
        hop = self.config.hop
        frames = None
        if lengths is not None:
            lengths = lengths.to(wave.device)
            wave = wave * (torch.arange(N, device=wave.device) < lengths[:, None])
            frames = (lengths + hop - 1) // hop
        return self.encoder(F.pad(wave, (0, -N % hop)), frames)

    @torch.no_grad()
    def encode(self, wave: Tensor, lengths: Tensor | None = None, n_quantizers: int | None = None) -> Tensor:
        """wave (B, N) -> codes (B, K, T). A row's own ceil(lengths / 640) frames are the same alone and in any batch."""
        return self.quantizer.encode(self.latents(wave, lengths), n_quantizers)

    def embed(self, codes: Tensor) -> Tensor:
        """codes (B, K, T) -> sum of embeddings (B, T, D)."""
        return self.quantizer.embed(codes)

    def decode_embeddings(self, embeddings: Tensor, lengths: Tensor | None = None) -> Tensor:
        """embeddings (B, T, D) -> wave (B, T * 640). `lengths` (B,): each row's own frames; the sound behind them is undefined."""
        return self.decoder(embeddings, lengths)

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """codes (B, K, T) -> wave (B, T * 640)."""
        return self.decode_embeddings(self.embed(codes), lengths)

    def encode_stream(self, pieces: Iterable[Tensor], n_quantizers: int | None = None) -> Iterator[Tensor]:
        """Pieces of a wave (n,) of any size -> pieces of its codes (K, m), as soon as nothing to come can change them: what `encode` gives,
        in bounded memory."""
        for latents in self.encoder.stream(pieces):
            yield self.quantizer.encode(latents[None], n_quantizers)[0]

    def decode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of embeddings (n, D) of any size -> pieces of the wave (m * 640,): what `decode_embeddings` gives, without a click."""
        return self.decoder.stream(pieces)

    def forward(self, wave: Tensor, n_quantizers: Tensor | int | None = None, update: bool = False) -> CodecOutput:
        """wave (B, N) -> its reconstruction. `n_quantizers`: one number or one a row (B,), 0 to pass the latents on as they are;
        `update` lets the codebooks follow the data (the generator's turn in training only)."""
        latents = self.latents(wave)
        if isinstance(n_quantizers, int) and n_quantizers == 0:
            (embeddings, _), codes = self.quantizer.split(latents), latents.new_zeros((len(wave), 0, latents.shape[1]), dtype=torch.int64)
            commitment = latents.new_zeros(1)
        else:
            quantized = self.quantizer(latents, n_quantizers, update)
            embeddings, codes, commitment = quantized.embeddings, quantized.codes, quantized.commitment
        decoded = self.decode_embeddings(embeddings)[:, : wave.shape[1]]
        return CodecOutput(decoded, codes, latents, embeddings, commitment)

    @property
    def hash(self) -> str:
        """16 hex digits of configuration and weights. Weights count in half precision, so that saving a checkpoint in fp16 keeps
        the hash. Tokens carry it; a model refuses tokens of another codec."""
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for name, value in sorted(self.state_dict().items()):
            if name not in TRAINING_STATE:
                digest.update(name.encode())
                digest.update(value.detach().cpu().half().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
