"""The keys that clients show: read from a file when the server starts, compared in constant time.

In: a file with a key a line, empty lines and lines that begin with # left out. Out: their SHA-256, which all have one length.
"""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from lauragpt.errors import LauraError

SHORTEST = 16  # characters
PROTOCOL, KEY_PROTOCOL = "laura", "laura.key."  # of WebSockets


def read_keys(path: Path) -> tuple[bytes, ...]:
    """LauraError for a file that cannot be read, holds no key, or one that can be guessed."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LauraError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise LauraError(f"{path} holds no key: write one a line, of at least {SHORTEST} characters")
    if min(map(len, keys)) < SHORTEST:
        raise LauraError(f"{path} holds a key of less than {SHORTEST} characters, which can be guessed: make it longer")
    return tuple(hashlib.sha256(key.encode()).digest() for key in keys)


def is_known(keys: tuple[bytes, ...], authorization: str) -> bool:
    """Whether a header `Authorization: Bearer KEY` shows one of the keys. It takes as long whichever it is, and if none."""
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode()).digest()
    found = [hmac.compare_digest(digest, known) for known in keys]
    return scheme.lower() == "bearer" and any(found)


def key_of_socket(protocols: str) -> str:
    """A key as `is_known` takes it, from a header Sec-WebSocket-Protocol, "" where there is none. A page in a browser can give a WebSocket
    no other header: it offers the protocols `laura` and `laura.key.KEY`, KEY in base64url, as a protocol may not hold every letter."""
    for protocol in protocols.split(","):
        scheme, mark, encoded = protocol.strip().partition(KEY_PROTOCOL)
        if mark and not scheme:
            try:
                key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, ValueError):
                return ""
            return f"Bearer {key}"
    return ""
