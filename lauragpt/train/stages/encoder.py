"""The encoder's stage: CTC pre-training (the paper starts from a trained recogniser). In: recordings and transcripts."""

from dataclasses import dataclass, field

from torch import Tensor

from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.batches import EncoderBatch, EncoderBatches, train_and_dev
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import encode_recordings
from lauragpt.train.losses import ctc_loss
from lauragpt.train.stage import ModelStage, ModelStageConfig, Update


@dataclass(frozen=True)
class EncoderStageConfig(ModelStageConfig):
    weights: dict[str, float] = field(default_factory=lambda: {"asr": 1.0})
    noise: float = 0.3  # chance that a recording is made noisy
    degraded: float = 0.3  # chance that a recording gets a narrow band, a codec or clipping
    spec_augment: bool = True
    middle_ctc_weight: float = 0.3  # of CTC on the middle layer
    init: str = ""  # folder of a published Whisper, as transformers saves it, with whose weights an encoder of that kind begins
    published_lr: float = 0.05  # rate of the published weights, as a share of lr
    best_by: str = "ctc"


class EncoderStage(ModelStage):
    name, trained = "encoder", ("encoder",)
    Config = EncoderStageConfig

    def __init__(self, model: LauraModel, corpus: Corpus, config: EncoderStageConfig, seed: int = 0, rank: int = 0):
        super().__init__(model, config, config.published_lr)
        if model.encoder.intermediate is not None:
            model.encoder.intermediate.deviation.zero_()  # the layer changes: joint training measures it when it begins
        self.batch, self.dev_batch = train_and_dev(EncoderBatches, corpus, config, seed, rank)

    def step(self, batch: EncoderBatch, step: int, update: Update) -> dict[str, Tensor]:
        output = encode_recordings(self.model, batch.recordings, self.config.spec_augment)
        loss = ctc_loss(output, range(len(batch.units)), batch.units, self.config.middle_ctc_weight)
        update("model", loss)
        return {"ctc": loss.detach()}
