"""Groups of like length against all that there could be."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from lauragpt.model.grouping import alike, waste_on


def places_of(groups: list[list[int]], lengths: list[int]) -> int:
    return sum(len(group) * max(lengths[i] for i in group) for group in groups)


@pytest.mark.parametrize("waste", [0.0, 0.1, 0.3])
def test_there_are_no_fewer_groups_with_as_little_padding(waste):
    rng = np.random.default_rng(1)
    for size in (1, 2, 3, 6, 9):
        for _ in range(8):
            lengths = rng.integers(0, 40, size).tolist()
            groups, ordered = alike(lengths, waste), sorted(lengths, reverse=True)
            assert sorted(i for group in groups for i in group) == list(range(size))
            assert [lengths[i] for group in groups for i in group] == ordered, "the longest come first"

            def least(count: int, ordered: list[int] = ordered) -> int:
                """Places of so many groups, by trying all."""
                cuts = ((0, *inner, len(ordered)) for inner in combinations(range(1, len(ordered)), count - 1))
                return min(sum((b - a) * ordered[a] for a, b in pairwise(cut)) for cut in cuts)

            assert places_of(groups, lengths) == least(len(groups)) <= sum(lengths) / (1 - waste)
            assert len(groups) == 1 or least(len(groups) - 1) > sum(lengths) / (1 - waste)


def test_what_is_equal_stays_together_and_nothing_makes_no_group():
    assert alike([7] * 5) == [[0, 1, 2, 3, 4]] and alike([]) == []
    assert alike([30, 30, 29, 30, 2, 2]) == [[0, 1, 3, 2], [4, 5]]
    assert alike([30, 30, 29, 30, 2, 2], apart=2) == [[0, 1], [3, 2], [4, 5]] and alike([3, 3], apart=2) == [[0, 1]]
    assert alike([90, 3, 88, 40, 3, 41]) == [[0, 2], [5, 3], [1, 4]]


def test_a_narrow_network_gets_fewer_groups_on_a_gpu():
    lengths = list(range(10, 700, 9))
    cpu, gpu, wide = (alike(lengths, waste_on(torch.device(kind), width)) for kind, width in (("cpu", 256), ("cuda", 256), ("cuda", 2048)))
    assert len(gpu) <= len(cpu) / 2 and wide == cpu
