"""Recordings through the model while it trains: the encoder's output for a batch, and the frozen codec's tokens.

B batch, N samples.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.lauragpt import LauraModel, alike
from lauragpt.train.spec_augment import augment_features


class PaddedWaves(NamedTuple):
    waves: Tensor  # (B, N) float32
    samples: Tensor  # (B,)

    def to(self, device: torch.device) -> "PaddedWaves":
        return PaddedWaves(self.waves.to(device), self.samples.to(device))


def pad(waves: Sequence[np.ndarray]) -> PaddedWaves:
    padded = pad_sequence([torch.from_numpy(np.asarray(wave, dtype=np.float32)) for wave in waves], batch_first=True)
    return PaddedWaves(padded, torch.tensor([len(wave) for wave in waves]))


def encode_recordings(model: LauraModel, recordings: PaddedWaves, augment: bool) -> EncoderOutput:
    """Encodes in groups of like length, so that little padding is computed. `augment` alters the features where the encoder is in
    training."""
    waves, samples = recordings
    device, order, parts = model.posterior_embedding.weight.device, [], []
    lengths = model.features.lengths(samples)
    for group in alike(lengths.tolist()):
        features, count = model.features(waves[group, : int(samples[group].max())].to(device), samples[group].to(device))
        if augment and model.encoder.training:
            features = augment_features(features, model.config.features)
        parts.append(model.listen(features, count))
        order += group
    back = torch.tensor(order).argsort().tolist()

    def together(name: str) -> Tensor | None:
        rows = [row for part in parts if getattr(part, name) is not None for row in getattr(part, name)]
        return pad_sequence([rows[i] for i in back], batch_first=True) if rows else None

    return EncoderOutput(together("embeddings"), lengths.to(device), together("ctc_log_probs"), together("middle_log_probs"))


class CodecTokens:
    """The GPT's audio tokens of a recording, made once, since the codec is frozen."""

    def __init__(self, model: LauraModel, waves: Callable[[str], np.ndarray]):
        self.model, self.waves, self.cache = model, waves, {}

    @torch.no_grad()
    def __call__(self, path: str) -> list[int]:
        if path not in self.cache:
            codec = self.model.codec.eval()
            wave = torch.from_numpy(self.waves(path))[None].to(codec.quantizer.codebooks.device)
            self.cache[path] = codec.encode(wave, n_quantizers=1)[0, 0].short().cpu().numpy()
        return self.cache[path].tolist()
