"""The scheme that the one-step vocoder replaces, to compare with: quantizer by quantizer, as VALL-E does (arXiv 2301.02111).

Audio tokens (B, T) + condition -> the codes of the second quantizer, from these those of the third, and so on: a pass of the same
transformer for each. The sum of their embeddings (B, T, E) is what the one-step vocoder predicts at once.

B batch, T tokens, K quantizers, V codes, E codec embedding, C width.
"""

import torch
from torch import Tensor, nn

from lauragpt.codec import Codec
from lauragpt.errors import LauraError
from lauragpt.model.vocoder import Vocoder, VocoderConfig, as_long


class MultiStep(Vocoder):
    """LauraError for a condition in codec space, where speech has no codes."""

    def __init__(self, config: VocoderConfig):
        if config.in_codec_space:
            raise LauraError("vocoder.steps: with `condition: codec` there is one step: leave one of the two out")
        super().__init__(config)
        self.lower, self.level = nn.Linear(config.embedding, config.width), nn.Embedding(config.steps, config.width)
        self.sharpness = nn.Parameter(torch.zeros(config.steps))

    def logits(self, tokens: Tensor, codes: Tensor, codec: Codec, lengths: Tensor, **conditions: tuple[Tensor, ...] | None) -> Tensor:
        """tokens (B, T), the codes of the first levels (B, j, T), conditions as `Vocoder` takes them -> of level j (B, T, V): minus the
        squared distance of what is predicted of the residual to each code, scaled."""
        at, conditions["noisy"] = codes.shape[1], as_long(conditions.get("noisy"), tokens.shape[1])
        lower = self.lower(codec.embed(codes)) + self.level.weight[at]
        predicted = self.output(self.states(tokens, lengths, **conditions, lower=lower)).float()
        codebook = codec.quantizer.codebooks[at]
        with torch.autocast(predicted.device.type, enabled=False):
            distance = predicted.square().sum(-1, keepdim=True) + codebook.square().sum(-1) - 2 * predicted @ codebook.t()
            return -distance * self.sharpness[at].exp()

    def codes(self, tokens: Tensor, codec: Codec, lengths: Tensor, **conditions: tuple[Tensor, ...] | None) -> Tensor:
        """tokens (B, T) -> (B, steps, T): of each level the likeliest codes behind those before."""
        found = tokens[:, None]
        while found.shape[1] < self.config.steps:
            found = torch.cat([found, self.logits(tokens, found, codec, lengths, **conditions).argmax(-1)[:, None]], 1)
        return found
