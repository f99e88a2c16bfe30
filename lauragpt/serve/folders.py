"""The folders that a program may touch which is not trusted with the whole disk: names -> real places below them, or one LauraError.

What is outside is refused in the same words whether it exists or not, and a name is judged before anything outside is looked at.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from lauragpt.cli.request import check_file
from lauragpt.errors import LauraError


class Folders:
    """`folders`: existing ones. Relative names are below the first."""

    def __init__(self, folders: Sequence[Path]):
        if missing := [str(folder) for folder in folders if not os.path.isdir(folder)] or (not folders and ["nothing"]):
            raise LauraError(f"{', '.join(missing)}: no such folder; name those that may be read and written, as in: laura mcp recordings/")
        self.named = [Path(os.path.abspath(folder)) for folder in folders]
        self.real = [Path(os.path.realpath(folder)) for folder in folders]

    def place(self, name: str) -> Path:
        """The place of a name, below a folder, without links or `..`. LauraError for any other."""
        try:
            written = Path(os.path.abspath(self.named[0] / name))  # by its letters alone
            if _is_below(written, [*self.named, *self.real]):
                real = Path(os.path.realpath(self.named[0] / name))
                # Twice, because it leaves links as they are behind one that leads to itself.
                if _is_below(real, self.real) and os.path.realpath(real) == str(real):
                    return real
        except (OSError, ValueError):  # what no file can be called
            pass
        raise LauraError(f"{name!r} is not below {', '.join(map(str, self.named))}: only files there are read and written")

    def recording(self, name: str, otherwise: str = "") -> Path:
        """The place of a file to be read. LauraError where it is missing or no plain file. `otherwise`: what else would be allowed."""
        path = self.place(name)
        if not os.path.isfile(path):
            what = f"not a file, nor {otherwise}" if otherwise else "no such file" if not os.path.exists(path) else "not a file"
            raise LauraError(f"{path}: {what}; give the path of a recording")
        return path

    def target(self, name: str, suffixes: Sequence[str], inputs: Sequence[Path] = (), overwrite: bool = False) -> Path:
        """The place of a file to be written. LauraError where it cannot be, is one of the inputs, or, without `overwrite`, exists."""
        path = self.place(name)
        if path.suffix.lower() not in suffixes:
            raise LauraError(f"{path}: the answer is written as {', '.join(suffixes)}, not {path.suffix or 'without a suffix'!r}")
        if os.path.lexists(path):
            if not os.path.isfile(path):
                raise LauraError(f"{path} is no file: give the name of a new one")
            if any(os.path.samefile(path, each) for each in inputs):
                raise LauraError(f"{path} is an input and would be overwritten: name another file")
            if not overwrite:
                raise LauraError(f"{path} exists already: name another file, or ask for it to be overwritten")
        check_file(path)
        return path


def _is_below(path: Path, folders: Sequence[Path]) -> bool:
    return any(folder in path.parents for folder in folders)
