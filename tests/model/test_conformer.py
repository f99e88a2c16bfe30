"""The Conformer: padding and batch never change an output, far frames are heard, layers are dropped in training alone."""

import dataclasses

import pytest
import torch

from lauragpt.errors import LauraError
from lauragpt.model.conformer import Conformer, ConformerConfig, MaskedBatchNorm

SMALL = ConformerConfig(input=20, width=32, layers=3, heads=2, ffn=48, kernel=5, output=24, units=7, intermediate_layer=1)


@pytest.fixture(scope="module")
def encoder() -> Conformer:
    torch.manual_seed(0)
    return Conformer(SMALL).eval()


@pytest.fixture(scope="module")
def with_batch_norm() -> Conformer:
    torch.manual_seed(0)
    encoder = Conformer(dataclasses.replace(SMALL, norm="batch")).train()
    for _ in range(3):
        encoder(torch.randn(4, 20, 20), torch.full((4,), 20))  # so that its statistics are not those it begins with
    return encoder.eval()


@pytest.mark.parametrize("name", ["encoder", "with_batch_norm"])
@torch.no_grad()
def test_a_clip_is_the_same_alone_and_in_a_batch(name, request):
    encoder = request.getfixturevalue(name)
    clips = [torch.randn(n, 20) for n in (1, 9, 30)]
    lengths = torch.tensor([1, 9, 30])
    padded = torch.full((3, 33, 20), 100.0)  # what lies in the padding must not matter
    for row, clip in enumerate(clips):
        padded[row, : len(clip)] = clip
    together = encoder(padded, lengths)
    for row, clip in enumerate(clips):
        alone = encoder(clip[None], lengths[row : row + 1])
        assert alone.embeddings.shape == (1, len(clip), 24)
        torch.testing.assert_close(together.embeddings[row, : len(clip)], alone.embeddings[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.ctc_log_probs[row, : len(clip)], alone.ctc_log_probs[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_every_frame_hears_every_other_and_its_place(encoder):
    clip = torch.randn(1, 40, 20)
    changed = clip.clone()
    changed[0, 39] += 1
    a, b = encoder(clip, torch.tensor([40])).embeddings, encoder(changed, torch.tensor([40])).embeddings
    assert (a - b).abs().amax(-1).min() > 0
    same = encoder(torch.ones(1, 40, 20), torch.tensor([40])).embeddings
    assert not torch.allclose(same[0, 15], same[0, 25], atol=1e-3)


@torch.no_grad()
def test_ctc_is_a_distribution_and_the_middle_is_for_training(encoder):
    heard = encoder(torch.randn(2, 12, 20), torch.tensor([12, 12]))
    torch.testing.assert_close(heard.ctc_log_probs.exp().sum(-1), torch.ones(2, 12))
    assert heard.middle_log_probs is None
    trained = Conformer(SMALL).train()(torch.randn(2, 12, 20), torch.tensor([12, 12]))
    assert trained.middle_log_probs.shape == (2, 12, 7)


@torch.no_grad()
def test_layers_are_dropped_in_training_alone():
    model, clip = Conformer(dataclasses.replace(SMALL, layers=6, drop_layer=0.9)), torch.randn(1, 8, 20)

    def count() -> int:
        return len({model(clip, torch.tensor([8])).embeddings.sum().item() for _ in range(12)})

    assert model.eval() and count() == 1
    assert model.train() and count() > 1


@torch.no_grad()
def test_the_gpt_hears_a_middle_layer_standardised():
    torch.manual_seed(0)
    model, clips, taken = Conformer(SMALL).eval(), torch.randn(40, 12, 20), []
    model.layers[0].register_forward_hook(lambda module, given, x: taken.append(x))
    model.intermediate.linear.weight.copy_(torch.eye(24, 32))
    lengths = torch.full((40,), 12)
    raw = model(clips, lengths).embeddings
    model.intermediate.measure(taken[0].flatten(0, 1) + 5)  # a constant that all frames share is gone from what the GPT hears
    heard = model(clips, lengths).embeddings
    layer = taken[0].flatten(0, 1)
    wanted = (layer - layer.mean(0) - 5) / layer.std(0)
    torch.testing.assert_close((heard - raw).flatten(0, 1), (wanted - layer)[:, :24], atol=1e-4, rtol=1e-4)
    without = Conformer(dataclasses.replace(SMALL, intermediate_layer=0))
    assert without.intermediate is None and without(clips, lengths).embeddings.shape == heard.shape


def test_batch_norm_counts_real_frames_alone():
    """In training its statistics, outputs and gradients are those of torch's own over the real frames; in use they stay."""
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(6).train(), torch.nn.BatchNorm1d(6).train()
    x, real = torch.randn(3, 9, 6, requires_grad=True), (torch.arange(9) < torch.tensor([9, 4, 1])[:, None])[..., None].float()
    inside = real[..., 0] > 0
    wanted = theirs(x[inside])
    torch.testing.assert_close(ours(x, real)[inside], wanted)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    gradients = [torch.autograd.grad(each.square().sum(), x, retain_graph=True)[0] for each in (ours(x, real)[inside], theirs(x[inside]))]
    torch.testing.assert_close(*gradients)
    before = ours.eval().running_mean.clone()
    torch.testing.assert_close(ours(x, real)[inside], theirs.eval()(x[inside]))
    assert torch.equal(ours.running_mean, before)


def test_a_step_of_training_with_batch_norm_reaches_all_of_it():
    encoder = Conformer(dataclasses.replace(SMALL, norm="batch")).train()
    heard = encoder(torch.randn(2, 12, 20), torch.tensor([12, 7]))
    (heard.embeddings.square().mean() + heard.ctc_log_probs.square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for layer in encoder.layers for p in layer.convolution.inner.parameters())
    with pytest.raises(LauraError, match="layer or batch"):
        ConformerConfig(norm="group")
