"""The codec for CPUs: log-magnitude spectra in, a spectrum with phase out, small ConvNeXt blocks between (Vocos, arXiv 2306.00814).

encoder: waveform (B, N) -> latents (B, T, D), T = N / hop; decoder: (B, T, D) -> waveform (B, T * hop).
The encoder sees magnitudes only. That is on purpose: the summed embedding then holds what a one-step vocoder can predict from
text and tokens, which it could not of phase. Normalisation runs over channels, never over time: nothing leaks between frames
but by the kernels, so padding is harmless (masked) and the receptive field is finite.

B batch, N samples, F frames at 100 Hz, T frames at 25 Hz, C channels, D latent width.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from lauragpt.streaming import windowed


@dataclass(frozen=True)
class SpectralConfig:
    n_fft: int = 640  # samples a window; four times the spectral hop
    frames: int = 4  # spectral frames a latent frame: 100 Hz to 25 Hz
    channels: int = 256  # width at 25 Hz
    fine_channels: int = 192  # width at 100 Hz, where the time goes
    expansion: int = 3  # of a block's inner layer
    encoder_fine: int = 1  # blocks at 100 Hz
    encoder_coarse: int = 3  # blocks at 25 Hz
    decoder_coarse: int = 2
    decoder_fine: int = 3
    kernel: int = 7  # of blocks at 100 Hz
    coarse_kernel: int = 5  # of blocks at 25 Hz


class PolarFrames(torch.autograd.Function):
    """log magnitude and phase (B, F, bins), window (W,) -> windowed frames (B, F, W) by the inverse transform. The gradient is
    written out: it is half of the decoder's time when left to autograd."""

    @staticmethod
    def forward(ctx, log_magnitude: Tensor, phase: Tensor, window: Tensor) -> Tensor:
        magnitude = log_magnitude.exp()
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        ctx.save_for_backward(spectrum, window)
        return torch.fft.irfft(spectrum, n=len(window)) * window

    @staticmethod
    def backward(ctx, gradient: Tensor):
        spectrum, window = ctx.saved_tensors
        back = torch.fft.rfft(gradient * (window * (2 / len(window))))  # of the spectrum; inner bins count twice
        back[..., 0] /= 2
        back[..., -1] /= 2
        real, imaginary, back_real, back_imaginary = spectrum.real, spectrum.imag, back.real, back.imag
        by_log_magnitude = real * back_real + imaginary * back_imaginary
        by_phase = real * back_imaginary - imaginary * back_real
        # A real signal has no imaginary part at 0 Hz and the Nyquist frequency: the inverse transform drops it
        for bin in (0, -1):
            by_log_magnitude[..., bin] = real[..., bin] * back_real[..., bin]
            by_phase[..., bin] = -imaginary[..., bin] * back_real[..., bin]
        return by_log_magnitude, by_phase, None


class Spectrum(nn.Module):
    """Short-time Fourier transform and its inverse: an FFT, or the same as a matrix product where the graph is being exported
    (ONNX knows no inverse transform).

    N = F * hop samples <-> F frames: the window of frame f is centred on the middle of its hop; outside the clip there are zeros."""

    def __init__(self, n_fft: int, hop: int):
        super().__init__()
        if n_fft % hop or (n_fft - hop) % 2:
            raise ValueError(f"n_fft {n_fft} must be a multiple of the hop {hop}, and their difference even")
        self.n_fft, self.hop, self.bins = n_fft, hop, n_fft // 2 + 1
        window = torch.hann_window(n_fft, dtype=torch.float64)
        angle = 2 * math.pi / n_fft * torch.arange(n_fft, dtype=torch.float64)[:, None] * torch.arange(self.bins, dtype=torch.float64)
        forward = torch.cat([angle.cos(), -angle.sin()], dim=1) * window[:, None]  # (n_fft, 2 bins)
        twice = torch.full((self.bins,), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1.0  # every bin but the first and the last stands for its mirror image too
        inverse = torch.cat([twice * angle.cos(), -twice * angle.sin()], dim=1).t() / n_fft * window  # (2 bins, n_fft)
        self.register_buffer("forward_basis", forward.float(), persistent=False)
        self.register_buffer("inverse_basis", inverse.float(), persistent=False)
        self.register_buffer("window", window.float(), persistent=False)

    @property
    def reach(self) -> int:
        """Frames on each side whose windows overlap with a frame's own hop."""
        return math.ceil((self.n_fft - self.hop) / 2 / self.hop)

    def analyse(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """wave (B, F * hop) -> real and imaginary part, (B, F, bins) each."""
        edge = (self.n_fft - self.hop) // 2
        wave = nnf.pad(wave, (edge, edge))
        if exporting():
            hops, parts = wave.reshape(wave.shape[0], -1, self.hop), self.n_fft // self.hop
            frames = torch.cat([hops[:, p : hops.shape[1] - parts + 1 + p] for p in range(parts)], dim=-1)
            return (frames @ self.forward_basis).chunk(2, dim=-1)
        spectrum = torch.fft.rfft(wave.unfold(1, self.n_fft, self.hop) * self.window)
        return spectrum.real, spectrum.imag

    def synthesise(self, log_magnitude: Tensor, phase: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, F, bins) twice -> wave (B, F * hop), by weighted overlap-add; `mask` (B, F, 1) silences frames."""
        if exporting():
            magnitude = log_magnitude.exp()
            frames = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=-1) @ self.inverse_basis
        else:
            frames = PolarFrames.apply(log_magnitude, phase, self.window)
        # What a row's windows sum to ends where the row does, so that its end sounds the same alone and in a batch.
        envelope = self._overlap(masked(self.window.square().expand(len(frames) if mask is not None else 1, frames.shape[1], -1), mask))
        return self._overlap(masked(frames, mask)) / envelope.clamp(min=1e-3)

    def _overlap(self, frames: Tensor) -> Tensor:
        B, F, _ = frames.shape
        parts = self.n_fft // self.hop
        pieces = frames.reshape(B, F, parts, self.hop).unbind(2)
        total = sum(nnf.pad(piece, (0, 0, p, parts - 1 - p)) for p, piece in enumerate(pieces))
        edge = (self.n_fft - self.hop) // 2
        return total.reshape(B, -1)[:, edge : edge + F * self.hop]


class Block(nn.Module):
    """ConvNeXt: depthwise convolution over time, then a two-layer network a frame. (B, F, C) -> (B, F, C)."""

    def __init__(self, channels: int, kernel: int, expansion: int, scale: float):
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, channels * expansion)
        self.down = nn.Linear(channels * expansion, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = masked(x, mask)
        y = self.convolution(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.down(nnf.gelu(self.up(self.norm(y)), approximate="tanh"))


class SpectralEncoder(nn.Module):
    """wave (B, T * hop) -> latents (B, T, D + G), G the width of the quantizer's guide."""

    def __init__(self, config: SpectralConfig, hop: int, dim: int, guide: int = 0):
        super().__init__()
        self.config = config
        C, fine, n_blocks = config.channels, config.fine_channels, config.encoder_fine + config.encoder_coarse
        self.spectrum = Spectrum(config.n_fft, hop // config.frames)
        self.input = nn.Linear(self.spectrum.bins, fine)
        self.fine = nn.ModuleList(Block(fine, config.kernel, config.expansion, 1 / n_blocks) for _ in range(config.encoder_fine))
        self.reduce = nn.Linear(fine * config.frames, C)
        self.reduce_norm = nn.LayerNorm(C)
        self.coarse = nn.ModuleList(Block(C, config.coarse_kernel, config.expansion, 1 / n_blocks) for _ in range(config.encoder_coarse))
        # The last norm has no weights: latents keep one scale, else they outgrow the codebooks that follow them
        self.output = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, dim), nn.LayerNorm(dim, elementwise_affine=False))
        self.guide = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, guide)) if guide else None

    @property
    def context(self) -> tuple[int, int]:
        """Latent frames before and after a frame that its latent depends on."""
        return _context(self.config, self.spectrum, self.config.encoder_fine, self.config.encoder_coarse)

    def stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of a wave (n,) -> pieces of its latents (m, D)."""
        hop = self.spectrum.hop * self.config.frames
        network = torch.no_grad()(lambda wave: self(nnf.pad(wave, (0, -wave.shape[1] % hop))))
        return windowed(network, pieces, self.context, frame=hop, join=torch.cat)

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`lengths`: (B,) latent frames a row that are its own; what lies beyond never reaches them."""
        with torch.autocast(wave.device.type, enabled=False):
            real, imaginary = self.spectrum.analyse(wave.float())
            power = real.square() + imaginary.square()
            features = 0.5 * torch.log(power.clamp(min=1e-6)) / 3 + 1  # about -1.3 (digital silence) to 2.7
        B, F, _ = features.shape
        frames = self.config.frames
        mask = None if lengths is None else frame_mask(lengths * frames, F)
        x = self.input(features)
        for block in self.fine:
            x = block(x, mask)
        x = self.reduce_norm(self.reduce(x.reshape(B, F // frames, -1)))
        mask = None if lengths is None else frame_mask(lengths, F // frames)
        for block in self.coarse:
            x = block(x, mask)
        return self.output(x) if self.guide is None else torch.cat([self.output(x), self.guide(x)], dim=-1)


class SpectralDecoder(nn.Module):
    """latents (B, T, D) -> wave (B, T * hop)."""

    def __init__(self, config: SpectralConfig, hop: int, dim: int):
        super().__init__()
        self.config = config
        C, fine, n_blocks = config.channels, config.fine_channels, config.decoder_coarse + config.decoder_fine
        self.spectrum = Spectrum(config.n_fft, hop // config.frames)
        self.input = nn.Sequential(nn.Linear(dim, C), nn.LayerNorm(C))
        self.coarse = nn.ModuleList(Block(C, config.coarse_kernel, config.expansion, 1 / n_blocks) for _ in range(config.decoder_coarse))
        self.expand = nn.Linear(C, fine * config.frames)
        self.fine = nn.ModuleList(Block(fine, config.kernel, config.expansion, 1 / n_blocks) for _ in range(config.decoder_fine))
        self.norm = nn.LayerNorm(fine)
        self.output = nn.Linear(fine, 2 * self.spectrum.bins)

    @property
    def context(self) -> tuple[int, int]:
        """Latent frames before and after a frame that its samples depend on."""
        return _context(self.config, self.spectrum, self.config.decoder_fine, self.config.decoder_coarse)

    def stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of latents (n, D) -> pieces of the wave (n * hop,)."""
        return windowed(torch.no_grad()(self.forward), pieces, self.context, out=self.spectrum.hop * self.config.frames, join=torch.cat)

    def forward(self, latents: Tensor, lengths: Tensor | None = None) -> Tensor:
        B, T, _ = latents.shape
        frames = self.config.frames
        mask = None if lengths is None else frame_mask(lengths, T)
        x = self.input(latents)
        for block in self.coarse:
            x = block(x, mask)
        x = self.expand(masked(x, mask)).reshape(B, T * frames, -1)
        mask = None if lengths is None else frame_mask(lengths * frames, T * frames)
        for block in self.fine:
            x = block(x, mask)
        x = self.output(self.norm(x))
        with torch.autocast(latents.device.type, enabled=False):
            log_magnitude, phase = x.float().chunk(2, dim=-1)
            return self.spectrum.synthesise(log_magnitude.clamp(max=7.0), phase, mask)  # a full-scale sine has log magnitude 5.1


def _context(config: SpectralConfig, spectrum: Spectrum, fine: int, coarse: int) -> tuple[int, int]:
    """Of so many blocks at 100 Hz and at 25 Hz and the windows, in latent frames, the same on both sides."""
    around = math.ceil((spectrum.reach + fine * (config.kernel // 2)) / config.frames) + coarse * (config.coarse_kernel // 2)
    return around, around


def exporting() -> bool:
    return torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()


def frame_mask(lengths: Tensor, n_frames: int) -> Tensor:
    """(B,) -> (B, n_frames, 1): 1 for a row's own frames, 0 beyond."""
    return (torch.arange(n_frames, device=lengths.device) < lengths[:, None]).float()[..., None]


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask.to(x.dtype)
