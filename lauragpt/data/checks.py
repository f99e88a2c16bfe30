"""What is checked before work that takes minutes or hours: that folders can be written and that the disk has room."""

import shutil
import tempfile
from pathlib import Path

from lauragpt.errors import LauraError


def check_folder(out: Path) -> None:
    """Makes a folder. LauraError where nothing can be written into it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()  # trying is the only sure test: modes say nothing about read-only file systems
    except OSError as error:
        raise LauraError(f"{out} cannot be written ({error.strerror}): choose another folder") from None


def check_room(out: Path, needed: float, what: str) -> None:
    """LauraError where the disk of a folder has not `needed` bytes left for `what`."""
    free = shutil.disk_usage(out).free
    if free < needed:
        raise LauraError(
            f"{out}: {what} takes about {needed / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB left: make room, or change the folder"
        )
