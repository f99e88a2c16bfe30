"""The encoder's stage: CTC pre-training (the paper starts from a trained recogniser). In: recordings and transcripts."""

from dataclasses import dataclass, field

from torch import Tensor

from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.batches import EncoderBatch, EncoderBatches, train_and_dev
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import encode_recordings
from lauragpt.train.frozen_frames import frozen_frames
from lauragpt.train.lora import LoraConfig
from lauragpt.train.losses import ctc_loss, ctc_size
from lauragpt.train.stage import ListeningConfig, ModelStage, Update


@dataclass(frozen=True)
class EncoderStageConfig(ListeningConfig):
    weights: dict[str, float] = field(default_factory=lambda: {"asr": 1.0})
    init: str = ""  # folder of a published Whisper, as transformers saves it, with whose weights and sizes an encoder of that kind begins
    best_by: str = "ctc"
    lora: LoraConfig = field(default_factory=LoraConfig)  # adapters in place of the weights


class EncoderStage(ModelStage):
    name, trained = "encoder", ("encoder",)
    Config = EncoderStageConfig

    def __init__(self, model: LauraModel, corpus: Corpus, config: EncoderStageConfig, seed: int = 0, rank: int = 0):
        self.frozen = frozen_frames(model, corpus, config, rank)
        super().__init__(model, config, config.published_lr)
        if model.encoder.intermediate is not None:
            model.encoder.intermediate.deviation.zero_()  # the layer changes: joint training measures it when it begins
        self.batch, self.dev_batch = train_and_dev(EncoderBatches, corpus, config, seed, rank)

    def sizes(self, batch: EncoderBatch) -> dict[str, float]:
        return {"ctc": ctc_size(batch.units)}

    def step(self, batch: EncoderBatch, step: int, update: Update) -> dict[str, Tensor]:
        output = encode_recordings(self.model, batch.recordings, self.config.spec_augment, self.frozen)
        loss = ctc_loss(output, range(len(batch.units)), batch.units, self.config.middle_ctc_weight)
        update("model", {"ctc": loss})
        return {"ctc": loss.detach()}
