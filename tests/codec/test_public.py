"""Public codecs through transformers: tiny networks with random weights, saved in a folder and opened again; nothing is fetched."""

import pytest
import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

from lauragpt.codec.public import PublicCodec
from lauragpt.errors import LauraError
from lauragpt.model.vocoder import Vocoder, VocoderConfig, vocoder_loss
from tests.codec.test_codec import sound


def encodec():
    return EncodecModel(EncodecConfig(
        sampling_rate=24000, num_filters=4, upsampling_ratios=[8, 5, 4, 2], hidden_size=16, codebook_size=32, codebook_dim=16, num_lstm_layers=1,
        target_bandwidths=[1.5],
    ))  # fmt: skip


def dac():
    return DacModel(DacConfig(
        encoder_hidden_size=4, downsampling_ratios=[2, 4, 5, 8], decoder_hidden_size=32, upsampling_ratios=[8, 5, 4, 2], n_codebooks=3,
        codebook_size=32, codebook_dim=4, sampling_rate=16000,
    ))  # fmt: skip


def mimi():
    return MimiModel(MimiConfig(
        hidden_size=32, num_filters=4, num_residual_layers=1, upsampling_ratios=[8, 6, 5, 4], codebook_size=32, codebook_dim=16,
        vector_quantization_hidden_dimension=16, num_quantizers=4, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=16,
        intermediate_size=32, upsample_groups=32,
    ))  # fmt: skip


every = pytest.mark.parametrize("make", [encodec, dac, mimi])


def opened(make, folder) -> PublicCodec:
    torch.manual_seed(0)
    model = make()
    for name, buffer in model.named_buffers():  # codebooks start at zero in some of them
        if name.endswith(("embed", "embed_sum")):
            buffer.normal_()
    model.save_pretrained(folder)
    return PublicCodec.load(folder)


@every
def test_a_folder_becomes_a_codec(make, tmp_path):
    codec, wave = opened(make, tmp_path), sound(2, 8000)
    codes = codec.encode(wave)
    T = codec.frames(8000)
    assert T == pytest.approx(0.5 * codec.frame_rate, abs=1)
    assert codes.shape == (2, codec.levels, T) and 0 <= codes.min() and codes.max() < codec.codebook_size == 32
    assert codec.embed(codes).shape == (2, T, codec.dim)
    decoded = codec.decode(codes)
    assert decoded.shape[0] == 2 and decoded.shape[1] == pytest.approx(T * 16000 / codec.frame_rate, abs=1) and torch.isfinite(decoded).all()
    torch.testing.assert_close(codec.decode_embeddings(codec.embed(codes)), decoded)
    assert torch.equal(codec.encode(wave, n_quantizers=1), codes[:, :1])
    with pytest.raises(LauraError, match=f"give 1 to {codec.levels}"):
        codec.encode(wave, n_quantizers=99)


@every
def test_it_is_the_public_model_itself(make, tmp_path):
    """At its own rate, without resampling, the codes and the sound are those that transformers gives."""
    codec = opened(make, tmp_path)
    codec.rate = 16000  # hop and weights stay: only the resampling is left out
    wave = sound(1, 3 * codec.hop)
    codes = codec.encode(wave)
    told = codec.model.encode(wave[None]).audio_codes
    assert torch.equal(codes, told.reshape(1, -1, told.shape[-1])[..., : codes.shape[-1]])
    given = (told, [None]) if make is encodec else (None, told) if make is dac else (told,)
    public = codec.model.decode(*given).audio_values.flatten()
    torch.testing.assert_close(codec.decode(codes)[0, : len(public)], public[: codes.shape[-1] * codec.hop], atol=1e-5, rtol=1e-4)


@every
def test_a_row_is_coded_the_same_alone_and_in_a_batch(make, tmp_path):
    codec, waves = opened(make, tmp_path), sound(2, 9000)
    waves[0, 5000:] = 7.0  # what lies behind a row's own must not matter
    together = codec.encode(waves, torch.tensor([5000, 9000]))
    alone = codec.encode(waves[:1, :5000])
    assert torch.equal(together[0, :, : codec.frames(5000)], alone[0])
    embeddings = codec.embed(together)
    decoded = codec.decode_embeddings(embeddings, torch.tensor([codec.frames(5000), codec.frames(9000)]))
    own = codec.decode(alone)
    torch.testing.assert_close(decoded[0, : own.shape[1]], own[0], atol=1e-5, rtol=1e-4)


@every
def test_the_vocoder_learns_its_summed_embedding(make, tmp_path):
    codec = opened(make, tmp_path)
    codes = codec.encode(sound(4, 16000))
    target, tokens = codec.embed(codes), codes[:, 0]
    lengths = torch.full((4,), tokens.shape[1])
    torch.manual_seed(0)
    vocoder = Vocoder(VocoderConfig(audio_size=codec.codebook_size, text_size=10, features=20, width=32, layers=2, heads=2, ffn=64, embedding=codec.dim))
    optimizer, losses = torch.optim.Adam(vocoder.parameters(), lr=3e-3), []
    for _ in range(40):
        loss = vocoder_loss(codec.embed(codes[:, :1]) + vocoder(tokens, lengths), target, lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@every
def test_the_hash_is_that_of_the_weights(make, tmp_path):
    codec = opened(make, tmp_path)
    assert codec.hash == PublicCodec.load(tmp_path).hash and len(codec.hash) == 16
    next(codec.model.parameters()).data.mul_(1.5)
    assert codec.hash != PublicCodec.load(tmp_path).hash


def test_what_cannot_be_opened_says_why(tmp_path):
    with pytest.raises(LauraError, match="no folder of a codec"):
        PublicCodec.load(tmp_path / "none")
    (tmp_path / "config.json").write_text('{"model_type": "encodec"}')
    with pytest.raises(LauraError, match="cannot be opened"):
        PublicCodec.load(tmp_path)
    with pytest.raises(LauraError, match="stereo"):
        PublicCodec(EncodecModel(EncodecConfig(audio_channels=2, num_filters=4, hidden_size=16, codebook_dim=16, codebook_size=32)))
    with pytest.raises(LauraError, match="'linear'.*encodec, dac, mimi"):
        other = torch.nn.Linear(2, 2)
        other.config = type("Config", (), {"model_type": "linear"})()
        PublicCodec(other)
