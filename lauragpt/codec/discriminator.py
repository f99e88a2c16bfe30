"""Multi-scale complex-spectrum discriminator: waveform (B, N) -> logits and feature maps, a list over scales.

One small stack of 2-D convolutions an FFT size, over (real, imaginary) as two channels (EnCodec, arXiv 2210.13438).

B batch, N samples, S frames, F bins, C channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


@dataclass(frozen=True)
class DiscriminatorConfig:
    n_ffts: tuple[int, ...] = (2048, 1024, 512)  # hop = n_fft / 4
    channels: int = 16


@dataclass
class Judgement:
    logits: list[Tensor]  # a scale: (B, 1, S, F')
    features: list[list[Tensor]]  # a scale, a layer: (B, C, S, F')


class ScaleDiscriminator(nn.Module):
    def __init__(self, n_fft: int, channels: int):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        C = channels
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(2, C, (3, 9), stride=(1, 2), padding=(1, 4))),
                weight_norm(nn.Conv2d(C, C, (3, 9), stride=(1, 2), dilation=(1, 1), padding=(1, 4))),
                weight_norm(nn.Conv2d(C, C, (3, 9), stride=(1, 2), dilation=(2, 1), padding=(2, 4))),
                weight_norm(nn.Conv2d(C, C, (3, 3), dilation=(4, 1), padding=(4, 1))),
            ]
        )
        self.output = weight_norm(nn.Conv2d(C, 1, (3, 3), padding=(1, 1)))

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast(wave.device.type, enabled=False):
            spectrum = torch.stft(wave.float(), self.n_fft, self.n_fft // 4, window=self.window, pad_mode="constant", return_complex=True)
            x = torch.view_as_real(spectrum / self.n_fft**0.5).permute(0, 3, 2, 1)  # (B, 2, S, F)
        features = []
        for layer in self.layers:
            x = nnf.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.output(x), features


class Discriminator(nn.Module):
    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.scales = nn.ModuleList(ScaleDiscriminator(n_fft, config.channels) for n_fft in config.n_ffts)

    def forward(self, wave: Tensor) -> Judgement:
        judged = [scale(wave) for scale in self.scales]
        return Judgement([logits for logits, _ in judged], [features for _, features in judged])
