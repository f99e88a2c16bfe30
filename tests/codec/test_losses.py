"""Spectra, mel filters and losses against numpy and torch's own transforms."""

import numpy as np
import pytest
import torch

from lauragpt.codec.discriminator import Discriminator, DiscriminatorConfig
from lauragpt.codec.losses import (
    MELS_A_WINDOW,
    PowerSpectrum,
    SpectralLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    mel_filters,
)
from lauragpt.codec.spectral import PolarFrames, Spectrum


@pytest.mark.parametrize("n_fft,hop", [(640, 160), (512, 128), (32, 8)])
def test_analysis_and_synthesis_are_inverse(n_fft, hop):
    spectrum, wave = Spectrum(n_fft, hop), torch.randn(2, 10 * hop)
    real, imaginary = spectrum.analyse(wave)
    assert real.shape == (2, 10, n_fft // 2 + 1)
    value = torch.complex(real, imaginary)
    back = spectrum.synthesise(value.abs().clamp(min=1e-12).log(), value.angle())
    torch.testing.assert_close(back, wave, atol=1e-4, rtol=1e-3)


def test_analysis_equals_torch():
    spectrum, wave = Spectrum(640, 160), torch.randn(2, 3200)
    padded = torch.nn.functional.pad(wave, (240, 240))
    reference = torch.stft(padded, 640, 160, window=torch.hann_window(640), center=False, return_complex=True).transpose(1, 2)
    real, imaginary = spectrum.analyse(wave)
    torch.testing.assert_close(torch.complex(real, imaginary), reference, atol=1e-4, rtol=1e-4)


def test_matrix_form_for_export_equals_the_fft(monkeypatch):
    spectrum, wave = Spectrum(640, 160), torch.randn(1, 1600)
    log_magnitude, phase = torch.randn(1, 10, 321), torch.randn(1, 10, 321)
    direct = (*spectrum.analyse(wave), spectrum.synthesise(log_magnitude, phase))
    monkeypatch.setattr("lauragpt.codec.spectral.exporting", lambda: True)
    for matrix, fft in zip((*spectrum.analyse(wave), spectrum.synthesise(log_magnitude, phase)), direct, strict=True):
        torch.testing.assert_close(matrix, fft, atol=1e-4, rtol=1e-4)


def test_written_out_gradients_are_right():
    window = torch.hann_window(16, dtype=torch.float64)
    a, b = (torch.randn(2, 3, 9, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: PolarFrames.apply(a, b, window), (a, b))
    wave = torch.randn(2, 70, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda wave: PowerSpectrum.apply(wave, window, 4), (wave,))


@pytest.mark.parametrize("n_fft", sorted(MELS_A_WINDOW))
def test_mel_filters_equal_interpolated_triangles(n_fft):
    n_mels = MELS_A_WINDOW[n_fft]
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), n_mels + 2) / 2595) - 1)
    frequency = np.arange(n_fft // 2 + 1) * 16000 / n_fft
    expected = np.stack([np.interp(frequency, corners[m : m + 3], [0, 1, 0], left=0, right=0) for m in range(n_mels)], axis=1)
    filters = mel_filters(n_fft, n_mels, 16000).numpy()
    np.testing.assert_allclose(filters, expected, atol=1e-6)


@pytest.mark.parametrize("n_fft", [64, 256, 512, 1024])
def test_most_mel_filters_see_a_bin(n_fft):
    empty = (mel_filters(n_fft, MELS_A_WINDOW[n_fft], 16000).sum(0) == 0).float().mean()
    assert empty < 0.15


def test_spectral_loss_equals_numpy():
    wave, decoded = 0.1 * torch.randn(1, 2000), 0.1 * torch.randn(1, 2000)
    total = 0.0
    for window in (64, 256):
        spectra = []
        for x in (decoded, wave):
            frames = np.lib.stride_tricks.sliding_window_view(x[0].double().numpy(), window)[:: window // 4]
            shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
            power = np.abs(np.fft.rfft(frames * shape) * 4 / window) ** 2 + 1e-8
            filters = mel_filters(window, MELS_A_WINDOW[window], 16000).double().numpy()
            spectra.append((np.log(np.sqrt(power) @ filters + 1e-4), 5 * power**0.15))
        total += sum(np.abs(a - b).mean() for a, b in zip(*spectra, strict=True))
    assert float(SpectralLoss((64, 256))(decoded, wave)) == pytest.approx(total / 2, rel=1e-4)


def test_spectral_loss_is_zero_for_equals_and_finite_for_silence():
    loss, wave = SpectralLoss((64, 256, 1024)), 0.1 * torch.randn(2, 4000)
    assert float(loss(wave, wave)) == 0
    silent = torch.zeros(2, 4000, requires_grad=True)
    loss(silent, wave).backward()
    assert torch.isfinite(silent.grad).all()


def test_hinge_losses():
    assert float(discriminator_loss([torch.full((2, 3), 2.0)], [torch.full((2, 3), -2.0)])) == 0
    assert float(discriminator_loss([torch.zeros(2, 3)], [torch.zeros(2, 3)])) == 2
    assert float(adversarial_loss([torch.full((2, 3), 2.0), torch.full((5,), -1.0)])) == pytest.approx(-0.5)
    real, decoded = [[torch.full((4,), 2.0)]], [[torch.full((4,), 3.0)]]
    assert float(feature_matching_loss(real, decoded)) == pytest.approx(0.5)


def test_discriminator_has_a_judgement_a_scale():
    judged = Discriminator(DiscriminatorConfig(channels=4))(torch.randn(2, 8000))
    assert len(judged.logits) == 3 and all(len(maps) == 4 for maps in judged.features)
    assert all(logits.shape[:2] == (2, 1) for logits in judged.logits)
