"""Sounds and files that several tests make."""

import io
import struct

import numpy as np
import pytest
import soundfile

from lauragpt.errors import LauraError

RATE = 16000


def tone(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float, rate: int = RATE, channels: int | None = None, seed: int = 0) -> np.ndarray:
    shape = int(seconds * rate) if channels is None else (int(seconds * rate), channels)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def encoded(wave: np.ndarray, rate: int = RATE, **how: object) -> bytes:
    """The bytes of a file as soundfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate, **how)
    return file.getvalue()


def by_av(wave: np.ndarray, rate: int, container: str, codec: str, **options: str) -> bytes:
    """The bytes of a file as FFmpeg's libraries write it; mono."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as sink:
        stream = sink.add_stream(codec, rate=rate, layout="mono")
        if codec not in ("flac", "wavpack", "pcm_s16le"):
            stream.bit_rate = 12_200 if "amr" in codec else 64_000
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        convert = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        for part in [*convert.resample(frame), *convert.resample(None), None]:
            sink.mux(stream.encode(part))
    return file.getvalue()


def with_chunk_size(data: bytes, tag: bytes, size: int, form: str = "<I") -> bytes:
    """The file with another length in front of its chunk `tag`."""
    at = data.index(tag) + len(tag)
    return data[:at] + struct.pack(form, size) + data[at + struct.calcsize(form) :]


def fails(act, *words: str) -> None:
    """It raises a LauraError of one line that holds these words."""
    with pytest.raises(LauraError) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
