"""A split where the data have none: by speaker where speakers are known, else by sentence, else by recording.

In: rows. Out: the same rows with `split` set to train or dev. It depends on names and texts alone, in no order: the same data are split
the same anywhere.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from lauragpt.data.readers.rows import Row

DEV_SHARE = 0.1  # of the sound
FEW_GROUPS = 2  # a corpus with fewer speakers is split by sentence


def make_split(rows: Sequence[Row], share: float = DEV_SHARE) -> list[str]:
    """Sets the splits, corpus by corpus, about `share` of each to dev; returns what was done, a line a corpus."""
    corpora: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        corpora[row.corpus or ""].append(row)
    return [f"split of {corpus}: {_split(corpora[corpus], share)}" for corpus in sorted(corpora)]


def _split(rows: Sequence[Row], share: float) -> str:
    speakers = {row.speaker for row in rows}
    if None not in speakers and len(speakers) >= FEW_GROUPS:
        kind, keys = "speaker", [row.speaker or "" for row in rows]
    else:
        kind, keys = "sentence", [(row.text or "").casefold() or row.audio for row in rows]
        if not any(row.text for row in rows):
            kind = "recording"
    seconds: dict[str, float] = defaultdict(float)
    for row, key in zip(rows, keys):
        seconds[key] += row.duration or 1.0
    dev = choose(seconds, share)
    for row, key in zip(rows, keys):
        row.split = "dev" if key in dev else "train"
    return f"made by {kind}, {len(seconds) - len(dev)} train and {len(dev)} dev"


def choose(seconds: dict[str, float], share: float) -> set[str]:
    """About `share` of all seconds, by a hash of the names: at least one name, and never all."""
    goal, taken, total = share * sum(seconds.values()), 0.0, set[str]()
    order = sorted(seconds, key=digest)
    for name in order:
        if len(total) + 1 < len(seconds) and taken < goal and taken + seconds[name] <= 2 * goal:
            total.add(name)
            taken += seconds[name]
    if not total and len(seconds) > 1:
        total.add(min(order, key=lambda name: seconds[name]))
    return total


def digest(name: str) -> bytes:
    return hashlib.sha1(name.encode("utf-8", "surrogatepass")).digest()


def has_dev(rows: Iterable[Row]) -> bool:
    return any(row.split in ("dev", "test") for row in rows)
