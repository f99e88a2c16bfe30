"""The one-step vocoder: batch, look-ahead, condition, and its loss against a hand computation."""

import math
from dataclasses import asdict, replace

import pytest
import torch

from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraConfig
from lauragpt.model.vocoder import Vocoder, VocoderConfig, speech_loss, vocoder_loss
from lauragpt.source_filter import APERIODICITY, F0, FRAMES, POINTS, WIDTH

SMALL = VocoderConfig(audio_size=12, text_size=20, features=10, width=32, layers=3, heads=2, ffn=48, look_ahead=2, embedding=6)


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    torch.manual_seed(0)
    return Vocoder(SMALL).eval()


def bare(tokens: torch.Tensor) -> torch.Tensor:
    """Embeddings of tokens (B, T) that are all 0, to which the vocoder adds."""
    return torch.zeros(*tokens.shape, SMALL.embedding)


def part(row: int, padded: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A row's own condition, without padding; None where it has none."""
    n = int(counts[row])
    return (padded[row : row + 1, :n], counts[row : row + 1]) if n else None


@torch.no_grad()
def test_a_clip_is_the_same_alone_and_in_a_batch(vocoder):
    torch.manual_seed(1)
    tokens, lengths = torch.randint(12, (4, 15)), torch.tensor([3, 15, 8, 1])
    text, paces = (torch.randint(20, (4, 7)), torch.tensor([7, 2, 0, 5])), torch.tensor([2.0, 1.5, 1.0, 0.7])
    prompt = torch.randn(4, 9, 10), torch.tensor([0, 9, 4, 1])
    noisy = torch.randn(4, 15, 10), torch.tensor([3, 14, 0, 1])
    together = vocoder(tokens, bare(tokens), lengths, (*text, paces), prompt, noisy)
    assert together.shape == (4, 15, 6)
    for row, n in enumerate(lengths.tolist()):
        said = (*part(row, *text), paces[row : row + 1]) if text[1][row] else None
        own, length = tokens[row : row + 1, :n], lengths[row : row + 1]
        alone = vocoder(own, bare(own), length, said, part(row, *prompt), part(row, *noisy))
        torch.testing.assert_close(together[row, :n], alone[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_look_ahead_is_bounded(vocoder):
    torch.manual_seed(2)
    tokens, lengths = torch.randint(12, (1, 24)), torch.tensor([24])
    text, prompt = (torch.randint(20, (1, 5)), torch.tensor([5]), torch.tensor([1.8])), (torch.randn(1, 4, 10), torch.tensor([4]))
    before, reach = vocoder(tokens, bare(tokens), lengths, text, prompt), SMALL.look_ahead * SMALL.layers
    for at in range(24):
        changed = tokens.clone()
        changed[0, at] = (changed[0, at] + 1) % 12
        moved = (vocoder(changed, bare(changed), lengths, text, prompt) - before)[0].abs().amax(-1) > 1e-6
        first = max(0, at - reach)
        assert not moved[:first].any() and moved[first:].all(), f"token {at}"


@torch.no_grad()
def test_every_condition_matters(vocoder):
    torch.manual_seed(3)
    tokens, lengths, six = torch.randint(12, (1, 6)), torch.tensor([6]), torch.tensor([6])
    alone = vocoder(tokens, bare(tokens), lengths)
    letters, features, others = torch.randint(20, (1, 6)), torch.randn(1, 6, 10), torch.randn(1, 6, 10)
    conditions = {
        "text": [(letters, six, torch.ones(1)), (letters.flip(1), six, torch.ones(1))],
        "prompt": [(features, six), (others, six)],
        "noisy": [(features, six), (others, six)],
    }
    for name, (condition, other) in conditions.items():
        output, changed_output = (vocoder(tokens, bare(tokens), lengths, **{name: given}) for given in (condition, other))
        for changed in (alone, changed_output):  # without it, and with other content of the same length
            assert (output - changed).abs().amax(-1).min() > 1e-4, name


@torch.no_grad()
def test_letters_stand_where_they_are_asked_to_be_heard(vocoder):
    torch.manual_seed(4)
    tokens, letters, six = torch.randint(12, (1, 6)), torch.randint(20, (1, 6)), torch.tensor([6])
    slow, fast = (vocoder(tokens, bare(tokens), six, (letters, six, torch.tensor([pace]))) for pace in (2.0, 1.0))
    assert (slow - fast).abs().max() > 1e-4
    one = torch.tensor([1])  # the first stands at the beginning, however fast the others follow
    slow, fast = (vocoder(tokens, bare(tokens), six, (letters, one, torch.tensor([pace]))) for pace in (2.0, 1.0))
    torch.testing.assert_close(slow, fast)


def test_loss_counts_real_tokens_only():
    predicted = torch.tensor([[[1.0, 2.0], [9.0, 9.0]], [[0.0, 0.0], [3.0, -1.0]]])
    target = torch.tensor([[[0.0, 4.0], [-50.0, 50.0]], [[0.0, 1.0], [0.0, -1.0]]])
    # Real differences: (1, -2), (0, -1), (3, 0). L1 = 7 / 6, L2 = 15 / 6.
    assert vocoder_loss(predicted, target, torch.tensor([1, 2])).item() == pytest.approx(22 / 6)


@pytest.fixture(params=[{}, {"look_ahead": 0, "kernel": 5}], ids=["attention", "convolution"])
def in_codec_space(request) -> Vocoder:
    """Whose vectors are of any size and mean."""
    torch.manual_seed(5)
    vocoder = Vocoder(replace(SMALL, condition="codec", **request.param)).eval()
    vocoder.measure(torch.randn(50, 6) * torch.arange(1, 7) + 10)
    return vocoder


@torch.no_grad()
def test_in_codec_space_nothing_learnt_gives_back_what_is_given(in_codec_space):
    tokens, lengths = torch.randint(12, (3, 9)), torch.tensor([9, 9, 4])
    first, noisy, counts = torch.randn(3, 9, 6), 10 * torch.randn(3, 8, 6), torch.tensor([8, 0, 4])
    output = in_codec_space(tokens, first, lengths, noisy=(noisy, counts))
    torch.testing.assert_close(output[0, :8], noisy[0])
    torch.testing.assert_close(output[0, 8], first[0, 8])  # behind what is given there are the tokens' embeddings
    torch.testing.assert_close(output[1], first[1])
    torch.testing.assert_close(output[2, :4], noisy[2, :4])
    torch.testing.assert_close(in_codec_space(tokens, first, lengths), first)


@torch.no_grad()
def test_in_codec_space_a_clip_is_the_same_alone_and_in_a_batch(in_codec_space):
    for layer in (in_codec_space.gate, in_codec_space.output):
        torch.nn.init.normal_(layer.weight, std=0.2)
    tokens, first, lengths = torch.randint(12, (3, 15)), torch.randn(3, 15, 6), torch.tensor([3, 15, 8])
    prompt = torch.randn(3, 9, 10), torch.tensor([0, 9, 4])
    noisy = 10 * torch.randn(3, 17, 6), torch.tensor([3, 17, 0])
    together = in_codec_space(tokens, first, lengths, None, prompt, noisy)
    for row, n in enumerate(lengths.tolist()):
        own = tokens[row : row + 1, :n], first[row : row + 1, :n], lengths[row : row + 1]
        alone = in_codec_space(*own, None, part(row, *prompt), part(row, *noisy))
        torch.testing.assert_close(together[row, :n], alone[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_in_codec_space_a_token_reads_the_letter_that_it_says(in_codec_space):
    for layer in (in_codec_space.output, *in_codec_space.letters.convolutions):
        torch.nn.init.normal_(layer.weight, std=0.2)
    torch.manual_seed(6)
    tokens, first, lengths = torch.randint(12, (2, 30)), torch.zeros(2, 30, 6), torch.tensor([30, 12])
    letters, counts = torch.randint(20, (2, 14)), torch.tensor([14, 3])
    said = torch.stack([(torch.arange(30) - 2) // 2, torch.arange(30) // 4]).clamp(min=-1)
    said[1, 12:] = -1

    def spoken(letters, said, rows=slice(None)):
        return in_codec_space(tokens[rows], first[rows], lengths[rows], (letters, counts[rows], said))

    before = spoken(letters, said)
    alone = in_codec_space(tokens[1:, :12], first[1:, :12], lengths[1:], (letters[1:, :3], counts[1:], said[1:, :12]))
    torch.testing.assert_close(before[1, :12], alone[0], atol=1e-5, rtol=1e-4)
    silent = in_codec_space(tokens, first, lengths, (letters, counts, torch.full_like(said, -1)))
    torch.testing.assert_close(silent, in_codec_space(tokens, first, lengths), atol=1e-5, rtol=1e-4)
    empty = in_codec_space(tokens, first, lengths, (letters[:, :0], counts * 0, torch.full_like(said, -1)))
    torch.testing.assert_close(silent, empty, atol=1e-5, rtol=1e-4)
    last = letters.clone()
    last[0, 13] = (last[0, 13] + 1) % 20
    moved = (spoken(last, said) - before)[0].abs().amax(-1) > 1e-6
    heard_from = int((said[0] >= 13 - 4).nonzero()[0])  # two convolutions of five letters
    assert not moved[: heard_from - in_codec_space.look_ahead].any() and moved[heard_from:].all()


def test_in_codec_space_the_gradient_reaches_the_condition_from_the_start(in_codec_space):
    tokens, first, lengths = torch.randint(12, (1, 7)), torch.randn(1, 7, 6), torch.tensor([7])
    noisy = torch.randn(1, 7, 6, requires_grad=True)
    vocoder_loss(in_codec_space(tokens, first, lengths, noisy=(noisy, lengths)), torch.zeros(1, 7, 6), lengths).backward()
    assert (noisy.grad.abs().sum(-1) > 0).all()
    assert all(p.grad.abs().sum() > 0 for layer in (in_codec_space.gate, in_codec_space.output) for p in layer.parameters())


def test_vocoders_from_before_there_was_a_choice_load(vocoder):
    values = asdict(PRESETS["debug"].vocoder)
    del values["condition"], values["speller"]
    config = LauraConfig.from_dict(PRESETS["debug"].to_dict() | {"vocoder": values}).vocoder
    assert config == PRESETS["debug"].vocoder and not config.in_codec_space
    assert not {"mean", "deviation", "gate.weight", "gate.bias"} & set(vocoder.state_dict())
    with pytest.raises(LauraError, match="vocoder.condition is 'mel': choose features or codec"):
        VocoderConfig(condition="mel")


FRAME = torch.cat([torch.linspace(-14, -6, POINTS), torch.tensor([-20.0, 150.0])])


@torch.no_grad()
def test_speech_is_the_same_alone_and_in_a_batch_and_looks_ahead_as_far(in_codec_space):
    torch.manual_seed(6)
    in_codec_space.measure_frames(FRAME + torch.randn(40, WIDTH))
    tokens, lengths = torch.randint(12, (3, 20)), torch.tensor([3, 20, 8])
    said = torch.randint(-1, 4, (3, 20))
    text, prompt = (torch.randint(20, (3, 7)), torch.tensor([7, 4, 5])), (torch.randn(3, 9, 10), torch.tensor([0, 9, 4]))
    together = in_codec_space.speech(tokens, lengths, (*text, said), prompt)
    assert together.shape == (3, 20 * FRAMES, WIDTH)
    for row, n in enumerate(lengths.tolist()):
        own = tokens[row : row + 1, :n], lengths[row : row + 1], (*part(row, *text), said[row : row + 1, :n]), part(row, *prompt)
        torch.testing.assert_close(together[row, : n * FRAMES], in_codec_space.speech(*own)[0], atol=1e-3, rtol=1e-3)
    changed = tokens.clone()
    changed[1, 15] = (changed[1, 15] + 1) % 12
    moved = (in_codec_space.speech(changed, lengths, (*text, said), prompt) - together)[1].abs().amax(-1) > 1e-5
    assert not moved[: FRAMES * (15 - in_codec_space.look_ahead)].any() and moved[FRAMES * 15]


@torch.no_grad()
def test_speech_lies_about_what_was_measured_and_a_voice_is_between_60_and_500_hz(in_codec_space):
    in_codec_space.measure_frames(FRAME + 0.1 * torch.randn(200, WIDTH))
    tokens, lengths = torch.randint(12, (2, 50)), torch.tensor([50, 50])
    frames = in_codec_space.speech(tokens, lengths)
    assert (frames[..., :F0] - FRAME[:F0]).abs().mean() < 0.5
    in_codec_space.frame_mean[F0] = 9.0
    voiced = in_codec_space.speech(tokens, lengths)[..., F0]
    assert voiced.unique().tolist() == pytest.approx([0.0, 500.0])


def test_the_loss_of_speech_by_hand(in_codec_space):
    in_codec_space.frame_mean.copy_(FRAME)
    in_codec_space.frame_mean[F0] = FRAME[F0].log()
    in_codec_space.frame_deviation.fill_(2.0)
    frames = FRAME.repeat(1, 8, 1)
    frames[0, 0, 3] += 4.0  # two deviations of one of 64 numbers in one of four frames
    frames[0, 1, F0] = 0.0  # no voice: neither its pitch nor its aperiodicity counts
    frames[0, 1, APERIODICITY] += 50.0
    frames[0, 2, APERIODICITY] += 6.0
    frames[0, 3, F0] *= math.e
    frames[0, 4:] += 100.0  # padding
    numbers = torch.zeros(1, 8, WIDTH + 1)
    wanted = 2 / 64 / 4 + 0.2 * 3 / 3 + 0.4 * 0.5 / 3 + 0.3 * math.log(2)
    assert speech_loss(numbers, frames, in_codec_space, torch.tensor([1])).item() == pytest.approx(wanted, rel=1e-5)
