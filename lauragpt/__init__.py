"""LauraGPT: one GPT that listens, understands, translates, speaks and cleans sound.

    from lauragpt import Laura
    laura = Laura.load()
    print(laura.transcribe("talk.flac").text)
"""

from typing import TYPE_CHECKING

from lauragpt.errors import LauraError

if TYPE_CHECKING:
    from lauragpt.engine.api import Laura

__version__ = "0.2.0"
__all__ = ["Laura", "LauraError", "__version__"]


def __getattr__(name: str):
    # Imported when first asked for, so that `import lauragpt` and `laura --help` do not wait for torch.
    if name == "Laura":
        from lauragpt.engine.api import Laura

        return Laura
    raise AttributeError(f"module 'lauragpt' has no attribute {name!r}")
