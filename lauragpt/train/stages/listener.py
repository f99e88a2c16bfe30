"""The stage of the codec's listener: CTC on letters through the rounded numbers that will be the first code of a frame.

The listener begins as the trained encoder. A reader behind the rounding, of this stage alone, must spell the transcript from the codes:
what it cannot read, the codes do not hold (as in CosyVoice, arXiv 2407.05407). In: recordings and transcripts.

B batch, T frames, G numbers a code.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lauragpt.codec.finite_scalar import rounded
from lauragpt.errors import LauraError
from lauragpt.model.conformer import sinusoids
from lauragpt.model.lauragpt import LauraModel
from lauragpt.model.whisper import WhisperLayer
from lauragpt.train.batches import EncoderBatch, EncoderBatches, train_and_dev
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import encode_recordings
from lauragpt.train.frozen_frames import frozen_frames
from lauragpt.train.losses import ctc_loss
from lauragpt.train.stage import ListeningConfig, ModelStage, Update


class Reader(nn.Module):
    """Rounded numbers (B, T, G), of which `lengths` (B,) frames are real -> log-probabilities of letters (B, T, U)."""

    def __init__(self, numbers: int, units: int, width: int, layers: int):
        super().__init__()
        self.input = nn.Linear(numbers, width)
        self.layers = nn.ModuleList(WhisperLayer(width, max(1, width // 64), 2 * width) for _ in range(layers))
        self.norm, self.ctc = nn.LayerNorm(width), nn.Linear(width, units)

    def forward(self, numbers: Tensor, lengths: Tensor) -> Tensor:
        T, device = numbers.shape[1], numbers.device
        x = self.input(numbers) + 0.1 * sinusoids(T, self.input.out_features, device)
        real = (torch.arange(T, device=device) < lengths[:, None])[:, None, None]
        for layer in self.layers:
            x = layer(x, real)
        return self.ctc(self.norm(x)).float().log_softmax(-1)


@dataclass(frozen=True)
class ListenerStageConfig(ListeningConfig):
    weights: dict[str, float] = field(default_factory=lambda: {"asr": 1.0})
    reader_width: int = 512
    reader_layers: int = 2
    best_by: str = "ctc"


class ListenerStage(ModelStage):
    name, trained = "listener", ("listener",)
    Config = ListenerStageConfig

    def __init__(self, model: LauraModel, corpus: Corpus, config: ListenerStageConfig, seed: int = 0, rank: int = 0):
        self.listener, self.levels = model.listener, model.config.codec.quantizer.levels
        if self.listener is None or not self.levels:
            raise LauraError("listener: the preset's codec has none, or no levels for its first code: leave the stage out")
        self.listener.begin_as(model.encoder)
        self.frozen = frozen_frames(self.listener, corpus, config, rank)
        self.reader = Reader(len(self.levels), model.config.encoder.units, config.reader_width, config.reader_layers)
        super().__init__(model, config, config.published_lr, {"reader": self.reader})
        self.batch, self.dev_batch = train_and_dev(EncoderBatches, corpus, config, seed, rank)

    def step(self, batch: EncoderBatch, step: int, update: Update) -> dict[str, Tensor]:
        output = encode_recordings(self.listener, batch.recordings, self.config.spec_augment, self.frozen)
        with torch.autocast(self.device.type, enabled=False):
            numbers = rounded(output.embeddings.float(), self.levels)
        read = replace(output, ctc_log_probs=self.reader(numbers, output.lengths), middle_log_probs=None)
        loss = ctc_loss(read, range(len(batch.units)), batch.units, 0.0)
        update("model", loss)
        return {"ctc": loss.detach()}
