"""Calls of tools -> answers: what `laura mcp` (mcp.py) does for an assistant, apart from how the tools are described.

In: a verb, names of files, options. Out: the answer as text, and the same as data with its receipt. Calls are answered one after the other,
each in a thread, so that progress, cancelling and other messages go on meanwhile. A call that is cancelled stops before the next step of
the networks.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

import anyio
import numpy as np
from anyio import from_thread, to_thread
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, TextContent

from lauragpt.audio import SAMPLE_RATE, WRITABLE, AudioStream, read_recording
from lauragpt.cli.io import NO_MEMORY, NO_SOUND
from lauragpt.cli.request import SUFFIXES
from lauragpt.cli.run import formatted, remarks, save_sound, save_text
from lauragpt.engine.api import Laura
from lauragpt.engine.chain import VERBS, parse_chain
from lauragpt.engine.chunking import is_silent
from lauragpt.errors import LauraError, LauraWarning
from lauragpt.result import Result
from lauragpt.serve.folders import Folders

EMPTY = "the answer is empty: nothing was recognised"
LONGEST = 4 * 3600.0  # seconds of a recording, where nothing else is said


class _Answer(TypedDict):
    """What every answer holds (`Result.to_row`)."""

    file: str | None
    task: str
    lang: str
    confidence: float | None
    segments: list[dict[str, Any]]
    receipt: dict[str, Any]


class Answer(_Answer, total=False):
    """An answer. `audio` is the file of its sound; `scores` are the probabilities of emotions."""

    text: str
    audio: str
    seconds: float
    scores: dict[str, float]
    intent: str
    slots: dict[str, str]


Answered = Annotated[CallToolResult, Answer]


class Watched:
    """A backend, or a session of one, that calls `check` before each use. What `check` raises ends the work."""

    def __init__(self, part: object, check: Callable[[], None]):
        self._part, self._check = part, check

    def __getattr__(self, name: str) -> Any:
        self._check()
        value = getattr(self._part, name)
        if name != "open":
            return value
        return lambda *inputs, **more: Watched(value(*inputs, **more), self._check)


class Bounded(AudioStream):
    """A recording that is decoded no further than is allowed: a small file may unfold to days."""

    def __init__(self, path: Path, most: float):
        super().__init__(path)
        self.most = most

    def seconds(self) -> Iterator[np.ndarray]:
        count = 0
        for wave in super().seconds():
            count += len(wave)
            if count > self.most * SAMPLE_RATE:
                raise LauraError(f"{self.name} is longer than {self.most:g} s: cut it, or start laura mcp with a higher --max-seconds")
            yield wave


class Desk:
    """Answers calls, one after the other. What a person or a program did wrong is told as the answer, in one line. `most`: seconds that a
    recording may last."""

    def __init__(self, laura: Laura, folders: Folders, most: float = LONGEST):
        self.laura = laura.with_backend(Watched(laura.runtime.backend, from_thread.check_cancelled))
        self.folders, self.most, self.turn = folders, most, anyio.Lock()

    async def answer(
        self, context: Context, verb: str, file: str | None = None, out: str | None = None, overwrite: bool = False,
        word_times: bool = False, **options: object,
    ) -> CallToolResult:  # fmt: skip
        """`file`, `out`: as the caller named them. `options`: of the verb's method of `Laura`."""
        unit, told_of = "s of sound" if file is not None else "sentences", 0.0

        def report(done: float, total: float) -> None:
            nonlocal told_of
            from_thread.check_cancelled()
            if done > told_of:  # the protocol wants progress that grows
                told_of = done
                from_thread.run(context.report_progress, done, total, f"{done:.0f} of {total:.0f} {unit}")

        def work() -> CallToolResult:
            notes: list[str] = []
            try:
                with _noted(notes):
                    return self._answer(verb, file, out, overwrite, word_times, options | {"progress": report}, notes)
            except LauraError as error:
                return told([str(error)], is_error=True)
            except MemoryError:
                return told([NO_MEMORY], is_error=True)

        async with self.turn:
            return await to_thread.run_sync(work)

    def _answer(
        self, verb: str, file: str | None, out: str | None, overwrite: bool, word_times: bool, options: dict, notes: list[str]
    ) -> CallToolResult:
        """LauraError for what is wrong with the call, nearly all of it before the model works."""
        sound = VERBS[parse_chain(options["steps"])[-1].verb if verb == "chain" else verb][1] == "audio"
        recording, voice = self.folders.recording(file) if file is not None else None, options.get("voice")
        if voice is not None and voice not in self.laura.voices.cards:
            options["voice"] = self.folders.recording(voice, f"a voice's name ({', '.join(self.laura.voices.names())})")
            for _ in Bounded(options["voice"], self.most):
                from_thread.check_cancelled()
        if "text" in options and not options["text"].strip():
            raise LauraError("the text is empty: give some words")
        if sound and out is None:
            raise LauraError(f"this ends in sound: say where to write it, as out, a file in {', '.join(WRITABLE)}")
        inputs = [path for path in (recording, options.get("voice")) if isinstance(path, Path)]

        def target() -> Path | None:
            return self.folders.target(out, tuple(WRITABLE if sound else SUFFIXES), inputs, overwrite) if out is not None else None

        target()
        if recording is not None:
            options["audio"] = read_recording(Bounded(recording, self.most))
            if is_silent(options["audio"].wave):
                notes.append(NO_SOUND)
        result, name = getattr(self.laura, verb)(**options), str(recording) if recording else None
        path = target()  # once more: minutes may have passed
        text = _written(result, path, name) if path is not None else result.to_text() or EMPTY
        notes += remarks(result)
        if failed := result.receipt.get("failed"):
            text = f"failed: {failed}; what there is of it: {text}"
        return told([text, *(f"note: {note}" for note in notes)], _plain(result, name, word_times), bool(failed))


def _written(result: Result, path: Path, name: str | None) -> str:
    """Writes an answer by the suffix of its file -> the text that tells it."""
    if path.suffix.lower() in WRITABLE:
        save_sound(result, path)
        return f"{len(result.audio) / result.sample_rate:.2f} s of sound are in {path}"
    format = SUFFIXES[path.suffix.lower()]
    try:
        save_text(formatted(result, format, name), path)
    except OSError as error:
        raise LauraError(f"{path} cannot be written: {error.strerror}") from None
    return f"the answer is in {path}, as {format}"


@contextmanager
def _noted(notes: list[str]) -> Iterator[None]:
    """LauraWarnings become notes. Others are shown as ever."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        notes.append(str(message)) if issubclass(category, LauraWarning) else shown(message, category, *where)

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("always", LauraWarning)
        yield


def told(lines: list[str], data: dict | None = None, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=line) for line in lines], structured_content=data, is_error=is_error)


def _plain(result: Result, name: str | None, word_times: bool) -> dict:
    """The answer as data. An hour has ten thousand words, so their times are there only where they are asked for; audio tokens say nothing
    to an assistant."""
    row = json.loads(result.to_json(file=name))
    left_out = {"codes", "probabilities"} | (set() if word_times else {"words"})
    row["segments"] = [{key: value for key, value in segment.items() if key not in left_out} for segment in row["segments"]]
    return row
