"""A codec with a listener: its first code is chosen by what is said, block by block, alone and in a batch and streamed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lauragpt.codec import Codec, CodecConfig
from lauragpt.codec.quantizer import QuantizerConfig
from lauragpt.errors import LauraError
from lauragpt.features import LISTENER_FEATURES, numpy_features
from lauragpt.model.lauragpt import encoder_config
from lauragpt.model.listener import Listener
from tests.codec.test_codec import HOP, QUANTIZER, TINY, sound
from tests.codec.test_streaming import pieces

LISTENER = {"kind": "whisper", "width": 32, "layers": 1, "heads": 2, "ffn": 64, "output": QUANTIZER.guide, "heard": ()}
BLOCK, MARGIN = 30, 15  # the margin is more than Lyra's networks look back
CONFIG = replace(TINY["lyra"], quantizer=QUANTIZER, listener=LISTENER, block=BLOCK, margin=MARGIN)


def listening(seed: int = 0) -> Codec:
    torch.manual_seed(seed)
    codec = Codec.from_config(CONFIG, Listener(LISTENER_FEATURES, encoder_config(LISTENER))).eval()
    codec.quantizer.initialise(codec.latents(sound(4, 40 * HOP)).detach().flatten(0, 1))
    return codec


def test_the_guide_stands_behind_each_frames_latent():
    codec, wave = listening(), sound(2, 5 * HOP + 100)
    latents = codec.latents(wave)
    assert latents.shape == (2, 6, QUANTIZER.dim + QUANTIZER.guide)
    torch.testing.assert_close(latents[..., QUANTIZER.dim :], codec.listener(wave, torch.tensor([wave.shape[1]] * 2)))
    short = codec.latents(wave, torch.tensor([2 * HOP, wave.shape[1]]))[0, :2]
    torch.testing.assert_close(short, codec.latents(wave[:1, : 2 * HOP])[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frames", [0, 3, BLOCK, BLOCK + 1, 2 * BLOCK + MARGIN])
def test_blocks_are_the_same_however_a_recording_comes(frames):
    samples = max(1, frames * HOP - 7)
    codec, wave = listening(), sound(1, samples)
    codes = codec.encode(wave)
    assert codes.shape == (1, QUANTIZER.n_quantizers, -(-samples // HOP))
    for seed in range(3):
        streamed = torch.cat(list(codec.encode_stream(pieces(wave[0], seed, 20 * HOP))), 1)
        assert torch.equal(streamed, codes[0])
    longer = torch.cat([wave, torch.zeros(1, 40 * HOP)], 1)
    other = sound(1, longer.shape[1], seed=1)
    together = codec.encode(torch.cat([longer, other]), torch.tensor([samples, other.shape[1]]))
    # Another batch rounds otherwise, and an untrained codec's codes lie close to each other.
    for row, alone in ((together[0, :, : codes.shape[2]], codes[0]), (together[1], codec.encode(other)[0])):
        assert float((row != alone).double().mean()) < 0.02


@pytest.mark.parametrize("block", [0, 1])
def test_a_block_hears_what_stands_around_it(block):
    codec, wave = listening(), sound(1, 3 * BLOCK * HOP)
    first = max(0, block * BLOCK - MARGIN)
    latents = codec.latents(wave[:, first * HOP : ((block + 1) * BLOCK + MARGIN) * HOP])
    inside = slice(block * BLOCK - first, (block + 1) * BLOCK - first)
    assert torch.equal(codec.encode(wave)[..., block * BLOCK : (block + 1) * BLOCK], codec.quantizer.encode(latents[:, inside]))
    with torch.no_grad():
        alone = codec.latents(wave[:, block * BLOCK * HOP : (block + 1) * BLOCK * HOP])
    assert not torch.allclose(alone, latents[:, inside], atol=1e-4)


def test_the_listener_alone_can_change_a_first_code():
    codec, wave = listening(), sound(1, 20 * HOP)
    before = codec.encode(wave)
    original = codec.hash
    codec.quantizer.guides.mul_(100)  # what is said counts far more than how it sounds
    codec.listener.encoder.output.weight.data.mul_(100)
    codec.listener.encoder.output.bias.data.mul_(100)
    after = codec.encode(wave)
    guide = codec.listener(wave, torch.tensor([wave.shape[1]]))[0]
    nearest = torch.cdist(guide, codec.quantizer.guides).argmin(1)
    assert torch.equal(after[0, 0], nearest) and not torch.equal(after[0, 0], before[0, 0])
    assert codec.hash != original


def test_where_the_listeners_numbers_are_the_first_code_no_other_network_is_asked_for_it():
    torch.manual_seed(0)
    levels = replace(CONFIG, quantizer=replace(QUANTIZER, codebook_size=4**QUANTIZER.guide, levels=(4,) * QUANTIZER.guide))
    codec = Codec.from_config(levels, Listener(LISTENER_FEATURES, encoder_config(LISTENER))).eval()
    codec.listener.encoder.output.weight.data.mul_(100)
    wave, samples = sound(2, 2 * BLOCK * HOP), torch.tensor([2 * BLOCK * HOP, 20 * HOP + 7])
    codec.quantizer.initialise(codec.latents(wave).detach().flatten(0, 1))
    codes = codec.encode(wave, samples)[:, :1]
    assert len(codes.unique()) > 1
    codec.encoder = None
    assert torch.equal(codec.encode(wave, samples, n_quantizers=1), codes)


def test_the_configuration_survives_json():
    assert CodecConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    assert not {"listener", "block", "margin"} & TINY["lyra"].to_dict().keys()


def test_what_the_listener_is_stored_as_gives_the_same_codes():
    codec, wave = listening(), sound(1, 20 * HOP)
    codec.listener.round_as_stored()
    before, state = codec.encode(wave), {key: value.clone() for key, value in codec.listener.state_dict().items()}
    codec.listener.round_as_stored()
    assert all(torch.equal(value, state[key]) for key, value in codec.listener.state_dict().items())
    assert torch.equal(codec.encode(wave), before)


def test_training_and_its_half_precision_change_no_code():
    codec, wave = listening(), sound(1, 20 * HOP)
    before = codec.listener(wave, torch.tensor([wave.shape[1]]))
    codec.train()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codec.listener(wave, torch.tensor([wave.shape[1]])), before)


@pytest.mark.parametrize(
    "changes, listens, message",
    [
        ({"listener": {}}, False, "Lyra's networks make no guide"),
        ({"listener": LISTENER | {"output": 5}}, True, "a listener of 5 numbers does not fit a quantizer with a guide of 3"),
        ({"quantizer": replace(QUANTIZER, guide=0)}, False, "a listener of 3 numbers does not fit"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, listens, message):
    config = replace(CONFIG, **changes)
    with pytest.raises(LauraError, match=message):
        Codec.from_config(config, Listener(LISTENER_FEATURES, encoder_config(config.listener)) if listens else None)


def test_another_codecs_encoder_makes_no_guide_beside_a_listeners():
    codec = Codec.from_config(replace(TINY["spectral"], listener=LISTENER), Listener(LISTENER_FEATURES, encoder_config(LISTENER)))
    assert codec.latents(sound(1, 3 * HOP)).shape == (1, 3, QUANTIZER.dim + QUANTIZER.guide)


def test_levels_that_cannot_be_learnt_are_refused():
    with pytest.raises(LauraError, match="2 levels of a number"):
        QuantizerConfig(codebook_size=8, guide=2, levels=(4, 2))


def test_codes_are_those_of_the_whole_file_in_numpy_too():
    """The numpy features that ONNX's backend gives the graph are those that the listener hears."""
    codec, wave = listening(), sound(1, 12 * HOP + 30)
    ours, _ = codec.listener.features(wave, torch.tensor([wave.shape[1]]))
    np.testing.assert_allclose(numpy_features(LISTENER_FEATURES)(wave[0].numpy()), ours[0].numpy(), atol=1e-4)
