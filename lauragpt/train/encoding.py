"""Recordings through the model while it trains: the encoder's output for a batch, and the frozen codec's tokens.

B batch, N samples.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.loader import FULL_SCALE, to_int16
from lauragpt.data.shards import member_of, stored_tokens
from lauragpt.files import replacing
from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.grouping import alike, waste_on
from lauragpt.model.lauragpt import LauraModel, to_device
from lauragpt.model.listener import Listener
from lauragpt.train.frozen_frames import FrozenFrames
from lauragpt.train.spec_augment import augment_features

GROUP_SECONDS = 240.0  # of recordings whose tokens are made at once, padding counted


class PaddedWaves(NamedTuple):
    waves: Tensor  # (B, N) float32
    samples: Tensor  # (B,)

    def to(self, device: torch.device) -> "PaddedWaves":
        return PaddedWaves(self.waves.to(device, non_blocking=True), self.samples.to(device, non_blocking=True))


class Recordings(NamedTuple):
    """Recordings one behind the other, as 16-bit samples: a fraction of the bytes of padded floats on their way to the device."""

    samples: Tensor  # (N,) int16, of all
    lengths: Tensor  # (B,)

    @classmethod
    def of(cls, waves: Sequence[np.ndarray]) -> "Recordings":
        """waves: floats of -1 to 1; what is louder is clipped."""
        samples = [to_int16(wave) for wave in waves]
        return cls(torch.from_numpy(np.concatenate(samples)), torch.tensor([len(wave) for wave in samples]))

    def split(self, device: torch.device) -> list[Tensor]:
        """Each (N,) int16, on the device."""
        return list(self.samples.to(device, non_blocking=True).split(self.lengths.tolist()))


def pad(waves: Sequence[np.ndarray]) -> PaddedWaves:
    padded = pad_sequence([torch.from_numpy(np.asarray(wave, dtype=np.float32)) for wave in waves], batch_first=True)
    return PaddedWaves(padded, torch.tensor([len(wave) for wave in waves]))


def encode_recordings(
    model: LauraModel | Listener, recordings: Recordings, augment: bool, frozen: FrozenFrames | None = None
) -> EncoderOutput:
    """Encodes in groups of like length, so that little padding is computed. `augment` alters what a trained encoder reads: the features
    or, where layers are `frozen`, these layers' frames."""
    augment, keys = augment and model.encoder.training, frozen.keys(recordings) if frozen else []
    device, parts = next(model.parameters()).device, []
    lengths = model.features.lengths(recordings.lengths)
    groups = alike(lengths.tolist(), waste_on(device, model.encoder.config.width))
    order = [i for group in groups for i in group]
    waves = recordings.split(device)
    for group in groups:
        padded = pad_sequence([waves[i] for i in group], batch_first=True).float() / FULL_SCALE
        heard = padded, to_device(recordings.lengths[group].numpy(), device)
        if frozen:
            parts.append(model.with_posteriors(frozen.encode(*heard, [keys[i] for i in group], augment)))
            continue
        features, count = model.features(*heard)
        if augment:
            features = augment_features(features, model.features.config)
        parts.append(model.listen(features, count))
    back = torch.tensor(order).argsort().tolist()

    def together(name: str) -> Tensor | None:
        rows = [row for part in parts if getattr(part, name) is not None for row in getattr(part, name)]
        return pad_sequence([rows[i] for i in back], batch_first=True) if rows else None

    lengths = to_device(lengths.numpy(), device)
    return EncoderOutput(together("embeddings"), lengths, together("ctc_log_probs"), together("middle_log_probs"))


def stacked(parts: Sequence[Tensor]) -> Tensor | None:
    """(B, T, D) of several with other B and T, padded; None of none."""
    if not parts:
        return None
    longest = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])


class CodecTokens:
    """The GPT's audio tokens of a recording, made once, since the codec is frozen. `folder` keeps those that were prepared, for the stages
    and runs to come. `vectors` holds the codec's own vectors of those that were asked for."""

    def __init__(self, model: LauraModel, waves: Callable[[str], np.ndarray], folder: Path | None = None):
        self.model, self.waves, self.cache = model, waves, {}
        self.vectors: dict[str, Tensor] = {}  # (T, E) float16
        self.file = folder / "codec_tokens.safetensors" if folder else None

    def __call__(self, path: str) -> list[int]:
        if path not in self.cache and self.missing([path]):
            self._encode([path])
        return self.cache[path].tolist()

    @torch.no_grad()
    def vectors_of(self, path: str) -> Tensor:
        """(T, E)"""
        if path not in self.vectors:
            codec, wave = self.model.codec.eval(), torch.from_numpy(self.waves(path))
            self.vectors[path] = codec.vectors(wave[None].to(codec.quantizer.codebooks.device))[0].half().cpu()
        return self.vectors[path].float()

    def missing(self, paths: Iterable[str]) -> list[str]:
        """The recordings whose tokens are neither here, nor in the shards that hold the recordings, nor in the folder."""
        paths, stored = list(paths), self.stored
        shards = [path for path in paths if path not in self.cache and ";tokens=" in path]
        made = {path: stored_tokens(path, self.codec_hash) for path in shards}
        self.cache |= {path: tokens for path, tokens in made.items() if tokens is not None}
        keys = {path: file_key(path) for path in paths if path not in self.cache} if stored else {}
        self.cache |= {path: stored[key] for path, key in keys.items() if key in stored}
        return [path for path in paths if path not in self.cache]

    def prepare(self, paths: Sequence[str], save: bool = True) -> None:
        """Makes the tokens of all recordings that lack them, in batches of like length, and with `save` keeps them in the folder."""
        missing, group = sorted(self.missing(paths), key=lambda path: -len(self.waves(path))), []
        for path in missing:
            if group and (len(group) + 1) * len(self.waves(group[0])) > GROUP_SECONDS * SAMPLE_RATE:
                self._encode(group)
                group = []
            group.append(path)
        if group:
            self._encode(group)
        if missing and save and self.file:
            tensors = {file_key(path): tokens for path, tokens in self.cache.items()}
            with replacing(self.file) as file:
                file.write(safetensors.numpy.save(self.stored | tensors, {"codec": self.codec_hash}))

    @cached_property
    def stored(self) -> dict[str, np.ndarray]:
        """Of the folder, as they were when first asked for: file's key -> tokens; none of another codec."""
        if not self.file or not self.file.exists():
            return {}
        with safe_open(self.file, "np") as file:
            if (file.metadata() or {}).get("codec") != self.codec_hash:
                return {}
        return safetensors.numpy.load_file(self.file)

    @cached_property
    def codec_hash(self) -> str:
        return self.model.codec.hash

    @torch.no_grad()
    def _encode(self, paths: Sequence[str]) -> None:
        codec, waves = self.model.codec.eval(), [self.waves(path) for path in paths]
        padded, samples = pad(waves).to(codec.quantizer.codebooks.device)
        codes = codec.encode(padded, samples, n_quantizers=1)[:, 0].short().cpu().numpy()
        for path, wave, row in zip(paths, waves, codes, strict=True):
            self.cache[path] = row[: -(-len(wave) // codec.config.hop)].copy()


def file_key(path: str) -> str:
    """A recording as it is now: another of the same name has other tokens. The name of one in a shard tells what is in it."""
    if member_of(path):
        return path
    about = os.stat(path)
    return f"{path} {about.st_size} {about.st_mtime_ns}"
