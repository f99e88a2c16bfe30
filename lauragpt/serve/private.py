"""A folder of a server's own, in the system's folder for temporary files. It goes when the server ends.

A server that is killed leaves it behind, and the next one that starts removes it. Whoever uses a folder holds a lock on it, which the
system takes back when a process ends, however it ends. A process's number would not do: another process may have it by then.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where folders of killed servers stay
    fcntl = None

PREFIX = "laura-serve-"


@contextlib.contextmanager
def private_folder(*names: str) -> Iterator[Path]:
    """A new folder for this user alone, with a folder for each of `names` in it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as path, in_use(Path(path)):
        for name in names:
            Path(path, name).mkdir(mode=0o700)
        yield Path(path)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """As long as this lasts no other server takes the folder for one that nobody uses."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def remove_unused() -> None:
    """Removes the folders of servers that are gone. What belongs to other users stays."""
    if fcntl is None:
        return
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is in use, or another server has just removed it
            about = path.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
                continue
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if any(path.iterdir()):  # an empty one is just being made: its server has no lock on it yet
                    shutil.rmtree(path)
            finally:
                os.close(handle)
