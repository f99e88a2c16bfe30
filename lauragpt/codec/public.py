"""Public codecs behind the codec's own interface: EnCodec, DAC and Mimi, opened from a folder by transformers.

waveform (B, N) at 16 kHz <-> codes (B, K, T) at the codec's own frame rate; the first codebook's indices are the tokens, the sum of all
embeddings (B, T, D) is what a one-step vocoder predicts. Rows run one by one, since these networks see the padding of a batch.

B batch, N samples, K codebooks, T frames, D embedding width.
"""

import json
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lauragpt.audio import SAMPLE_RATE
from lauragpt.codec.codec import hash_of
from lauragpt.errors import LauraError

KINDS = ("encodec", "dac", "mimi")


class PublicCodec(nn.Module):
    def __init__(self, model: nn.Module):
        """`model`: an EncodecModel, DacModel or MimiModel. LauraError for any other, and for one that is stereo or normalises loudness."""
        super().__init__()
        config, self.kind = model.config, model.config.model_type
        if self.kind not in KINDS:
            raise LauraError(f"{self.kind!r} is no codec that is known here: choose a folder of {', '.join(KINDS)}")
        if self.kind == "mimi" and not hasattr(model.decoder, "upsample"):
            raise LauraError("this transformers is too old for Mimi: pip install -U transformers")
        if getattr(config, "audio_channels", 1) != 1 or getattr(config, "normalize", False):
            raise LauraError("this EnCodec is stereo or normalises each chunk's loudness: choose the mono one of 24 kHz")
        self.model, self.rate = model.eval().requires_grad_(False), config.sampling_rate
        self.hop = round(config.sampling_rate / config.frame_rate) if self.kind == "mimi" else int(config.hop_length)  # samples at its own rate
        self.codebook_size = config.codebook_size
        self.levels = {"encodec": "num_quantizers", "dac": "n_codebooks", "mimi": "num_quantizers"}[self.kind]
        self.levels = int(getattr(config, self.levels))
        with torch.no_grad():
            self.dim = self.embed(torch.zeros(1, 1, 1, dtype=torch.long, device=next(model.parameters()).device)).shape[-1]

    @classmethod
    def load(cls, folder: str | Path) -> "PublicCodec":
        """From a folder that holds its config.json and weights; nothing is fetched."""
        try:
            from transformers import AutoModel
        except ImportError:
            raise LauraError("public codecs are opened by transformers, which is missing: pip install transformers") from None
        if not (Path(folder) / "config.json").is_file():
            raise LauraError(f"{folder} is no folder of a codec: it should hold config.json and model.safetensors")
        try:
            model = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise LauraError(f"{folder} cannot be opened by transformers ({str(error).splitlines()[0][:160]})") from None
        return cls(model)

    @property
    def frame_rate(self) -> float:
        return self.rate / self.hop

    def frames(self, samples: int) -> int:
        """Frames of so many samples at 16 kHz."""
        return -(-round(samples * self.rate / SAMPLE_RATE) // self.hop)

    @torch.no_grad()
    def encode(self, wave: Tensor, lengths: Tensor | None = None, n_quantizers: int | None = None) -> Tensor:
        """wave (B, N), lengths (B,) -> codes (B, K, T); a row's own are its first `frames(length)`."""
        K = self.levels if n_quantizers is None else n_quantizers
        if not 1 <= K <= self.levels:
            raise LauraError(f"{K} quantizers: this codec has {self.levels}, give 1 to {self.levels}")
        rows = []
        for row, length in zip(wave, lengths.tolist() if lengths is not None else [wave.shape[1]] * len(wave), strict=True):
            own = _resampled(row[:length], SAMPLE_RATE, self.rate)
            padded = nn.functional.pad(own, (0, self.frames(length) * self.hop - len(own)))[None, None]
            if self.kind == "encodec":
                codes = self.model.quantizer.encode(self.model.encoder(padded)).transpose(0, 1)
            else:
                codes = self.model.encode(padded).audio_codes
            rows.append(codes[0, :K, : self.frames(length)].t())
        return pad_sequence(rows, batch_first=True).transpose(1, 2)

    def embed(self, codes: Tensor) -> Tensor:
        """codes (B, K, T) -> sum of their embeddings (B, T, D); K may be fewer than the codec has."""
        if self.kind == "encodec":
            summed = self.model.quantizer.decode(codes.transpose(0, 1))
        elif self.kind == "dac":
            summed = self.model.quantizer.from_codes(codes)[0]
        else:
            summed = self.model.quantizer.decode(codes)
        return summed.transpose(1, 2)

    @torch.no_grad()
    def decode_embeddings(self, embeddings: Tensor, lengths: Tensor | None = None) -> Tensor:
        """embeddings (B, T, D), lengths (B,) frames -> wave (B, N) at 16 kHz, N = T frames' time; silence follows a row's own."""
        rows = []
        for row, count in zip(embeddings, lengths.tolist() if lengths is not None else [embeddings.shape[1]] * len(embeddings), strict=True):
            given = row[None, :count].transpose(1, 2)
            if self.kind == "encodec":
                sound = self.model.decoder(given)
            elif self.kind == "dac":
                sound = self.model.decode(quantized_representation=given).audio_values
            else:
                sound = self.model.decoder(given).audio_values
            sound = sound.flatten()[: count * self.hop]
            sound = nn.functional.pad(sound, (0, count * self.hop - len(sound)))
            rows.append(_resampled(sound, self.rate, SAMPLE_RATE))
        return pad_sequence(rows, batch_first=True)

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """codes (B, K, T) -> wave (B, N) at 16 kHz."""
        return self.decode_embeddings(self.embed(codes), lengths)

    @property
    def hash(self) -> str:
        """As `Codec.hash`, of the weights and what says how they are used; not of transformers' defaults, which change with its versions."""
        about = {"kind": self.kind, "rate": self.rate, "hop": self.hop, "levels": self.levels, "codebook_size": self.codebook_size}
        return hash_of(json.dumps(about, sort_keys=True), self.model.state_dict())


def _resampled(wave: Tensor, rate: int, to: int) -> Tensor:
    """(N,) at one rate -> (round(N * to / rate),) at another."""
    if rate == to:
        return wave
    made = torch.from_numpy(np.asarray(soxr.resample(wave.float().cpu().numpy(), rate, to), dtype=np.float32)).to(wave.device)
    wanted = round(len(wave) * to / rate)
    return nn.functional.pad(made[:wanted], (0, max(0, wanted - len(made))))
