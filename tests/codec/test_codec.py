"""The codec as a whole: shapes, padding, hashes, configurations, in every architecture."""

import json
from dataclasses import replace

import pytest
import torch

from lauragpt.codec import CODEC_PRESETS, Codec, CodecConfig
from lauragpt.codec.lyra import LyraConfig
from lauragpt.codec.quantizer import QuantizerConfig
from lauragpt.codec.spectral import SpectralConfig
from lauragpt.errors import LauraError

QUANTIZER = QuantizerConfig(n_quantizers=4, codebook_size=64, dim=16, guide=3, dropout_levels=(1, 2, 4))
TINY = {
    "seanet": replace(CODEC_PRESETS["debug"], quantizer=QUANTIZER),
    "spectral": CodecConfig(architecture="spectral", quantizer=QUANTIZER, spectral=SpectralConfig(channels=24, fine_channels=16)),
    "lyra": CodecConfig(architecture="lyra", quantizer=replace(QUANTIZER, guide=0), lyra=LyraConfig(channels=8, dim=8, stack=2)),
}
HOP = 640


def tiny(architecture: str) -> Codec:
    """A codec whose codebooks fit its latents, so that codes differ from frame to frame."""
    torch.manual_seed(0)
    codec = Codec.from_config(TINY[architecture]).eval()
    with torch.no_grad():
        for weight in codec.encoder.parameters():  # untrained, SEANet's latents hardly differ: rounding would choose their codes
            weight *= 1.6 if architecture == "seanet" else 1.0
    latents = codec.latents(sound(4, 40 * HOP)).detach()
    codec.quantizer.initialise(latents.flatten(0, 1))
    return codec


def sound(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(batch, samples, generator=generator).cumsum(1).sin()


each = pytest.mark.parametrize("architecture", TINY)


@each
@pytest.mark.parametrize("samples", [1, 639, 640, 641, 5 * HOP + 17])
def test_shapes_of_the_round_trip(architecture, samples):
    codec = tiny(architecture)
    wave = sound(2, samples)
    frames = -(-samples // HOP)
    codes = codec.encode(wave)
    assert codes.shape == (2, 4, frames) and codes.dtype == torch.int64
    assert codes.min() >= 0 and codes.max() < 64
    assert codec.encode(wave, n_quantizers=2).equal(codes[:, :2])
    assert codec.embed(codes).shape == (2, frames, 16)
    assert codec.decode(codes).shape == (2, frames * HOP)
    assert codec.decode_embeddings(codec.embed(codes[:, :1])).shape == (2, frames * HOP)
    output = codec(wave, 2)
    assert output.wave.shape == wave.shape and output.codes.shape == (2, 2, frames) and output.commitment.shape == (2,)


@each
def test_forward_is_encode_and_decode(architecture):
    codec, wave = tiny(architecture), sound(2, 6 * HOP)
    output = codec(wave)
    assert torch.equal(output.codes, codec.encode(wave))
    torch.testing.assert_close(output.wave, codec.decode(output.codes), atol=1e-5, rtol=1e-4)


@each
def test_alone_and_padded_in_a_batch_give_the_same_codes(architecture):
    codec, lengths = tiny(architecture), torch.tensor([700, 3 * HOP, 7 * HOP - 1, 12 * HOP])
    rows = [sound(1, int(n), seed=i)[0] for i, n in enumerate(lengths)]
    garbage = torch.randn(4, 12 * HOP)  # what lies beyond a row's length must not matter, even if it is not zero
    for i, row in enumerate(rows):
        garbage[i, : len(row)] = row
    together = codec.encode(garbage, lengths)
    for i, row in enumerate(rows):
        alone = codec.encode(row[None])
        assert torch.equal(together[i, :, : alone.shape[-1]], alone[0])
    assert len(set(together[3, 0].tolist())) > 3, "codes that are all alike would prove nothing"


@each
def test_decoding_in_a_batch_equals_decoding_alone(architecture):
    codec, lengths = tiny(architecture), torch.tensor([2, 5, 9])
    embeddings = torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(0))
    together = codec.decode_embeddings(embeddings, lengths)
    for i, n in enumerate(lengths.tolist()):
        alone = codec.decode_embeddings(embeddings[i : i + 1, :n])
        # the last window of the spectral decoder reaches over the end, into silence
        torch.testing.assert_close(together[i, : n * HOP], alone[0], atol=1e-5, rtol=1e-4)


def test_seanet_is_causal():
    """Streamed equals offline: what comes later changes no code and no sample before it."""
    codec, wave = tiny("seanet"), sound(1, 10 * HOP)
    assert torch.equal(codec.encode(wave)[..., :6], codec.encode(wave[:, : 6 * HOP]))
    embeddings = torch.randn(1, 10, 16)
    torch.testing.assert_close(codec.decode_embeddings(embeddings)[:, : 6 * HOP], codec.decode_embeddings(embeddings[:, :6]))


def test_spectral_codec_sees_a_bounded_context():
    """So speech can be decoded piece by piece: frames further than 8 away from a frame do not reach its samples."""
    codec = Codec.from_config(replace(CODEC_PRESETS["mini"], quantizer=QUANTIZER)).eval()
    embeddings = torch.randn(1, 40, 16)
    changed = embeddings.clone()
    changed[:, :11] += 1
    whole, other = codec.decode_embeddings(embeddings), codec.decode_embeddings(changed)
    torch.testing.assert_close(whole[:, 19 * HOP :], other[:, 19 * HOP :])
    assert not torch.allclose(whole[:, 11 * HOP : 12 * HOP], other[:, 11 * HOP : 12 * HOP])


def test_spectral_latents_know_no_phase():
    """Turned upside down, a sound has the same codes: the embedding holds only what a vocoder can predict."""
    codec, wave = tiny("spectral"), sound(2, 10 * HOP)
    assert torch.equal(codec.encode(wave), codec.encode(-wave))


def test_nothing_is_normalised_away():
    """A louder clip has other codes (the level is in the code), and digital silence is finite."""
    codec = tiny("spectral")
    wave = sound(1, 10 * HOP)
    assert not torch.equal(codec.encode(wave), codec.encode(0.1 * wave))
    assert torch.isfinite(codec.decode(codec.encode(torch.zeros(1, 3 * HOP)))).all()


@each
def test_hash_follows_weights_codebooks_and_configuration(architecture):
    codec = tiny(architecture)
    original = codec.hash
    assert len(original) == 16
    codec.quantizer.counts += 1  # training state: does not change what a code means
    assert codec.hash == original
    codec.quantizer.codebooks[2, 5, 3] += 0.5
    assert codec.hash != original
    codec = tiny(architecture)
    next(codec.decoder.parameters()).data.mul_(1.01)
    assert codec.hash != original
    other = tiny(architecture)
    other.config = replace(other.config, sample_rate=8000)
    assert other.hash != original


@each
def test_hash_and_codes_survive_a_half_precision_checkpoint(architecture):
    codec = tiny(architecture)
    saved = {name: value.half() if value.is_floating_point() else value for name, value in codec.state_dict().items()}
    other = Codec.from_config(CodecConfig.from_dict(json.loads(json.dumps(codec.config.to_dict()))))
    other.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in saved.items()})
    assert other.hash == codec.hash


@pytest.mark.parametrize("name", CODEC_PRESETS)
def test_presets_hold_the_papers_facts(name):
    config = CODEC_PRESETS[name]
    assert config.hop == 640 and config.sample_rate == 16000
    assert config.quantizer.codebook_size == 1024 and config.dim == 128
    assert CodecConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    if name != "debug":
        assert config.quantizer.n_quantizers == 32


def test_codecs_of_other_architectures_know_nothing_of_lyra():
    """So that they keep the hash which they had before there was one."""
    assert ["lyra" in config.to_dict() for config in TINY.values()] == [False, False, True]


def test_mini_is_small():
    codec = Codec.from_config(CODEC_PRESETS["mini"])
    weights = sum(p.numel() for p in codec.parameters()) + codec.quantizer.codebooks.numel()
    assert weights <= 12_000_000


def test_bad_configurations_say_what_is_wrong():
    with pytest.raises(LauraError, match="wavenet.*seanet, spectral, lyra"):
        Codec.from_config(replace(CODEC_PRESETS["debug"], architecture="wavenet"))
    with pytest.raises(LauraError, match="320 samples and 64 numbers do not fit strides of 640 and a quantizer of 128"):
        Codec.from_config(CodecConfig(architecture="lyra", lyra=LyraConfig(stack=1)))
    with pytest.raises(LauraError, match="hops.*allowed keys.*strides"):
        CodecConfig.from_dict({"hops": 3})


@each
def test_one_gradient_reaches_every_weight(architecture):
    codec = Codec.from_config(TINY[architecture])
    wave = sound(2, 4 * HOP)
    output = codec(wave, update=True)
    guide = codec.quantizer.split(output.latents)[1]  # which no sound depends on: it learns from its teacher
    ((output.wave - wave).square().mean() + output.commitment.mean() + guide.square().mean()).backward()
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.abs().sum() > 0, name
