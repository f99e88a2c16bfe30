"""Log-mel features as training alters them: SpecAugment (arXiv 1904.08779) and vocal tract length perturbation (Jaitly and Hinton 2013).

B batch, T frames, F features a frame: some mel spectra side by side, of `bins` each.
"""

import numpy as np
import torch
from torch import Tensor

from lauragpt.features import FeatureConfig

BANDS, BAND_BINS = 2, 20  # how many bands of mel bins are hidden, and how wide one is at most
SPAN_EVERY, SPAN_FRAMES = 32, 8  # a span of at most so many frames is hidden for every so many


def augment_features(features: Tensor, config: FeatureConfig) -> Tensor:
    return mask_features(warp_features(features, config), config.bins)


def mask_features(features: Tensor, bins: int) -> Tensor:
    """SpecAugment: of each row of (B, T, F), bands of mel bins and spans of frames (at most a quarter of them each) are set to the mean,
    0."""
    (B, T, F), device = features.shape, features.device
    band, kept = torch.arange(F, device=device) % bins, torch.ones_like(features, dtype=torch.bool)
    for _ in range(BANDS):
        low, width = torch.randint(bins, (B, 1), device=device), torch.randint(BAND_BINS + 1, (B, 1), device=device)
        kept &= ~((band >= low) & (band < low + width))[:, None]
    return features * (kept & kept_spans(B, T, device)[:, :, None])


def mask_frames(frames: Tensor, lengths: Tensor) -> Tensor:
    """Of each row of frozen layers' frames (B, 2 T, n, C), of which `lengths` pairs are real, spans become the mean of the row."""
    B, T = len(frames), frames.shape[1] // 2
    real = torch.arange(2 * T, device=frames.device) < 2 * lengths[:, None]
    mean = (frames * real[:, :, None, None]).sum(1, keepdim=True) / (2 * lengths[:, None, None, None])
    return torch.where(kept_spans(B, T, frames.device).repeat_interleave(2, 1)[:, :, None, None], frames, mean)


def kept_spans(B: int, T: int, device: torch.device) -> Tensor:
    """(B, T): False in a few random spans of each row."""
    time, kept = torch.arange(T, device=device), torch.ones(B, T, dtype=torch.bool, device=device)
    for _ in range(max(1, T // SPAN_EVERY)):
        start, span = torch.randint(T, (B, 1), device=device), torch.randint(min(SPAN_FRAMES, T // 4) + 1, (B, 1), device=device)
        kept &= ~((time >= start) & (time < start + span))
    return kept


def warp_features(features: Tensor, config: FeatureConfig, largest: float = 0.1, bend: float = 4800.0, top: float = 8000.0) -> Tensor:
    """Each row of (B, T, F) as if its speaker's vocal tract were up to `largest` longer or shorter: frequencies are multiplied by one
    factor up to about `bend` Hz, and evenly from there to `top` Hz, which stays."""
    bins, hertz = config.bins, config.centres
    first, last = config.mel(hertz[[0, -1]])
    factor = 1 + largest * (2 * torch.rand(len(features), 1, dtype=torch.float64).numpy() - 1)
    knee = bend * factor.clip(max=1)
    above = top - (top - knee) / (top - knee / factor) * (top - hertz)
    source = np.where(hertz <= knee / factor, hertz * factor, above)  # (B, bins), in Hz
    bin_of = ((config.mel(source) - first) * (bins - 1) / (last - first)).clip(0, bins - 1)
    position = torch.from_numpy(bin_of).to(features.device, features.dtype)
    low = position.long().clamp(max=bins - 2)
    spectra = features.unflatten(2, (-1, bins))
    lower, upper = (spectra.gather(3, index[:, None, None].expand_as(spectra)) for index in (low, low + 1))
    return torch.lerp(lower, upper, (position - low)[:, None, None]).flatten(2)
