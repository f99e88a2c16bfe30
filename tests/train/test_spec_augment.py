"""Features as training alters them: SpecAugment hides some, and vocal tracts are longer or shorter than they were."""

import numpy as np
import pytest
import torch

from lauragpt.features import FeatureConfig, mel, mel_edges
from lauragpt.model.log_mel import Features
from lauragpt.train import encoding
from lauragpt.train.encoding import Recordings, encode_recordings, pad
from lauragpt.train.spec_augment import mask_features, warp_features


def test_long_recordings_are_masked_as_often_as_short_ones():
    torch.manual_seed(0)
    for frames in (60, 500):
        hidden = (mask_features(torch.ones(64, frames, 160), 80) == 0).all(2).float().mean(1)  # the share of each row's frames
        assert 0.06 < hidden.mean() < 0.2 and hidden.max() < 0.5, frames


def test_bands_of_mel_bins_are_hidden_in_every_stacked_frame_alike():
    torch.manual_seed(1)
    kept = mask_features(torch.ones(8, 40, 160), 80).view(8, 40, 2, 80)
    assert torch.equal(kept[:, :, 0], kept[:, :, 1])
    bands = (kept.sum((1, 2)) == 0).sum(1)  # bins that a row never shows
    assert 0 < bands.max() <= 40


def test_the_seed_masks_the_same_again():
    given = torch.randn(4, 100, 80)
    masked = []
    for _ in range(2):
        torch.manual_seed(5)
        masked.append(mask_features(given, 80))
    assert torch.equal(*masked) and not torch.equal(masked[0], given)


@pytest.mark.parametrize("hertz", [400, 1500, 4000, 7000])
def test_a_tone_moves_by_as_much_as_vocal_tracts_differ(hertz):
    """Of each row by its own factor, up to a tenth below the bend, less above it; the frames of a row alike."""
    features, rows = Features(FeatureConfig()), 200
    tone = torch.sin(2 * torch.pi * hertz * torch.arange(8000) / 16000).expand(rows, -1)
    given, _ = features(tone, torch.full((rows,), 8000))
    torch.manual_seed(3)
    peaks = warp_features(given, FeatureConfig()).view(rows, -1, 7, 80)[:, 2:-2].argmax(3).flatten(1)
    assert ((peaks.max(1).values - peaks.min(1).values) <= 1).all()
    edges, found = mel_edges(80), peaks.float().mean(1)
    lowest, highest = ((mel(hertz * factor) - edges[1]) / (edges[1] - edges[0]) for factor in (0.9, 1.1))
    assert lowest - 1.5 < found.min() and found.max() < highest + 1.5
    if hertz < 4800 * 0.9:
        assert found.min() < lowest + 1.5 and found.max() > highest - 1.5
    assert torch.allclose(warp_features(given, FeatureConfig(), largest=0.0), given, atol=1e-5)


@pytest.mark.parametrize("training, augment, rows", [(True, True, 2), (False, True, 0), (True, False, 0)])
def test_recordings_are_altered_in_training_alone(training, augment, rows, make_stage, monkeypatch):
    stage, altered = make_stage("encoder", spec_augment=augment), []
    monkeypatch.setattr(encoding, "augment_features", lambda features, bins: altered.append(len(features)) or features)
    stage.model.eval()  # as whoever has used it before has left it; the loop trains the stage's modules
    stage.modules.train(training)
    encode_recordings(stage.model, Recordings.of([np.zeros(8000, dtype=np.float32)] * 2), stage.config.spec_augment)
    assert sum(altered) == rows


@torch.no_grad()
def test_recordings_of_any_length_are_encoded_in_groups_as_together(make_stage):
    model, rng = make_stage("encoder").model.eval(), np.random.default_rng(0)
    recordings = Recordings.of([0.1 * rng.normal(size=n).astype(np.float32) for n in (90_000, 4_000, 30_000, 5_000, 88_000, 700)])
    waves = [wave.numpy() / 32767 for wave in recordings.split(torch.device("cpu"))]
    together = model.encode(*pad(waves))
    output = encode_recordings(model, recordings, augment=False)
    assert torch.equal(output.lengths, together.lengths) and output.middle_log_probs is None
    for row, count in enumerate(output.lengths.tolist()):
        for name in ("embeddings", "ctc_log_probs"):
            torch.testing.assert_close(getattr(output, name)[row, :count], getattr(together, name)[row, :count], atol=1e-5, rtol=1e-4)
    model.train()
    assert encode_recordings(model, recordings, augment=False).middle_log_probs.shape == output.ctc_log_probs.shape
