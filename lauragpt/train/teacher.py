"""The codec's teacher: a middle layer of the trained encoder, where frames tell the sounds of speech apart best.

In: a recording of the corpus and which frames of the codec's are wanted. Out: (T, G), the layer's principal components, at the codec's
rate. A linear probe of `mini`'s eight layers found the phones of synthetic speech best at the fourth (81 % of 40 ms frames; the first 69,
the last 74, a codec's latents 57); 1024 clusters of it agree with the phones of unseen sentences in 67 %, the first codes of a codec
without a teacher in 44, with one in 52 after 830 steps (experiments/phones.py).
"""

import numpy as np
import torch
from torch import Tensor, nn

from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.corpus import Corpus
from lauragpt.train.loop import precision


class Axes(nn.Module):
    """The layer's mean (C,) and its principal components (C, G): found once, and saved with the stage that learns them."""

    def __init__(self, frames: Tensor, width: int, variance: float):
        """frames (n, C). Together the components of the frames have the variance that is asked for."""
        super().__init__()
        mean, deviation = frames.mean(0), frames.std(0).clamp(min=1e-3)
        basis = torch.linalg.eigh(((frames - mean) / deviation).t().cov()).eigenvectors[:, -width:]
        basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()  # whichever way an axis points: always the same
        basis = basis / deviation[:, None]
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis * (variance / ((frames - mean) @ basis).var(0).sum()).sqrt())

    def forward(self, frames: Tensor) -> Tensor:
        """(T, C) -> (T, G)"""
        return (frames - self.mean) @ self.basis


class Teacher:
    """What is heard of a recording is kept in half precision. Together the G numbers vary as much as a latent's D can: D."""

    def __init__(self, model: LauraModel, corpus: Corpus, seed: int = 0, count: int = 200):
        self.model, self.corpus, self.kept = model.eval(), corpus, {}
        codec, self.depth = model.config.codec, len(model.encoder.layers) // 2
        self.pace = codec.hop / (model.features.config.skip * codec.sample_rate / 100)  # frames of the encoder's a frame of the codec's
        spoken = [e.audio for e in corpus.train if e.task == "tts"]
        some = np.random.default_rng((seed, 3)).choice(len(spoken), min(count, len(spoken)), replace=False)
        self.axes = Axes(torch.cat([self.hear(spoken[i]) for i in some]), codec.quantizer.guide, codec.dim)

    def __call__(self, audio: str, start: int, count: int) -> Tensor:
        """(count, G) float32; what lies behind the end repeats the last frame."""
        if audio not in self.kept:
            self.kept[audio] = self.axes(self.hear(audio).to(self.axes.mean.device)).half().cpu()
        frames = self.kept[audio]
        at = ((start + torch.arange(count)) * self.pace).long().clamp(max=len(frames) - 1)
        return frames[at].float()

    @torch.no_grad()
    def hear(self, audio: str) -> Tensor:
        """(T', C) of the layer, at the encoder's rate, on the CPU."""
        device = self.model.posterior_embedding.weight.device
        wave = torch.from_numpy(self.corpus.waves(audio)).to(device)
        able = precision(device.type == "cuda") == "bf16"
        with torch.autocast(device.type, torch.bfloat16, able, cache_enabled=False):  # the cache belongs to all threads, and batches are made in their own
            features = self.model.features(wave[None], torch.tensor([len(wave)], device=device))
            return self.model.encoder.frames(*features, self.depth)[0].float().cpu()
