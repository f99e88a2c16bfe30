"""The one-step vocoder's predictor: audio tokens (B, T) + condition -> what the other quantizers add (B, T, E), in one pass.

Paper, section 3.4: a transformer is given the first quantizer's tokens and a condition, and estimates the sum of all quantizers'
embeddings; here it estimates the rest, since the first token's own embedding is given. Conditions: the text and a prompt of the
speaker (TTS), the noisy speech (SE). Layout: `[letters, prompt features, tokens]`; the noisy features, as many as tokens, are added to the
tokens. A letter's position is about the time of its sound, as for the GPT (sequence.py). A token sees the whole condition, all tokens
before it and `look_ahead` after it in each layer, so that sound can be sent while it is generated.

B batch, T tokens, C width, E codec embedding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.model.conformer import Attention, FeedForward, sinusoids, sinusoids_at


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

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(x, mask)
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
        x = self.tokens(tokens)
        if noisy is not None:
            features, count = noisy
            embedded = self.noisy(features[:, :T]) * _inside(count, min(T, features.shape[1]))[..., None]
            x = x + F.pad(embedded, (0, 0, 0, T - embedded.shape[1]))
        parts, insides = [], []
        if text is not None:
            letters, count, pace = text
            times = torch.arange(letters.shape[1], device=device) * pace[:, None]  # (B, L)
            parts.append(self.text(letters) + sinusoids_at(times, x.shape[2]).to(x.dtype))
            insides.append(_inside(count, letters.shape[1]))
        if prompt is not None:
            embedded, count = self.prompt(prompt[0]), prompt[1]
            parts.append(embedded + sinusoids(embedded.shape[1], embedded.shape[2], device).to(embedded.dtype))
            insides.append(_inside(count, embedded.shape[1]))
        P = sum(part.shape[1] for part in parts)
        parts.append(x + sinusoids(T, x.shape[2], device).to(x.dtype))
        insides.append(_inside(lengths, T))
        x, inside = torch.cat(parts, 1), torch.cat(insides, 1)  # (B, P + T, C), (B, P + T)
        at = torch.arange(P + T, device=device)
        # The condition sees itself alone; a token sees the condition and tokens up to its look-ahead.
        mask = (at[None] < P) | ((at[:, None] >= P) & (at[None] <= at[:, None] + self.config.look_ahead))
        mask = (mask[None] & inside[:, None]) | torch.eye(P + T, dtype=torch.bool, device=device)
        for layer in self.layers:
            x = layer(x, mask[:, None])
        return self.output(self.norm(x[:, P:]))


def _inside(lengths: Tensor, size: int) -> Tensor:
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def vocoder_loss(predicted: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """L1 + L2 to the true sum of embeddings (paper, section 3.4) over real tokens: (B, T, E), (B, T, E), (B,) -> scalar."""
    difference = (predicted.float() - target.float())[_inside(lengths, predicted.shape[1])]
    return difference.abs().mean() + difference.square().mean()
