"""Sequences -> groups of like length. What a network computes of a group is as long as its longest: the rest of the places is padding."""

from collections.abc import Sequence

import numpy as np
import torch

WASTE = 0.1  # share of the places that may be empty, where computing them is what costs
WIDE = 1024  # from this width on, what a GPU computes of a group takes longer than to launch it


def waste_on(device: torch.device, width: int) -> float:
    """The padding that `alike` may allow a network of so many channels. A GPU waits for what is launched of a narrow one more than it
    computes."""
    return 0.3 if device.type == "cuda" and width < WIDE else WASTE


def alike(lengths: Sequence[int], waste: float = WASTE, apart: int = 0) -> list[list[int]]:
    """Indices in groups of similar length, the longest first: as few groups as leave at most a share `waste` of all places empty, and of
    these the ones that leave least. So what is computed of a batch is at most 1 / (1 - waste) times what it holds. The first `apart` are in
    groups of their own."""
    if apart:
        return alike(lengths[:apart], waste) + [[apart + i for i in group] for group in alike(lengths[apart:], waste)]
    if not len(lengths):
        return []
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    longest, counts = np.unique(-np.asarray(lengths), return_counts=True)
    ends = counts.cumsum()  # behind the rows of each length, from the longest on
    n, begins = len(ends), ends - counts
    # places[i, j]: those of one group from the i-th length to the j-th.
    places = np.where(np.tri(n, dtype=bool).T, (ends - begins[:, None]) * -longest[:, None], np.inf)
    fewest, firsts = places[0], []  # fewest[j]: places of the lengths up to the j-th, in as many groups as there are rounds
    while (1 - waste) * fewest[-1] > sum(lengths):
        split = np.append(np.inf, fewest[:-1])[:, None] + places  # [i, j]: the last group begins with the i-th length
        firsts.append(split.argmin(0))
        fewest = split.min(0)
    groups, end = [], n
    for first in [*reversed(firsts), np.zeros(n, int)]:
        begin = int(first[end - 1])
        groups.append(order[begins[begin] : ends[end - 1]])
        end = begin
    return groups[::-1]
