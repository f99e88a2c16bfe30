"""What a server is told when it starts, and how much it lets a request have.

In: the options of `laura serve`. Out: frozen `Settings`, the same in every worker process.
"""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from lauragpt.data.checks import check_folder
from lauragpt.errors import LauraError
from lauragpt.tasks import BEAMS


@dataclass(frozen=True)
class Limits:
    """LauraError for limits under which no request could ever be answered."""

    upload_bytes: int = 100 * 2**20  # of a request's body
    seconds: float = 3600.0  # of a recording, counted while it is decoded
    held_seconds: float = 3600.0  # of sound that all requests hold together: decoded, waiting or being answered
    held_bytes: int = 400 * 2**20  # of bodies that all requests hold together
    characters: int = 4096  # of a text that is to be spoken
    request_seconds: float = 600.0  # from the first byte of a request to its answer
    header_seconds: float = 20.0  # until the header of a request is whole
    stall_seconds: float = 60.0  # that a client may leave its answer unread
    voices: int = 100  # that may be uploaded

    def __post_init__(self):
        times = (self.seconds, self.request_seconds, self.header_seconds, self.stall_seconds)
        if min(self.upload_bytes, self.characters, *times) <= 0 or self.voices < 0:
            raise LauraError("the limits of bytes, seconds and characters must be above 0")
        if self.held_seconds < self.seconds or self.held_bytes < self.upload_bytes:
            raise LauraError("what all requests may hold together is less than what one may have: raise it, or lower the limit of one")


@dataclass(frozen=True)
class Settings:
    model: str = "mini"
    device: str | None = None
    threads: int | None = None
    beams: int = BEAMS
    host: str = "127.0.0.1"
    keys: tuple[bytes, ...] = ()  # SHA-256 of each key that is accepted; none: no key is asked for
    voices: Path | None = None  # the folder of uploaded voices; None: a private one, which goes with the server
    window: float = 0.003  # seconds that a request waits for others of its kind
    limits: Limits = field(default_factory=Limits)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("127.0.0.1", "::1", "localhost")


def make_voices_folder(folder: Path) -> None:
    """Makes the folder of uploaded voices, which only this user may read. LauraError where nothing can be written into it."""
    with contextlib.suppress(OSError):  # the check below says what is wrong
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_folder(folder)
