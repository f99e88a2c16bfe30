"""The one-step vocoder's predictor: audio tokens (B, T) + condition -> the sum of all quantizers' embeddings (B, T, E), in one pass.

Paper, section 3.4: a transformer is given the first quantizer's tokens and a condition, and estimates the sum of all quantizers'
embeddings; here it estimates the rest, since the first token's own embedding is given. Conditions: the text and a prompt of the
speaker (TTS), the noisy speech (SE). Layout: `[letters, prompt, tokens]`; the noisy speech, as many frames as tokens, is added to the
tokens. A letter's position is about the time of its sound, as for the GPT (sequence.py). A token sees the whole condition, all tokens
before it and `look_ahead` after it in each layer, so that sound can be sent while it is generated.

Prompt and noisy speech are log-mel features or, with `condition: codec`, the vectors that the codec's own encoder makes of them, so that
what is given and what is asked for are of one kind. Then a gate for each number of each frame chooses between the noisy speech's vector
and the token's embedding, and the transformer adds the rest. Gates begin at 1 and the rest at 0: an untrained vocoder gives the noisy
speech back as it was, and training takes out what is noise. Beginning at the token's embedding, which alone is hardly speech, it would
first have to learn to pass on what it is given. Its letters stand at no pace of their own: each token reads the one that is being said,
with its neighbours (speller.py tells which), added to what the token is.

B batch, T tokens, C width, E codec embedding, F numbers of a condition's frame.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.errors import LauraError
from lauragpt.model.conformer import Attention, FeedForward, sinusoids, sinusoids_at
from lauragpt.model.speller import SpellerConfig

CONDITIONS = ("features", "codec")


@dataclass(frozen=True)
class VocoderConfig:
    """LauraError for a condition that there is not."""

    audio_size: int = 1024
    text_size: int = 2048
    condition: str = "features"  # of prompt and noisy speech: "features", or the "codec" encoder's vectors
    features: int = 560  # stacked log-mel, at the rate of the tokens
    width: int = 256
    layers: int = 4
    heads: int = 4
    ffn: int = 1024
    look_ahead: int = 2  # tokens a layer; 4 layers of 2 make the 8 that streaming waits for
    embedding: int = 128
    speller: SpellerConfig = field(default_factory=SpellerConfig)  # with `condition: codec`

    def __post_init__(self):
        if isinstance(self.speller, dict):  # as a checkpoint's config.json has it
            object.__setattr__(self, "speller", SpellerConfig(**self.speller))
        if self.condition not in CONDITIONS:
            raise LauraError(f"vocoder.condition is {self.condition!r}: choose {' or '.join(CONDITIONS)}")

    @property
    def in_codec_space(self) -> bool:
        return self.condition == "codec"

    @property
    def condition_width(self) -> int:
        """Numbers of a frame of prompt or noisy speech."""
        return self.embedding if self.in_codec_space else self.features


class VocoderLayer(nn.Module):
    def __init__(self, config: VocoderConfig):
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.feed_forward = FeedForward(config.width, config.ffn)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(x, mask)
        return x + self.feed_forward(x)


class Letters(nn.Module):
    """A text as tokens read it: of each letter an embedding that knows its neighbours."""

    def __init__(self, width: int, layers: int = 2, kernel: int = 5):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(layers))

    def forward(self, letters: Tensor, lengths: Tensor, said: Tensor) -> Tensor:
        """Embedded letters (B, L, C), lengths (B,), and which of them each token says (B, T), -1 for none -> (B, T, C)"""
        x = F.pad(letters, (0, 0, 0, 1))  # a text may be empty
        real = _inside(lengths, x.shape[1])[..., None].to(x.dtype)
        x = x * real
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x.transpose(1, 2)).transpose(1, 2)) * real
        heard = x.gather(1, said.clamp(min=0)[..., None].expand(-1, -1, x.shape[2]))
        return heard * (said >= 0)[..., None]


class Vocoder(nn.Module):
    def __init__(self, config: VocoderConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.audio_size, config.width)
        self.text = nn.Embedding(config.text_size, config.width)
        self.prompt = nn.Linear(config.condition_width, config.width)
        self.noisy = nn.Linear(config.condition_width, config.width)
        self.layers = nn.ModuleList(VocoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, config.embedding)
        for embedding in (self.tokens, self.text):
            nn.init.normal_(embedding.weight, std=0.5)
        self.gate = nn.Linear(config.width, config.embedding) if config.in_codec_space else None
        self.letters = Letters(config.width) if config.in_codec_space else None
        for name in ("mean", "deviation"):  # of the codec's vectors; 0 until they are measured
            self.register_buffer(name, torch.zeros(config.embedding) if config.in_codec_space else None)
        for layer in (self.output, self.gate) if config.in_codec_space else ():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def measure(self, vectors: Tensor) -> None:
        """The codec's vectors (n, E) of many recordings: with `condition: codec` all are read, and predicted, standardised."""
        self.mean.copy_(vectors.mean(0))
        self.deviation.copy_(vectors.std(0))

    @property
    def look_ahead(self) -> int:
        """Tokens behind a token that its vector depends on."""
        return self.config.layers * self.config.look_ahead

    @property
    def scale(self) -> Tensor:
        return torch.where(self.deviation > 0, self.deviation, 1.0)

    def standardised(self, vectors: Tensor) -> Tensor:
        """(..., F) -> (..., F); features stay as they are."""
        return vectors if self.mean is None else (vectors - self.mean) / self.scale

    def forward(
        self,
        tokens: Tensor,
        first: Tensor,
        lengths: Tensor,
        text: tuple[Tensor, Tensor, Tensor] | None = None,
        prompt: tuple[Tensor, Tensor] | None = None,
        noisy: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """tokens (B, T), their own embeddings (B, T, E), lengths (B,), and the conditions as `states` takes them -> (B, T, E)"""
        if noisy is not None:  # as long as the tokens
            T, count = tokens.shape[1], noisy[1]
            noisy = F.pad(noisy[0][:, :T], (0, 0, 0, T - min(T, noisy[0].shape[1]))), count
        states = self.states(tokens, lengths, text, prompt, noisy)
        rest = self.output(states).to(first.dtype)
        if self.gate is None:
            return first + rest
        if noisy is not None:
            gate = _inside(noisy[1], tokens.shape[1])[..., None] * (1 + self.gate(states).to(first.dtype))
            first = first + gate * (noisy[0].to(first.dtype) - first)
        return first + rest * self.scale

    def states(
        self,
        tokens: Tensor,
        lengths: Tensor,
        text: tuple[Tensor, Tensor, Tensor] | None = None,
        prompt: tuple[Tensor, Tensor] | None = None,
        noisy: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """tokens (B, T), lengths (B,); letters (B, L), their lengths, and their paces (B,), in tokens a letter, or in codec space which of
        them each token says (B, T), -1 for none; prompt (B, P, F) and its lengths; noisy speech (B, T, F) and its lengths. -> (B, T, C)"""
        T, device = tokens.shape[1], tokens.device
        x = self.tokens(tokens)
        if noisy is not None:
            x = x + self.noisy(self.standardised(noisy[0])) * _inside(noisy[1], T)[..., None]
        parts, insides = [], []
        if text is not None and self.letters is not None:
            x = x + self.letters(self.text(text[0]), *text[1:]).to(x.dtype)
        elif text is not None:
            letters, count, pace = text
            times = torch.arange(letters.shape[1], device=device) * pace[:, None]  # (B, L)
            parts.append(self.text(letters) + sinusoids_at(times, x.shape[2]).to(x.dtype))
            insides.append(_inside(count, letters.shape[1]))
        if prompt is not None:
            embedded, count = self.prompt(self.standardised(prompt[0])), prompt[1]
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
        return self.norm(x[:, P:])


def _inside(lengths: Tensor, size: int) -> Tensor:
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def vocoder_loss(predicted: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """L1 + L2 to the true sum of embeddings (paper, section 3.4) over real tokens: (B, T, E), (B, T, E), (B,) -> scalar."""
    difference = (predicted.float() - target.float())[_inside(lengths, predicted.shape[1])]
    return difference.abs().mean() + difference.square().mean()
