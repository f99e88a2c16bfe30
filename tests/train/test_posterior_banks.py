"""What the GPT learns to read from text alone: frames that the CTC head gave of recordings, cut and joined anew."""

import numpy as np
import pytest
import torch

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train.stages.gpt import GPTStage
from tests.train.conftest import no_update


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LauraModel(PRESETS["debug"]).eval()


@pytest.fixture(scope="module")
def banks(model, make_stage):
    """(keys) -> the banks of a GPT's stage, by language."""
    return lambda **keys: make_stage("gpt", model, **keys).batch.posteriors.banks


@pytest.mark.parametrize("name", ["gpt", "joint"])
def test_frames_are_those_of_recordings(model, make_stage, name):
    stage: GPTStage = make_stage(name, model, phrases=2.0, posterior_bank={"kathleen": 0.001})
    assert not stage.model.encoder.training, "the encoder is left as it was found"
    posteriors = stage.batch.posteriors
    (bank,) = posteriors.banks["en"]
    frames, rows = posteriors("the little night", "en", np.random.default_rng(0)), bank.rows.astype(np.float32)
    distance = np.abs(frames[:, None] - (rows / rows.sum(1, keepdims=True))[None]).max(2)
    assert len(frames) > 8 and distance.min(1).max() < 1e-6, "every frame is one of a recording's"
    assert stage.step(stage.batch(0), 0, no_update)["loss"] > 0


def test_a_language_without_recordings_gets_errors_by_chance(model, make_stage):
    posteriors = make_stage("gpt", model, posterior_bank={"kathleen": 0.001}).batch.posteriors
    assert "de" not in posteriors.banks
    np.testing.assert_allclose(posteriors("die nacht", "de", np.random.default_rng(0)).sum(1), 1, atol=1e-4)


def test_the_seed_alone_decides_what_is_collected(banks):
    def rows(seed: int, rank: int = 0) -> np.ndarray:
        return banks(seed=seed, rank=rank, posterior_bank={"kathleen": 0.001}, noise=0.5)["en"][0].rows

    rows(0)
    state = torch.get_rng_state()
    first, again, other = rows(0), rows(0, rank=1), rows(1)
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
    torch.testing.assert_close(torch.get_rng_state(), state)


def test_no_more_is_collected_than_was_asked_for(banks):
    seconds = [len(banks(posterior_bank={"kathleen": hours})["en"][0].rows) * 0.04 for hours in (1e-6, 1.0)]
    assert 1.0 < seconds[0] < 4.0 < seconds[1]


def test_corpora_that_are_not_there_are_passed_over_unless_none_is(banks):
    assert list(banks(posterior_bank={"nobody": 1.0, "kathleen": 0.001})) == ["en"]
    with pytest.raises(LauraError, match="posterior_bank: no recording of nobody, noone in the data"):
        banks(posterior_bank={"nobody": 1.0, "noone": 0.5})
