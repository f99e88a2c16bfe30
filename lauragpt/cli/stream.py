"""What is answered while it goes on: `laura transcribe --stream`, a transcript line by line, and `laura speak -o -`, speech.

In: a recording, or raw 16-bit samples on stdin. Out on stdout: a line a finished stretch of speech, which never changes; with json also the
stretches so far, `"final": false`. In a terminal the stretch so far is shown on the last line, and written over.
"""

import contextlib
import shutil
import signal
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from itertools import takewhile
from typing import BinaryIO

import numpy as np

from lauragpt.audio import SAMPLE_RATE, PcmReader
from lauragpt.cli.inputs import read, sound_stream
from lauragpt.cli.io import NO_SOUND, OutputError, Terminated, Unread, print_line, say, stdout_written
from lauragpt.cli.request import Request
from lauragpt.cli.run import load_for, options_for
from lauragpt.containers import begins_file
from lauragpt.errors import LauraError, SpeechWarning
from lauragpt.samples import check_rate

PIECE = 0.25  # seconds read at a time, at most


class Stop:
    """Ctrl-C ends the sound, and what came is answered; a second time it ends the program."""

    def __init__(self):
        self.asked = self.waiting = False  # waiting: for more sound, and not busy with what came

    def __enter__(self) -> "Stop":
        self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self.before)

    def _ask(self, *_: object) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.waiting:
            raise KeyboardInterrupt


class Samples:
    """Raw little-endian 16-bit samples of one channel at `rate` Hz -> pieces (n,) at 16 kHz, until the stream ends or is stopped.

    LauraError when it is a file of audio, which has its own rate, or holds nothing."""

    def __init__(self, stream: BinaryIO, rate: int = SAMPLE_RATE, stop: Stop | None = None):
        self.stream, self.rate, self.stop = stream, check_rate(rate), stop or Stop()
        self.halved = False  # it ended in the middle of a sample

    def __iter__(self) -> Iterator[np.ndarray]:
        reader, size, head, begun, ended = PcmReader(self.rate), 2 * max(1, int(PIECE * self.rate)), b"", False, False
        while not ended:
            data = self._read(size)
            head, ended = head + data, not data
            if not begun and (is_file := begins_file(head)) is not False:
                if is_file:
                    way = "name the file, or pipe it through ffmpeg -i - -f s16le -ac 1 -ar 16000 -"
                    raise LauraError(f"stdin holds an audio file, not raw samples: {way}")
                if not ended:
                    continue
            begun = begun or len(head) > 1
            if not begun and not ended:
                continue
            wave, head = reader.feed(head, last=ended), b""
            if len(wave):
                yield wave
        if not begun:
            raise LauraError("no samples came on stdin: pipe 16-bit samples of one channel into it")
        self.halved = reader.halved

    def _read(self, size: int) -> bytes:
        if self.stop.asked:
            return b""
        self.stop.waiting = True
        try:
            return self.stream.read1(size)
        except Terminated:
            raise
        except KeyboardInterrupt:  # no more is to come
            return b""
        finally:
            self.stop.waiting = False


def transcribe(request: Request) -> int:
    """-> 1 when the sound ended in the middle of a sample; what came before is answered all the same. LauraError when it cannot be read."""
    name, as_json = request.inputs[0], request.format == "json"
    watched, found = not as_json and sys.stderr.isatty(), False
    if name == "-" and sys.stdin is None:
        raise LauraError("stdin is closed: pipe 16-bit samples of one channel into it")
    with Stop() as stop:
        raw = Samples(sys.stdin.buffer, request.options["rate"], stop) if name == "-" else None
        source = raw or sound_stream(request, name, PIECE)
        pieces = raw or takewhile(lambda _: not stop.asked, source)
        laura = load_for(request)
        options = {key: request.options[key] for key in ("lang", "min_confidence")}
        try:
            for result in laura.transcribe_stream(pieces, every=1.0 if watched or as_json else None, **options):
                found = found or bool(result.segments)
                result.receipt["truncated"] = raw is None and source.truncated
                if watched:
                    print(f"\r\x1b[K{'' if result.final else _tail(result.text)}", end="", file=sys.stderr, flush=True)
                if as_json:
                    print_line(result.to_json(name, final=result.final))
                elif result.final and result.text:
                    print_line(result.text)
        finally:
            if watched:  # or the next message would stand behind it
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if not found:
        say(f"{name}: {NO_SOUND}")
    if raw is not None and raw.halved:
        say("the stream ended in the middle of a sample, which was left out: are these 16-bit samples?")
    return int(raw is not None and raw.halved)


def speak(request: Request) -> int:
    """Texts one after the other as 16-bit samples on stdout, while they are generated -> how many failed."""
    laura, failed = load_for(request), 0
    options = options_for(laura, request)
    for index, text in enumerate(request.inputs):
        item = read(request, index, text)
        try:
            if item.error is not None:
                raise item.error
            with _speech_warnings() as reasons:
                for piece in laura.speak_stream(item.value, **options):
                    with stdout_written():
                        sys.stdout.buffer.write((piece.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
                        sys.stdout.buffer.flush()
            failed += bool(reasons)
        except OutputError:
            raise
        except Unread:
            break
        except LauraError as error:  # the other texts are said all the same
            say(str(error))
            failed += 1
    return failed


@contextlib.contextmanager
def _speech_warnings() -> Iterator[list[str]]:
    """The reasons of the speech that failed inside the block, which are shown as other warnings are."""
    reasons, shown = [], warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        if issubclass(category, SpeechWarning):
            reasons.append(str(message))
        shown(message, category, *where)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield reasons


def _tail(text: str) -> str:
    """As much of the end of a text as one line of the terminal holds, so that it can be written over."""
    room = shutil.get_terminal_size().columns - 1
    while text and sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text) > room:
        text = text[1:]
    return text
