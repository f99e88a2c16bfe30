"""What a file of sound holds, found by reading its frames and pages instead of trusting the lengths in its headers.

In: a `Source`, the bytes of a file wherever they lie. Out: `Contents`: the streams in it one after the other (a chained Ogg or joined MP3
has several), each as a file that libsndfile reads to its end, and whether the data end before they should.
"""

from lauragpt.containers.chunks import read_chunks
from lauragpt.containers.flac import read_flac
from lauragpt.containers.mpeg import id3_size, parse_header, read_mpeg
from lauragpt.containers.ogg import read_ogg
from lauragpt.containers.source import Contents, Link, Source, Span

__all__ = ["Contents", "Link", "Source", "Span", "begins_file", "inspect"]

# (offset, magic bytes, name) of what libsndfile cannot read and FFmpeg's libraries, by PyAV, can
FOREIGN = (
    *((4, tag, "MP4 (m4a, mp4, mov, 3gp)") for tag in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska"),
    (0, b"#!AMR", "AMR"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "WMA or ASF"),
    *((0, bytes([0xFF, second]), "AAC") for second in (0xF0, 0xF1, 0xF8, 0xF9)),
    (8, b"AVI ", "AVI"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA1", "TTA"),
    (0, b"\x0bw", "AC-3"),
    (0, b"\x00\x00\x01\xba", "an MPEG programme stream"),
)


# what else a file begins with, at its first byte
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b"caff", b".snd", b"fLaC", b"OggS")


def begins_file(head: bytes) -> bool | None:
    """Whether a stream that begins with these bytes is a file of sound, and not raw samples. None: more bytes are needed to tell."""
    if head.startswith(MAGIC) or id3_size(head[:10]):
        return True
    if any(len(magic) >= 4 and head[at : at + len(magic)] == magic for at, magic, _ in FOREIGN):  # fewer bytes may be samples
        return True
    if len(head) < 12:
        return None
    frame = parse_header(head[:4])
    if frame is None:
        return False
    if len(head) < frame.size + 4:
        return None
    following = parse_header(head[frame.size : frame.size + 4])
    return following is not None and following.kind == frame.kind


def inspect(source: Source) -> Contents:
    """The streams of a file. What is not known here is handed on as it is, for libsndfile to try."""
    start = 0
    while size := id3_size(source.read_at(start, 10)):
        start += size
    head = source.read_at(start, 16)
    for offset, magic, kind in FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return Contents([Link(Span(source))], kind=kind, foreign=True)
    if head[:1] == b"G" and source.read_at(start + 188, 1) == b"G" and source.read_at(start + 376, 1) == b"G":
        return Contents([Link(Span(source))], kind="an MPEG transport stream", foreign=True)
    if head[:4] == b"OggS":
        return read_ogg(source, start)
    if head[:4] == b"fLaC":
        return read_flac(source, start)
    return read_chunks(source, start, head) or read_mpeg(source) or Contents([Link(Span(source))])
