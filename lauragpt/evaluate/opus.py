"""Opus, the common codec, for comparison with our own: a wave after it at a bit rate, by libsndfile.

In: a wave (N,) at 16 kHz and a bit rate in kbit/s. Out: the decoded wave (N,) and the bit rate of its packets.
"""

import numpy as np

from lauragpt.audio import SAMPLE_RATE, decode_audio
from lauragpt.data.channel import encode_audio
from lauragpt.errors import LauraError
from lauragpt.evaluate.metrics import MissingPackage

RATES = (6, 8, 12)  # kbit/s
LOWEST, HIGHEST = 6, 256  # kbit/s: libsndfile's ends of `compression_level`, 1 and 0


def opus(wave: np.ndarray, kilobits: float) -> tuple[np.ndarray, float]:
    """The wave after Opus, and its bit rate in kbit/s. MissingPackage if libsndfile cannot write Opus or set its rate."""
    try:
        data = encode_audio(wave, SAMPLE_RATE, "OGG", "OPUS", compression_level=1 - (kilobits - LOWEST) / (HIGHEST - LOWEST))
    except LauraError as error:
        raise MissingPackage(f"not measured: {error}") from None
    return decode_audio(data, "Opus")[: len(wave)], packet_bits(data) * SAMPLE_RATE / len(wave) / 1000


def packet_bits(ogg: bytes) -> int:
    """Bits of the packets alone, without the container and the two header pages."""
    at, pages, total = 0, 0, 0
    while at < len(ogg):
        table = ogg[at + 27 : at + 27 + ogg[at + 26]]
        total += 8 * sum(table) if pages > 1 else 0
        at, pages = at + 27 + len(table) + sum(table), pages + 1
    return total
