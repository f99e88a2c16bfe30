"""Examples -> batches. The plan is pure data: which examples make batch `step` is a function of (lengths, weights, seed, step, rank) alone.

So a run resumes at the exact next batch by knowing its step, and ranks read different batches without speaking to each other. A batch is
bounded by padded seconds; its examples are of like length; its tasks are drawn by weight.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lauragpt.audio import load_audio
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError

CHARACTERS_A_SECOND = 60.0  # text costs the GPT so little against audio


def seconds_of(example: Example) -> float:
    """What an example costs, as seconds: its audio and, at 60 characters a second, its texts."""
    text = len(example.source or "") + max((len(target) for target in example.targets), default=0)
    return example.duration + text / CHARACTERS_A_SECOND


def weight_of(example: Example, weights: Mapping[str, float]) -> float:
    """The weight of `task/corpus` if the recipe names it, else of `task`, else 0."""
    return weights.get(f"{example.task}/{example.corpus}", weights.get(example.task, 0.0))


@dataclass(frozen=True)
class Group:
    """Examples of one task and corpus, shortest first."""

    weight: float
    indices: tuple[int, ...]
    seconds: tuple[float, ...]


class Plan:
    """`plan[step]` -> indices of the examples of a batch."""

    def __init__(self, examples: Sequence[Example], weights: Mapping[str, float], batch_seconds: float, seed: int = 0, rank: int = 0):
        self.batch_seconds, self.seed, self.rank = batch_seconds, seed, rank
        members: dict[str, list[tuple[float, int]]] = {}
        for index, example in enumerate(examples):
            weight, seconds = weight_of(example, weights), seconds_of(example)
            if weight > 0 and seconds <= batch_seconds:
                key = f"{example.task}/{example.corpus}" if f"{example.task}/{example.corpus}" in weights else example.task
                members.setdefault(key, []).append((seconds, index))
        self.groups = []
        for key, rows in sorted(members.items()):
            rows.sort()
            self.groups.append(Group(weights[key], tuple(i for _, i in rows), tuple(s for s, _ in rows)))
        if not self.groups:
            raise LauraError(f"no example of {', '.join(weights)} fits a batch of {batch_seconds:g} s: prepare data, or raise batch_seconds")
        total = sum(group.weight for group in self.groups)
        self.chances = np.array([group.weight / total for group in self.groups])

    def __getitem__(self, step: int) -> list[int]:
        rng = np.random.default_rng((self.seed, self.rank, step))
        anchor = self._draw_group(rng)
        first = int(rng.integers(len(anchor.indices)))
        longest, batch = anchor.seconds[first], [anchor.indices[first]]  # the anchor sets the length of the batch, and is in it
        while (len(batch) + 1) * longest <= self.batch_seconds and len(batch) < 256:
            group = self._draw_group(rng)
            # Those at most as long as the anchor, preferring the longer half of them: little padding, and short ones are met too.
            count = bisect_left(group.seconds, longest + 1e-9)
            if count:
                batch.append(group.indices[int(rng.integers(count // 2 if rng.random() < 0.8 else 0, count))])
        return batch

    def _draw_group(self, rng: np.random.Generator) -> Group:
        return self.groups[int(rng.choice(len(self.groups), p=self.chances))]


class Waves:
    """Recordings by path, kept in memory as 16-bit samples up to a limit: what is read every epoch is decoded once."""

    def __init__(self, gigabytes: float = 4.0):
        self.room, self.kept = int(gigabytes * 1e9), {}

    def __call__(self, path: str) -> np.ndarray:
        """(N,) float32"""
        wave = self.kept.get(path)
        if wave is None:
            wave = np.round(load_audio(path) * 32767).astype(np.int16)
            if self.room > wave.nbytes:
                self.room -= wave.nbytes
                self.kept[path] = wave
        return wave.astype(np.float32) / 32767
