"""Files made of chunks, each with its length in front: WAV (RIFF, RIFX, RF64, BW64), AIFF, 8SVX, Wave64, CAF; and AU, which has one length.

A program that writes into a pipe cannot know the length: it leaves 0 or a huge number, and the file is whole all the same.
"""

import struct
from dataclasses import dataclass

from lauragpt.containers.mpeg import read_mpeg
from lauragpt.containers.source import Contents, Link, Source, Span

MPEG_TAGS = (0x50, 0x55)  # of the codec in a WAV: layers I and II, and MP3
LARGEST = 0xFFFFFFFF
ROUND = 500_000_000  # bytes: from here on a round number was made up


@dataclass(frozen=True)
class Layout:
    """How chunks are written. first: where the first one stands. tag: bytes of a tag. size: struct format of a length. inclusive: a length
    counts the chunk's own header. align: chunks begin at multiples of it. data: tags of the chunk that holds the samples."""

    name: str
    first: int
    tag: int
    size: str
    align: int
    data: tuple[bytes, ...]
    inclusive: bool = False

    @property
    def header(self) -> int:
        return self.tag + struct.calcsize(self.size)


WAV, WAV_BIG = Layout("WAV", 12, 4, "<I", 2, (b"data",)), Layout("WAV", 12, 4, ">I", 2, (b"data",))
AIFF = Layout("AIFF", 12, 4, ">I", 2, (b"SSND", b"BODY"))
CAF = Layout("CAF", 8, 4, ">q", 1, (b"data",))
WAVE64 = Layout("Wave64", 40, 16, "<Q", 8, (b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a",), inclusive=True)


@dataclass(frozen=True)
class Chunk:
    tag: bytes
    at: int  # of its length
    start: int  # of its contents
    size: int


def read_chunks(source: Source, start: int, head: bytes) -> Contents | None:
    """A link for each file that was joined; None for what is not made of chunks."""
    if head[:4] == b".snd":
        return _read_au(source, start)
    contents = Contents()
    while (layout := _layout(source.read_at(start, 16))) is not None:
        contents.kind = contents.kind or layout.name
        start = _read_one(source, start, layout, contents)
    return contents if contents.kind else None


def _layout(head: bytes) -> Layout | None:
    if head[8:12] == b"WAVE" and head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX"):
        return WAV_BIG if head[:4] == b"RIFX" else WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX"):
        return AIFF
    if head[:4] == b"caff":
        return CAF
    return WAVE64 if head == b"riff.\x91\xcf\x11\xa5\xd6(\xdb\x04\xc1\x00\x00" else None


def _read_one(source: Source, start: int, layout: Layout, contents: Contents) -> int:
    """Adds the link of the file at `start`; returns where the next one may stand."""
    chunks, end = _walk(source, start, layout)
    data = next((chunk for chunk in chunks if chunk.tag in layout.data), None)
    if data is None:  # the file ends before its samples begin
        contents.truncated = True
        contents.links.append(Link(Span(source, [(start, source.size)])))
        return source.size
    there, promised = source.size - data.start, _promised(source, start, layout, chunks, data)
    if promised is None:  # all that there is
        promised, end = there, source.size
        span = _with_length(source, start, layout, chunks, data, there)
    else:
        span = Span(source, [(start, min(end, source.size))])
    if promised > there:
        contents.truncated = True
    form = next((source.read_at(chunk.start, 2) for chunk in chunks if chunk.tag == b"fmt "), b"")
    if layout is WAV and len(form) == 2 and struct.unpack("<H", form)[0] in MPEG_TAGS:
        inner = read_mpeg(source, data.start, data.start + min(promised, there), known=True)
        if inner is not None:
            contents.links += inner.links
            contents.truncated |= inner.truncated
            return end
    contents.links.append(Link(span, exact=False))
    return end


def _walk(source: Source, start: int, layout: Layout) -> tuple[list[Chunk], int]:
    """The chunks of one file, and where the last of them ends. A chunk that goes beyond the end of the data is the last."""
    chunks, at = [], start + layout.first
    own = source.read_at(start, 4)
    while at < source.size and len(header := source.read_at(at, layout.header)) == layout.header:
        tag, (size,) = header[: layout.tag], struct.unpack(layout.size, header[layout.tag :])
        if (header[:4] == own and _layout(source.read_at(at, 16)) is not None) or not tag.strip(b"\0"):
            break
        size -= layout.header if layout.inclusive else 0
        if tag in layout.data and size == LARGEST:
            size = _long(source, chunks)
        chunks.append(Chunk(tag, at + layout.tag, at + layout.header, size))
        if size < 0 or (tag in layout.data and at + layout.header + size > source.size):
            return chunks, source.size
        at += layout.header + size
        at += -(at - start) % layout.align
    return chunks, min(at, source.size)


def _long(source: Source, chunks: list[Chunk]) -> int:
    """The length of the samples in 64 bits, which RF64 keeps in a chunk in front of all others."""
    values = next((source.read_at(chunk.start, 16) for chunk in chunks if chunk.tag == b"ds64"), b"")
    return struct.unpack("<Q", values[8:])[0] if len(values) == 16 else LARGEST


def _promised(source: Source, start: int, layout: Layout, chunks: list[Chunk], data: Chunk) -> int | None:
    """Bytes of samples by the header; None where it does not know."""
    there, size = source.size - data.start, data.size
    if size == 0:
        return 0 if _is_empty(source, start, layout, chunks, data) else None
    lengths = [size, data.start - start + size]
    if layout is not CAF and source.read_at(start + 1, 3) != b"F64":  # where all of the file has a length too
        (whole,) = struct.unpack(layout.size, source.read_at(start + layout.tag, struct.calcsize(layout.size)))
        lengths += [whole, whole + 8]
    return None if size < 0 or (size > there and any(map(_made_up, lengths))) else size


def _made_up(size: int) -> bool:
    """Lengths that programs write who do not know: near 2 or 4 GiB or beyond any disk, or round, as the 2,000,000,000 of arecord."""
    beyond = 0x7FFF0000 <= size < 1 << 31 or 0xFFFF0000 <= size <= LARGEST or size >= 1 << 48
    return beyond or (size >= ROUND and (size % 10**8 == 0 or size % (1 << 24) == 0))


def _is_empty(source: Source, start: int, layout: Layout, chunks: list[Chunk], data: Chunk) -> bool:
    """Whether nothing but whole chunks stands behind a length of 0: then there are no samples."""
    rest = chunks[chunks.index(data) + 1 :]
    end = (rest[-1].start + rest[-1].size) if rest else data.start
    return 0 <= source.size - end <= 1 and all(chunk.tag[:4].decode("latin-1").isprintable() and chunk.tag[:4].isascii() for chunk in rest)


def _with_length(source: Source, start: int, layout: Layout, chunks: list[Chunk], data: Chunk, size: int) -> Span:
    """The file with the true length of its samples in place of the one that was never filled in."""
    own = size + layout.header if layout.inclusive else size
    if layout.size in ("<I", ">I"):
        own = min(own, LARGEST)
    parts: list[tuple[int, int] | bytes] = [(start, data.at), struct.pack(layout.size, own), (data.start, source.size)]
    if (layout is WAV and size > LARGEST - 0xFFFF) or any(chunk.tag == b"ds64" for chunk in chunks):
        # RF64: lengths of 64 bits stand in a chunk of their own, in front of all others
        about = struct.pack("<4sIQQQI", b"ds64", 28, size + data.start - start + 28, size, 0, 0)
        kept = [(c.at - 4, c.start + c.size + c.size % 2) for c in chunks if c.tag != b"ds64" and c.start < data.start]
        parts = [b"RF64\xff\xff\xff\xffWAVE", about, *kept, b"data\xff\xff\xff\xff", (data.start, source.size)]
    elif layout is AIFF:
        common = next((chunk for chunk in chunks if chunk.tag == b"COMM"), None)
        if common is not None and common.start < data.start:
            channels, _, bits = struct.unpack(">hIh", source.read_at(common.start, 8))
            frames = (size - 8) // max(1, channels * ((bits + 7) // 8))
            parts = [(start, common.start + 2), struct.pack(">I", frames), (common.start + 6, data.at), *parts[1:]]
    return Span(source, parts)


def _read_au(source: Source, start: int) -> Contents:
    """Sun's AU: ".snd", where the samples begin, and their length in bytes; 0xFFFFFFFF is one that is not known."""
    contents = Contents(kind="AU")
    while (head := source.read_at(start, 12))[:4] == b".snd" and len(head) == 12:
        begin, size = struct.unpack(">II", head[4:])
        if begin < len(head):  # damaged: the samples cannot begin inside the header
            contents.truncated = True
            contents.links.append(Link(Span(source, [(start, source.size)])))
            break
        there = source.size - start - begin
        if size in (0, LARGEST):
            size = max(0, there)
        contents.truncated |= size > there
        end = start + begin + min(size, max(0, there))
        contents.links.append(Link(Span(source, [head[:8] + struct.pack(">I", size), (start + 12, end)]), exact=False))
        start = end
    contents.links = contents.links or [Link(Span(source))]
    return contents
