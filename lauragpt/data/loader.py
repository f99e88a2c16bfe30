"""Examples -> batches. The plan is pure data: which examples make batch `number` is a function of (lengths, weights, seed, number) alone.

Batches are numbered over the whole run, whatever the number of processes, and each process reads its own numbers (`own_numbers`). So a run
goes on at the exact next batch, also on another number of processes, and these read different batches without exchanging anything.

A batch is bounded by the seconds that it holds, recordings and texts together: examples are drawn until there are `batch_seconds`, but at
most `MOST` of them, and the last goes over. Each is drawn by weight alone, long ones as often as short ones. (Batches of similar lengths
would hold long examples too seldom.) Padding is bounded later, where the model makes groups of similar length (model/grouping.py): encoder
and GPT compute at most 1 / 0.9 of what the batch holds, narrow ones on a GPU 1 / 0.7.
"""

import mmap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Process

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.manifest import Example
from lauragpt.data.spans import load_span
from lauragpt.errors import LauraError

CHARACTERS_A_SECOND = 60.0  # text costs the GPT so little against audio
MOST = 256  # examples of a batch at most
FULL_SCALE = 32767  # of 16-bit samples
SLACK = 0.1  # seconds by which a recording may be longer than its example says


def seconds_of(example: Example) -> float:
    """What an example costs, as seconds: its audio and, at 60 characters a second, its texts."""
    text = len(example.source or "") + max((len(target) for target in example.targets), default=0)
    return example.duration + text / CHARACTERS_A_SECOND


def weight_of(example: Example, weights: Mapping[str, float]) -> float:
    """The weight of `task/corpus` if the recipe names it, else of `task`, else 0."""
    return weights.get(f"{example.task}/{example.corpus}", weights.get(example.task, 0.0))


@dataclass(frozen=True)
class Group:
    """Examples of one task and corpus."""

    weight: float
    indices: tuple[int, ...]
    seconds: tuple[float, ...]


def own_numbers(consumed: int, steps: int, accumulate: int, rank: int, processes: int) -> range:
    """The numbers of the batches that a process reads in so many steps to come, `accumulate` a step, where all processes together have
    consumed the batches below `consumed`: of each step's numbers, every one that is `rank` behind a multiple of `processes`."""
    return range(consumed + rank, consumed + steps * accumulate * processes, processes)


class Plan:
    """`plan[number]` -> indices of the examples of a batch."""

    def __init__(
        self, examples: Sequence[Example], weights: Mapping[str, float], batch_seconds: float, seed: int = 0,
        seconds: Callable[[Example], float] = seconds_of, temperature: float = 0.0,
    ):  # fmt: skip
        """`seconds`: what an example costs. `temperature`: where it is not 0, each corpus of a task is a group of its own, whose chance is
        its weight times its hours ** (1 / temperature). LauraError when no example that has a weight fits a batch."""
        self.batch_seconds, self.seed = batch_seconds, seed
        members: dict[str, list[tuple[int, float]]] = {}
        for index, example in enumerate(examples):
            weight, cost = weight_of(example, weights), seconds(example)
            if weight > 0 and cost <= batch_seconds:
                name = f"{example.task}/{example.corpus}"
                members.setdefault(name if temperature or name in weights else example.task, []).append((index, cost))
        self.groups = [Group(weight_of(examples[rows[0][0]], weights), *zip(*rows)) for _, rows in sorted(members.items())]
        if temperature:
            self.groups = [replace(each, weight=each.weight * (sum(each.seconds) / 3600) ** (1 / temperature)) for each in self.groups]
        if not self.groups:
            raise LauraError(
                f"no example of {', '.join(weights)} fits a batch of {batch_seconds:g} s: prepare data, or raise batch_seconds"
            )
        total = sum(group.weight for group in self.groups)
        self.chances = np.array([group.weight / total for group in self.groups])

    def __getitem__(self, number: int) -> list[int]:
        """Drawn until there are `batch_seconds`. The last goes over: to leave it out would leave out long ones more often."""
        rng, batch, total = generator_of(self.seed, number), [], 0.0
        while total < self.batch_seconds and len(batch) < MOST:
            group = self._draw_group(rng)
            place = int(rng.integers(len(group.indices)))
            batch.append(group.indices[place])
            total += group.seconds[place]
        return batch

    def _draw_group(self, rng: np.random.Generator) -> Group:
        return self.groups[int(rng.choice(len(self.groups), p=self.chances))]


def generator_of(seed: int, number: int, *purpose: int) -> np.random.Generator:
    """The random numbers of a batch. `purpose`: tells apart what is drawn of it."""
    return np.random.default_rng((seed, 0, number, *purpose))  # 0: the rank of versions before 0.3, whose runs on one process go on so


class Waves:
    """Recordings by path, cached in memory as 16-bit samples up to a limit, so that each is decoded once."""

    def __init__(self, gigabytes: float = 4.0):
        self.room, self.cache = int(gigabytes * 1e9), {}

    def __call__(self, path: str) -> np.ndarray:
        """(N,) float32"""
        wave = self.cache.get(path)
        if wave is None:
            wave = decode(path)
            if self.room > wave.nbytes:
                self.room -= wave.nbytes
                self.cache[path] = wave
        return wave.astype(np.float32) / FULL_SCALE

    def limit(self, gigabytes: float) -> None:
        """Allows so much from here on, what is cached counted."""
        self.room = int(gigabytes * 1e9) - sum(wave.nbytes for wave in self.cache.values())

    def share(self, seconds: Mapping[str, float], processes: int, fork: Callable[..., Process]) -> None:
        """Decodes recordings, path -> seconds, up to the limit, in several processes, into memory that whoever is forked afterwards shares.
        `fork(function, *arguments)` begins a process. One that cannot be decoded, or is longer than was said, is left to the batch that
        needs it."""
        places: list[tuple[str, int, int]] = []  # path, first sample, most samples
        size = 0
        for path in [path for path in seconds if path not in self.cache]:
            most = int((seconds[path] + SLACK) * SAMPLE_RATE)
            if 2 * (size + most) > self.room:
                break
            places.append((path, size, most))
            size += most
        if not places:
            return
        # Made before the fork and written by the children: neither a file nor /dev/shm, of which containers have little.
        memory = np.frombuffer(mmap.mmap(-1, 2 * size), np.int16)
        lengths = np.frombuffer(mmap.mmap(-1, 8 * len(places)), np.int64)

        def work(first: int) -> None:
            for index in range(first, len(places), processes):
                path, start, most = places[index]
                with suppress(LauraError):
                    wave = decode(path)
                    if len(wave) <= most:
                        memory[start : start + len(wave)] = wave
                        lengths[index] = len(wave)

        for process in [fork(work, first) for first in range(processes)]:
            process.join()
        self.cache |= {path: memory[start : start + n] for (path, start, _), n in zip(places, lengths.tolist(), strict=True) if n}
        self.room -= 2 * int(lengths.sum())


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Floats of -1 to 1 as 16-bit samples; what is louder is clipped."""
    return np.round(np.clip(wave, -1, 1) * FULL_SCALE).astype(np.int16)


def decode(path: str) -> np.ndarray:
    """(N,) int16"""
    return to_int16(load_span(path))
