"""Parts of our HTML pages (the demo's and the evaluation's): their style, spectrograms, data: URIs, words compared with a reference.

In: waves (N,), texts. Out: PNG bytes, URIs, words with whether they are right. All of it is embedded in the page; nothing is fetched.
"""

import base64
import difflib
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lauragpt.errors import LauraError
from lauragpt.spoken import normalize

WINDOW, HOP, RANGE = 512, 128, 75.0  # samples, samples, dB shown
# From dark to bright through purple and orange, with even steps of lightness, so that it also works in grey.
COLOURS = np.array([(8, 6, 28), (52, 16, 94), (124, 32, 120), (196, 60, 100), (246, 126, 84), (254, 204, 130), (252, 250, 214)], float)


def style() -> str:
    """The style sheet, which is that of the server's page too."""
    return (Path(__file__).parents[2] / "page" / "style.css").read_text(encoding="utf-8")


def table_row(cells: Iterable[tuple[str, str, str]]) -> str:
    """(class, name of the column, HTML) of each cell -> a row, whose cells say what they are where columns do not fit side by side."""
    return "<tr>" + "".join(f'<td class="{kind}" data-label="{name}">{cell}</td>' for kind, name, cell in cells) + "</tr>"


def compare(text: str, reference: str, lang: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """The words of both, each with whether the other has it in its place. Compared in spoken form; the answer is shown as written."""
    written, expected = text.split(), normalize(reference, lang).split()
    spoken = [normalize(word, lang) for word in written]
    blocks = difflib.SequenceMatcher(None, spoken, expected, autojunk=False).get_matching_blocks()
    matched = {block.a + k for block in blocks for k in range(block.size)}
    found = {block.b + k for block in blocks for k in range(block.size)}
    return [(word, n in matched) for n, word in enumerate(written)], [(word, n in found) for n, word in enumerate(expected)]


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def spectrogram(wave: np.ndarray, width: int = 560, height: int = 96) -> bytes:
    """A PNG of the log magnitude (up is higher, brighter is louder, 75 dB in all), at most `width` columns."""
    hop = max(HOP, -(-len(wave) // width))
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, WINDOW // 2), WINDOW)[::hop]
    decibels = 20 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) + 1e-6)  # (columns, 257)
    rows = np.linspace(0, decibels.shape[1] - 1, height).round().astype(int)[::-1]
    level = np.clip((decibels[:, rows].T - decibels.max()) / RANGE + 1, 0, 1)
    return png((level * 255).round().astype(np.uint8))


def png(pixels: np.ndarray) -> bytes:
    """(height, width) uint8 as a PNG with our palette: signature, header, palette, rows each led by filter type 0, end."""
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise LauraError(f"a picture is (height, width) uint8, not {pixels.shape} {pixels.dtype}")
    height, width = pixels.shape
    places = np.linspace(0, len(COLOURS) - 1, 256)
    palette = np.stack([np.interp(places, np.arange(len(COLOURS)), COLOURS[:, c]) for c in range(3)], 1).round().astype(np.uint8)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, indexed colour
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    )
