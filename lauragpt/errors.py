"""The one exception that a user of the package is meant to read."""


class LauraError(Exception):
    """One clear line: what was wrong, what is allowed, what to do. The command line prints it as it is, without a traceback."""
