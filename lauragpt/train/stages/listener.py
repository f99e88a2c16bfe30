"""The stage of the codec's listener: CTC on letters through the rounded numbers that will be the first code of a frame.

The listener begins as the trained encoder. A reader behind the rounding, of this stage alone, must spell the transcript from the codes:
what it cannot read, the codes do not hold (as in CosyVoice, arXiv 2407.05407). CTC alone needs a code here and there, and leaves the
frames between them without one of their own. Where speech is to be made of the codes they must tell how it sounds as well: with
`sound_weight` the reader also predicts the log-mel spectrum, less its mean over the recording, which is the speaker's and the room's. In:
recordings and transcripts.

B batch, T frames, G numbers a code.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lauragpt.codec.finite_scalar import rounded
from lauragpt.data.loader import FULL_SCALE
from lauragpt.errors import LauraError
from lauragpt.model.conformer import sinusoids
from lauragpt.model.lauragpt import LauraModel
from lauragpt.model.whisper import WhisperLayer
from lauragpt.train.batches import EncoderBatch, EncoderBatches, train_and_dev
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import encode_recordings
from lauragpt.train.frozen_frames import frozen_frames
from lauragpt.train.losses import ctc_loss, ctc_size
from lauragpt.train.stage import ListeningConfig, ModelStage, Update


class Reader(nn.Module):
    """Rounded numbers (B, T, G), of which `lengths` (B,) frames are real -> log-probabilities of letters (B, T, U) and a spectrum
    (B, T, bins)."""

    def __init__(self, numbers: int, units: int, bins: int, width: int, layers: int):
        super().__init__()
        self.input = nn.Linear(numbers, width)
        self.layers = nn.ModuleList(WhisperLayer(width, max(1, width // 64), 2 * width) for _ in range(layers))
        self.norm, self.ctc, self.sound = nn.LayerNorm(width), nn.Linear(width, units), nn.Linear(width, bins)

    def forward(self, numbers: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        T, device = numbers.shape[1], numbers.device
        x = self.input(numbers) + 0.1 * sinusoids(T, self.input.out_features, device)
        real = (torch.arange(T, device=device) < lengths[:, None])[:, None, None]
        for layer in self.layers:
            x = layer(x, real)
        x = self.norm(x)
        return self.ctc(x).float().log_softmax(-1), self.sound(x).float()


@dataclass(frozen=True)
class ListenerStageConfig(ListeningConfig):
    weights: dict[str, float] = field(default_factory=lambda: {"asr": 1.0})
    reader_width: int = 512
    reader_layers: int = 2
    sound_weight: float = 0.0  # of the spectrum's loss beside that of the letters
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
        bins = self.listener.features.config.bins
        self.reader = Reader(len(self.levels), model.config.encoder.units, bins, config.reader_width, config.reader_layers)
        super().__init__(model, config, config.published_lr, {"reader": self.reader})
        self.batch, self.dev_batch = train_and_dev(EncoderBatches, corpus, config, seed, rank)

    def sizes(self, batch: EncoderBatch) -> dict[str, float]:
        return {"ctc": ctc_size(batch.units), "frames": int(self.listener.features.lengths(batch.recordings.lengths).sum())}

    def step(self, batch: EncoderBatch, step: int, update: Update) -> dict[str, Tensor]:
        output = encode_recordings(self.listener, batch.recordings, self.config.spec_augment, self.frozen)
        with torch.autocast(self.device.type, enabled=False):
            numbers = rounded(output.embeddings.float(), self.levels)
        letters, sound = self.reader(numbers, output.lengths)
        read = replace(output, ctc_log_probs=letters, middle_log_probs=None)
        loss = ctc_loss(read, range(len(batch.units)), batch.units, 0.0)
        losses, told = {"ctc": loss}, {"ctc": loss.detach()}
        if self.config.sound_weight:
            apart = self.sound_loss(sound, batch, output.lengths)
            losses["frames"], told["sound"] = self.config.sound_weight * apart, apart.detach()
        update("model", losses)
        return told

    def sound_loss(self, predicted: Tensor, batch: EncoderBatch, lengths: Tensor) -> Tensor:
        """L1 to the log-mel spectrum of each frame (B, T, bins), less its mean and standardised in each recording, over real frames."""
        waves = pad_sequence(batch.recordings.split(self.device), batch_first=True).float() / FULL_SCALE
        features, _ = self.listener.features(waves, batch.recordings.lengths.to(self.device))
        spectrum = features.unflatten(2, (-1, predicted.shape[2])).mean(2)
        real = (torch.arange(predicted.shape[1], device=self.device) < lengths[:, None])[..., None].float()
        count = real.sum(1, keepdim=True)
        spectrum = (spectrum - (spectrum * real).sum(1, keepdim=True) / count) * real
        deviation = (spectrum.square().sum((1, 2), keepdim=True) / (count * spectrum.shape[2])).sqrt().clamp(min=1e-3)
        return ((predicted - spectrum / deviation).abs() * real).sum() / (real.sum() * spectrum.shape[2])
