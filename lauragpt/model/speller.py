"""Which letter each audio token spells: tokens (B, T) -> log-probabilities of letters (B, T, N + 1), the last of them CTC's blank.

The vocoder is told at each token which letter of the text is being said. `ctc.follow` finds that from what this network makes of the
tokens, of those of a recording as of those that the GPT writes, so that letters stand in use as they stood in training. It sees a few
tokens on both sides, no more, so that speech can be sent while it is written.

B batch, T tokens, N the text's vocabulary, C width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SpellerConfig:
    width: int = 128
    layers: int = 3
    kernel: int = 5  # tokens


class SpellerLayer(nn.Module):
    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.norm, self.convolution = nn.LayerNorm(width), nn.Conv1d(width, 2 * width, kernel, padding=kernel // 2)
        self.out = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """real (B, T, 1): padding is zero where the convolution reads it."""
        y = self.convolution((self.norm(x) * real).transpose(1, 2)).transpose(1, 2)
        return x + self.out(nn.functional.gelu(y))


class Speller(nn.Module):
    def __init__(self, config: SpellerConfig, audio_size: int, text_size: int):
        super().__init__()
        self.config, self.blank = config, text_size
        self.tokens = nn.Embedding(audio_size, config.width)
        self.layers = nn.ModuleList(SpellerLayer(config.width, config.kernel) for _ in range(config.layers))
        self.norm, self.output = nn.LayerNorm(config.width), nn.Linear(config.width, text_size + 1)
        nn.init.zeros_(self.output.bias)

    @property
    def untrained(self) -> bool:
        return not self.output.bias.any()

    @property
    def look_ahead(self) -> int:
        """Tokens behind a token that its letter depends on."""
        return self.config.layers * (self.config.kernel // 2)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens (B, T), lengths (B,) -> (B, T, N + 1); what stands behind a row's length is undefined."""
        x = self.tokens(tokens)
        real = (torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None])[..., None].to(x.dtype)
        for layer in self.layers:
            x = layer(x, real)
        return self.output(self.norm(x)).float().log_softmax(-1)
