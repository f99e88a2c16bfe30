"""Files, bytes and arrays <-> waveforms: where sound enters and leaves the package.

In: a recording as a path, the bytes or the open file of one, or as samples; of any kind (containers/, decoders.py, samples.py), at any
rate, with any number of channels. Out: `wave (N,)` float32, mono, 16 kHz, finite, in [-1, 1] where the recording was. Everything after this
file knows only that. All are read in one way, a second at a time, so that streaming a recording gives what reading it at once gives.
"""

import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from lauragpt.containers import Source
from lauragpt.decoders import READABLE, Block, Decoder
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.files import is_written_into, replacing
from lauragpt.mixing import Downmix
from lauragpt.samples import check_rate, to_samples

SAMPLE_RATE = 16000
MINIMUM = 0.1  # seconds: less holds neither a word nor a sound to name
WRITABLE = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that was read. truncated: its file ended before it should, or some of it was damaged, and this is what could be read."""

    wave: np.ndarray  # (N,) float32, mono, 16 kHz
    truncated: bool = False


class AudioStream:
    """A recording in pieces (n,) float32, mono, 16 kHz, of `seconds` each but the last, in bounded memory.

    Together they are what `load_audio` gives. `audio`: a path, the bytes of a file, or an open file. `truncated` is known once all pieces
    are read. LauraError, while they are read, for what is not audio; a LauraWarning for what is cut short or damaged, or with `strict` a
    LauraError."""

    def __init__(self, audio: object, seconds: float = 10.0, strict: bool = False, name: str | None = None):
        self.audio, self.size, self.strict, self.truncated = audio, max(1, int(seconds * SAMPLE_RATE)), strict, False
        self.name = name or (str(audio) if isinstance(audio, (str, os.PathLike)) else "the audio")

    def __iter__(self) -> Iterator[np.ndarray]:
        return regrouped(self.seconds(), self.size)

    def seconds(self) -> Iterator[np.ndarray]:
        """Pieces as they are decoded, about a second each."""
        count = 0
        with _opened(self.audio, self.name) as source:
            decoder = Decoder(source, self.name)
            self._check(decoder, None)
            for wave in to_waves(decoder, self.name):
                count += len(wave)
                yield wave
            if not count:
                ending = "is cut short: it ends before its first sample" if decoder.truncated else "holds no samples (0 s)"
                raise LauraError(f"{self.name} {ending}")
            self._check(decoder, count / SAMPLE_RATE)

    def _check(self, decoder: Decoder, seconds: float | None) -> None:
        """What to do about a file of which some is lost; `seconds` is what was read of it, once that is known."""
        self.truncated = decoder.truncated
        if self.truncated and self.strict:
            raise LauraError(f"{self.name} is cut short or damaged: leave strict out to read it as far as it goes")
        if self.truncated and seconds is not None:
            warnings.warn(f"{self.name} is cut short or damaged: the {seconds:.2f} s that can be read are used", LauraWarning, stacklevel=2)


# One recording: by name, as the bytes of a file, as samples, or with its rate, (samples, rate) or (rate, samples)
Audio = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | np.ndarray | list[float]
    | tuple[np.ndarray, int] | tuple[int, np.ndarray] | Recording | AudioStream
)  # fmt: skip


class PcmReader:
    """Raw little-endian 16-bit samples of one channel at `rate` Hz, in bytes as they come -> pieces (n,) float32 at 16 kHz."""

    def __init__(self, rate: int = SAMPLE_RATE):
        self.resampler = None if check_rate(rate) == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        self.kept = b""

    @property
    def halved(self) -> bool:
        """Whether half a sample is left."""
        return bool(self.kept)

    def feed(self, data: bytes, last: bool = False) -> np.ndarray:
        data = self.kept + data
        whole = len(data) // 2 * 2
        wave, self.kept = np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768, data[whole:]
        return wave if self.resampler is None else self.resampler.resample_chunk(wave, last=last)


def stream_audio(path: str | Path, seconds: float = 10.0, strict: bool = False) -> AudioStream:
    """The recording in pieces of `seconds`, end to end what `load_audio` gives, in bounded memory. LauraError as there."""
    return AudioStream(path, seconds, strict)


def load_audio(path: str | Path, strict: bool = False) -> np.ndarray:
    """The recording as (N,) float32, mono, 16 kHz. LauraError, naming the file, when it cannot be read; when it is cut short or damaged a
    LauraWarning, or with `strict` the error."""
    return np.concatenate(list(AudioStream(path, strict=strict).seconds()))


def decode_audio(data: bytes, name: str = "audio", strict: bool = False) -> np.ndarray:
    """The bytes of an audio file as (N,) float32, mono, 16 kHz. `name` is what an error calls it."""
    return np.concatenate(list(AudioStream(data, strict=strict, name=name).seconds()))


def read_recording(
    audio: object, sample_rate: int | None = None, strict: bool = False, name: str = "the audio", minimum: float = MINIMUM
) -> Recording:
    """Anything that holds one recording, as `Recording`.

    audio: a path; the bytes of an audio file (bytes, bytearray, memoryview, an open binary file); samples as an array, a tensor or a list,
    (N,), (N, C) or (C, N), integers or floats in [-1, 1], at `sample_rate` Hz (16,000 where nothing says otherwise); (samples, rate) or
    (rate, samples). LauraError for anything else, for less than `minimum` seconds, and with `strict` for files that are cut short or
    damaged."""
    if isinstance(audio, Recording):
        return audio
    if isinstance(audio, AudioStream) or _is_file(audio):
        if sample_rate is not None:
            raise LauraError("a sample rate goes with samples: a file says its own, so leave sample_rate out")
        stream = audio if isinstance(audio, AudioStream) else AudioStream(audio, strict=strict)
        wave, name = np.concatenate(list(stream.seconds())), stream.name
        return Recording(check_length(wave, name, minimum), stream.truncated)
    samples = to_samples(audio, name)
    if None not in (samples.rate, sample_rate) and samples.rate != check_rate(sample_rate):
        raise LauraError(f"{name} says {samples.rate} Hz and sample_rate {sample_rate}: give one of them")
    rate = samples.rate or check_rate(SAMPLE_RATE if sample_rate is None else sample_rate)
    if rate == SAMPLE_RATE and samples.wave.shape[1] == 1:
        wave = check_wave(samples.wave[:, 0], name)
    else:
        blocks = (Block((0, 0), rate, samples.wave[at : at + rate]) for at in range(0, len(samples.wave), rate))
        wave = check_wave(np.concatenate(list(to_waves(blocks, name))), name)
    return Recording(check_length(wave, name, minimum))


def read_audio(audio: object, sample_rate: int | None = None, strict: bool = False) -> np.ndarray:
    """The wave alone, (N,) float32, of what `read_recording` reads."""
    return read_recording(audio, sample_rate, strict).wave


def to_waves(blocks: Iterable[Block], name: str) -> Iterator[np.ndarray]:
    """Blocks of one second, (n, C) at any rate -> waves (m,), mono, at 16 kHz. Each link is mixed and resampled by itself."""
    link, mix, resampler = None, Downmix(), None
    for block in blocks:
        if block.link != link:
            if resampler is not None:
                yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            link, mix = block.link, Downmix()
            resampler = None if block.rate == SAMPLE_RATE else soxr.ResampleStream(block.rate, SAMPLE_RATE, 1, dtype="float32")
        if not np.isfinite(block.samples).all():
            raise LauraError(f"{name} holds NaN or infinite samples: they cannot be played or read")
        wave = mix(block.samples)
        yield wave if resampler is None else resampler.resample_chunk(wave)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def regrouped(waves: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Pieces of exactly `size` samples, the last of what is left."""
    kept, count = [], 0
    for wave in waves:
        kept.append(wave)
        count += len(wave)
        if count >= size:
            whole = np.concatenate(kept)
            for at in range(0, count - size + 1, size):
                yield whole[at : at + size]
            kept = [whole[count // size * size :]]
            count %= size
    if count:
        yield np.concatenate(kept)


def _is_file(audio: object) -> bool:
    """Whether this is a file, by name or content, and not samples. A memoryview of numbers is samples."""
    if isinstance(audio, memoryview):
        return audio.format in ("B", "b", "c")
    return isinstance(audio, (str, os.PathLike, bytes, bytearray)) or hasattr(audio, "read")


@contextmanager
def _opened(audio: object, name: str) -> Iterator[Source]:
    """The bytes of a recording, wherever they are. LauraError, in one line, where there are none."""
    if isinstance(audio, (str, os.PathLike)):
        try:
            with open(audio, "rb") as file:
                source = Source(file if os.path.isfile(audio) else file.read())  # a pipe can be read but once
                yield _filled(source, name)
        except FileNotFoundError:
            raise LauraError(f"{name}: no such file") from None
        except IsADirectoryError:
            raise LauraError(f"{name} is a folder: give one audio file ({READABLE})") from None
        except (OSError, ValueError) as error:
            raise LauraError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return
    if hasattr(audio, "read"):
        try:
            data = audio.read()
            if not data and hasattr(audio, "seekable") and audio.seekable():  # written a moment ago, and still at its end
                audio.seek(0)
                data = audio.read()
        except (OSError, ValueError) as error:
            raise LauraError(f"{name} cannot be read: {error}") from None
    else:
        data = audio
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise LauraError(f"{name} gives {type(data).__name__}, not bytes: open the file as a binary one, 'rb'")
    yield _filled(Source(data), name)


def _filled(source: Source, name: str) -> Source:
    if not source.size:
        raise LauraError(f"{name} is empty (0 bytes): give an audio file ({READABLE})")
    return source


def check_wave(wave: np.ndarray, name: str = "audio") -> np.ndarray:
    """The waveform itself, (N,) float32, or LauraError when it has no samples, a NaN or an infinity, or more than one axis."""
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    if wave.ndim != 1:
        raise LauraError(f"{name} has shape {wave.shape}: give one channel, (N,)")
    if not len(wave):
        raise LauraError(f"{name} holds no samples (0 s)")
    if not np.isfinite(wave).all():
        raise LauraError(f"{name} holds NaN or infinite samples: they cannot be played or read")
    return wave


def check_piece(piece: object, name: str) -> np.ndarray:
    """Samples of one channel at 16 kHz, of any type that `read_recording` takes, as (n,) float32, or LauraError."""
    samples = to_samples(piece, name)
    if samples.rate not in (None, SAMPLE_RATE) or samples.wave.shape[1] != 1:
        about = f"{samples.wave.shape[1]} channels at {samples.rate or SAMPLE_RATE} Hz"
        raise LauraError(f"{name} has {about}: give one channel at {SAMPLE_RATE}")
    return check_wave(samples.wave[:, 0], name)


def check_length(wave: np.ndarray, name: str, minimum: float = MINIMUM) -> np.ndarray:
    """The wave itself (N,), or LauraError when it is too short to hold anything."""
    if len(wave) < minimum * SAMPLE_RATE:
        raise LauraError(f"{name} is {len(wave) / SAMPLE_RATE * 1000:.0f} ms long: give at least {minimum * 1000:.0f} ms")
    return wave


def resample(wave: np.ndarray, rate: int, to: int = SAMPLE_RATE) -> np.ndarray:
    """(N,) at `rate` Hz -> (N * to / rate,) at `to` Hz, float32."""
    if rate <= 0 or to <= 0:
        raise LauraError(f"a sample rate must be positive, not {rate} -> {to}")
    wave = np.asarray(wave, dtype=np.float32)
    return wave if rate == to or not len(wave) else soxr.resample(wave, rate, to).astype(np.float32)


def save_audio(path: str | Path, wave: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    """Writes (N,) as 16-bit WAV or FLAC or as Ogg, by the suffix; samples beyond [-1, 1] are clipped.

    The file appears whole or not at all (files.py)."""
    wave, minute = check_wave(wave, f"the audio for {path}"), 60 * rate  # one at a time: an hour is not held twice
    return save_stream(path, (wave[at : at + minute] for at in range(0, len(wave), minute)), rate)


def save_stream(path: str | Path, pieces: Iterable[np.ndarray], rate: int = SAMPLE_RATE) -> Path:
    """The same for a wave that comes in pieces (n,). What fails while they are made leaves nothing behind."""
    path = Path(path)
    if path.suffix.lower() not in WRITABLE:
        raise LauraError(f"{path}: audio is written as {', '.join(WRITABLE)}, not {path.suffix or 'without a suffix'!r}")
    if path.is_dir():
        raise LauraError(f"{path} is a folder: give a file name")
    if not path.parent.is_dir():
        raise LauraError(f"{path}: the folder {path.parent} does not exist")
    try:
        if not is_written_into(path):
            with replacing(path) as file:
                _write(file, pieces, path.suffix, rate)
            return path
        # A header is written last, which a device or a pipe does not allow: the whole file is made first.
        with tempfile.TemporaryFile() as whole:
            _write(whole, pieces, path.suffix, rate)
            whole.seek(0)
            with replacing(path) as file:
                shutil.copyfileobj(whole, file)
    except (OSError, soundfile.SoundFileError) as error:
        raise LauraError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    return path


def _write(file: io.BufferedIOBase, pieces: Iterable[np.ndarray], suffix: str, rate: int) -> None:
    container, subtype = WRITABLE[suffix.lower()]
    with soundfile.SoundFile(file, "w", rate, 1, subtype, format=container) as sink:
        for piece in pieces:
            sink.write(np.clip(piece, -1.0, 1.0))
