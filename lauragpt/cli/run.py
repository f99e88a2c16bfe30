"""The one runner: a `Request` -> answers on stdout or in files, one line a failure on stderr, the exit status.

Inputs are answered in groups and written in the order given. An input that cannot be read never keeps the others from being answered,
and what is answered is kept when the program is interrupted.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lauragpt.cli.inputs import Input, groups
from lauragpt.cli.io import (
    NO_MEMORY,
    Notes,
    OutputError,
    Progress,
    Terminated,
    Unread,
    failure,
    line_writer,
    load,
    one_line,
    say,
    usage,
    write_line,
)
from lauragpt.cli.request import Request, answer_suffix, checked, targets
from lauragpt.errors import LauraError
from lauragpt.files import replacing
from lauragpt.result import Result
from lauragpt.subtitles import STANDARD, CueLayout

if TYPE_CHECKING:
    from lauragpt.engine.api import Laura


def run(request: Request) -> None:
    """Exit status 2 for a wrong request, told before the model is loaded; 1 when an input failed; 0 when all are done."""
    try:
        request = checked(request)
    except LauraError as error:
        usage(str(error))
    with one_line():
        if request.stream:
            from lauragpt.cli import stream

            failed = (stream.speak if request.sound_output else stream.transcribe)(request)
        elif request.verb in ("codec", "replay"):
            from lauragpt.cli import tools

            failed = getattr(tools, request.verb)(request)
        else:
            failed = answer(request)
        if failed:
            raise typer.Exit(1)


def load_for(request: Request) -> "Laura":
    began = time.perf_counter()
    laura = load(request.model, request.device, beams=request.beams, threads=request.threads, adapter=request.adapter)
    if request.verbose:
        backend = laura.runtime.backend
        took = time.perf_counter() - began
        say(f"{laura.name} on {backend.name}, {backend.device}, {backend.threads} threads, loaded in {took:.1f} s")
    return laura


def options_for(laura: "Laura", request: Request) -> dict:
    """The options of the verb's method; a voice is found once for all texts."""
    options = dict(request.options)
    if options.get("voice") is not None:
        options["voice"] = laura.find_voice(options["voice"], options["voice_text"], options["lang"])
    return options


def answer(request: Request) -> int:
    """-> how many inputs failed"""
    laura, began, done, interrupted = load_for(request), time.perf_counter(), 0, None
    options, writer = options_for(laura, request), Writer(request)
    with line_writer(writer.shared) as write, Progress(len(request.inputs), request.verbose) as progress:
        try:
            for group in groups(request):
                for item, result in answers(laura, request, options, group, progress):
                    writer.write(item, result, write)
                    progress.advance()
                    done += 1
        except Unread:
            pass
        except KeyboardInterrupt as stop:
            interrupted = stop  # what is written so far is kept: the block ends as usual
    if interrupted is not None:
        say(f"interrupted: {done} of {counted(len(request.inputs), 'answer')} finished")
        raise typer.Exit(interrupted.status if isinstance(interrupted, Terminated) else 130)
    if request.verbose:
        say(f"{counted(done, 'answer')} in {time.perf_counter() - began:.1f} s")
    return writer.failed + writer.notes.failed


def answers(
    laura: "Laura", request: Request, options: dict, group: list[Input], progress: Progress
) -> Iterator[tuple[Input, Result | LauraError]]:
    """Of a group, in order. When it fails as a whole, each input is tried alone, so that one does not spoil the rest."""
    readable = [item for item in group if item.error is None]
    method, unit = getattr(laura, request.verb), "sentences" if request.text_input else "s"

    def ask(inputs: list[Input]) -> list[Result]:
        try:
            return method(**arguments(inputs), **options)
        except MemoryError:  # so that the others are answered
            raise LauraError(NO_MEMORY) from None

    def arguments(inputs: list[Input]) -> dict:
        values = {"text" if request.text_input else "audio": [item.value for item in inputs]}
        return values | {"progress": progress.part([item.name or _quoted(item.value) for item in inputs], unit)}

    results: dict[int, Result | LauraError] = {item.index: item.error for item in group if item.error is not None}
    try:
        results |= zip([item.index for item in readable], ask(readable) if readable else [])
    except LauraError as error:
        for item in readable:
            try:
                results[item.index] = error if len(readable) == 1 else ask([item])[0]
            except LauraError as reason:
                results[item.index] = reason
    return ((item, results[item.index]) for item in group)


class Writer:
    """Writes the answers, each where it belongs, and what there is to be told about it on stderr."""

    def __init__(self, request: Request):
        self.request, self.failed = request, 0
        self.several = len(request.inputs) > 1
        separate = request.out is not None and (request.folder or request.sound_output or request.format in ("srt", "vtt", "tsv"))
        self.shared = None if separate else request.out  # a file that all answers go into
        self.targets = None
        if separate:
            self.targets = targets(request.inputs, Path(request.out), request.folder, answer_suffix(request), request.text_input)
        self.notes = Notes()

    def write(self, item: Input, result: Result | LauraError, write: Callable[[str], None]) -> None:
        target = self.targets[item.index] if self.targets else None
        try:
            if isinstance(result, LauraError):
                raise result
            self._tell_steps(item, result)
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._save(item, result, target)
            self._tell(item, result)
            if target is None:
                write(self._line(item, result))
            elif self.request.sound_output:
                self.notes.print(self._line(item, result))
        except OutputError:
            raise
        except LauraError as error:
            say(failure(item.name or (_quoted(item.value) if self.several and item.value else None), error))
            self.failed += 1
        except OSError as error:
            say(f"{target} cannot be written: {error.strerror}")
            self.failed += 1

    def _save(self, item: Input, result: Result, target: Path) -> None:
        if self.request.sound_output:
            save_sound(result, target)
        else:
            save_text(self._text(item, result), target)

    def _line(self, item: Input, result: Result) -> str:
        text = self._text(item, result).rstrip("\n")
        named = self.several and item.name and self.targets is None and self.request.format == "text"
        return f"{item.name}: {text}" if named else text

    def _text(self, item: Input, result: Result) -> str:
        return formatted(result, self.request.format, item.name, self.request.layout)

    def _tell_steps(self, item: Input, result: Result) -> None:
        """The answers of a chain's steps before the last."""
        name = item.name or _quoted(item.value)
        for step in result.receipt.get("steps", []):
            text = step.get("text")
            say(f"{name}: {step['step']}: " + (f"{step['seconds_given']:.1f} s of sound" if text is None else text or "nothing"))

    def _tell(self, item: Input, result: Result) -> None:
        """What a person should know who sees the answer alone."""
        name, receipt = item.name or _quoted(item.value), result.receipt
        for remark in remarks(result):
            say(f"{name}: {remark}")
        if self.request.verbose:
            seconds, guards = receipt.get("seconds_given"), ", ".join(receipt.get("guards", [])) or "none"
            length = f"{seconds:.1f} s in " if seconds else ""
            say(f"{name}: {length}{counted(receipt.get('chunks', 0), 'chunk')}, finish {receipt.get('finish')}, guards {guards}")
        if receipt.get("failed"):
            say(f"{name}: failed: {receipt['failed']}" + (f"; what there is of it is in {result.audio_path}" if result.audio_path else ""))
            self.failed += 1


def formatted(result: Result, format: str, name: str | None = None, layout: CueLayout = STANDARD) -> str:
    """An answer in a format. `name`: of its recording."""
    if format == "json":
        return result.to_json(file=name)
    if format in ("srt", "vtt"):
        return getattr(result, f"to_{format}")(layout)
    return getattr(result, f"to_{format}")()


def remarks(result: Result) -> Iterator[str]:
    """What a person should know who sees the answer alone."""
    verified = result.receipt.get("verify") or {}
    if verified.get("kept_input"):
        chunks = len(verified["agreement"])
        yield f"the words changed in {verified['kept_input']} of {chunks} chunks, so the input was kept there"
    if "heard" in verified:
        yield f"{verified['agreement']:.0%} of it is recognised after {verified['tries']} tries: {verified['heard']}"


def save_text(text: str, path: Path) -> None:
    with replacing(path, "w", encoding="utf-8", errors="laura") as file:
        write_line(text.rstrip("\n"), file)


def save_sound(result: Result, path: Path) -> None:
    """Writes the sound of an answer, which then knows its file. LauraError where there is none."""
    from lauragpt.audio import save_audio

    if not len(result.audio):
        raise LauraError("nothing was said, so there is no sound to write")
    result.audio_path = str(save_audio(path, result.audio, result.sample_rate))


def _quoted(text: object) -> str:
    """The beginning of a text, to name it by."""
    text = " ".join(str(text).split())
    return f"'{text if len(text) <= 30 else text[:29] + '…'}'"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
