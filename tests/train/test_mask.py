"""SpecAugment: what it hides, and of how long a recording."""

import numpy as np
import pytest
import torch

from lauragpt.model.laura import PRESETS, LauraModel
from lauragpt.train import model_stage
from lauragpt.train.corpus import Corpus
from lauragpt.train.model_stage import mask_features, pad
from lauragpt.train.recipe import StageConfig
from lauragpt.train.run import read_data
from lauragpt.train.stages import EncoderStage


def test_long_recordings_are_masked_as_often_as_short_ones():
    torch.manual_seed(0)
    for frames in (60, 500):
        hidden = (mask_features(torch.ones(64, frames, 160)) == 0).all(2).float().mean(1)  # the share of each row's frames
        assert 0.06 < hidden.mean() < 0.2 and hidden.max() < 0.5, frames


def test_bands_of_mel_bins_are_hidden_in_every_stacked_frame_alike():
    torch.manual_seed(1)
    kept = mask_features(torch.ones(8, 40, 160)).view(8, 40, 2, 80)
    assert torch.equal(kept[:, :, 0], kept[:, :, 1])
    bands = (kept.sum((1, 2)) == 0).sum(1)  # bins that a row never shows
    assert 0 < bands.max() <= 40


def test_the_seed_masks_the_same_again():
    given = torch.randn(4, 100, 80)
    masked = []
    for _ in range(2):
        torch.manual_seed(5)
        masked.append(mask_features(given))
    assert torch.equal(*masked) and not torch.equal(masked[0], given)


@pytest.mark.parametrize("training", [True, False])
def test_what_is_heard_is_masked_in_training_alone(training, prepared, monkeypatch):
    train, dev = read_data(prepared)
    model, masked = LauraModel(PRESETS["debug"]), []
    stage = EncoderStage(model, Corpus(train, dev, prepared, None), StageConfig(batch_seconds=4, mask=True, weights={"asr": 1}))
    monkeypatch.setattr(model_stage, "mask_features", lambda features: masked.append(len(features)) or features)
    model.eval()  # as whoever has used it before has left it; the loop trains the stage's modules
    stage.modules.train(training)
    stage.hear(*pad([np.zeros(8000, dtype=np.float32)] * 2))
    assert sum(masked) == (2 if training else 0)
