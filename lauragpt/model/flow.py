"""Flow matching in the one-step vocoder's place, to compare with: the sum of all embeddings is drawn and not regressed (arXiv 2210.02747).

Noise (B, T, E) becomes what the quantizers behind the first add to its embedding, on straight lines: at a time between 0 and 1 stands
(1 - time) noise + time rest, and the same transformer, which is told that and the time beside token and condition, predicts rest - noise.
The rest is standardised. In use the noise is always the same, so that an answer can be computed again, alone and in any batch.

B batch, T tokens, E codec embedding, C width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.errors import LauraError
from lauragpt.model.conformer import sinusoids_at
from lauragpt.model.vocoder import Vocoder, VocoderConfig, as_long, inside

BLOCK = 256  # tokens whose noise is drawn at once: of more tokens the first have the same
TIME = 1000.0  # by which a time is stretched, that its sinusoids tell it


class Flow(Vocoder):
    """LauraError for a condition in codec space, or for several quantizers, one after the other."""

    def __init__(self, config: VocoderConfig):
        if config.in_codec_space or config.steps > 1:
            raise LauraError("vocoder.flow goes neither with `condition: codec` nor with several steps: leave one of them out")
        super().__init__(config)
        self.lower = nn.Linear(config.embedding, config.width)
        self.register_buffer("spread", torch.zeros(config.embedding))  # deviation of the rest; 0 until it is measured

    @torch.no_grad()
    def measure_rest(self, rest: Tensor) -> None:
        """rest (n, E): the sum of all embeddings but the first, of many recordings."""
        self.spread.copy_(rest.std(0))

    @property
    def look_ahead(self) -> int:
        """Each step looks as far ahead as the one-step vocoder."""
        return self.config.flow * super().look_ahead

    def velocity(self, tokens: Tensor, state: Tensor, time: Tensor, lengths: Tensor, **conditions: tuple[Tensor, ...] | None) -> Tensor:
        """tokens (B, T), what stands at the time (B, T, E), the time (B,), conditions as `forward` takes them -> (B, T, E)"""
        lower = self.lower(state) + sinusoids_at(TIME * time, self.config.width)[:, None]
        conditions["noisy"] = as_long(conditions.get("noisy"), tokens.shape[1])
        return self.output(self.states(tokens, lengths, **conditions, lower=lower)).float()

    def forward(self, tokens: Tensor, first: Tensor, lengths: Tensor, text=None, prompt=None, noisy=None) -> Tensor:
        """As that of `Vocoder`, in `flow` equal steps (Euler's method)."""
        state, count = noise_like(first), self.config.flow
        for step in range(count):
            time = torch.full((len(tokens),), step / count, device=tokens.device)
            state = state + self.velocity(tokens, state, time, lengths, text=text, prompt=prompt, noisy=noisy) / count
        return first + state * self.spread

    def loss(
        self, tokens: Tensor, first: Tensor, target: Tensor, lengths: Tensor, generator: torch.Generator, **conditions: tuple[Tensor, ...]
    ) -> Tensor:
        """The squared error of the velocity at a time of each row, over real tokens: tokens (B, T), their own embeddings (B, T, E), the sum
        of all (B, T, E), lengths (B,) -> scalar."""
        noise = torch.randn(target.shape, generator=generator).to(target)
        time = torch.rand(len(target), generator=generator).to(target)
        rest, share = (target - first) / self.spread.clamp(min=1e-6), time[:, None, None]
        predicted = self.velocity(tokens, noise + share * (rest - noise), time, lengths, **conditions)
        real = inside(lengths, tokens.shape[1])
        return F.mse_loss(predicted[real], (rest - noise)[real])


def noise_like(embeddings: Tensor) -> Tensor:
    """(B, T, E): of each row, and of each call, the same."""
    _, T, E = embeddings.shape
    blocks = [torch.randn(BLOCK, E, generator=torch.Generator().manual_seed(at)) for at in range(-(-T // BLOCK))]
    return torch.cat(blocks)[:T].to(embeddings).expand_as(embeddings)
