"""A checkpoint's folder: where it lies, what its configuration says, what its files are called and hash to. No numpy, no torch.

`config.json` holds every size and what the checkpoint says of itself; `codec.safetensors` the codec; `model.safetensors` all other weights.
The rest was trained on the codec's tokens, so that it may be trained further and sent anew while the codec stays as it is.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from lauragpt.ctc_units import Units, load_ctc_units
from lauragpt.errors import LauraError
from lauragpt.sequence import Vocabulary
from lauragpt.tasks import BUILT_IN_LANGS, add_rows
from lauragpt.text import CtcUnits

FORMAT = "lauragpt-2"
FILES = ("model.safetensors", "codec.safetensors")
SHIPPED = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself."""

    name: str
    codec_hash: str
    langs: tuple[str, ...]
    chunks: dict[str, tuple[float, float]]  # task -> (shortest, longest) seconds of the chunks that it is done in
    weights: str  # the first 16 digits of the hash of its weights, which an answer's receipt repeats
    time_aligned: bool  # the letters of a transcript stand at the time of their sound (ctc.py)
    cascade: bool  # speech is translated by way of its transcript
    vocabulary: Vocabulary
    ctc_units: Units = field(default_factory=CtcUnits)  # of its CTC head


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, by its path or by the name of one that ships. LauraError where a file is missing."""
    folder = Path(name_or_path)
    if not folder.exists() and len(folder.parts) == 1:
        folder = SHIPPED / name_or_path
    if not folder.is_dir():
        names = ", ".join(sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))) or "none"
        raise LauraError(f"no checkpoint {str(name_or_path)!r}: give a checkpoint folder or the name of one that ships ({names})")
    missing = [name for name in ("config.json", *FILES, "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        old = ", as those of earlier versions do, whose codec lay in model.safetensors: make it anew" if missing == [FILES[1]] else ""
        raise LauraError(f"{folder} is no checkpoint: it lacks {', '.join(missing)}{old}")
    read_config(folder)
    return folder


def read_config(folder: Path) -> dict:
    """A checkpoint's configuration. LauraError where it cannot be read or is of something else."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LauraError(f"{folder}/config.json cannot be read ({error}): fetch the checkpoint again") from None
    if not isinstance(config, dict):
        raise LauraError(f"{folder} is not a LauraGPT checkpoint: its config.json holds no mapping")
    return config


def add_known(name_or_path: str | Path) -> None:
    """Adds the tasks and languages that a checkpoint knows more than the table."""
    folder = find_checkpoint(name_or_path)
    add_rows(read_config(folder).get("added") or [], str(folder))


def read_info(folder: Path, config: dict) -> CheckpointInfo:
    """What `read_config` found, checked; tasks and languages that it knows more are added. LauraError where something is missing or
    unknown."""
    add_rows(config.get("added") or [], str(folder))
    try:
        model = config["model"]
        return CheckpointInfo(
            name=config.get("name") or folder.resolve().name,
            codec_hash=config["codec_hash"],
            langs=tuple(config.get("langs") or BUILT_IN_LANGS),
            chunks={task: tuple(seconds) for task, seconds in (config.get("chunks") or {}).items()},
            weights=hash_of_weights(folder)[:16],
            time_aligned=bool(model.get("time_aligned")),
            cascade=bool(config.get("cascade")),  # checkpoints from before 0.2 name the task in a list
            vocabulary=Vocabulary(model["text_size"], model["audio_size"]),
            ctc_units=load_ctc_units(folder),
        )
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({what}): fetch or export it again") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({what}): fetch or export it again") from None


def file_of(tensor: str) -> str:
    """The name of the file that holds a tensor."""
    return FILES[tensor.startswith("codec.")]


def hash_of(*paths: Path) -> str:
    """SHA-256 of files, one behind the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def hash_of_weights(folder: Path) -> str:
    """SHA-256 of both files. OSError when one is missing."""
    return hash_of(*weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """Both files of a checkpoint's folder, whether they exist or not."""
    return [folder / name for name in FILES]
