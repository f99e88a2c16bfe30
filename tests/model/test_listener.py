"""A codec with a listener: its first code is chosen by what is said, block by block, alone and in a batch and streamed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lauragpt.codec.codec as codec_module
from lauragpt.codec import Codec
from lauragpt.features import LISTENER_FEATURES
from lauragpt.model.lauragpt import encoder_config
from lauragpt.model.listener import Listener
from tests.codec.test_codec import HOP, QUANTIZER, TINY, sound
from tests.codec.test_streaming import pieces

LISTENER = {"kind": "whisper", "width": 32, "layers": 1, "heads": 2, "ffn": 64, "output": QUANTIZER.guide, "heard": ()}
BLOCK_FRAMES, MARGIN_FRAMES = 30, 15  # the margin is more than Lyra's networks look back


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    monkeypatch.setattr(codec_module, "BLOCK_FRAMES", BLOCK_FRAMES)
    monkeypatch.setattr(codec_module, "MARGIN_FRAMES", MARGIN_FRAMES)


def listening(seed: int = 0) -> Codec:
    torch.manual_seed(seed)
    config = replace(TINY["lyra"], quantizer=QUANTIZER, listener=LISTENER)
    codec = Codec.from_config(config, Listener(LISTENER_FEATURES, encoder_config(config.listener))).eval()
    codec.quantizer.initialise(codec.latents(sound(4, 40 * HOP)).detach().flatten(0, 1))
    return codec


def test_the_guide_stands_behind_each_frames_latent():
    codec, wave = listening(), sound(2, 5 * HOP + 100)
    latents = codec.latents(wave)
    assert latents.shape == (2, 6, QUANTIZER.dim + QUANTIZER.guide)
    torch.testing.assert_close(latents[..., QUANTIZER.dim :], codec.listener(wave, torch.tensor([wave.shape[1]] * 2)))
    short = codec.latents(wave, torch.tensor([2 * HOP, wave.shape[1]]))[0, :2]
    torch.testing.assert_close(short, codec.latents(wave[:1, : 2 * HOP])[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frames", [0, 3, BLOCK_FRAMES, BLOCK_FRAMES + 1, 2 * BLOCK_FRAMES + MARGIN_FRAMES])
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


def test_a_block_hears_what_stands_around_it():
    codec, wave = listening(), sound(1, 3 * BLOCK_FRAMES * HOP)
    base = codec.latents(wave[:, : (BLOCK_FRAMES + MARGIN_FRAMES) * HOP])[0, :BLOCK_FRAMES]
    codes = codec.quantizer.encode(base[None])
    assert torch.equal(codec.encode(wave)[..., :BLOCK_FRAMES], codes)


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


def test_its_sizes_survive_json():
    config = replace(TINY["lyra"], quantizer=QUANTIZER, listener=LISTENER)
    assert "listener" in config.to_dict() and "listener" not in TINY["lyra"].to_dict()
    again = type(config).from_dict(config.to_dict())
    assert encoder_config(again.listener) == encoder_config(LISTENER)


def test_codes_are_those_of_the_whole_file_in_numpy_too():
    """The numpy features that ONNX's backend gives the graph are those that the listener hears."""
    from lauragpt.features import numpy_features

    codec, wave = listening(), sound(1, 12 * HOP + 30)
    ours, _ = codec.listener.features(wave, torch.tensor([wave.shape[1]]))
    np.testing.assert_allclose(numpy_features(LISTENER_FEATURES)(wave[0].numpy()), ours[0].numpy(), atol=1e-4)
