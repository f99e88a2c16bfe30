"""What the codec is trained on: waveforms (B, N), real and decoded, -> one scalar a loss.

Spectral losses at several window lengths (log-mel and compressed magnitude, hop = window / 4), L1 of the waveform, hinge adversarial
loss and feature matching (EnCodec, arXiv 2210.13438; FunCodec's weights are in train/stages/codec.py).

B batch, N samples, S frames, F bins, M mel bands.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

MELS_A_WINDOW = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 80, 2048: 160}  # fewer bands than bins: no filter is empty


def mel_filters(n_fft: int, n_mels: int, sample_rate: int) -> Tensor:
    """Triangles of height 1, evenly spaced on the mel scale (HTK) from 0 Hz to the Nyquist frequency: (n_fft / 2 + 1, n_mels)."""
    top = 2595 * torch.log10(torch.tensor(1 + sample_rate / 2 / 700, dtype=torch.float64))
    corners = 700 * (10 ** (torch.linspace(0, float(top), n_mels + 2, dtype=torch.float64) / 2595) - 1)
    frequency = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequency - low) / (centre - low), (high - frequency) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


class PowerSpectrum(torch.autograd.Function):
    """wave (B, N), window (W,) -> squared magnitudes (B, S, W / 2 + 1). The gradient is written out because it is a real inverse
    transform, which autograd's complex one takes four times as long for."""

    @staticmethod
    def forward(ctx, wave: Tensor, window: Tensor, hop: int) -> Tensor:
        spectrum = torch.fft.rfft(wave.unfold(1, len(window), hop) * window)
        ctx.save_for_backward(spectrum, window)
        ctx.hop, ctx.shape = hop, wave.shape
        return spectrum.real.square() + spectrum.imag.square()

    @staticmethod
    def backward(ctx, gradient: Tensor):
        spectrum, window = ctx.saved_tensors
        W, hop = len(window), ctx.hop
        half = torch.full_like(gradient[0, 0], 0.5)
        half[0] = half[-1] = 1.0  # irfft counts every bin but the first and the last twice
        frames = torch.fft.irfft(spectrum * (gradient * half), n=W) * (window * (2 * W))
        B, S, _ = frames.shape
        pieces = frames.view(B, S, W // hop, hop)
        result = torch.zeros(ctx.shape, dtype=frames.dtype, device=frames.device)
        rows = result[:, : (S - 1) * hop + W].view(B, -1, hop)
        for p in range(W // hop):
            rows[:, p : p + S] += pieces[:, :, p]
        return result, None, None


class SpectralLoss(nn.Module):
    """(B, N), (B, N) -> mean over windows of L1(log mel) + `linear` * L1(magnitude ** 0.3).

    The compressed magnitude follows loudness, so that the bins between the harmonics and the noise floor, which are most bins, do not
    outweigh the audible ones, as they do in log magnitudes."""

    def __init__(self, windows: tuple[int, ...], sample_rate: int = 16000, linear: float = 5.0):
        super().__init__()
        self.windows, self.linear = windows, linear
        for window in windows:
            # Scaled so that a magnitude is about the signal's amplitude whatever the window: one floor serves all
            self.register_buffer(f"window_{window}", torch.hann_window(window) * 4 / window, persistent=False)
            self.register_buffer(f"mel_{window}", mel_filters(window, MELS_A_WINDOW[window], sample_rate), persistent=False)

    def spectra(self, wave: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """-> log mel (B, S, M), compressed magnitude (B, S, F)."""
        power = PowerSpectrum.apply(wave, getattr(self, f"window_{window}"), window // 4) + 1e-8  # not 0: sqrt has no gradient there
        return torch.log(power.sqrt() @ getattr(self, f"mel_{window}") + 1e-4), power**0.15

    def forward(self, decoded: Tensor, real: Tensor) -> Tensor:
        with torch.autocast(real.device.type, enabled=False):
            decoded, real, total = decoded.float(), real.float(), 0.0
            for window in self.windows:
                with torch.no_grad():
                    target_mel, target_magnitude = self.spectra(real, window)
                mel, magnitude = self.spectra(decoded, window)
                total = total + nnf.l1_loss(mel, target_mel) + self.linear * nnf.l1_loss(magnitude, target_magnitude)
            return total / len(self.windows)


def discriminator_loss(real: list[Tensor], decoded: list[Tensor]) -> Tensor:
    """Hinge: real logits above 1, decoded ones below -1."""
    losses = [nnf.relu(1 - r.float()).mean() + nnf.relu(1 + d.float()).mean() for r, d in zip(real, decoded, strict=True)]
    return torch.stack(losses).mean()


def adversarial_loss(decoded: list[Tensor]) -> Tensor:
    return torch.stack([-d.float().mean() for d in decoded]).mean()


def feature_matching_loss(real: list[list[Tensor]], decoded: list[list[Tensor]]) -> Tensor:
    """L1 between the discriminator's feature maps, each relative to the real one's size."""
    losses = [
        nnf.l1_loss(d.float(), r.float().detach()) / r.float().detach().abs().mean().clamp(min=1e-3)
        for real_maps, decoded_maps in zip(real, decoded, strict=True)
        for r, d in zip(real_maps, decoded_maps, strict=True)
    ]
    return torch.stack(losses).mean()
