"""The edges of a command: stdin, stdout and stderr as they come, signals, one line for a failure, and how far the work is.

Nothing here knows of verbs. Whatever the terminal, the locale or a file's name is made of, a line is written: letters that an encoding
lacks as escapes, the bytes of an undecodable name as they were.
"""

import codecs
import contextlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn, TextIO

import typer

from lauragpt.errors import LauraError, LauraWarning, install_hint
from lauragpt.files import replacing

if TYPE_CHECKING:
    from lauragpt.engine.api import Laura

# package -> the extra that brings it
EXTRAS = {
    **dict.fromkeys(("torch", "accelerate", "tensorboard", "onnx", "onnxscript"), "train"),
    "peft": "lora",
    **dict.fromkeys(("mcp", "anyio"), "mcp"),
    **dict.fromkeys(("ray", "pyarrow", "pandas"), "cluster"),
    **dict.fromkeys(("fastapi", "starlette", "pydantic", "uvicorn", "python_multipart", "prometheus_client", "websockets"), "serve"),
}
_PROCESS = os.getpid()
NO_SOUND = "no sound in it (all of it is under -70 dBFS), so the answer is empty"
NO_MEMORY = "there is not enough memory: give shorter recordings, or fewer at once"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: handled as Ctrl-C is."""

    status = 128 + signal.SIGTERM


def prepare_process() -> None:
    """Streams that never raise for a letter, and signals that let `finally` run. Called once, before a verb."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:  # a closed stream's number would go to the next file that is opened
        os.set_inheritable(opened, True)
    os.close(opened)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, or print would write errors to stdout
    codecs.register_error("laura", _encoded)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="laura")
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            with contextlib.suppress(ValueError):  # not the main thread
                signal.signal(number, _terminate)


def _terminate(number: int, _: object) -> None:
    if os.getpid() != _PROCESS:  # a worker of this process, which inherited the handler, ends at once
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    raise Terminated


def _encoded(error: UnicodeError) -> tuple[bytes, int]:
    """What stands in the place of letters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return b"".join(_byte_of(letter) or letter.encode("ascii", "backslashreplace") for letter in letters), error.end


def _byte_of(letter: str) -> bytes | None:
    """Of an undecodable name: Python holds its bytes as U+DC80 to U+DCFF."""
    return bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else None


def say(message: str) -> None:
    """One line on stderr."""
    with contextlib.suppress(OSError):  # nobody is left to be told
        print("laura: " + " ".join(message.splitlines()), file=sys.stderr, flush=True)


def usage(message: str) -> NoReturn:
    say(message)
    raise typer.Exit(2)


def failure(name: str | None, error: LauraError) -> str:
    """An error as a line that names the input once."""
    return str(error) if name is None or name in str(error) else f"{name}: {error}"


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """A LauraError becomes its one line and exit status 1; so does a package of an extra that is not installed. A LauraWarning becomes a
    line. An interrupted program says nothing more."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        say(str(message)) if issubclass(category, LauraWarning) else shown(message, category, *where)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            warnings.simplefilter("always", LauraWarning)  # also of the second file
            yield
    except LauraError as error:
        say(str(error))
        raise typer.Exit(1) from None
    except MemoryError:
        say(NO_MEMORY)
        raise typer.Exit(1) from None
    except Terminated as stop:
        raise typer.Exit(stop.status) from None
    except Unread:
        pass
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(package)
        if extra is None:
            raise
        say(f"{package} is missing: {install_hint(extra)}")
        raise typer.Exit(1) from None


def load(model: str, device: str | None = None, **more: object) -> "Laura":
    from lauragpt.engine.api import Laura

    return Laura.load(model, device, **more)


class Unread(Exception):
    """Whoever read stdout has stopped reading, as `head` does: what is left is not wanted."""


class OutputError(LauraError):
    """Where the answers of all inputs go cannot be written."""


@contextlib.contextmanager
def stdout_written() -> Iterator[None]:
    """Around what writes to stdout. Unread or OutputError where that cannot be written."""
    if sys.stdout is None:
        raise OutputError("stdout is closed: leave it open, or name a file with -o")
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # what waits goes nowhere: Python would complain when it closes stdout
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise Unread from None
        raise OutputError(f"stdout cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def line_writer(out: str | None) -> Iterator[Callable[[str], None]]:
    """What writes a line: to stdout, or into a file that takes the place of `out` when the block ends."""
    if out is None:
        yield print_line
        return
    file: TextIO | None = None

    def write(line: str) -> None:
        nonlocal file
        with named():
            if file is None:  # only now: where there is no answer the file is left as it was
                file = stack.enter_context(replacing(out, "w", encoding="utf-8", errors="laura"))
            write_line(line, file)

    @contextlib.contextmanager
    def named() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{out} cannot be written: {error.strerror}") from None

    with named(), contextlib.ExitStack() as stack:
        yield write


def print_line(line: str) -> None:
    with stdout_written():
        write_line(line, sys.stdout)


class Notes:
    """Lines on stdout about files, which are written all the same where stdout cannot be. `failed`: 1 then, unless nobody reads."""

    def __init__(self):
        self.failed, self._lost = 0, False

    def print(self, line: str) -> None:
        if self._lost:
            return
        try:
            print_line(line)
        except Unread:
            self._lost = True
        except OutputError as error:
            say(str(error))
            self.failed, self._lost = 1, True


def write_line(line: str, file: TextIO) -> None:
    """JSON is UTF-8 or has its letters escaped, whatever the encoding of the file."""
    if line.startswith("{") and not _is_utf8(line, file.encoding):
        with contextlib.suppress(ValueError):  # it was no JSON
            line = json.dumps(json.loads(line))
    print(line, file=file, flush=True)


def _is_utf8(line: str, encoding: str | None) -> bool:
    """Whether a line is written as UTF-8. A name that is no text is not."""
    try:
        return line.isascii() or (codecs.lookup(encoding or "utf-8").name == "utf-8" and bool(line.encode()))
    except UnicodeEncodeError:
        return False


class Progress:
    """How far `total` inputs are: a bar where a person is watching, with `verbose` else a line a chunk, else nothing."""

    def __init__(self, total: int, verbose: bool = False):
        self.total, self.done, self.verbose = total, 0, verbose
        self.watched = sys.stderr.isatty()
        self._bar = self._task = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def part(self, names: list[str], unit: str = "s") -> Callable[[float, float], None]:
        """The callback for inputs that are answered together: how much is done, of how much, both in `unit`."""
        label = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")

        def show(done: float, total: float) -> None:
            if self.watched and total > 0:
                self._show(self.done + len(names) * min(done / total, 1.0))
            elif self.verbose and total > 0:
                say(f"{label}: {done:.0f} of {total:.0f} {unit}")

        return show

    def advance(self) -> None:
        self.done += 1
        if self.watched and self.total > 1:
            self._show(self.done)

    def _show(self, done: float) -> None:
        if self._bar is None:
            if done >= self.total:  # it was too quick for a bar
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=self.total)
            self._bar.start()
        self._bar.update(self._task, completed=done, description=f"{self.done} of {self.total}" if self.total > 1 else "")
