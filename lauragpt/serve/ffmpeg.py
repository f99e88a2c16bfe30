"""What libsndfile cannot, by FFmpeg's libraries (PyAV, the extra `media`): AAC, and speech at another speed.

In: waves (n,) float32 at 16 kHz, in pieces. Out: the frames of a file, or waves.
"""

import math
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.serve.problems import Problem

if TYPE_CHECKING:
    import av

BIT_RATE = 64_000  # of AAC
SLOWEST, FASTEST = 0.25, 4.0  # speeds, as OpenAI's


def check_av(format: str | None, speed: float = 1.0) -> None:
    """Problem 400 for what needs PyAV where it is not there."""
    if format != "aac" and speed == 1:
        return
    try:
        import av  # noqa: F401
    except ModuleNotFoundError:
        field = "response_format" if format == "aac" else "speed"
        raise Problem(400, f"{field}: this needs PyAV, which the server lacks: choose another, or pip install av there", field) from None


def frame_of(wave: np.ndarray, at: int) -> "av.AudioFrame":
    """`at`: samples before it."""
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None], dtype=np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), at
    return frame


class AacSink:
    """Frames of AAC as they are sent (ADTS), behind a tag with the comment. To be used as a `SoundFile`."""

    def __init__(self, file: BinaryIO, about: str):
        import av

        self.container = av.open(file, "w", format="adts", options={"write_id3v2": "1", "flush_packets": "1"})
        self.container.metadata["comment"] = about
        self.stream = self.container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        self.stream.bit_rate, self.count = BIT_RATE, 0

    def __enter__(self) -> "AacSink":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, wave: np.ndarray) -> None:
        self.container.mux(self.stream.encode(frame_of(wave, self.count)))
        self.count += len(wave)

    def flush(self) -> None:
        """What is encoded is written already."""

    def close(self) -> None:
        if self.count:
            self.container.mux(self.stream.encode(None))
        self.container.close()


class Tempo:
    """Speech at another speed and at its own pitch, by FFmpeg's `atempo` (WSOLA), whole or in pieces (n,) -> (m,)."""

    def __init__(self, speed: float):
        import av.filter

        steps = max(1, math.ceil(abs(math.log2(speed))))  # one that more than doubles the speed would leave samples out
        self.graph, self.count = av.filter.Graph(), 0
        source = self.graph.add_abuffer(sample_rate=SAMPLE_RATE, format="fltp", layout="mono", time_base=Fraction(1, SAMPLE_RATE))
        parts = [self.graph.add("atempo", f"{speed ** (1 / steps):.9f}") for _ in range(steps)]
        self.graph.link_nodes(source, *parts, self.graph.add("abuffersink")).configure()

    def feed(self, wave: np.ndarray) -> np.ndarray:
        if len(wave):
            self.graph.push(frame_of(wave, self.count))
            self.count += len(wave)
        return self._pulled()

    def finish(self) -> np.ndarray:
        if not self.count:
            return np.zeros(0, np.float32)
        self.graph.push(None)
        return self._pulled()

    def _pulled(self) -> np.ndarray:
        pieces = [np.zeros(0, np.float32)]
        while True:
            try:
                pieces.append(self.graph.pull().to_ndarray()[0])
            except (BlockingIOError, EOFError):  # for now, or for ever
                return np.concatenate(pieces)


def at_speed(wave: np.ndarray, speed: float) -> np.ndarray:
    """A whole wave (N,) -> (about N / speed,)."""
    if speed == 1:
        return wave
    tempo = Tempo(speed)
    return np.concatenate([tempo.feed(wave), tempo.finish()])
