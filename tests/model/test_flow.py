"""Flow matching: batch, steps, what it learns of noise, what the stage measures."""

from dataclasses import replace

import pytest
import torch

from lauragpt.errors import LauraError
from lauragpt.model.flow import Flow, noise_like
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel, with_changes
from lauragpt.model.vocoder import VocoderConfig


@pytest.fixture(scope="module")
def model() -> LauraModel:
    torch.manual_seed(0)
    model = LauraModel(with_changes(PRESETS["debug"], {"vocoder": {"flow": 3}})).eval()
    model.vocoder.measure_rest(torch.randn(50, model.config.codec.dim) * torch.linspace(0.1, 2, model.config.codec.dim))
    return model


@torch.no_grad()
def test_a_clip_is_the_same_alone_in_a_batch_and_again(model):
    tokens, lengths = torch.randint(1024, (3, 14)), torch.tensor([14, 5, 1])
    text = torch.randint(300, (3, 6)), torch.tensor([6, 2, 3]), torch.tensor([2.0, 1.5, 0.7])
    together = model.vocode(tokens, lengths, text)
    assert torch.equal(together, model.vocode(tokens, lengths, text))
    for row, n in enumerate(lengths.tolist()):
        own = tuple(each[row : row + 1, : int(text[1][row])] if each.dim() == 2 else each[row : row + 1] for each in text)
        alone = model.vocode(tokens[row : row + 1, :n], lengths[row : row + 1], own)
        torch.testing.assert_close(together[row, :n], alone[0], atol=1e-5, rtol=1e-4)
    long, short = noise_like(torch.zeros(1, 700, 4)), noise_like(torch.zeros(2, 300, 4))
    assert torch.equal(long[0, :300], short[1]) and abs(float(long.std()) - 1) < 0.05
    assert len(long[0].unique(dim=0)) == 700  # no block is another's


@torch.no_grad()
def test_noise_moves_along_the_velocity_in_equal_steps(model, monkeypatch):
    """On the true lines, whose velocity is rest - noise, any number of steps ends at the true sum."""
    tokens, lengths = torch.randint(1024, (1, 9)), torch.tensor([9])
    first, rest = model.codec.embed(tokens[:, None]), torch.randn(1, 9, model.config.codec.dim)
    start, seen = noise_like(first), []

    def velocity(tokens, state, time, lengths, **conditions):
        seen.append(float(time))
        torch.testing.assert_close(state, start + float(time) * (rest - start))
        return rest - start

    monkeypatch.setattr(model.vocoder, "velocity", velocity)
    torch.testing.assert_close(model.vocode(tokens, lengths), first + rest * model.vocoder.spread)
    assert seen == pytest.approx([0, 1 / 3, 2 / 3])


@torch.no_grad()
def test_the_loss_is_that_of_the_velocity_over_real_tokens(model, monkeypatch):
    tokens, lengths = torch.randint(1024, (2, 9)), torch.tensor([9, 4])
    first, E = model.codec.embed(tokens[:, None]), model.config.codec.dim
    target = first + torch.randn(2, 9, E)

    def loss(**more) -> float:
        return float(model.vocoder.loss(tokens, first, more.get("target", target), lengths, torch.Generator().manual_seed(5)))

    other = target.clone()
    other[1, 4:] += 9  # padding
    assert loss() == pytest.approx(loss(target=other)) and loss() > 0.5
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(model.vocoder, "velocity", lambda *_, **__: (target - first) / model.vocoder.spread - noise)
    assert loss() < 1e-10


@pytest.mark.parametrize("changes", [{"flow": 2}, {"steps": 3}])
@torch.no_grad()
def test_noisy_speech_may_have_fewer_frames_than_there_are_tokens(changes):
    model = LauraModel(with_changes(PRESETS["debug"], {"vocoder": changes})).eval()
    if "flow" in changes:
        model.vocoder.measure_rest(torch.randn(50, model.config.codec.dim))
    noisy = model.noisy_of(0.1 * torch.randn(1, 16641), torch.tensor([16641]))
    assert noisy[0].shape[1] == 26
    tokens, lengths = torch.randint(1024, (1, 27)), torch.tensor([27])
    heard = model.vocode(tokens, lengths, noisy=noisy)
    assert heard.shape == (1, 27, model.config.codec.dim) and not torch.equal(heard, model.vocode(tokens, lengths))


def test_its_configuration():
    sizes = with_changes(PRESETS["debug"], {"vocoder": {"flow": 3}})
    assert LauraConfig.from_dict(sizes.to_dict()) == sizes and LauraModel(sizes).vocoder.look_ahead == 3 * 2 * 2
    with pytest.raises(LauraError, match="or 0 for none"):
        VocoderConfig(flow=-1)
    for other in ({"condition": "codec"}, {"steps": 2}):
        with pytest.raises(LauraError, match="leave one of them out"):
            Flow(replace(VocoderConfig(flow=2), **other))
