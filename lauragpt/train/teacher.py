"""The codec's teacher: the middle layer of the trained encoder, whose frames tell the sounds of speech apart best (experiments/phones.py).

In: a recording and which frames of the codec are wanted. Out: (T, G), the layer's principal components, at the codec's rate.

T frames, C encoder width, G width of the guide.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.corpus import Corpus
from lauragpt.train.precision import precision


class Axes(nn.Module):
    """The layer's mean (C,) and its principal components (C, G): found once, and saved with the codec's stage."""

    def __init__(self, frames: Tensor, width: int, variance: float):
        """frames (n, C). The components of these frames together have the given variance."""
        super().__init__()
        mean, deviation = frames.mean(0), frames.std(0).clamp(min=1e-3)
        basis = torch.linalg.eigh(((frames - mean) / deviation).t().cov()).eigenvectors[:, -width:]
        basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()  # an eigenvector's sign is arbitrary
        basis = basis / deviation[:, None]
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis * (variance / ((frames - mean) @ basis).var(0).sum()).sqrt())

    def forward(self, frames: Tensor) -> Tensor:
        """(T, C) -> (T, G)"""
        return (frames - self.mean) @ self.basis


class Teacher:
    """Each recording goes through the encoder once; its components are cached in half precision. Their total variance is D, as that of a
    latent."""

    def __init__(self, model: LauraModel, corpus: Corpus, seed: int = 0, count: int = 200):
        """The axes are found on `count` recordings."""
        self.model, self.corpus, self.cache = model.eval(), corpus, {}
        codec, self.depth = model.config.codec, len(model.encoder.layers) // 2
        self.encoder_frames = codec.hop / (model.features.config.skip * codec.sample_rate / 100)  # a codec frame
        speech = [e.audio for e in corpus.train if e.task == "tts"]
        chosen = np.random.default_rng((seed, 3)).choice(len(speech), min(count, len(speech)), replace=False)
        self.axes = Axes(torch.cat([self.frames(speech[i]) for i in chosen]), codec.quantizer.guide, codec.dim)

    def __call__(self, audio: str, start: int, count: int) -> Tensor:
        """(count, G) float32 from the codec's frame `start` on; past the end the last frame is repeated."""
        if audio not in self.cache:
            frames, device = self.frames(audio), self.axes.mean.device
            with torch.autocast(device.type, enabled=False):  # the same whoever asks first, a step or a batch
                self.cache[audio] = self.axes(frames.to(device)).half().cpu()
        frames = self.cache[audio]
        index = ((start + torch.arange(count)) * self.encoder_frames).long().clamp(max=len(frames) - 1)
        return frames[index].float()

    @torch.no_grad()
    def frames(self, audio: str) -> Tensor:
        """(T', C) of the layer, at the encoder's rate, on the CPU."""
        device = self.model.posterior_embedding.weight.device
        wave = torch.from_numpy(self.corpus.waves(audio)).to(device)
        bf16 = precision(device.type == "cuda") == "bf16"
        # No cache of cast weights: all threads share it, and batches are made in a thread of their own.
        with torch.autocast(device.type, torch.bfloat16, bf16, cache_enabled=False):
            features = self.model.features(wave[None], torch.tensor([len(wave)], device=device))
            return self.model.encoder.frames(*features, self.depth)[0].float().cpu()
