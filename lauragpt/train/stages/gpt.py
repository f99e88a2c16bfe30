"""The GPT's stage: all tasks that need no recording. In: sentences, pairs of sentences, speech as tokens, posteriors made from text."""

from dataclasses import dataclass, field

import numpy as np
import torch

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import LauraModel, to_device
from lauragpt.train.batches import train_and_dev
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import CodecTokens
from lauragpt.train.lora import LoraConfig
from lauragpt.train.losses import means_by_name, sequence_shares, token_weights
from lauragpt.train.posterior_banks import PosteriorSampler, collect_banks
from lauragpt.train.stage import ModelStage, ModelStageConfig, Update
from lauragpt.train.text_batches import GPTBatches, ReadBatch


@dataclass(frozen=True)
class ReadingConfig(ModelStageConfig):
    """What the GPT's stage and joint training share: text as the CTC head might say it (posterior_banks.py)."""

    weights: dict[str, float] = field(default_factory=lambda: {"mt": 1.0})
    phrases: float = 1.0  # phrases of the texts beside each example, to be transcribed
    phrase_words: int = 16  # of a phrase at most
    posterior_bank: dict[str, float] = field(default_factory=dict)  # corpus -> most hours of its recordings whose posteriors are
    # collected; a language without any gets errors by chance
    noise: float = 0.3  # chance that a recording is made noisy
    degraded: float = 0.3  # chance that a recording gets a narrow band, a codec or clipping
    spec_augment: bool = True  # on recordings
    text_injection: float = 0.0  # chance that a pair to be translated is read from the posteriors of its source, as if it were spoken
    token_errors: float = 0.0  # share of the audio tokens that the GPT reads as others, since its own will have errors
    voice_prompt: float = 0.3  # chance that a text is spoken after another utterance of its speaker
    lora: LoraConfig = field(default_factory=LoraConfig)  # adapters in place of the weights
    checkpoint_activations: bool = False  # each layer keeps its input alone and is computed again in the backward pass (activations.py)
    shard: bool = False  # several processes divide weights, gradients and moments among them, by FSDP2 (sharding.py)
    compile: bool = False  # torch.compile of the GPT's layers: half as fast again, takes a minute to start, needs a C++ compiler

    def __post_init__(self):
        super().__post_init__()
        if not self.shard:
            return
        if self.lora.rank:  # then embeddings have no gradient, and a process whose batch has no recording sends fewer messages
            raise LauraError("shard divides the weights that are trained, and lora trains adapters in their place: leave one of them out")
        from torch.distributed import fsdp  # takes a second

        if not hasattr(getattr(fsdp, "FSDPModule", None), "set_reduce_scatter_unused_params"):
            raise LauraError(f"shard: PyTorch {torch.__version__} cannot: install 2.13 or a later one, or leave shard out")


@dataclass(frozen=True)
class GPTStageConfig(ReadingConfig):
    init: str = ""  # folder of a published Qwen2, Qwen2.5 or Qwen3, with whose weights, sizes and tokenizer the GPT begins
    plain_sentences: float = 0.05  # share of the phrases that are sentences to be continued instead


class GPTStage(ModelStage):
    name, trained = "gpt", ("gpt", "posterior_embedding")
    Config = GPTStageConfig

    def __init__(self, model: LauraModel, corpus: Corpus, config: GPTStageConfig, seed: int = 0, rank: int = 0):
        super().__init__(model, config)
        parts = reading_parts(model, corpus, config, seed)
        self.batch, self.dev_batch = train_and_dev(GPTBatches, corpus, config, seed, rank, *parts)

    def sizes(self, batch: ReadBatch) -> dict[str, float]:
        return {"tokens": sum(sequence_shares(batch.layouts))}

    def step(self, batch: ReadBatch, step: int, update: Update) -> dict[str, torch.Tensor]:
        layouts, reading = batch.layouts, len(batch.posteriors)
        losses = self.model.loss(layouts, embed_posteriors(self.model, batch) if reading else None)
        loss = (losses * to_device(np.array(token_weights(layouts), np.float32), self.device)).sum()
        update("model", {"tokens": loss})
        tts = self.model.vocabulary.task("tts")
        names = ["tts" if tts in row.ids else "read" if index < reading else "text" for index, row in enumerate(layouts)]
        return {"loss": loss.detach()} | means_by_name(losses, layouts, names)


def reading_parts(
    model: LauraModel, corpus: Corpus, config: ReadingConfig, seed: int
) -> tuple[LauraModel, PosteriorSampler, CodecTokens]:
    """What the batches of sequences are made with."""
    banks = collect_banks(model, corpus, config.posterior_bank, config.noise, config.degraded, config.spec_augment, seed)
    return model, PosteriorSampler(corpus, banks), CodecTokens(model, corpus.waves, corpus.out)


def embed_posteriors(model: LauraModel, batch: ReadBatch) -> torch.Tensor:
    """(B, T, D) of the sequences that read posteriors."""
    padded = torch.nn.utils.rnn.pad_sequence(batch.posteriors, batch_first=True)
    return model.embed_posteriors(to_device(padded.numpy(), model.posterior_embedding.weight.device))
