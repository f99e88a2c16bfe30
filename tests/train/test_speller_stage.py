"""The speller's stage: what tokens spell is learnt from recordings and texts, and the letters of a text then stand where they are said."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train import loop
from lauragpt.train.precision import precision


@pytest.fixture
def model() -> LauraModel:
    torch.manual_seed(0)
    config = PRESETS["debug"]
    model = LauraModel(replace(config, vocoder=replace(config.vocoder, condition="codec")))
    model.codec.quantizer.initialised.fill_(True)
    return model


def test_it_learns_where_the_letters_of_a_text_are_said(model, make_stage, corpus, tmp_path):
    stage = make_stage("speller", model, corpus, weights={"tts": 1}, steps=80, lr=1e-2, warmup=5, batch_seconds=8, token_errors=0.05)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    size, frames = model.config.audio_size, 5
    letters = {e.audio: corpus.tokens("tts", e.source.lower()) for e in corpus.train if e.task == "tts"}
    # A made-up codec, in which a letter is always the same token, five times: what is learnt can be checked.
    stage.batch.tokens.cache = {audio: np.repeat(np.array(text) % size, frames) for audio, text in letters.items()}
    first = float(stage.step(stage.batch(0), 0, lambda name, loss: None)["ctc"])
    assert loop.run(stage, tmp_path, Accelerator(mixed_precision=precision(), cpu=True))
    assert float(stage.step(stage.batch(0), 0, lambda name, loss: None)["ctc"]) < 0.2 * first
    assert {key.partition(".")[0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])} == {"speller"}
    text = next(iter(letters.values()))
    tokens = torch.tensor(np.repeat(np.array(text) % size, frames))[None]
    [said] = model.said(tokens, torch.tensor([tokens.shape[1]]), [text])
    wanted = torch.arange(len(text)).repeat_interleave(frames)
    assert ((said - wanted).abs() <= 1).float().mean() > 0.95


def test_a_vocoder_with_letters_at_a_pace_needs_none(make_stage):
    with pytest.raises(LauraError, match="reads its letters at a pace"):
        make_stage("speller", LauraModel(PRESETS["debug"]), weights={"tts": 1})


def test_a_vocoder_is_not_trained_before_it(model):
    from lauragpt.train.config import Recipe
    from lauragpt.train.run import check_order

    with pytest.raises(LauraError, match="run --stage speller first"):
        check_order("vocoder", model, Recipe())
    torch.nn.init.normal_(model.speller.output.bias)
    check_order("vocoder", model, Recipe())
