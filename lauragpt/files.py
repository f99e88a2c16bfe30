"""Writing files and folders so that they appear whole or not at all, and so that devices, pipes and links stay what they are."""

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "wb", **how: object) -> Iterator[IO]:
    """A file to write into, which takes the place of `path` when the block ends. When it raises, nothing is left behind.

    A device or a named pipe is written into as it is. A symbolic link is followed: what it points at is replaced. An existing file keeps
    its mode, a new one gets what the umask allows. `mode`, `how`: as of `open`; OSError as there."""
    path = Path(path)
    try:
        before = os.stat(path)
    except FileNotFoundError:
        before = None
    if is_written_into(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), mode, **how) as file:  # at the end: stdout may be such a file
            yield file
        return
    path = Path(os.path.realpath(path))
    if before is not None and not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=path.suffix[:20])
    try:
        with os.fdopen(handle, mode, **how) as file:
            yield file
        os.chmod(aside, stat.S_IMODE(before.st_mode) if before is not None else 0o666 & ~umask())  # mkstemp's 0600 would surprise others
        os.replace(aside, path)
    except BaseException:  # KeyboardInterrupt and SystemExit as well
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise


def replaced_by(aside: str) -> str | None:
    """The name of the file that `replacing` was to replace by one of the name `aside`, for names that it does not cut; None where it gives
    no such name."""
    found = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}(\.[^.]+)?", aside)
    return found[1] + (found[2] or "") if found else None


def replace_folder(new: Path, folder: Path) -> None:
    """Renames `new` to `folder`. What stood there is kept in `folder`.old until then; where that fails, it is put back (OSError)."""
    old = folder.with_name(f"{folder.name}.old")
    if old.exists() and not folder.exists():
        os.replace(old, folder)  # an earlier run ended between the two renames
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except BaseException:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def is_written_into(path: str | Path) -> bool:
    """Whether this is a device, a pipe, or a name for an open file (/dev/stdout), which no other file may take the place of."""
    path = Path(path)
    return path.exists() and (not path.is_file() or os.path.abspath(path).startswith(("/dev/", "/proc/")))


def umask() -> int:
    """That of this process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Where things are kept that can be made or fetched again: in $LAURA_CACHE, else in the user's cache folder."""
    base = os.environ.get("LAURA_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lauragpt"
