"""Where the command line reads: recordings, whole or as streams, and texts, of a `Request`.

In: what a person named. Out: `Input`s in groups that fit in memory; one that cannot be read says why, and the others follow.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lauragpt.cli.io import NO_MEMORY, NO_SOUND, say
from lauragpt.cli.request import Request, check_text
from lauragpt.errors import LauraError

if TYPE_CHECKING:
    from lauragpt.audio import AudioStream, Recording

MOST = 16  # inputs that are held in memory and answered together
SAMPLES = 600 * 16_000  # of their sound, unless one recording is longer


@dataclass
class Input:
    """A recording or a text that was read, or why it could not be."""

    index: int
    name: str | None  # of a recording; None of a text
    value: "Recording | str | None" = None
    error: LauraError | None = None


def groups(request: Request) -> Iterator[list[Input]]:
    """Inputs that are answered together, each group as soon as it is full."""
    group, samples = [], 0
    for index, name in enumerate(request.inputs):
        item = read(request, index, name)
        size = 0 if item.value is None or isinstance(item.value, str) else len(item.value.wave)
        if group and samples + size > SAMPLES:
            yield group
            group, samples = [], 0
        group.append(item)
        samples += size
        if len(group) == MOST:
            yield group
            group, samples = [], 0
    if group:
        yield group


def read(request: Request, index: int, name: str) -> Input:
    """A recording, or a text."""
    try:
        if request.text_input:
            text = check_text(read_stdin() if name == "-" else name)
            if not text.strip():
                raise LauraError("the text is empty: give some words")
            return Input(index, None, text)
        from lauragpt.audio import read_recording
        from lauragpt.engine.chunking import is_silent

        recording = read_recording(Path(name), strict=request.strict)
        if is_silent(recording.wave):
            say(f"{name}: {NO_SOUND}")
        return Input(index, name, recording)
    except MemoryError:
        return Input(index, None if request.text_input else name, error=LauraError(NO_MEMORY))
    except LauraError as error:
        return Input(index, None if request.text_input else name, error=error)


def sound_stream(request: Request, name: str, seconds: float = 10.0) -> "AudioStream":
    """A recording in pieces of `seconds`, read as it is used."""
    from lauragpt.audio import stream_audio

    return stream_audio(name, seconds, request.strict)


def read_stdin() -> str:
    """All of stdin as text. LauraError where it is closed or holds no text."""
    if sys.stdin is None:
        raise LauraError("stdin is closed: pipe a text into it")
    encoding = "utf-8" if (sys.stdin.encoding or "ascii").lower() in ("ascii", "us-ascii", "utf-8") else sys.stdin.encoding
    try:
        return sys.stdin.buffer.read().decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise LauraError(f"stdin is not {error.encoding} (byte {error.start}): convert it, as with iconv -f latin1 -t utf-8") from None
    except OSError as error:
        raise LauraError(f"stdin cannot be read: {error.strerror}") from None
