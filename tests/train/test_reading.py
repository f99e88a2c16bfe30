"""What the GPT learns to read from text alone: frames that the CTC head said of recordings, cut and joined anew."""

import numpy as np
import pytest
import torch

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.text import Tokenizer
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages import STAGE_CLASSES


@pytest.fixture(scope="module")
def made(prepared):
    """(kind, further keys, rank) -> a stage over the same model."""
    train, dev = read_data(prepared)
    corpus = Corpus(train, dev, prepared, Tokenizer.train(["die nacht war ruhig"], PRESETS["debug"].text_size))
    torch.manual_seed(0)
    model = LauraModel(PRESETS["debug"]).eval()

    def stage(kind: str, rank: int = 0, **more):
        config = StageConfig(batch_seconds=8, text_seconds=4, phrases=2.0, weights={"mt/multi30k": 1, "asr": 1}, **more)
        return STAGE_CLASSES[kind](model, corpus, config, 0, rank)

    return stage


@pytest.mark.parametrize("kind", ["gpt", "laura"])
def test_frames_are_what_the_head_said_of_recordings(made, kind):
    stage = made(kind, posterior_bank={"kathleen": 0.001})
    assert not stage.model.encoder.training, "the encoder is left as it was found"
    (posterior_bank,) = stage.posterior_bank["en"]
    frames = stage.spelling("the little night", "en", np.random.default_rng(0))
    said = posterior_bank.rows.astype(np.float32)
    distance = np.abs(frames[:, None] - (said / said.sum(1, keepdims=True))[None]).max(2)
    assert len(frames) > 8 and distance.min(1).max() < 1e-6, "every frame is one of a recording's"
    batch = stage.batch(0)
    assert stage.step(batch, lambda name, loss: loss.backward())["loss"] > 0


def test_a_language_of_which_nothing_was_heard_is_confused_by_chance(made):
    stage = made("gpt", posterior_bank={"kathleen": 0.001})
    assert "de" not in stage.posterior_bank
    frames = stage.spelling("die nacht", "de", np.random.default_rng(0))
    np.testing.assert_allclose(frames.sum(1), 1, atol=1e-4)


def test_seed_and_rank_decide_what_is_collected(made):
    def rows(rank: int) -> np.ndarray:
        return made("gpt", rank, posterior_bank={"kathleen": 0.001}, noise=0.5).posterior_bank["en"][0].rows

    state = torch.get_rng_state()
    np.testing.assert_array_equal(rows(0), rows(0))
    assert rows(0).shape != rows(1).shape or not np.array_equal(rows(0), rows(1))
    torch.testing.assert_close(torch.get_rng_state(), state)


def test_no_more_is_heard_than_was_asked_for(made):
    hop = 0.04
    few, all_of_it = (made("gpt", posterior_bank={"kathleen": hours}).posterior_bank["en"][0] for hours in (1e-6, 1.0))
    assert 1.0 < len(few.rows) * hop < 4.0 < len(all_of_it.rows) * hop


def test_corpora_that_are_not_there_are_passed_over_unless_none_is(made):
    assert list(made("gpt", posterior_bank={"nobody": 1.0, "kathleen": 0.001}).posterior_bank) == ["en"]
    with pytest.raises(LauraError, match="posterior_bank: no recording of nobody, noone in the data"):
        made("gpt", posterior_bank={"nobody": 1.0, "noone": 0.5})
