"""`laura transcribe --stream`: sound that is still coming in, its transcript line by line.

In: a recording, or raw 16-bit samples on stdin. Out on stdout: a line a finished stretch of speech, which never changes; with json also the
stretches so far, `"final": false`. In a terminal the stretch so far is shown on the last line, and written over.
"""

import shutil
import signal
import sys
import unicodedata
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr
import typer

from lauragpt.audio import SAMPLE_RATE, stream_audio
from lauragpt.cli.io import NO_SOUND, load, one_line, say, to_stdout, usage
from lauragpt.errors import LauraError

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
    """Raw little-endian 16-bit samples of one channel at `rate` Hz -> pieces (n,) at 16 kHz, until the stream ends or is stopped. LauraError
    when it is a file of audio, which tells its own rate, or holds nothing."""

    def __init__(self, stream: BinaryIO, rate: int = SAMPLE_RATE, stop: Stop | None = None):
        self.stream, self.rate, self.stop = stream, rate, stop or Stop()
        self.halved = False  # it ended in the middle of a sample

    def __iter__(self) -> Iterator[np.ndarray]:
        resampler = None if self.rate == SAMPLE_RATE else soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32")
        size, kept, read, ended = 2 * max(1, int(PIECE * self.rate)), b"", 0, False
        while not ended:
            data = self._read(size)
            kept, ended = kept + data, not data
            if read == 0 and len(kept) < 4 and not ended:
                continue
            if read == 0 and kept[:4] in (b"RIFF", b"fLaC", b"OggS"):
                raise LauraError("stdin holds an audio file, not raw samples: name the file, or pipe it through ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -")
            whole = len(kept) // 2 * 2
            wave, kept, read = np.frombuffer(kept[:whole], "<i2").astype(np.float32) / 32768, kept[whole:], read + whole
            if resampler is not None:
                wave = resampler.resample_chunk(wave, last=ended)
            if len(wave):
                yield wave
        if not read:
            raise LauraError("no samples came on stdin: pipe 16-bit samples of one channel into it")
        self.halved = bool(kept)

    def _read(self, size: int) -> bytes:
        if self.stop.asked:
            return b""
        self.stop.waiting = True
        try:
            return self.stream.read1(size)
        except KeyboardInterrupt:  # no more is to come
            return b""
        finally:
            self.stop.waiting = False


def stream_transcript(path: Path, rate: int, format: str, model: str, device: str | None, beams: int, strict: bool = False, **options: object) -> None:
    """Exit status 1 when the sound cannot be read, or ended in the middle of a sample; what came before is answered all the same."""
    watched, found = format == "text" and sys.stderr.isatty(), False
    if str(path) == "-" and sys.stdin is None:
        usage("stdin is closed: pipe 16-bit samples of one channel into it")
    with one_line(), Stop() as stop:
        raw = Samples(sys.stdin.buffer, rate, stop) if str(path) == "-" else None
        source = raw or stream_audio(path, PIECE, strict)
        pieces = raw or takewhile(lambda _: not stop.asked, source)
        laura = load(model, device, beams)
        with to_stdout():
            try:
                for result in laura.transcribe_stream(pieces, every=1.0 if watched or format == "json" else None, **options):
                    found = found or bool(result.segments)
                    result.receipt["truncated"] = raw is None and source.truncated
                    if watched:
                        print(f"\r\x1b[K{'' if result.final else _tail(result.text)}", end="", file=sys.stderr, flush=True)
                    if format == "json":
                        print(result.to_json(str(path), final=result.final), flush=True)
                    elif result.final and result.text:
                        print(result.text, flush=True)
            finally:
                if watched:  # or what is told next would stand behind it
                    print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if not found:
        say(f"{path}: {NO_SOUND}")
    if raw is not None and raw.halved:
        say("the stream ended in the middle of a sample, which was left out: are these 16-bit samples?")
        raise typer.Exit(1)


def _tail(text: str) -> str:
    """As much of the end of a text as one line of the terminal holds, so that it can be written over."""
    room = shutil.get_terminal_size().columns - 1
    while text and sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text) > room:
        text = text[1:]
    return text
