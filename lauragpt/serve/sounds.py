"""Waves -> files of sound as they are sent, whole or in pieces while they are made. Each says of itself that it is generated.

In: (n,) float32 at 16 kHz. Out: bytes of WAV, FLAC, Opus, MP3 or AAC at 16 kHz, or raw 16-bit samples at 24 kHz, which is what clients of
OpenAI's `pcm` expect.
"""

import io
import struct

import numpy as np
import soundfile
import soxr

from lauragpt.audio import SAMPLE_RATE
from lauragpt.containers.mpeg import id3_size, parse_header
from lauragpt.serve.ffmpeg import AacSink, Tempo, at_speed

PCM_RATE = 24_000
UNKNOWN = 2**32 - 1  # a length that is not known yet, as everybody writes it who streams WAV
# format -> (media type, libsndfile's format and subtype)
FORMATS = {
    "mp3": ("audio/mpeg", "MP3", "MPEG_LAYER_III"),
    "opus": ("audio/ogg; codecs=opus", "OGG", "OPUS"),
    "aac": ("audio/aac", None, None),
    "flac": ("audio/flac", "FLAC", "PCM_16"),
    "wav": ("audio/wav", "WAV", "PCM_16"),
    "pcm": (f"audio/pcm;rate={PCM_RATE};channels=1", None, None),
}


def media_type(format: str) -> str:
    return FORMATS[format][0]


def encode(wave: np.ndarray, format: str, about: str, speed: float = 1.0) -> bytes:
    """A whole wave (N,) as a file, whose comment is `about`."""
    wave = at_speed(wave, speed)
    if format == "pcm":
        return _pcm(soxr.resample(wave, SAMPLE_RATE, PCM_RATE) if len(wave) else wave)
    file = io.BytesIO()
    with _sink(file, format, about) as sink:
        sink.write(wave.clip(-1, 1))
    return file.getvalue()


class Encoder:
    """A wave that comes in pieces (n,) as pieces of a file, which nobody can go back to: no length stands in its header."""

    def __init__(self, format: str, about: str, speed: float = 1.0):
        self.format, self.about, self.sent = format, about, 0
        self.tempo = Tempo(speed) if speed != 1 else None
        self.resampler = soxr.ResampleStream(SAMPLE_RATE, PCM_RATE, 1, dtype="float32") if format == "pcm" else None
        self.file = io.BytesIO()
        self.sink = None if format in ("pcm", "wav") else _sink(self.file, format, about)
        self.begun = False

    def feed(self, wave: np.ndarray) -> bytes:
        wave = np.ascontiguousarray(wave, dtype=np.float32)
        return self._encode(wave if self.tempo is None else self.tempo.feed(wave), last=False)

    def finish(self) -> bytes:
        return self._encode(np.zeros(0, dtype=np.float32) if self.tempo is None else self.tempo.finish(), last=True)

    def _encode(self, wave: np.ndarray, last: bool) -> bytes:
        if self.resampler is not None:
            return _pcm(self.resampler.resample_chunk(wave, last=last))
        if self.sink is None:
            header = b"" if self.begun else wav_header(self.about)
            self.begun = True
            return header + _pcm(wave)
        if len(wave):
            self.sink.write(wave.clip(-1, 1))
        self.sink.close() if last else self.sink.flush()
        data = self.file.getvalue()[self.sent :]
        if self.format == "mp3" and not self.begun:
            if not last and not _has_frame(data):
                return b""  # the header is not whole yet
            data, self.sent, self.begun = without_count(data), self.sent + len(data), True
            return data
        self.sent += len(data)
        return data


def wav_header(about: str) -> bytes:
    """Of 16 bits and one channel, with a comment and no length."""
    comment = about.encode("ascii", "replace") + b"\0"
    comment += b"\0" * (len(comment) % 2)
    about_chunk = b"INFO" + struct.pack("<4sI", b"ICMT", len(comment)) + comment
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", UNKNOWN, b"WAVE", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    return head + struct.pack("<4sI", b"LIST", len(about_chunk)) + about_chunk + struct.pack("<4sI", b"data", UNKNOWN)


def without_count(data: bytes) -> bytes:
    """The beginning of an MP3 without the frame that counts all others, which nobody knows yet: a decoder would stop where it says."""
    start = id3_size(data[:10])
    frame = parse_header(data[start : start + 4])
    if frame is None or not any(mark in data[start : start + frame.size] for mark in (b"Xing", b"Info")):
        return data
    return data[:start] + data[start + frame.size :]


def _has_frame(data: bytes) -> bool:
    start = id3_size(data[:10])
    frame = parse_header(data[start : start + 4])
    return frame is not None and len(data) >= start + frame.size


def _sink(file: io.BytesIO, format: str, about: str) -> soundfile.SoundFile | AacSink:
    if format == "aac":
        return AacSink(file, about)
    _, container, subtype = FORMATS[format]
    sink = soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, subtype, format=container)
    sink.comment = about
    return sink


def _pcm(wave: np.ndarray) -> bytes:
    return (wave.clip(-1, 1) * 32767).round().astype("<i2").tobytes()
