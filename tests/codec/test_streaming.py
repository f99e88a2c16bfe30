"""Streamed equals offline: pieces of any size, every architecture, and a context that is neither too short nor told too long."""

import numpy as np
import pytest
import torch

from lauragpt.streaming import windowed
from tests.codec.test_codec import HOP, QUANTIZER, each, sound, tiny


def pieces(whole: torch.Tensor, seed: int, largest: int) -> list[torch.Tensor]:
    """Cut at random, empty pieces among them."""
    rng, at, cut = np.random.default_rng(seed), 0, []
    while at < len(whole):
        size = int(rng.integers(0, largest + 1))
        cut.append(whole[at : at + size])
        at += size
    return cut


@each
@pytest.mark.parametrize("seed", range(3))
def test_codes_streamed_are_codes_offline(architecture, seed):
    codec, wave = tiny(architecture), sound(1, 60 * HOP + 123 * seed, seed)[0]
    streamed = torch.cat(list(codec.encode_stream(pieces(wave, seed, 9 * HOP))), dim=1)
    offline = codec.encode(wave[None])[0]
    latents = torch.cat(list(codec.encoder.stream(pieces(wave, seed, 9 * HOP))))
    torch.testing.assert_close(latents, codec.latents(wave[None])[0].detach(), atol=1e-6, rtol=1e-5)
    # The untrained SEANet's latents lie so close to each other that rounding chooses among codes.
    assert streamed.shape == offline.shape and (architecture == "seanet" or torch.equal(streamed, offline))
    assert len(set(offline[0].tolist())) > 3, "codes that are all alike would prove nothing"
    assert torch.cat(list(codec.encode_stream([wave], 1)), dim=1).shape == (1, offline.shape[1])


@each
@pytest.mark.parametrize("seed", range(3))
def test_samples_streamed_are_samples_offline(architecture, seed):
    codec = tiny(architecture)
    embeddings = torch.randn(70 + seed, QUANTIZER.dim, generator=torch.Generator().manual_seed(seed))
    streamed = torch.cat(list(codec.decode_stream(pieces(embeddings, seed, 11))))
    torch.testing.assert_close(streamed, codec.decode_embeddings(embeddings[None])[0], atol=1e-5, rtol=1e-4)


@each
@pytest.mark.parametrize("samples", [1, 639, 641, 3 * HOP])
def test_short_clips_come_whole(architecture, samples):
    codec, wave = tiny(architecture), sound(1, samples)[0]
    codes = torch.cat(list(codec.encode_stream([wave])), dim=1)
    assert torch.equal(codes, codec.encode(wave[None])[0])
    assert torch.cat(list(codec.decode_stream([codec.embed(codes[None])[0]]))).shape == (codes.shape[1] * HOP,)


def test_nothing_in_nothing_out():
    codec = tiny("spectral")
    assert list(codec.encode_stream([])) == [] and list(codec.decode_stream([])) == []


def test_the_spectral_context_is_what_the_network_sees():
    """By brute force: a change just inside the context reaches the frame, one outside it does not."""
    codec = tiny("spectral")
    before, after = codec.decoder.context
    T = before + after + 5
    x = torch.randn(1, T, QUANTIZER.dim)
    base = codec.decode_embeddings(x)[0].view(T, HOP)

    def changed(frame: int) -> set[int]:
        other = x.clone()
        other[0, frame] += 10
        moved = (codec.decode_embeddings(other)[0].view(T, HOP) - base).abs().amax(1) > 0
        return set(moved.nonzero()[:, 0].tolist())

    assert changed(0) == set(range(before + 1))
    assert changed(T - 1) == set(range(T - 1 - after, T))


def test_the_spectral_encoders_context_is_what_it_sees():
    codec = tiny("spectral")
    before, after = codec.encoder.context
    T = before + after + 5
    wave = sound(1, T * HOP)
    base = codec.latents(wave)[0]

    def changed(frame: int) -> list[int]:
        other = wave.clone()
        other[0, frame * HOP : (frame + 1) * HOP] += torch.randn(HOP)
        return ((codec.latents(other)[0] - base).abs().amax(1) > 0).nonzero()[:, 0].tolist()

    # The windows end within a hop and so the last frame on each side may be spared; no frame beyond it is reached.
    assert after - 1 <= max(changed(0)) <= after and changed(0)[0] == 0
    assert T - 1 - before <= min(changed(T - 1)) <= T - before and changed(T - 1)[-1] == T - 1


@each
def test_a_stream_that_waits_leaves_gradients_to_others(architecture):
    codec = tiny(architecture)
    stream = codec.decode_stream(torch.randn(1, QUANTIZER.dim) for _ in range(60))
    assert len(next(stream)) and torch.is_grad_enabled()
    other = codec.encode_stream(iter(sound(1, 60 * HOP)[0].split(4 * HOP)))
    next(other)
    list(stream), list(other)
    assert torch.is_grad_enabled()


def test_sound_comes_before_all_is_known():
    """After `context` frames the first ones are given out, and what is kept does not grow."""
    codec, asked, given = tiny("spectral"), 0, 0
    _, after = codec.decoder.context

    def frames():
        nonlocal asked
        for _ in range(100):
            asked += 1
            yield torch.zeros(1, QUANTIZER.dim)

    for piece in codec.decode_stream(frames()):
        given += len(piece) // HOP
        assert asked == 100 or asked - given == after
    assert given == 100

    longest = 0

    def network(x):
        nonlocal longest
        longest = max(longest, x.shape[1])
        return x

    assert torch.equal(torch.cat(list(windowed(network, torch.arange(90).split(3), (4, 2), join=torch.cat))), torch.arange(90))
    assert longest <= 4 + 2 + 3 + 3
