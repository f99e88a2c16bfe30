"""Lyra's networks on tiny random weights: what they are made of, streams, causality, gradients."""

from dataclasses import replace

import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from lauragpt.codec.lyra import FAR, Activation, CausalConv, CausalUpsample, Limit, LyraConfig, LyraDecoder, LyraEncoder
from lauragpt.engine.onnx_export import exported
from tests.codec.test_streaming import pieces

CONFIG = LyraConfig(channels=4, strides=(4, 3, 2), dilations=(1, 3), dim=6)
HOP = CONFIG.hop


def tiny(kind: type, seed: int = 0):
    """In float64, where what rounding leaves is far below what a mistake would."""
    torch.manual_seed(seed)
    return kind(CONFIG).double()


def given(kind: type, frames: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    shape = (batch, frames * HOP) if kind is LyraEncoder else (batch, frames, CONFIG.dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


both = pytest.mark.parametrize("kind", [LyraEncoder, LyraDecoder])


def test_the_sizes_of_the_published_networks():
    """Those of Lyra's own files, whose graphs hold these variables between one frame and the next."""
    encoder, decoder = LyraEncoder(), LyraDecoder()
    assert LyraConfig().hop == 320
    assert [sum(p.numel() for p in network.parameters()) for network in (encoder, decoder)] == [659_008, 658_945]
    stages = [[(64, 2), (64, 6), (64, 18)], [(128, 2), (128, 6), (128, 18)], [(256, 2), (256, 6), (256, 18)]]
    encoders = [(1, 48), *stages[0], (64, 5), *stages[1], (128, 2), *stages[2], (256, 2), (512, 2)]
    decoders = [(64, 2), (256, 2), *stages[2], (128, 2), *stages[1], (64, 5), *stages[0], (1, 48)]
    assert [tuple(past.shape) for past in encoder.start(3)] == [(3, *past) for past in encoders]
    assert [tuple(past.shape) for past in decoder.start(3)] == [(3, *past) for past in decoders]


@pytest.mark.parametrize("samples", [1, HOP - 1, HOP, HOP + 1, 5 * HOP + 7])
def test_every_sample_has_its_frame(samples):
    frames = -(-samples // HOP)
    wave = torch.randn(2, samples, dtype=torch.float64)
    vectors = tiny(LyraEncoder)(wave)
    assert vectors.shape == (2, frames, CONFIG.dim)
    assert tiny(LyraDecoder)(vectors).shape == (2, frames * HOP)
    torch.testing.assert_close(vectors, tiny(LyraEncoder)(F.pad(wave, (0, frames * HOP - samples))), atol=0, rtol=0)


@pytest.mark.parametrize("kernel, stride, dilation, groups", [(3, 1, 9, 4), (10, 5, 1, 1), (4, 2, 1, 2), (64, 16, 1, 1)])
def test_a_convolution_sees_zeros_before_the_beginning(kernel, stride, dilation, groups):
    layer = CausalConv(4, 8, kernel, stride, dilation, groups)
    x, state = torch.randn(2, 4, 6 * stride), [torch.zeros(2, *layer.past)]
    padded = F.pad(x, ((kernel - 1) * dilation + 1 - stride, 0))
    torch.testing.assert_close(layer(x, state), F.conv1d(padded, layer.weight, layer.bias, stride, 0, dilation, groups))


@pytest.mark.parametrize("kernel, stride, groups", [(4, 2, 4), (10, 5, 1), (64, 16, 2)])
def test_an_upsampling_is_a_transposed_convolution_without_its_tail(kernel, stride, groups):
    layer = CausalUpsample(8, 4, kernel, stride, groups)
    x, state = torch.randn(2, 8, 6), [torch.zeros(2, *layer.past)]
    whole = F.conv_transpose1d(x, layer.weight, layer.bias, stride, groups=groups)
    torch.testing.assert_close(layer(x, state), whole[..., : 6 * stride])
    torch.testing.assert_close(state[0] + layer.bias[:, None], whole[..., 6 * stride :])


@both
def test_limits_are_kept_and_without_them_nothing_is_cut(kind):
    network, x = tiny(kind), given(kind, 6)
    base = network(x)
    for limit in [layer for layer in network.modules() if isinstance(layer, Limit)]:
        limit.range.copy_(torch.tensor([-1e-3, 2e-3]))
        assert not torch.equal(network(x), base)
        limit.range.copy_(torch.tensor([-FAR, FAR]))
    assert torch.equal(network(x), base)
    network.limit.range.copy_(torch.tensor([-1e-3, 2e-3]))
    assert torch.equal(network(x), base.clamp(*network.limit.range))


def test_an_activation_is_limited():
    layer = Activation()
    layer.range.copy_(torch.tensor([-0.6, 1.5]))
    assert layer(torch.tensor([-4.0, -1.0, 0.0, 1.0, 2.0])).tolist() == pytest.approx([-0.6, -0.3, 0.0, 1.0, 1.5])


@both
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_gives_what_the_whole_gives(kind, seed):
    network, whole = tiny(kind), given(kind, 40, seed=seed)[0]
    whole = whole[: len(whole) - seed]  # of a wave, the last frame is not complete
    streamed = list(network.stream(pieces(whole, seed, 5 * network.frame)))
    assert len(streamed) > 10
    torch.testing.assert_close(torch.cat(streamed), network(whole[None])[0], atol=1e-12, rtol=1e-12)


@both
def test_nothing_in_nothing_out(kind):
    network = tiny(kind)
    assert list(network.stream([])) == [] == list(network.stream([given(kind, 0)[0]]))


def test_a_frame_comes_as_soon_as_it_is_complete():
    network, wave = tiny(LyraEncoder), given(LyraEncoder, 3)[0]
    assert [len(vectors) for vectors in network.stream(wave.split(HOP // 2))] == [1, 1, 1]
    waves = tiny(LyraDecoder).stream(iter([given(LyraDecoder, 1)[0]]))
    assert len(next(waves)) == HOP


@both
def test_steps_carry_a_batch_and_leave_the_state_they_were_given(kind):
    network, x = tiny(kind), given(kind, 12, batch=3)
    state, steps = network.start(3), []
    for piece in x.split(3 * network.frame, dim=1):
        before = [past.clone() for past in state]
        y, after = network.step(piece, state)
        assert len(state) == len(after) and all(map(torch.equal, state, before))
        steps.append(y)
        state = after
    torch.testing.assert_close(torch.cat(steps, dim=1), network(x), atol=1e-12, rtol=1e-12)


@both
def test_what_comes_later_changes_nothing_earlier(kind):
    network, x = tiny(kind), given(kind, 10)
    results = CONFIG.dim if kind is LyraEncoder else HOP  # values a frame
    base = network(x).view(10, results)
    for at in range(x.shape[1]):
        changed = x.clone()
        changed[0, at] += 1.0
        frames = (network(changed).view(10, results) != base).any(1).nonzero()[:, 0].tolist()
        assert frames[0] == at // network.frame


@both
def test_a_row_is_the_same_alone_and_padded_in_a_batch(kind):
    network, rows = tiny(kind), given(kind, 9, batch=2)
    short = rows[:1, : 4 * network.frame]
    alone = network(short, torch.tensor([4]))
    torch.testing.assert_close(network(rows, torch.tensor([4, 9]))[:1, : alone.shape[1]], alone, atol=1e-12, rtol=1e-12)


@both
def test_vectors_stand_side_by_side(kind):
    stacked = tiny(kind)
    stacked.frame, stacked.stack = (2 * HOP, 2) if kind is LyraEncoder else (1, 2)
    x = given(kind, 6)
    y = tiny(kind)(x)
    if kind is LyraEncoder:
        torch.testing.assert_close(stacked(x), y.reshape(1, 3, 2 * CONFIG.dim), atol=0, rtol=0)
        torch.testing.assert_close(stacked(x[:, : 5 * HOP])[:, :2], y[:, :4].reshape(1, 2, 2 * CONFIG.dim), atol=0, rtol=0)
    else:
        torch.testing.assert_close(stacked(x.view(1, 3, 2 * CONFIG.dim)), y, atol=0, rtol=0)


@both
@pytest.mark.parametrize("stack", [1, 2])
def test_the_context_is_what_a_network_sees(kind, stack):
    """By brute force: a change in the first frame reaches as many frames after it, and those alone."""
    torch.manual_seed(0)
    config = replace(CONFIG, stack=stack)
    network = kind(config).double()
    before, after = network.context
    x = torch.randn((1, (before + 4) * config.hop) if kind is LyraEncoder else (1, before + 4, stack * config.dim), dtype=torch.float64)
    changed = x.clone()
    changed[0, : network.frame] += torch.randn_like(changed[0, : network.frame])
    moved = (network(changed) - network(x)).reshape(before + 4, -1).abs().amax(1) > 0
    assert after == 0 and before - 1 <= int(moved.nonzero().max()) <= before and bool(moved[:before].all())


def test_gradients_reach_every_tensor_and_the_wave():
    encoder, decoder, wave = tiny(LyraEncoder), tiny(LyraDecoder), given(LyraEncoder, 8, batch=2).requires_grad_()
    decoder(encoder(wave)).square().mean().backward()
    tensors = {**dict(encoder.named_parameters()), **{f"decoder {name}": p for name, p in decoder.named_parameters()}, "wave": wave}
    assert [name for name, tensor in tensors.items() if tensor.grad is None or not (tensor.grad != 0).any()] == []


@both
def test_a_stream_that_waits_leaves_gradients_to_others(kind):
    network = tiny(kind)
    stream = network.stream(iter(given(kind, 4)[0].split(network.frame)))
    assert not next(stream).requires_grad and torch.is_grad_enabled()
    list(stream)
    assert network(given(kind, 1)).requires_grad


class Step(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, state):
        return self.network.step(x, state)


@both
def test_one_onnx_graph_takes_pieces_of_any_size_and_the_state(kind):
    network, x = tiny(kind).float(), given(kind, 7).float()
    names = [f"past{i}" for i in range(len(network.start()))]
    pieces = torch.export.Dim("pieces", min=1)
    size = network.frame * pieces
    example = (given(kind, 3, batch=2).float(), network.start(2))
    graph = exported(
        Step(network), example, ({0: "B", 1: size}, [{0: "B"}] * len(names)), ["x", *names], ["y", *(f"next_{name}" for name in names)]
    )
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    state, results = [past.numpy() for past in network.start()], []
    for piece in x.split([network.frame, 4 * network.frame, 2 * network.frame], dim=1):
        y, *state = session.run(None, {"x": piece.numpy(), **dict(zip(names, state))})
        results.append(torch.from_numpy(y))
    torch.testing.assert_close(torch.cat(results, dim=1), network(x), atol=1e-5, rtol=1e-5)
