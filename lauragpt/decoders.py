"""Streams of a file -> blocks of samples, by libsndfile, or by FFmpeg's libraries (PyAV, the extra `media`) where libsndfile cannot.

In: `Contents` (containers/). Out: `Block`s of one second as they are in the file, (n, C) float32 at the stream's own rate; and whether
something was lost. Nothing is resampled or mixed here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from lauragpt.containers import Contents, Link, Source, inspect
from lauragpt.errors import LauraError
from lauragpt.samples import check_rate

if TYPE_CHECKING:
    import av

READABLE = "WAV, FLAC, Ogg, Opus, MP3 or AIFF"
SNDFILE_ERRORS = (soundfile.SoundFileError, TypeError, ValueError, RuntimeError)
UNKNOWN = 1 << 62  # frames: so many stand for a length that is not known
TIMED = ("mov", "matroska")  # FFmpeg's formats whose header says how long they are
BLOCK = 1 << 24  # samples of a block of a second, over all channels: what has more is a damaged header
SLACK = 0.2  # seconds by which such a header may be wrong


@dataclass(frozen=True)
class Block:
    link: tuple[int, int]  # which stream: each begins anew
    rate: int  # Hz
    samples: np.ndarray  # (n, C) float32


class Decoder:
    """The blocks of a file, once. `truncated`, known behind the last: it ends before it should, or some of it is damaged.

    LauraError for what cannot be read at all. `name` is what an error calls it."""

    def __init__(self, source: Source, name: str):
        self.name = name
        self.contents: Contents = inspect(source)
        self.truncated = self.contents.truncated

    def __iter__(self) -> Iterator[Block]:
        for number, link in enumerate(self.contents.links):
            try:
                file = None if self.contents.foreign else soundfile.SoundFile(link.file)
            except SNDFILE_ERRORS:
                file = None
            if file is not None:
                with file:
                    check_size(file.samplerate, file.channels, self.name)  # before a block of a second is made
                    for samples in self._by_sndfile(file, link):
                        yield Block((number, 0), file.samplerate, samples)
            elif (container := self._container(link)) is not None:
                with container:
                    yield from self._by_av(container, number)
            elif len(self.contents.links) == 1:
                raise LauraError(self._unreadable())
            else:  # the others are read all the same
                self.truncated = True

    def _by_sndfile(self, file: soundfile.SoundFile, link: Link) -> Iterator[np.ndarray]:
        """Blocks of a second. Where decoding fails, what was decoded of the block is given."""
        file.seekable = lambda: False  # else each block is followed by a seek, at which an MP3's decoder begins anew, and GSM's cannot
        read, errors = 0, 0
        while True:
            block = np.full((file.samplerate, file.channels), np.nan, dtype=np.float32)
            try:
                block = file.read(file.samplerate, dtype="float32", always_2d=True, out=block)
            except SNDFILE_ERRORS:
                missing = np.flatnonzero(np.isnan(block[:, 0]))
                block, errors = block[: missing[0]] if len(missing) else block, errors + 1
                self.truncated = True
            if not len(block) or errors > 100:
                break
            read += len(block)
            yield block
        if (link.exact and read < file.frames < UNKNOWN) or read < link.samples:
            self.truncated = True

    def _container(self, link: Link) -> "av.container.InputContainer | None":
        """The link as FFmpeg's libraries open it, None where they cannot. LauraError where they are needed and not there."""
        if not self.contents.kind:
            return None
        try:
            import av
        except ModuleNotFoundError:
            if self.contents.truncated and not self.contents.foreign:
                return None
            what = self.contents.kind if self.contents.foreign else f"this kind of {self.contents.kind}"
            way = f"ffmpeg -i {self.name} -ac 1 -ar 16000 OUT.wav"
            raise LauraError(f"{self.name} cannot be read: {what} needs PyAV (pip install av); or convert it: {way}") from None
        link.file.seek(0)
        try:
            return av.open(link.file)
        except (av.FFmpegError, ValueError):
            return None

    def _by_av(self, container: "av.container.InputContainer", number: int) -> Iterator[Block]:
        """Frames gathered into blocks; a change of rate or channels begins a new link. LauraError for a film without sound."""
        stream = container.streams.best("audio")
        if stream is None:
            raise LauraError(f"{self.name} holds no sound, only {', '.join(sorted({s.type for s in container.streams})) or 'nothing'}")
        kept, kind, part, seconds = [], None, 0, Fraction(0)
        for samples, rate in self._frames(container, stream):
            if kept and kind != (rate, samples.shape[1]):
                yield Block((number, part), kind[0], np.concatenate(kept))
                kept, part = [], part + 1
            kind = check_size(rate, samples.shape[1], self.name)
            seconds += Fraction(len(samples), rate)
            kept.append(samples)
            if sum(map(len, kept)) >= rate:
                whole = np.concatenate(kept)
                yield Block((number, part), rate, whole[:rate])
                kept = [whole[rate:]]
        if kept:
            yield Block((number, part), kind[0], np.concatenate(kept))
        self.truncated |= seconds < promised_seconds(container, stream) - SLACK

    def _frames(self, container: "av.container.InputContainer", stream: "av.AudioStream") -> Iterator[tuple[np.ndarray, int]]:
        """(n, C) float32 and the rate of each frame. Packets that cannot be decoded are passed over."""
        import av

        convert, kind = None, None
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    self.truncated = True
                    continue
                for frame in frames:
                    check_rate(frame.sample_rate, self.name)
                    if kind != (kind := (frame.sample_rate, frame.layout.name, frame.format.name)):
                        convert = av.AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
                    frame.pts = None
                    for plain in convert.resample(frame):
                        yield plain.to_ndarray().T, plain.sample_rate
        except av.FFmpegError:  # nothing behind this place can be found
            self.truncated = True

    def _unreadable(self) -> str:
        if self.contents.truncated:
            return f"{self.name} is cut short: it ends before its first sample"
        if self.contents.foreign:
            return f"{self.name} cannot be read: it begins as {self.contents.kind}, but is damaged or cut short"
        return f"{self.name} is not audio that can be read (allowed: {READABLE}; with the package av also m4a, mp4, webm and AMR)"


def check_size(rate: int, channels: int, name: str) -> tuple[int, int]:
    """Both themselves, or LauraError for what no recording has."""
    if check_rate(rate, name) * channels > BLOCK:
        what = f"its header says {channels:,} channels at {rate:,} Hz"
        raise LauraError(f"{name} is damaged: {what}; at most {BLOCK:,} samples a second over all channels are read")
    return rate, channels


def promised_seconds(container: "av.container.InputContainer", stream: "av.AudioStream") -> Fraction:
    """How long a file is by its own header; 0 where it does not say, or is known to guess."""
    if not any(name in container.format.name for name in TIMED):
        return Fraction(0)
    if stream.duration is not None:
        return stream.duration * stream.time_base
    return Fraction(container.duration or 0, 1_000_000)  # microseconds
