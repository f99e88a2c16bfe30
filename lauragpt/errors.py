"""The one exception, and the one warning, that a user of the package is meant to read."""

# What a value should have been, as messages call it
TYPE_NAMES = {dict: "a mapping", tuple: "a list", int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class LauraError(Exception):
    """One clear line: what was wrong, what is allowed, what to do. The command line prints it as it is, without a traceback."""


class LauraWarning(UserWarning):
    """One clear line about an answer that differs from what was asked for. The command line prints it without its place in the code."""


class SpeechWarning(LauraWarning):
    """Speech that was already given away, piece by piece, cannot be the text."""


def install_hint(extra: str) -> str:
    """How to install the packages of an extra ("train", "eval", ...). Lauragpt is on no package index: it is installed from its clone."""
    return f"run pip install -e '.[{extra}]' in the clone of lauragpt"
