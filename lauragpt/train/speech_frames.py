"""Recordings as frames of a source and a filter (source_filter.py), which the vocoder learns to predict. The analysis is WORLD's, by the
package `pyworld`; it takes about a fortieth of the recordings' length, so it is done once and kept on disk.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from lauragpt.audio import SAMPLE_RATE
from lauragpt.errors import LauraError, install_hint
from lauragpt.files import replacing
from lauragpt.source_filter import CENTRES, FRAMES, HIGHEST, HOP, LOWEST, WIDTH
from lauragpt.train.encoding import file_key
from lauragpt.train.prefetch import fork

PART = 500  # recordings of a file, so that an interrupted run loses little
FLOOR = 1e-5  # of the noise that is added: the logarithm of digital silence is no number that can be learnt


class SpeechFrames:
    """path -> frames (4 T, 66) float16 of its recording, T tokens. `folder` keeps those that were prepared, which `workers` do; without
    them each is made when it is first asked for."""

    def __init__(self, waves: Callable[[str], np.ndarray], folder: Path | None = None):
        self.waves, self.folder, self.made, self.places = waves, folder, {}, {}
        for path in sorted(folder.glob("*.safetensors")) if folder else ():
            self._open(path)

    def __call__(self, path: str) -> Tensor:
        if self.places and (key := file_key(path)) in self.places:
            return self.places[key].get_tensor(key)
        if path not in self.made:
            self.made[path] = torch.from_numpy(analysed(self.waves(path))).half()
        return self.made[path]

    def prepare(self, paths: Sequence[str], processes: int, save: bool = True) -> None:
        """Analyses those that the folder lacks, by several processes."""
        if self.folder is None or not save:
            return
        missing = [path for path in dict.fromkeys(paths) if file_key(path) not in self.places]
        self.folder.mkdir(parents=True, exist_ok=True)
        first = 1 + max([int(file.stem) for file in self.folder.glob("*.safetensors")], default=-1)  # where one was killed there are gaps
        parts = [missing[start : start + PART] for start in range(0, len(missing), PART)]
        files = [self.folder / f"{first + number:05d}.safetensors" for number in range(len(parts))]

        def work(rank: int) -> None:
            for part, file in list(zip(parts, files, strict=True))[rank :: max(1, processes)]:
                frames = {file_key(path): torch.from_numpy(analysed(self.waves(path))).half() for path in part}
                with replacing(file) as opened:
                    opened.write(safetensors.torch.save(frames))

        for process in [fork(work, rank) for rank in range(max(1, min(processes, len(parts))))]:
            process.join()
        for file in files:
            if not file.exists():
                raise LauraError(f"vocoder: the frames of some recordings could not be made or written into {self.folder}")
            self._open(file)

    def _open(self, file: Path) -> None:
        opened = safe_open(file, "pt")
        self.places |= dict.fromkeys(opened.keys(), opened)


def import_pyworld() -> ModuleType:
    """LauraError where it, or what it needs, is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how it asks for its own version is deprecated
            import pyworld
    except ModuleNotFoundError as error:
        raise LauraError(f"the vocoder learns from frames that pyworld makes, which lacks {error.name}: {install_hint('train')}") from None
    return pyworld


def analysed(wave: np.ndarray) -> np.ndarray:
    """(N,) at 16 kHz -> frames (4 T, 66) float32, T = ceil(N / 640). LauraError without `pyworld`."""
    pyworld = import_pyworld()
    noise = np.random.default_rng(0).standard_normal(len(wave))
    x, period = wave.astype(np.float64) + FLOOR * noise, 1000 * HOP / SAMPLE_RATE
    rough, times = pyworld.dio(x, SAMPLE_RATE, f0_floor=LOWEST, f0_ceil=HIGHEST, frame_period=period)
    f0 = pyworld.stonemask(x, rough, times, SAMPLE_RATE)
    power = pyworld.cheaptrick(x, f0, times, SAMPLE_RATE)
    aperiodicity = pyworld.code_aperiodicity(pyworld.d4c(x, f0, times, SAMPLE_RATE), SAMPLE_RATE)
    bins = np.arange(power.shape[1]) * SAMPLE_RATE / 2 / (power.shape[1] - 1)
    right = np.searchsorted(bins, CENTRES).clip(1, len(bins) - 1)
    share = (CENTRES - bins[right - 1]) / (bins[right] - bins[right - 1])
    logarithms = np.log(power)
    envelope = logarithms[:, right - 1] * (1 - share) + logarithms[:, right] * share
    frames, size = np.concatenate([envelope, aperiodicity, f0[:, None]], 1), FRAMES * -(-len(wave) // (FRAMES * HOP))
    behind = np.repeat(frames[-1:], max(0, size - len(frames)), axis=0)
    behind[:, WIDTH - 1] = 0
    return np.ascontiguousarray(np.concatenate([frames, behind])[:size], dtype=np.float32)
