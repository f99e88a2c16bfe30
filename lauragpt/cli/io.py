"""What the verbs of the command line share: checking options, feeding files to the model, writing answers.

In: paths or texts and a function that answers a batch of them. Out: answers on stdout or in files, one line a failure on stderr,
the exit status. A file that cannot be read never keeps the others from being answered. Files appear whole or not at all.
"""

import contextlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from lauragpt.errors import LauraError, LauraWarning
from lauragpt.result import Result
from lauragpt.tasks import BEAMS, check_lang

if TYPE_CHECKING:
    from lauragpt.audio import Recording

    from lauragpt.engine.api import Laura

GROUP = 16  # inputs held in memory and answered at a time
EXTRAS = {"torch": "train", "accelerate": "train", "tensorboard": "train", "onnx": "train", "onnxscript": "train"}  # package -> who brings it
SUBTITLES = ("srt", "vtt", "tsv")
SOUNDS = (".wav", ".flac", ".ogg")
NO_SOUND = "no sound in it (all of it is under -70 dBFS), so the answer is empty"


def say(message: str) -> None:
    """One line on stderr."""
    print("laura: " + " ".join(message.split()), file=sys.stderr, flush=True)


def usage(message: str) -> NoReturn:
    say(message)
    raise typer.Exit(2)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """A LauraError becomes its one line and exit status 1; so does a package of an extra that is not installed. A LauraWarning becomes a line."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        say(str(message)) if issubclass(category, LauraWarning) else shown(message, category, *where)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    except LauraError as error:
        say(str(error))
        raise typer.Exit(1) from None
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        say(f"{error.name} is missing: pip install 'lauragpt[{extra}]'")
        raise typer.Exit(1) from None


@contextlib.contextmanager
def to_stdout() -> Iterator[None]:
    """Whoever reads stdout may stop reading: what is left is not written. LauraError where it cannot be written."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it closes stdout
    except OSError as error:
        raise LauraError(f"stdout cannot be written: {error.strerror}") from None


def check(
    lang: str | None = None, out: Path | None = None, format: str = "text", audio: bool = False, count: int = 1, folder: bool = False
) -> None:
    """Everything about the options that can be wrong before the model is loaded; exit status 2 with one line. `folder`: what is written of
    several inputs goes into a folder, as sound and subtitles always do."""
    try:
        if lang is not None:
            check_lang(lang)
        if out is not None:
            _check_out(out, folder=count > 1 and (folder or audio or format in SUBTITLES), audio=audio)
        elif format in SUBTITLES and count > 1:
            raise LauraError(f"--format {format} with several recordings makes several files: name a folder with -o")
    except LauraError as error:
        usage(str(error))


def _check_out(out: Path, folder: bool, audio: bool) -> None:
    if folder:
        if out.exists() and not out.is_dir():
            raise LauraError(f"{out} is a file: with several inputs -o names a folder")
        place = out
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise LauraError(f"{out} cannot be made: {place} is a file")
    else:
        if out.is_dir():
            raise LauraError(f"{out} is a folder: with one input -o names a file")
        if audio and out.suffix.lower() not in SOUNDS:
            raise LauraError(f"{out}: sound is written as {', '.join(SOUNDS)}, not {out.suffix or 'without a suffix'!r}")
        place = out.parent
        if not place.is_dir():
            raise LauraError(f"{out} cannot be written: the folder {place} does not exist")
    try:
        # Trying is the only sure test: modes say nothing about read-only file systems, quotas, or root.
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise LauraError(f"{out} cannot be written: {error.strerror}") from None


def load(model: str, device: str | None, beams: int = BEAMS) -> "Laura":
    from lauragpt.engine.api import Laura

    return Laura.load(model, device, beams=beams)


def answer(
    files: list[Path],
    run: Callable[["Laura", list["Recording"]], list[Result]],
    format: str,
    out: Path | None,
    model: str,
    device: str | None,
    audio: bool = False,
    beams: int = BEAMS,
    strict: bool = False,
) -> None:
    """Reads each file, runs the good ones in groups, writes in the order given. Exit status 1 when any failed."""
    from lauragpt.audio import read_recording
    from lauragpt.engine.chunking import is_silent

    def read(path: Path) -> "Recording":
        recording = read_recording(path, strict=strict)
        if is_silent(recording.wave):
            say(f"{path}: {NO_SOUND}")
        return recording

    _answer([str(path) for path in files], [lambda path=path: read(path) for path in files], run, format, out, model, device, audio, beams)


def answer_texts(
    texts: list[str],
    run: Callable[["Laura", list[str]], list[Result]],
    format: str,
    out: Path | None,
    model: str,
    device: str | None,
    audio: bool = False,
    beams: int = BEAMS,
) -> None:
    """The same for texts; an answer's `file` is null."""

    def read(text: str) -> str:
        if not text.strip():
            raise LauraError("the text is empty: give some words")
        return text

    _answer([None] * len(texts), [lambda text=text: read(text) for text in texts], run, format, out, model, device, audio, beams)


def stream_speech(texts: list[str], model: str, device: str | None, **options: object) -> None:
    """Texts one after the other as 16-bit samples on stdout, while they are made. Whoever listens may stop listening."""
    failed = 0
    with one_line():
        laura = load(model, device)
        with to_stdout():
            for text in texts:
                try:
                    for piece in laura.speak_stream(text, **options):
                        sys.stdout.buffer.write((piece.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
                        sys.stdout.buffer.flush()
                except LauraError as error:  # the other texts are said all the same
                    say(str(error))
                    failed += 1
    if failed:
        raise typer.Exit(1)


def replay_answers(path: Path, model: str, device: str | None) -> None:
    """Each line's answer made again. Exit status 1 when any differs or cannot be made."""
    with one_line():
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise LauraError(f"{path} holds no answers ({str(error).splitlines()[0][:100]}): give the lines that --format json wrote") from None
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise LauraError(f"{path} holds no answers: give the lines that --format json wrote")
        from lauragpt.engine.replay import replay

        laura, failed = load(model, device), 0
        for number, row in enumerate(rows, start=1):
            name = row.get("file") or f"line {number}"
            try:
                differing = replay(laura, row)
                print(f"{name}: {'; '.join(differing) or 'the same'}", flush=True)
            except LauraError as error:
                differing = [str(error)]
                say(str(error) if str(name) in str(error) else f"{name}: {error}")
            failed += bool(differing)
    if failed:
        raise typer.Exit(1)


def code_files(
    files: list[Path], quantizers: int | None, out: Path | None, codes_out: Path | None, format: str, model: str, device: str | None, strict: bool = False
) -> None:
    """Each recording, or file of codes, through the codec. Exit status 1 when any failed."""
    failed, names = 0, [str(path) for path in files]
    sounds = _targets(names, out, ".wav") if out else [None] * len(names)
    kept = _targets(names, codes_out, ".safetensors") if codes_out else [None] * len(names)
    with one_line(), _progress(len(names)) as advance:
        from lauragpt.audio import stream_audio
        from lauragpt.engine.codec_io import Codes, decode_to

        laura = load(model, device)
        for path, sound, keep in zip(files, sounds, kept):
            try:
                codes = Codes.load(path).first(quantizers) if path.suffix == ".safetensors" else laura.encode(stream_audio(path, strict=strict), quantizers)
                for target in filter(None, (sound, keep)):
                    target.parent.mkdir(parents=True, exist_ok=True)
                if keep:
                    codes.save(keep)
                if sound:
                    decode_to(laura.runtime.backend, codes, sound)
                row = {"file": str(path), **codes.to_row(), "audio": sound and str(sound)}
                print(json.dumps(row) if format == "json" else codes.to_text(str(path)), flush=True)
            except LauraError as error:
                say(str(error) if str(path) in str(error) else f"{path}: {error}")
                failed += 1
            advance()
    if failed:
        raise typer.Exit(1)


def _answer(names, readers, run, format, out, model, device, audio, beams) -> None:
    failed = 0
    targets = _targets(names, out, ".wav" if audio else f".{format}") if out and (audio or format in SUBTITLES) else None
    with one_line(), _sink(None if targets else out) as sink, _progress(len(names)) as advance:
        laura = load(model, device, beams)
        for start in range(0, len(names), GROUP):
            for index, result in _group(laura, range(start, min(start + GROUP, len(names))), names, readers, run):
                try:
                    if isinstance(result, LauraError):
                        raise result
                    _write(result, names[index], targets[index] if targets else None, format, sink, len(names) > 1)
                except LauraError as error:
                    say(str(error))
                    failed += 1
                advance()
    if failed:
        raise typer.Exit(1)


def _group(laura, indices, names, readers, run) -> Iterator[tuple[int, Result | LauraError]]:
    """Answers of a group in order. When the group fails as a whole, each input is tried alone, so that one does not spoil the rest."""
    answers: dict[int, Result | LauraError] = {}
    inputs = {}
    for index in indices:
        try:
            inputs[index] = readers[index]()
        except LauraError as error:
            answers[index] = error
    try:
        answers |= zip(inputs, run(laura, list(inputs.values())) if inputs else [])
    except LauraError as error:
        for index, given in inputs.items():
            try:
                answers[index] = error if len(inputs) == 1 else run(laura, [given])[0]
            except LauraError as own:
                answers[index] = LauraError(f"{names[index]}: {own}" if names[index] else str(own))
    return iter(sorted(answers.items()))


def _write(result: Result, name: str | None, target: Path | None, format: str, sink, several: bool) -> None:
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if result.audio is None:
            write_aside(target, getattr(result, f"to_{format}")())
            return
        from lauragpt.audio import save_audio

        if not len(result.audio):
            raise LauraError(f"{name}: nothing was said, so there is no sound to write")
        result.audio_path = str(save_audio(target, result.audio, result.sample_rate))
    if format == "json":
        line = result.to_json(file=name)
    elif format in SUBTITLES:
        line = getattr(result, f"to_{format}")().rstrip("\n")
    else:
        line = f"{name}: {result.to_text()}" if several and name and target is None else result.to_text()
    print(line, file=sink, flush=True)


def _targets(names: list[str | None], out: Path, suffix: str) -> list[Path]:
    """One input: `out` itself. Several: a file in the folder `out` for each, named after it, numbered where names meet."""
    if len(names) == 1:
        return [out]
    taken: set[str] = set()
    targets = []
    for number, name in enumerate(names, start=1):
        stem = Path(name).stem if name else str(number)
        unique, copy = stem, 1
        while unique in taken:
            copy += 1
            unique = f"{stem}-{copy}"
        taken.add(unique)
        targets.append(out / f"{unique}{suffix}")
    return targets


@contextlib.contextmanager
def _sink(out: Path | None, empty: bool = False):
    """Where lines go: stdout, or a file that appears under its name only when all was written, and, unless it may be `empty`,
    only when something was."""
    if out is None:
        yield sys.stdout
        return
    handle, aside = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
            written = file.tell() > 0
        if written or empty:
            os.chmod(aside, 0o644)
            os.replace(aside, out)
        else:
            os.unlink(aside)
    except BaseException:
        os.unlink(aside)
        raise


def write_aside(path: Path, text: str) -> None:
    with _sink(path, empty=True) as file:
        file.write(text)


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr for many inputs, when a person is watching."""
    if total < 3 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)

