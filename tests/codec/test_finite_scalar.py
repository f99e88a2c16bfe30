"""Finite scalar quantization: codes, levels, gradients."""

import itertools

import pytest
import torch

from lauragpt.codec.finite_scalar import code_of, rounded


@pytest.mark.parametrize("levels", [(4, 4, 4, 4, 4), (8, 5, 5, 5), (3,), (3, 7)])
def test_every_code_is_reached_and_stands_for_its_own_levels(levels):
    steps = [torch.linspace(-6, 6, 41)] * min(len(levels), 2) + [torch.tensor([-6.0, -0.6, 0.4, 6.0])] * max(0, len(levels) - 2)
    numbers = torch.cartesian_prod(*steps).view(-1, len(levels))
    codes, values = code_of(numbers, levels), rounded(numbers, levels).round().long()
    assert codes.dtype == torch.int64 and codes.min() == 0 and codes.max() == torch.tensor(levels).prod() - 1
    for at, level in enumerate(levels):
        assert set(values[:, at].tolist()) <= set(range(-(level // 2), level - level // 2))
    meanings: dict[int, tuple] = {}
    for code, value in zip(codes.tolist(), map(tuple, values.tolist()), strict=True):
        assert meanings.setdefault(code, value) == value
    assert len(set(meanings.values())) == len(meanings)


def test_codes_count_from_the_lowest_levels():
    lowest_to_highest = torch.tensor(list(itertools.product([-9.0, -0.6, 0.2, 9.0], repeat=2)))
    assert code_of(lowest_to_highest, (4, 4)).tolist() == list(range(16))


def test_zero_is_in_the_middle_of_a_level():
    assert rounded(torch.zeros(3), (4, 5, 3)).tolist() == [0, 0, 0]
    assert rounded(torch.tensor([0.1, -0.1]), (4, 4)).tolist() == [0, 0]


def test_the_gradient_passes_the_rounding():
    numbers = torch.tensor([[0.3, -0.7]], requires_grad=True)
    rounded(numbers, (4, 4)).sum().backward()
    assert bool((numbers.grad > 0.1).all())
