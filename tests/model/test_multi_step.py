"""Quantizer by quantizer: batch, order of the levels, what a step learns."""

from dataclasses import asdict, replace

import pytest
import torch

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel, with_changes
from lauragpt.model.multi_step import MultiStep
from lauragpt.model.vocoder import VocoderConfig


@pytest.fixture(scope="module")
def model() -> LauraModel:
    torch.manual_seed(0)
    return LauraModel(with_changes(PRESETS["debug"], {"vocoder": {"steps": 3}})).eval()


@torch.no_grad()
def test_a_clip_is_the_same_alone_and_in_a_batch(model):
    tokens, lengths = torch.randint(1024, (3, 14)), torch.tensor([14, 5, 1])
    text = torch.randint(300, (3, 6)), torch.tensor([6, 2, 3]), torch.tensor([2.0, 1.5, 0.7])
    together = model.vocoder.codes(tokens, model.codec, lengths, text=text)
    assert together.shape == (3, 3, 14) and torch.equal(together[:, 0], tokens)
    embeddings = model.vocode(tokens, lengths, text)
    assert embeddings.shape == (3, 14, model.config.codec.dim)
    for row, n in enumerate(lengths.tolist()):
        own = tuple(each[row : row + 1, : int(text[1][row])] if each.dim() == 2 else each[row : row + 1] for each in text)
        alone = model.vocode(tokens[row : row + 1, :n], lengths[row : row + 1], own)
        torch.testing.assert_close(embeddings[row, :n], alone[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_level_is_the_nearest_code_to_what_is_predicted_behind_those_before(model):
    vocoder, tokens, lengths = model.vocoder, torch.randint(1024, (1, 8)), torch.tensor([8])
    found = vocoder.codes(tokens, model.codec, lengths)
    lower = vocoder.lower(model.codec.embed(found[:, :2])) + vocoder.level.weight[2]
    predicted = vocoder.output(vocoder.states(tokens, lengths, lower=lower))
    assert torch.equal(torch.cdist(predicted, model.codec.quantizer.codebooks[2][None]).argmin(-1), found[:, 2])
    other = found[:, :2].clone()
    other[0, 1] = (other[0, 1] + 1) % 1024
    assert not torch.allclose(*(vocoder.logits(tokens, codes, model.codec, lengths) for codes in (found[:, :2], other)))


def test_its_configuration():
    sizes = with_changes(PRESETS["debug"], {"vocoder": {"steps": 3}})
    assert LauraConfig.from_dict(sizes.to_dict()) == sizes and "steps" in asdict(sizes.vocoder)
    with pytest.raises(LauraError, match="give 1"):
        VocoderConfig(steps=0)
    with pytest.raises(LauraError, match="one step"):
        MultiStep(replace(VocoderConfig(condition="codec"), steps=2))
