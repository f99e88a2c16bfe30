"""The speller: which letter each audio token says, alone and in a batch, with a bounded look-ahead."""

import pytest
import torch

from lauragpt.model.speller import Speller, SpellerConfig


@pytest.fixture(scope="module")
def speller() -> Speller:
    torch.manual_seed(0)
    return Speller(SpellerConfig(width=16, layers=2), audio_size=12, text_size=20).eval()


@torch.no_grad()
def test_it_tells_the_same_alone_and_in_a_batch(speller):
    tokens, lengths = torch.randint(12, (3, 15)), torch.tensor([15, 4, 9])
    together = speller(tokens, lengths)
    assert together.shape == (3, 15, 21)
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(3, 15))
    for row, n in enumerate(lengths.tolist()):
        alone = speller(tokens[row : row + 1, :n], lengths[row : row + 1])
        torch.testing.assert_close(together[row, :n], alone[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_token_moves_what_lies_around_it_and_no_more(speller):
    tokens, lengths = torch.randint(12, (1, 20)), torch.tensor([20])
    changed = tokens.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 12
    moved = (speller(changed, lengths) - speller(tokens, lengths))[0].abs().amax(-1) > 1e-6
    assert speller.look_ahead == 4
    assert moved.nonzero().flatten().tolist() == list(range(5, 14))


def test_a_new_one_says_that_it_is_untrained(speller):
    assert speller.untrained
    torch.nn.init.normal_(speller.output.bias)
    assert not speller.untrained
