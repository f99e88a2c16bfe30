"""The one-step vocoder's predictor: audio tokens (B, T) + condition -> what the other quantizers add (B, T, E), in one pass.

Paper, section 3.4: a transformer is given the first quantizer's tokens and a condition, and estimates the sum of all quantizers'
embeddings; here it estimates what is missing of it beside the token's own, which is known. Conditions: the text and a prompt of the
speaker (TTS), the noisy speech (SE). Layout: `[letters, prompt features, tokens]`; the noisy features, as many as tokens, are added to the
tokens. A letter stands about where it is heard, as it does for the GPT (model/sequence.py). A token sees the whole condition, all tokens
before it and `look_ahead` after it in each layer, so that sound can be sent while it is generated.

B batch, T tokens, C width, E codec embedding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.model.encoder import Attention, FeedForward, sinusoids, sinusoids_at


@dataclass(frozen=True)
class VocoderConfig:
    audio_size: int = 1024
    text_size: int = 2048
    features: int = 560  # stacked log-mel, at the rate of the tokens
    width: int = 256
    layers: int = 4
    heads: int = 4
    ffn: int = 1024
    look_ahead: int = 2  # tokens a layer; 4 layers of 2 make the 8 that streaming waits for
    embedding: int = 128


class VocoderLayer(nn.Module):
    def __init__(self, config: VocoderConfig):
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.feed_forward = FeedForward(config.width, config.ffn)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.attention(x, seen)
        return x + self.feed_forward(x)


class Vocoder(nn.Module):
    def __init__(self, config: VocoderConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.audio_size, config.width)
        self.text = nn.Embedding(config.text_size, config.width)
        self.prompt = nn.Linear(config.features, config.width)
        self.noisy = nn.Linear(config.features, config.width)
        self.layers = nn.ModuleList(VocoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, config.embedding)
        for embedding in (self.tokens, self.text):
            nn.init.normal_(embedding.weight, std=0.5)

    def enter(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)"""
        return self.tokens(tokens)

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        text: tuple[Tensor, Tensor, Tensor] | None = None,
        prompt: tuple[Tensor, Tensor] | None = None,
        noisy: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """tokens (B, T), lengths (B,); letters (B, L), their lengths and paces, in tokens a letter; prompt, noisy features (B, P, F) and
        lengths. -> (B, T, E)"""
        T, device = tokens.shape[1], tokens.device
        x = self.enter(tokens)
        if noisy is not None:
            features, there = noisy
            heard = self.noisy(features[:, :T]) * _real(there, min(T, features.shape[1]))[..., None]
            x = x + F.pad(heard, (0, 0, 0, T - heard.shape[1]))
        parts, real = [], []
        if text is not None:
            letters, count, pace = text
            times = torch.arange(letters.shape[1], device=device) * pace[:, None]  # (B, L)
            parts.append(self.text(letters) + sinusoids_at(times, x.shape[2]).to(x.dtype))
            real.append(_real(count, letters.shape[1]))
        if prompt is not None:
            heard, count = self.prompt(prompt[0]), prompt[1]
            parts.append(heard + sinusoids(heard.shape[1], heard.shape[2], device).to(heard.dtype))
            real.append(_real(count, heard.shape[1]))
        P = sum(part.shape[1] for part in parts)
        parts.append(x + sinusoids(T, x.shape[2], device).to(x.dtype))
        real.append(_real(lengths, T))
        x, exists = torch.cat(parts, 1), torch.cat(real, 1)  # (B, P + T, C), (B, P + T)
        at = torch.arange(P + T, device=device)
        # The condition sees itself alone; a token sees the condition and tokens up to its look-ahead.
        seen = (at[None] < P) | ((at[:, None] >= P) & (at[None] <= at[:, None] + self.config.look_ahead))
        seen = (seen[None] & exists[:, None]) | torch.eye(P + T, dtype=torch.bool, device=device)
        for layer in self.layers:
            x = layer(x, seen[:, None])
        return self.output(self.norm(x[:, P:]))


def _real(lengths: Tensor, size: int) -> Tensor:
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def vocoder_loss(predicted: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """L1 + L2 to the true sum of embeddings (paper, section 3.4) over real tokens: (B, T, E), (B, T, E), (B,) -> scalar."""
    difference = (predicted.float() - target.float())[_real(lengths, predicted.shape[1])]
    return difference.abs().mean() + difference.square().mean()
