"""The codec: waveform (B, N) at 16 kHz <-> codes (B, K, T) at 25 Hz, K = 32 codebooks of 1024 codes x 128 dims.

The first codebook's indices are the GPT's audio tokens; the sum of all embeddings (B, T, D) is what the one-step vocoder
predicts and `decode_embeddings` turns into sound. T = ceil(N / 640).

A codec may have a listener, a recogniser's encoder that tells of each frame what is said in it: the first code is chosen by that. It is
not causal and would hear minutes at once, so codes are made of blocks, always the same ones of a recording.

B batch, N samples, K codebooks, T frames, D embedding width, G width of the guide (quantizer.py).
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
from lauragpt.stored_weights import dequantize, quantize
from lauragpt.streaming import windowed


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
    listener: dict = field(default_factory=dict)  # sizes of the listener's encoder (model/listener.py); empty where there is none
    block: int = 200  # frames that a listener's codec encodes at a time
    margin: int = 25  # frames that the listener hears on both sides of a block

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.strides)

    @property
    def dim(self) -> int:
        return self.quantizer.dim

    def to_dict(self) -> dict:
        """Plain data. What a codec does not have is left out, so that codecs from before there was any keep their hash: a guide, levels, a
        listener, Lyra's sizes."""
        values = asdict(self)
        missing = [] if self.architecture == "lyra" else ["lyra"]
        for name in missing + ([] if self.listener else ["listener", "block", "margin"]):
            del values[name]
        values["quantizer"] = {key: value for key, value in values["quantizer"].items() if key not in ("guide", "levels") or value}
        return values

    @classmethod
    def from_dict(cls, values: dict) -> "CodecConfig":
        """The inverse of `to_dict`, also after a trip through JSON."""
        parts = {"quantizer": QuantizerConfig, "seanet": SEANetConfig, "spectral": SpectralConfig, "lyra": LyraConfig, "listener": dict}
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
    "lyra": CodecConfig(
        architecture="lyra", quantizer=QuantizerConfig(guide=5, levels=(4,) * 5),
        listener={"kind": "whisper", "width": 512, "layers": 4, "heads": 8, "ffn": 2048, "output": 5, "heard": ()},
    ),
    "paper": CodecConfig(architecture="seanet"),
}

TRAINING_STATE = ("quantizer.counts", "quantizer.initialised", "quantizer.updates")  # buffers that no code's meaning depends on


def in_eight_bits(name: str, tensor: Tensor) -> bool:
    """Whether a codec's tensor is stored in 8 bits: the matrices and kernels of its listener."""
    return name.startswith("listener.") and name.endswith(".weight") and tensor.ndim > 1


@dataclass
class CodecOutput:
    wave: Tensor  # (B, N): the reconstruction, as long as the input
    codes: Tensor  # (B, K, T); -1 where a row used fewer levels
    latents: Tensor  # (B, T, D + G) before quantization
    embeddings: Tensor  # (B, T, D) after it
    commitment: Tensor  # (K,) a level


class Codec(nn.Module):
    """Handed its parts built: encoder (B, N) -> (B, T, D), quantizer, decoder (B, T, D) -> (B, N), listener (B, N), (B,) -> (B, T, G)."""

    def __init__(
        self, config: CodecConfig, encoder: nn.Module, quantizer: ResidualQuantizer, decoder: nn.Module, listener: nn.Module | None = None
    ):
        super().__init__()
        self.config = config
        self.encoder, self.quantizer, self.decoder, self.listener = encoder, quantizer, decoder, listener

    @classmethod
    def from_config(cls, config: CodecConfig, listener: nn.Module | None = None) -> "Codec":
        """`listener`: that of `config.listener`. LauraError where the parts do not fit."""
        guide = 0 if listener is not None else config.quantizer.guide  # numbers that the encoder makes
        encoders = {
            "seanet": lambda: SEANetEncoder(config.seanet, config.strides, config.dim + guide),
            "spectral": lambda: SpectralEncoder(config.spectral, config.hop, config.dim, guide),
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
                f"codec: Lyra's frames of {config.lyra.hop} samples and {config.lyra.stack * config.lyra.dim} numbers do not fit strides "
                f"of {config.hop} and a quantizer of {config.dim}: set stack, strides and dim so that they do"
            )
        if config.architecture == "lyra" and guide:
            raise LauraError("codec: Lyra's networks make no guide: give the codec a listener, or set the quantizer's guide to 0")
        if bool(config.listener) != (listener is not None) or config.listener.get("output", 0) != config.quantizer.guide * bool(listener):
            raise LauraError(
                f"codec: a listener of {config.listener.get('output')} numbers does not fit a quantizer with a guide of "
                f"{config.quantizer.guide}: set both to as many as the first code has levels"
            )
        quantizer = ResidualQuantizer(config.quantizer)
        return cls(config, encoders[config.architecture](), quantizer, decoders[config.architecture](), listener)

    def latents(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        """wave (B, N) -> continuous latents (B, T, D + G), G the quantizer's guide, which comes from the listener or, where there is none,
        from the encoder. `lengths` (B,): each row's own samples."""
        wave, lengths = _own_samples(wave, lengths)
        latents = self._encoded(wave, lengths)
        if self.listener is not None:
            latents = torch.cat([latents, self.listener(wave, lengths)], -1)
        return latents

    def _guides(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        """The same for the first code alone, which with `levels` depends on the listener's numbers and on no latent: there are zeros."""
        guide = self.listener(*_own_samples(wave, lengths))
        return F.pad(guide, (self.config.dim, 0))

    def vectors(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        """wave (B, N) -> the encoder's own vectors (B, T, D), which the sum of all embeddings stands for."""
        return self.quantizer.split(self._encoded(*_own_samples(wave, lengths)))[0]

    def _encoded(self, wave: Tensor, lengths: Tensor | None) -> Tensor:
        hop = self.config.hop
        return self.encoder(F.pad(wave, (0, -wave.shape[1] % hop)), None if lengths is None else (lengths + hop - 1) // hop)

    @torch.no_grad()
    def encode(self, wave: Tensor, lengths: Tensor | None = None, n_quantizers: int | None = None) -> Tensor:
        """wave (B, N) -> codes (B, K, T). A row's own ceil(lengths / 640) frames are the same alone and in any batch."""
        if self.listener is None:
            return self.quantizer.encode(self.latents(wave, lengths), n_quantizers)
        make = self._guides if n_quantizers == 1 and self.config.quantizer.levels else self.latents
        hop, block, margin, codes = self.config.hop, self.config.block, self.config.margin, []
        for begin in range(0, -(-wave.shape[1] // hop), block):
            first, last = max(0, begin - margin), begin + block + margin
            part = wave[:, first * hop : last * hop]
            count = None if lengths is None else (lengths - first * hop).clamp(0, (last - first) * hop)
            codes.append(self.quantizer.encode(make(part, count), n_quantizers)[..., begin - first : begin - first + block])
        return torch.cat(codes, -1)

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
        if self.listener is None:
            for latents in self.encoder.stream(pieces):
                yield self.quantizer.encode(latents[None], n_quantizers)[0]
            return

        @torch.no_grad()
        def network(wave: Tensor) -> Tensor:  # (1, n) -> (1, T, K)
            return self.quantizer.encode(self.latents(wave), n_quantizers).transpose(1, 2)

        around = self.config.margin, self.config.margin
        for codes in windowed(network, pieces, around, frame=self.config.hop, block=self.config.block, join=torch.cat):
            yield codes.t()

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
        """16 hex digits of configuration and weights. Weights count as a checkpoint stores them, in half precision and a listener's
        matrices in 8 bits, so that saving one keeps the hash. Tokens carry it; a model refuses tokens of another codec."""
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for name, value in sorted(self.state_dict().items()):
            if name not in TRAINING_STATE:
                digest.update(name.encode())
                value = value.detach().cpu()
                if in_eight_bits(name, value):
                    value = torch.from_numpy(dequantize(*quantize(value.float().numpy())))
                digest.update(value.half().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def _own_samples(wave: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The wave (B, N) silent behind each row's own samples (B,), and these on its device."""
    if lengths is None:
        return wave, None
    lengths = lengths.to(wave.device)
    return wave * (torch.arange(wave.shape[1], device=wave.device) < lengths[:, None]), lengths
