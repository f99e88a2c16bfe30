"""FLAC files, also several of them joined in one."""

from itertools import pairwise

from lauragpt.containers.source import Contents, Link, Source, Span

BEGIN = b"fLaC\x00\x00\x00\x22"  # the marker and the header of a STREAMINFO block that others follow, 34 bytes long
ALONE = b"fLaC\x80\x00\x00\x22"  # or that is the only one


def read_flac(source: Source, start: int) -> Contents:
    """A link for each file that was joined. STREAMINFO says 0 samples where the length was not known: then there is nothing to check."""
    starts = [start]
    for marker in (BEGIN, ALONE):
        at = start + 1
        while (at := source.find(marker, at)) >= 0:
            starts.append(at)
            at += 1
    ends = [*sorted(starts), source.size]
    return Contents([Link(Span(source, [pair])) for pair in pairwise(ends)], kind="FLAC")
