"""Files and bytes <-> waveforms: where sound enters and leaves the package.

In: a path or the bytes of WAV, FLAC, Ogg (Vorbis or Opus), MP3, AIFF ... at any rate, with any number of channels.
Out: `wave (N,)` float32, mono, 16 kHz, finite, in [-1, 1] where the file was. Everything after this file knows only that.
"""

import io
import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from lauragpt.errors import LauraError

SAMPLE_RATE = 16000
READABLE = "WAV, FLAC, Ogg, Opus, MP3 or AIFF"
WRITABLE = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
# A program that writes WAV into a pipe cannot know the length: it leaves 0 or a huge number, and the file is whole all the same.
STREAMED_FROM = 0x7FFFF000


def load_audio(path: str | Path) -> np.ndarray:
    """The recording as (N,) float32, mono, 16 kHz. LauraError, naming the file, when it cannot be read whole."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise LauraError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise LauraError(f"{path} is a folder: give one audio file ({READABLE})") from None
    except OSError as error:
        raise LauraError(f"{path} cannot be read: {error.strerror}") from None
    return decode_audio(data, str(path))


def decode_audio(data: bytes, name: str = "audio") -> np.ndarray:
    """The bytes of an audio file as (N,) float32, mono, 16 kHz. `name` is what an error calls it."""
    if not data:
        raise LauraError(f"{name} is empty (0 bytes): give an audio file ({READABLE})")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, promised = file.samplerate, file.frames
            wave = file.read(dtype="float32", always_2d=True)  # (N, channels)
    except (soundfile.LibsndfileError, soundfile.SoundFileRuntimeError, TypeError, ValueError):
        reason = "is cut short" if _truncated(data) else f"is not audio that can be read (allowed: {READABLE})"
        raise LauraError(f"{name} {reason}") from None
    if _truncated(data) or len(wave) < promised:
        raise LauraError(f"{name} is cut short: the file ends after {len(wave) / rate:.2f} s, before its own header says it does")
    mono = wave[:, 0] if wave.shape[1] == 1 else wave.mean(axis=1)  # an hour is not held twice
    return check_wave(resample(mono, rate), name)


def stream_audio(path: str | Path, seconds: float = 10.0) -> Iterator[np.ndarray]:
    """The recording in pieces of about `seconds`, end to end what `load_audio` gives, in bounded memory. LauraError as there."""
    path = Path(path)
    if not path.is_file() or not path.stat().st_size:  # a pipe, which can be read but once, or an error: there are words for it
        yield load_audio(path)
        return
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cut = _truncated(data)
    except OSError as error:
        raise LauraError(f"{path} cannot be read: {error.strerror}") from None
    try:
        with soundfile.SoundFile(path) as file:
            rate, read, kept = file.samplerate, 0, 0
            file.seekable = lambda: False  # else it seeks behind each block that is read, and an MP3's decoder begins anew there
            resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            while len(block := file.read(max(1, int(seconds * rate)), dtype="float32", always_2d=True)):
                read += len(block)
                wave = check_wave(block.mean(axis=1), str(path))
                if resampler is not None:
                    wave = resampler.resample_chunk(wave, last=read >= file.frames)
                kept += len(wave)
                if len(wave):
                    yield wave
            whole = read >= file.frames
    except (soundfile.LibsndfileError, soundfile.SoundFileRuntimeError, TypeError, ValueError):
        reason = "is cut short" if cut else f"is not audio that can be read (allowed: {READABLE})"
        raise LauraError(f"{path} {reason}") from None
    if cut or not whole:
        raise LauraError(f"{path} is cut short: the file ends after {read / rate:.2f} s, before its own header says it does")
    if not kept:
        raise LauraError(f"{path} holds no samples (0 s)")


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


def resample(wave: np.ndarray, rate: int, to: int = SAMPLE_RATE) -> np.ndarray:
    """(N,) at `rate` Hz -> (N * to / rate,) at `to` Hz, float32."""
    if rate <= 0 or to <= 0:
        raise LauraError(f"a sample rate must be positive, not {rate} -> {to}")
    wave = np.asarray(wave, dtype=np.float32)
    return wave if rate == to or not len(wave) else soxr.resample(wave, rate, to).astype(np.float32)


def save_audio(path: str | Path, wave: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    """Writes (N,) as 16-bit WAV or FLAC or as Ogg, by the suffix; samples beyond [-1, 1] are clipped.

    The file appears whole or not at all: it is written beside its name and renamed.
    """
    wave, minute = check_wave(wave, f"the audio for {path}"), 60 * rate  # one at a time: an hour is not held twice
    return save_stream(path, (wave[at : at + minute] for at in range(0, len(wave), minute)), rate)


def save_stream(path: str | Path, pieces: Iterable[np.ndarray], rate: int = SAMPLE_RATE) -> Path:
    """The same for a wave that comes in pieces (n,). What fails while they are made leaves nothing behind."""
    path = Path(path)
    if path.suffix.lower() not in WRITABLE:
        raise LauraError(f"{path}: audio is written as {', '.join(WRITABLE)}, not {path.suffix or 'without a suffix'!r}")
    container, subtype = WRITABLE[path.suffix.lower()]
    if path.is_dir():
        raise LauraError(f"{path} is a folder: give a file name")
    if not path.parent.is_dir():
        raise LauraError(f"{path}: the folder {path.parent} does not exist")
    aside = None
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=path.suffix)
        with os.fdopen(handle, "wb") as raw, soundfile.SoundFile(raw, "w", rate, 1, subtype, format=container) as file:
            for piece in pieces:
                file.write(np.clip(piece, -1.0, 1.0))
        os.chmod(aside, 0o666 & ~_umask())  # mkstemp's 0600 would surprise whoever shares the folder
        os.replace(aside, path)
    except (OSError, soundfile.SoundFileError) as error:
        raise LauraError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    finally:
        if aside and os.path.exists(aside):
            os.unlink(aside)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _truncated(data: bytes | mmap.mmap) -> bool:
    """Whether a WAV or Ogg file ends before its header says. libsndfile reads such files as if they were whole."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav_truncated(data)
    if data[:4] == b"OggS":
        return _ogg_truncated(data)
    return False


def _wav_truncated(data: bytes | mmap.mmap) -> bool:
    at = 12
    while at + 8 <= len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        if data[at : at + 4] == b"data":
            return size < STREAMED_FROM and at + 8 + size > len(data)
        at += 8 + size + size % 2  # chunks are padded to even lengths
    return True  # the file ends before its samples begin


def _ogg_truncated(data: bytes | mmap.mmap) -> bool:
    """An Ogg page: 27 bytes of header, then a table of segment lengths, then the segments. The last page is marked (flag 4)."""
    at = data.rfind(b"OggS")
    if at + 27 > len(data):
        return True
    flags, segments = data[at + 5], data[at + 26]
    table = data[at + 27 : at + 27 + segments]
    return not flags & 4 or len(table) < segments or at + 27 + segments + sum(table) > len(data)
