"""Bytes that can be read anywhere, on disk or in memory; and files put together from parts of them."""

import io
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import BinaryIO

WINDOW = 1 << 20  # bytes searched at a time


class Source:
    """`data`: the bytes of a file, or a file that can seek, which the caller closes."""

    def __init__(self, data: bytes | bytearray | memoryview | BinaryIO):
        self.file = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
        self.size = self.file.seek(0, io.SEEK_END)

    def read_at(self, at: int, count: int) -> bytes:
        """Up to `count` bytes; fewer where the data end."""
        self.file.seek(at)
        return self.file.read(count)

    def find(self, pattern: bytes, start: int, end: int | None = None) -> int:
        """Where `pattern` begins at or after `start`; -1 where it does not occur."""
        end = self.size if end is None else end
        while start < end:
            window = self.read_at(start, min(WINDOW, end - start))
            if (found := window.find(pattern)) >= 0:
                return start + found
            if len(window) < WINDOW:
                break
            start += WINDOW - len(pattern) + 1
        return -1


class Span(io.RawIOBase):
    """Parts of a source as one file: `parts` are (start, end) in the source, or bytes that stand between them. None: all of it."""

    def __init__(self, source: Source, parts: Iterable[tuple[int, int] | bytes] | None = None):
        self.source, self.parts, self.at = source, [], 0
        for part in [(0, source.size)] if parts is None else parts:
            if isinstance(part, tuple) and self.parts and isinstance(self.parts[-1], tuple) and self.parts[-1][1] == part[0]:
                part = (self.parts.pop()[0], part[1])
            self.parts.append(part)
        self.starts = [0, *accumulate(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in self.parts)]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.starts[-1]}[whence])
        return self.at

    def readinto(self, buffer) -> int:
        view, count = memoryview(buffer).cast("B"), 0
        while count < len(view) and self.at < self.starts[-1]:
            index = bisect_right(self.starts, self.at) - 1
            part, inside = self.parts[index], self.at - self.starts[index]
            wanted = min(len(view) - count, self.starts[index + 1] - self.at)
            data = part[inside : inside + wanted] if isinstance(part, bytes) else self.source.read_at(part[0] + inside, wanted)
            if not data:  # the file became shorter while it was read
                break
            view[count : count + len(data)] = data
            count, self.at = count + len(data), self.at + len(data)
        return count


@dataclass(frozen=True)
class Link:
    """A stream that begins anew, with its own rate and channels.

    exact: the length in its header can be trusted: whoever reads less has lost something. samples: at least so many must come of it."""

    file: Span
    exact: bool = True
    samples: int = 0


@dataclass
class Contents:
    """truncated: the data end before they should, or some are damaged. foreign: libsndfile cannot read this kind."""

    links: list[Link] = field(default_factory=list)
    truncated: bool = False
    kind: str = ""
    foreign: bool = False
