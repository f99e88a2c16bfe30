"""Networks run piece by piece: any length fits in memory, sound can be played while it is made, and streamed equals offline.

In: pieces of a sequence, (n, ...) each, of any size. Out: pieces of the result as soon as nothing that is still to come can change them.
A network with a finite context is run over a piece and as much around it as it sees.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TypeVar

import numpy as np

Array = TypeVar("Array")  # numpy's, or a tensor where `join` is torch.cat


def windowed(
    network: Callable[[Array], Array],
    pieces: Iterable[Array],
    context: tuple[int, int],
    frame: int = 1,
    out: int = 1,
    join: Callable[[list[Array]], Array] = np.concatenate,
    block: int = 0,
) -> Iterator[Array]:
    """`network` (1, n, ...) -> (1, m, ...) over pieces (n, ...) -> (m, ...).

    context: how many frames before and after a frame its result depends on, at most. frame, out: positions a frame in what goes in and in
    what comes out. The last frame may be shorter than the others if the network takes it so. block: a network without a bounded context is
    run over so many frames at a time and their context, always the same ones, however the pieces are cut.
    """
    before, after = context
    kept, given = None, 0  # what was not dropped yet, and how many frames of it have been answered
    for piece in chain(pieces, [None]):
        ended = piece is None
        if not ended:
            kept = piece if kept is None else join([kept, piece])
        while kept is not None:
            ready = (-(-len(kept) // frame) if ended else len(kept) // frame - after) - given  # frames that nothing to come can change
            if ready < (1 if ended else max(1, block)):
                break
            end = given + min(ready, block or ready)
            yield network(kept[None, : (end + after) * frame])[0, given * out : end * out]
            dropped = max(0, end - before)
            kept, given = kept[dropped * frame :], end - dropped


def predicted(pieces: Iterable[np.ndarray], network: Callable[[np.ndarray], Array], look_ahead: int, rate: int = 1) -> Iterator[Array]:
    """Pieces of a sequence (n,) -> pieces of `network`'s result (m, ...), `rate` rows a place, which sees all that came before and
    `look_ahead` places after. It is run over everything there is, again with each piece: a fraction of the time in which the pieces come
    about."""
    known, given = np.zeros(0, dtype=np.int64), 0
    for piece in pieces:
        known = np.concatenate([known, piece])
        if len(known) - look_ahead > given:
            ready = len(known) - look_ahead
            yield network(known)[rate * given : rate * ready]
            given = ready
    if len(known) > given:
        yield network(known)[rate * given :]
