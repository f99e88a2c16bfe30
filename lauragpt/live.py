"""`laura transcribe --stream`: sound that is still coming in, its transcript line by line.

In: a recording, or raw 16-bit samples on stdin. Out on stdout: a line a finished stretch of speech, which never changes; with json also the
stretches so far, `"final": false`. In a terminal the stretch so far is shown on the last line, and written over.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr
import typer

from lauragpt.audio import SAMPLE_RATE, stream_audio
from lauragpt.commands import load, one_line, say
from lauragpt.errors import LauraError

PIECE = 0.25  # seconds read at a time, at most


class Samples:
    """Raw little-endian 16-bit samples of one channel at `rate` Hz -> pieces (n,) at 16 kHz, until the stream ends or the user stops it
    (Ctrl-C). LauraError when it is a WAV file, which tells its own rate, or holds nothing."""

    def __init__(self, stream: BinaryIO, rate: int = SAMPLE_RATE):
        self.stream, self.rate, self.halved = stream, rate, False  # halved: it ended in the middle of a sample

    def __iter__(self) -> Iterator[np.ndarray]:
        resampler = None if self.rate == SAMPLE_RATE else soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32")
        size, kept, read = 2 * max(1, int(PIECE * self.rate)), b"", 0
        while data := self._read(size):
            kept += data
            if read == 0 and len(kept) < 4:
                continue
            if read == 0 and kept[:4] in (b"RIFF", b"fLaC", b"OggS"):
                raise LauraError("stdin holds an audio file, not raw samples: name the file, or pipe it through ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -")
            whole = len(kept) // 2 * 2
            wave, kept, read = np.frombuffer(kept[:whole], "<i2").astype(np.float32) / 32768, kept[whole:], read + whole
            if resampler is not None:
                wave = resampler.resample_chunk(wave)
            if len(wave):
                yield wave
        if not read:
            raise LauraError("no samples came on stdin: pipe 16-bit samples of one channel into it")
        if resampler is not None and len(wave := resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)):
            yield wave
        self.halved = bool(kept)

    def _read(self, size: int) -> bytes:
        try:
            return self.stream.read1(size)
        except KeyboardInterrupt:  # no more is to come: what came is answered
            return b""


def stream_transcript(path: Path, rate: int, format: str, model: str, device: str | None, **options: object) -> None:
    """Exit status 1 when the sound cannot be read, or ended in the middle of a sample; what came before is answered all the same."""
    watched = format == "text" and sys.stderr.isatty()
    raw = Samples(sys.stdin.buffer, rate) if str(path) == "-" else None
    with one_line():
        laura = load(model, device)
        try:
            for result in laura.transcribe_stream(raw or stream_audio(path, PIECE), every=1.0 if watched or format == "json" else None, **options):
                if watched:
                    print(f"\r\x1b[K{'' if result.final else result.text}", end="", file=sys.stderr, flush=True)
                if format == "json":
                    print(json.dumps(json.loads(result.to_json(str(path))) | {"final": result.final}, ensure_ascii=False), flush=True)
                elif result.final and result.text:
                    print(result.text, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it closes stdout
    if raw is not None and raw.halved:
        say("the stream ended in the middle of a sample, which was left out: are these 16-bit samples?")
        raise typer.Exit(1)
