"""Opus, the codec that people use, as a mark beside our own: what it makes of a wave at a bit rate, by libsndfile.

In: wave (N,) at 16 kHz and a wish in kbit/s. Out: the wave after it, (N,), and the bit rate that its packets took.
"""

import io

import numpy as np
import soundfile

from lauragpt.audio import SAMPLE_RATE, decode_audio
from lauragpt.evaluate.metrics import MissingPackage

RATES = (6, 8, 12)  # kbit/s
LOWEST, HIGHEST = 6, 256  # kbit/s: libsndfile's ends of `compression_level`, 1 and 0


def opus(wave: np.ndarray, kilobits: float) -> tuple[np.ndarray, float]:
    """MissingPackage where libsndfile cannot write Opus or set its rate."""
    file, level = io.BytesIO(), 1 - (kilobits - LOWEST) / (HIGHEST - LOWEST)
    try:
        with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, "OPUS", format="OGG", compression_level=level) as sink:
            sink.write(wave)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise MissingPackage(f"not measured: this libsndfile cannot write Opus at a given rate ({error})") from None
    data = file.getvalue()
    return decode_audio(data, "Opus")[: len(wave)], packet_bits(data) * SAMPLE_RATE / len(wave) / 1000


def packet_bits(ogg: bytes) -> int:
    """Bits of the sound alone: the container and the two pages that name the stream are no part of a bit rate."""
    at, pages, total = 0, 0, 0
    while at < len(ogg):
        table = ogg[at + 27 : at + 27 + ogg[at + 26]]
        total += 8 * sum(table) if pages > 1 else 0
        at, pages = at + 27 + len(table) + sum(table), pages + 1
    return total
