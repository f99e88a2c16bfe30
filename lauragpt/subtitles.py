"""Subtitles: what was said and when -> cues that fit a screen, as SubRip (`srt`) or WebVTT (`vtt`).

In: the segments of a `Result`, with the times of their words where there are some. Out: `Cue`s, each at most so many lines of so many
characters, on the screen for at most so many seconds, from the start of its first word to the end of its last.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lauragpt.errors import LauraError

if TYPE_CHECKING:
    from lauragpt.result import Segment

MAX_SECONDS = 7.0  # that a cue stays on the screen, the usual limit
MAX_PAUSE = 1.5  # seconds between two words of one cue: what follows a longer pause is a new cue


@dataclass(frozen=True)
class CueLayout:
    """How large a cue may be; named as whisper and faster-whisper name it. The defaults are those of most broadcasters."""

    max_line_width: int = 42  # characters
    max_line_count: int = 2
    max_words_per_line: int | None = None

    def __post_init__(self):
        for name, least in (("max_line_width", 8), ("max_line_count", 1), ("max_words_per_line", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise LauraError(f"{name} is {value}: give {least} or more")


STANDARD = CueLayout()


@dataclass(frozen=True)
class Cue:
    start: int  # milliseconds
    end: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Token:
    """What is never broken over two lines."""

    start: float
    end: float
    text: str
    glued: bool = False  # to what stands before it, without a space


def cues(segments: Iterable["Segment"], layout: CueLayout = STANDARD, spaced: bool = True) -> list[Cue]:
    """The cues of segments in order of time; together they hold every word. A segment without word times has its time shared among
    its letters. `spaced`: words are parted by spaces, as they are not in Chinese."""
    result: list[Cue] = []
    for segment in segments:
        tokens: list[_Token] = []
        for token in _tokens(segment, layout.max_line_width, spaced):
            if tokens and not _fits([*tokens, token], layout):
                result.append(_cue(tokens, layout, result))
                tokens = []
            tokens.append(token)
        if tokens:
            result.append(_cue(tokens, layout, result))
    return result


def to_srt(cues: Iterable[Cue]) -> str:
    """SubRip: numbered blocks, a comma before the milliseconds."""
    return "\n".join(
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues, start=1)
    )


def to_vtt(cues: Iterable[Cue]) -> str:
    """WebVTT: a header, then blocks with a point before the milliseconds. `&`, `<` and `>` are escaped: they would be read as marks."""
    return "\n".join(
        ["WEBVTT\n", *(f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n" + _escaped("\n".join(cue.lines)) + "\n" for cue in cues)]
    )


def clock(milliseconds: int, point: str) -> str:
    """hours:minutes:seconds, with the milliseconds behind `point`."""
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _tokens(segment: "Segment", width: int, spaced: bool) -> Iterator[_Token]:
    """The segment's words with their times, those that are wider than a line in parts."""
    text = "".join(segment.text.split())
    if segment.words and "".join("".join(word.text.split()) for word in segment.words) == text:
        words = [(word.start, word.end, word.text) for word in segment.words]
    else:  # no times, or not of this text: they are shared among the letters
        words, at, a_letter = [], 0, (segment.end - segment.start) / max(len(text), 1)
        for word in segment.text.split() if spaced else text:
            words.append((segment.start + at * a_letter, segment.start + (at + len(word)) * a_letter, word))
            at += len(word)
    for start, end, text in words:
        for number, word in enumerate(text.split()):
            parts = [word[k : k + width] for k in range(0, len(word), width)]
            for place, part in enumerate(parts):
                share = (end - start) / len(parts)
                yield _Token(start + place * share, start + (place + 1) * share, part, place > 0 or not (spaced or number))


def _fits(tokens: list[_Token], layout: CueLayout) -> bool:
    if tokens[-1].end - tokens[0].start > MAX_SECONDS or tokens[-1].start - tokens[-2].end > MAX_PAUSE:
        return False
    return len(_lines(tokens, layout)) <= layout.max_line_count


def _lines(tokens: list[_Token], layout: CueLayout) -> list[str]:
    lines: list[str] = []
    count = 0
    for token in tokens:
        longer = lines[-1] + ("" if token.glued else " ") + token.text if lines else ""
        if lines and len(longer) <= layout.max_line_width and count < (layout.max_words_per_line or count + 1):
            lines[-1], count = longer, count + 1
        else:
            lines.append(token.text)
            count = 1
    return lines


def _cue(tokens: list[_Token], layout: CueLayout, before: list[Cue]) -> Cue:
    """Never of no length, never over the cue before it: players refuse both."""
    start = max(round(tokens[0].start * 1000), before[-1].end if before else 0)
    end = min(round(tokens[-1].end * 1000), start + round(MAX_SECONDS * 1000))
    return Cue(start, max(end, start + 1), tuple(_lines(tokens, layout)))
