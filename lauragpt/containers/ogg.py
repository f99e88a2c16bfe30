"""Ogg: pages (RFC 3533) of Vorbis, Opus, FLAC or Speex, one stream behind the other or several side by side.

libsndfile reads the first stream alone, and refuses one whose last page lacks the flag that ends it. So each stream is handed to it as a
file of its own, whose last page carries the flag.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from lauragpt.containers.source import Contents, Link, Source, Span

HEADER = 27  # bytes before the table of segment lengths
BEGINS, ENDS = 2, 4  # flags
CODECS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
UNFINISHED = -1  # granule position of a page on which no packet ends
BEYOND = 48_000  # added to the last page's position: where the flag was missing no sample is cut from the end, as FFmpeg does it
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Page:
    start: int
    end: int
    flags: int
    granule: int
    serial: int
    first: bytes  # of its body
    patch: bytes | None = None  # the page as it should be, where it is not so in the file


@dataclass
class Chain:
    """A link: streams side by side, of which one is the sound."""

    pages: list[Page] = field(default_factory=list)

    @property
    def sound(self) -> list[Page]:
        serials = [page.serial for page in self.pages if page.flags & BEGINS and page.first.startswith(CODECS)]
        return [page for page in self.pages if page.serial == serials[0]] if serials else []


def checksum(page: bytes) -> int:
    """CRC-32 of a page whose own checksum is zero: zlib's, whose bits run the other way, over mirrored bytes."""
    crc = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def read_ogg(source: Source, start: int) -> Contents:
    """A link for each stream of sound that follows another, as `cat a.ogg b.ogg` makes them."""
    contents, chains = Contents(kind="Ogg"), [Chain()]
    for page in _pages(source, start, contents):
        if page.flags & BEGINS and not all(before.flags & BEGINS for before in chains[-1].pages):
            chains.append(Chain())
        chains[-1].pages.append(page)
    for chain in chains:
        if sound := chain.sound:
            contents.links.append(_link(source, sound))
    contents.links = contents.links or [Link(Span(source))]
    return contents


def _link(source: Source, pages: list[Page]) -> Link:
    while len(pages) > 1 and pages[-1].granule == UNFINISHED:
        pages.pop()
    last = pages[-1]
    if last.flags & ENDS and last.patch is None:
        return Link(Span(source, [(page.start, page.end) for page in pages]))
    granule = max(page.granule for page in pages if page.granule != UNFINISHED) + BEYOND
    ended = _patched(last.patch or source.read_at(last.start, last.end - last.start), granule)
    return Link(Span(source, [*((page.start, page.end) for page in pages[:-1]), ended]), exact=False)


def _patched(page: bytes, granule: int) -> bytes:
    """The page with the flag that ends the stream and another granule position."""
    patched = bytearray(page)
    patched[5] |= ENDS
    struct.pack_into("<q", patched, 6, granule)
    patched[22:26] = bytes(4)
    struct.pack_into("<I", patched, 22, checksum(bytes(patched)))
    return bytes(patched)


def _pages(source: Source, at: int, contents: Contents) -> Iterator[Page]:
    """Every page whose checksum is right, and what there is of one that the file ends in. `contents.truncated` says if any was lost."""
    while (at := source.find(b"OggS", at)) >= 0:
        header = source.read_at(at, HEADER + 255)
        count = header[HEADER - 1] if len(header) >= HEADER else 0
        size = HEADER + count + sum(header[HEADER : HEADER + count])
        data = source.read_at(at, size)
        if len(data) < size or len(header) < HEADER + count:
            contents.truncated = True
            if (page := _salvaged(data, at)) is not None and source.find(b"OggS", at + 1) < 0:
                yield page
            at += 1
        elif struct.unpack_from("<I", data, 22)[0] != checksum(data[:22] + bytes(4) + data[26:]):
            contents.truncated = True
            at += 1
        else:
            yield _page(data, at)
            at += size


def _page(data: bytes, at: int, patch: bytes | None = None) -> Page:
    granule, serial = struct.unpack_from("<qI", data, 6)
    body = HEADER + data[HEADER - 1]
    return Page(at, at + len(data), data[5], granule, serial, data[body : body + 8], patch)


def _salvaged(data: bytes, at: int) -> Page | None:
    """A page of the packets that are whole in the beginning of one; None where no packet is."""
    count = data[HEADER - 1] if len(data) > HEADER else 0
    there, whole, position = 0, 0, HEADER + count
    for index, length in enumerate(data[HEADER : HEADER + count], start=1):
        position += length
        if position > len(data):
            break
        if length < 255:
            there, whole = index, position
    if not there:
        return None
    page = data[: HEADER - 1] + bytes([there]) + data[HEADER : HEADER + there] + data[HEADER + count : whole]
    return _page(page, at, patch=page)
