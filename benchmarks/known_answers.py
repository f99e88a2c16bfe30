"""Requests to `laura serve` whose answers are known: what the package answers to the same in this process.

In: the model; the recordings and texts are those of speed.py, cut to some seconds and encoded as files of several formats. Out: `Case`s."""

import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import soundfile
from speed import material

from lauragpt.audio import SAMPLE_RATE, decode_audio
from lauragpt.engine.api import Laura
from lauragpt.result import Result

FILES = (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"))
STEP = 2 / 32768  # what two sounds may differ by that went through files of 16 bits
EVERYTHING = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
LOST = "lost"  # no answer, or one that says that there is none


@dataclass(frozen=True)
class Case:
    """A request, and the answer to it. `read`: the body of an answer -> what is compared."""

    path: str
    kind: str  # its Content-Type
    body: bytes
    known: object
    read: Callable[[bytes], object]

    def verdict(self, body: bytes | None, others: list["Case"]) -> str:
        if body is None:
            return LOST
        answer = self.read(body)
        if alike(answer, self.known):
            return "right"
        return "another's" if any(case.path == self.path and alike(answer, case.known) for case in others) else "wrong"


def alike(answer: object, known: object) -> bool:
    if isinstance(answer, np.ndarray) and isinstance(known, np.ndarray):
        return answer.shape == known.shape and float(np.abs(answer - known).max(initial=0)) < STEP
    return type(answer) is type(known) and answer == known


def form(file: bytes, **fields: str) -> tuple[str, bytes]:
    """(Content-Type, body) of a form with a recording."""
    parts = [b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (n.encode(), v.encode()) for n, v in fields.items()]
    parts.append(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + file + b"\r\n--x--\r\n")
    return "multipart/form-data; boundary=x", b"".join(parts)


def spoken(text: str, **more: str) -> tuple[str, bytes]:
    """(Content-Type, body) of a text that is to be spoken."""
    return "application/json", json.dumps({"input": text, "voice": "slt"} | more).encode()


def files(kind: str, seconds: float, count: int) -> list[bytes]:
    """Recordings of one kind as the bytes of files, of several formats in turn."""
    made = []
    for wave, (format, subtype) in zip(material(kind, seconds, count), itertools.cycle(FILES), strict=False):
        file = io.BytesIO()
        soundfile.write(file, wave, SAMPLE_RATE, subtype, format=format)
        made.append(file.getvalue())
    return made


def transcript(body: bytes) -> list:
    row = json.loads(body)
    return [row["text"], row["receipt"], [[word["word"], word["start"], word["end"]] for word in row["words"]]]


def known_transcript(result: Result) -> list:
    words = [[word.text, word.start, word.end] for segment in result.segments for word in segment.words]
    return [result.text, json.loads(json.dumps(result.receipt)), words]


def named(names: tuple[str, ...], body: bytes | str) -> list:
    row = json.loads(body)
    return [row.get(name) for name in names]


def transcripts(laura: Laura, seconds: float, count: int) -> list[Case]:
    recordings = files("speech", seconds, count)
    path = "/v1/audio/transcriptions"
    return [Case(path, *form(file, **EVERYTHING), known_transcript(laura.transcribe(file)), transcript) for file in recordings]


def mixed(laura: Laura, seconds: float, count: int) -> list[Case]:
    """`count` requests of every verb, and of transcripts four times as many. `seconds`: of a recording."""
    made = transcripts(laura, seconds, 4 * count)
    verbs: list[tuple[str, str, Callable[[bytes], Result], tuple[str, ...], dict]] = [
        ("translations", "speech", lambda file: laura.translate(file, to="de"), ("text",), {"to": "de"}),
        ("captions", "sound", laura.caption, ("text",), {}),
        ("emotions", "voice", laura.emotion, ("text",), {}),
        ("intents", "order", laura.understand, ("intent", "slots"), {}),
    ]
    for path, kind, ask, names, fields in verbs:
        for file in files(kind, seconds, count):
            read = partial(named, names)
            made.append(Case(f"/v1/audio/{path}", *form(file, **fields), read(ask(file).to_json()), read))
    for text in material("text", 0, count):
        known = laura.speak(text, voice="slt").audio.clip(-1, 1)
        made.append(Case("/v1/audio/speech", *spoken(text, response_format="wav"), known, decode_audio))
    for file in files("noisy speech", seconds, count):
        known = laura.enhance(file).audio.clip(-1, 1)
        made.append(Case("/v1/audio/enhancements", *form(file), known, decode_audio))
    return made
