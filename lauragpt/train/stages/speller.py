"""The speller's stage: audio tokens of recordings, some of them wrong -> CTC on the letters of what is said (model/speller.py).

In: recordings with their texts, and the frozen codec. No sound is computed but once, for the tokens, so a step takes little.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.batches import SpellerBatch, SpellerBatches, train_and_dev
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import CodecTokens
from lauragpt.train.stage import ModelStage, ModelStageConfig, Update


@dataclass(frozen=True)
class SpellerStageConfig(ModelStageConfig):
    weights: dict[str, float] = field(default_factory=lambda: {"tts": 1.0})
    token_errors: float = 0.08  # share of the tokens that are replaced by others, since the GPT errs
    best_by: str = "ctc"


class SpellerStage(ModelStage):
    name, trained = "speller", ("speller",)
    Config = SpellerStageConfig

    def __init__(self, model: LauraModel, corpus: Corpus, config: SpellerStageConfig, seed: int = 0, rank: int = 0):
        if model.speller is None:
            raise LauraError("speller: the preset's vocoder reads its letters at a pace and needs none: leave the stage out")
        super().__init__(model, config)
        tokens = CodecTokens(model, corpus.waves, corpus.out)
        self.batch, self.dev_batch = train_and_dev(SpellerBatches, corpus, config, seed, rank, tokens)

    def sizes(self, batch: SpellerBatch) -> dict[str, float]:
        return {"ctc": sum(len(text) for text in batch.letters)}

    def step(self, batch: SpellerBatch, step: int, update: Update) -> dict[str, Tensor]:
        tokens, lengths = batch.tokens.to(self.device), batch.lengths.to(self.device)
        given = with_errors(tokens, self.config.token_errors, self.model.config.audio_size, torch.Generator().manual_seed(batch.seed))
        # Of thousands of text tokens a few are letters: CTC is told of those that the batch has, and blank. All others are one more, since
        # its gradient takes for granted that what it is told of sums up to 1.
        used, letters = torch.cat(batch.letters).unique(return_inverse=True)
        columns = torch.cat([used, used.new_tensor([self.model.speller.blank])]).to(self.device)
        spelled = self.model.speller(given, lengths)
        others = spelled.index_fill(2, columns, float("-inf")).logsumexp(2, keepdim=True)
        log_probs = torch.cat([spelled.index_select(2, columns), others], 2).transpose(0, 1)
        counts = torch.tensor([len(text) for text in batch.letters], device=self.device)
        each = torch.nn.functional.ctc_loss(
            log_probs, letters.to(self.device), lengths, counts, blank=len(used), reduction="sum", zero_infinity=True
        )
        loss = each / counts.sum()
        update("model", {"ctc": loss})
        return {"ctc": loss.detach()}


def with_errors(tokens: Tensor, share: float, size: int, generator: torch.Generator) -> Tensor:
    """Tokens (B, T) of which a share is replaced by any others."""
    wrong = (torch.rand(tokens.shape, generator=generator) < share).to(tokens.device)
    return torch.where(wrong, torch.randint(size, tokens.shape, generator=generator).to(tokens.device), tokens)
