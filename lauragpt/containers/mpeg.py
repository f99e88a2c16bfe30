"""MPEG audio (MP3, and layers I and II) without a container: frames one behind the other.

A decoder takes the length from a Xing header, if there is one, else it guesses from the size of the file. Both are wrong for what was
written into a pipe, for joined files, and for variable bit rates. Here the frames are counted, and the file is handed on with a header that
says how many there are. The format of both headers: http://gabriel.mp3-tech.org/mp3infotag.html
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from lauragpt.containers.source import Contents, Link, Source, Span

NEAR = 1 << 16  # bytes in which the first frame is looked for, where nothing else says that this is MPEG audio
ROW = 4  # frames in a row that are no accident there
HEAD = 48  # bytes of a frame that hold its header and the beginning of a Xing header
LATE = 3  # frames that a decoder may leave out: those that need bits of earlier ones
MPG123_DELAY = 529  # samples
DELAYS = 2 * 4095  # samples, at most, that a header tells the decoder to leave out at both ends together
# kbit/s by the header's index, 1 to 14
_RATES_1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_RATES_2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True)
class Frame:
    """What a frame's first 4 bytes say. Frames of one stream are alike in version, layer, rate and whether they are mono."""

    version: int  # 1, 2, or 25 for 2.5
    layer: int
    rate: int
    mono: bool
    size: int  # bytes, with the header
    samples: int

    @property
    def kind(self) -> tuple[int, int, int, bool]:
        return self.version, self.layer, self.rate, self.mono

    @property
    def side(self) -> int:
        """Bytes of side information, behind which a Xing header stands."""
        return (17 if self.mono else 32) if self.version == 1 else (9 if self.mono else 17)


@dataclass
class Run:
    """Frames of one kind, from a header to the next one or to the end."""

    frame: Frame
    header: tuple[int, int] | None  # where a Xing header's frame lies
    claimed: int | None  # frames that it promises
    first: bytes = b""  # 4 bytes of the first frame
    parts: list[tuple[int, int]] = field(default_factory=list)
    count: int = 0
    cut: bool = False  # the data end in a frame


@cache
def parse_header(head: bytes) -> Frame | None:
    """The first 4 bytes of a frame; None where they are none. A free bit rate (index 0) is not read."""
    if len(head) < 4:
        return None
    word = int.from_bytes(head[:4], "big")
    version, layer = {0: 25, 2: 2, 3: 1}.get(word >> 19 & 3), 4 - (word >> 17 & 3)
    index, rate_index = word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version is None or layer == 4 or index in (0, 15) or rate_index == 3:
        return None
    rate = (44100, 48000, 32000)[rate_index] // {1: 1, 2: 2, 25: 4}[version]
    bits = 1000 * (_RATES_1[layer] if version == 1 else _RATES_2[min(layer, 2)])[index - 1]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 1 else 1152
    padding = word >> 9 & 1
    size = (12 * bits // rate + padding) * 4 if layer == 1 else samples // 8 * bits // rate + padding
    return Frame(version, layer, rate, (word >> 6 & 3) == 3, size, samples)


def id3_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that begins so: "ID3", version, flags, and a length in four times 7 bits. 0 where there is none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0))) + 10 * bool(head[5] & 0x10)


def read_mpeg(source: Source, start: int = 0, end: int | None = None, known: bool = False) -> Contents | None:
    """A link for each stream; None where there are no frames. `known`: something else says that this is MPEG audio."""
    end = source.size if end is None else end
    runs = _runs(source, start, end, known)
    if not runs:
        return None
    contents = Contents(kind="MP3", truncated=any(run.cut or (run.claimed or 0) > run.count + 1 for run in runs))
    alone = len(runs) == 1 and (start, end) == (0, source.size)
    for run in runs:
        if run.count:
            contents.links.append(_link(source, run, alone))
    return contents


def _link(source: Source, run: Run, alone: bool) -> Link:
    if run.frame.layer != 3:  # there is no such header: what is lost is at least known
        return Link(Span(source, None if alone else run.parts), exact=False, samples=max(0, run.count - LATE) * run.frame.samples)
    if run.claimed is not None and run.claimed >= run.count:
        least = max(0, (run.count - LATE) * run.frame.samples - DELAYS)
        return Link(Span(source, None if alone else [run.header, *run.parts]), exact=run.claimed == run.count, samples=least)
    size = sum(stop - begin for begin, stop in run.parts)
    return Link(Span(source, [_counted(run, size), *run.parts]), exact=False, samples=max(0, run.count - LATE) * run.frame.samples)


def _counted(run: Run, size: int) -> bytes:
    """A header that says how many frames and bytes there are, and a silent frame.

    mpg123 leaves out so much of the beginning as the header says and another 529 samples, its own delay: together the silent frame, so that
    all of the others are heard."""
    word = int.from_bytes(run.first, "big") & ~(15 << 12 | 1 << 9) | 1 << 16  # no padding, no checksum
    (head, frame), (silent, quiet) = (
        (word_of.to_bytes(4, "big"), parse_header(word_of.to_bytes(4, "big"))) for word_of in (word | 9 << 12, word | 1 << 12)
    )
    about = b"Xing" + struct.pack(">III", 3, run.count + 1, size + frame.size + quiet.size)
    encoder = b"LAME".ljust(21, b"\0") + ((frame.samples - MPG123_DELAY) << 12).to_bytes(3, "big")
    return (head + bytes(frame.side) + about + encoder).ljust(frame.size, b"\0") + silent.ljust(quiet.size, b"\0")


def _runs(source: Source, start: int, end: int, known: bool) -> list[Run]:
    runs: list[Run] = []
    for at, head, frame in _frames(source, start, end, known):
        cut = at + frame.size > end
        header, claimed = _claimed(head, frame)
        if not runs or header or runs[-1].frame.kind != frame.kind:
            runs.append(Run(frame, (at, at + frame.size) if header and claimed is not None else None, claimed, head[:4]))
        run = runs[-1]
        run.cut = cut
        if not header and not cut:
            run.first = run.first if run.count else head[:4]
            run.count += 1
            run.parts.append((at, at + frame.size))
        if len(run.parts) > 1 and run.parts[-2][1] == run.parts[-1][0]:
            run.parts[-2:] = [(run.parts[-2][0], run.parts[-1][1])]
    return runs


def _claimed(head: bytes, frame: Frame) -> tuple[bool, int | None]:
    """Whether a frame is a header, and how many frames it promises, if it does."""
    if frame.layer != 3:
        return False, None
    for at in (4 + frame.side, 6 + frame.side):  # behind a checksum
        if head[at : at + 4] in (b"Xing", b"Info"):
            flags, count = struct.unpack_from(">II", head.ljust(HEAD + 8, b"\0"), at + 4)
            return True, count if flags & 1 else None
    return head[36:40] == b"VBRI", None


def _frames(source: Source, at: int, end: int, known: bool) -> Iterator[tuple[int, bytes, Frame]]:
    """Each frame: where it lies, its first bytes, what they say. What lies between (tags, damage) is passed over."""
    synced, first, limit = False, True, at + NEAR
    while 0 <= at <= end - 4 and (known or not first or at < limit):
        head = source.read_at(at, min(HEAD, end - at))
        frame = parse_header(head[:4])
        if tag := id3_size(head):
            at, synced = at + tag, False
            limit = at + NEAR
        elif frame is not None and (synced or _in_row(source, at, end, frame, ROW if first and not known else 2)):
            yield at, head, frame
            at, synced, first = at + frame.size, True, False
        else:
            at, synced = source.find(b"\xff", at + 1, end), False


def _in_row(source: Source, at: int, end: int, frame: Frame, count: int) -> bool:
    """Whether `count` frames of one kind stand behind each other, or so many as there is room for."""
    kind = frame.kind
    for number in range(1, count):
        at += frame.size
        if at + 4 > end:
            return number > 1 or count == 2
        frame = parse_header(source.read_at(at, 4))
        if frame is None or frame.kind != kind:
            return False
    return True
