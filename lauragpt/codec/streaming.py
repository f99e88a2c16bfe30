"""Networks run piece by piece: any length fits in memory, sound can be played while it is made, and streamed equals offline.

In: pieces of a sequence, (n, ...) each, of any size. Out: pieces of the result as soon as nothing that is still to come can change them.
A network with a finite context is run over a piece and as much around it as it sees.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor


def windowed(
    network: Callable[[Tensor], Tensor], pieces: Iterable[Tensor], context: tuple[int, int], frame: int = 1, out: int = 1
) -> Iterator[Tensor]:
    """`network` (1, n, ...) -> (1, m, ...) over pieces (n, ...) -> (m, ...).

    context: how many frames before and after a frame its result depends on, at most. frame, out: positions a frame in what goes in and in
    what comes out. The last frame may be shorter than the others if the network takes it so.
    """
    before, after = context
    kept, given = None, 0  # what was not dropped yet, and how many frames of it have been answered
    for piece in pieces:
        kept = piece if kept is None else torch.cat([kept, piece])
        frames = len(kept) // frame
        if frames - after > given:
            with torch.no_grad():  # and not around the yield, which would switch gradients off for whoever waits for the next piece
                made = network(kept[None, : frames * frame])[0, given * out : (frames - after) * out]
            yield made
            dropped = max(0, frames - after - before)
            kept, given = kept[dropped * frame :], frames - after - dropped
    if kept is not None and len(kept) > given * frame:
        with torch.no_grad():
            made = network(kept[None])[0, given * out :]
        yield made
