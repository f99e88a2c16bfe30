"""Published corpora by lhotse's recipes -> rows.

In: the folder that the corpus's archives make. Out: rows, a row a supervision. lhotse opens each recording to know its length.
"""

import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from lauragpt.data.readers.rows import Row, language_of, split_of
from lauragpt.errors import LauraError, install_hint

WHOLE = 0.05  # seconds: a supervision that misses no more of its recording is all of it


def by_recipe(name: str, folder: Path) -> Iterator[Row]:
    """name: of the recipe. LauraError where lhotse is not installed, or the folder is not what the recipe reads."""
    try:
        recipe = getattr(import_module(f"lhotse.recipes.{name}"), f"prepare_{name}")
    except ModuleNotFoundError:
        raise LauraError(f"{name} is read by lhotse, which is not installed: {install_hint('train')}") from None
    if not folder.is_dir():
        raise LauraError(f"{folder}: no such folder")
    with tempfile.TemporaryDirectory() as aside:
        more: dict[str, Any] = {"output_dir": aside} if name == "commonvoice" else {}
        if name == "libritts":  # by itself it wants all parts
            more["dataset_parts"] = [part.name for part in sorted(folder.iterdir()) if part.is_dir() and split_of(part.name)]
            if not more["dataset_parts"]:
                raise LauraError(f"{folder} holds no parts of LibriTTS, such as train-clean-100: unpack the corpus there")
        try:
            made = recipe(folder, **more)
        except (AssertionError, OSError, ValueError, KeyError) as error:
            raise LauraError(f"{folder} is not {name} as it is published ({' '.join(str(error).split())})") from None
        languages = made if name == "commonvoice" else {"": made}
        for lang, parts in languages.items():
            for part, manifests in parts.items():
                yield from _rows(part, manifests, lang)


def _rows(part: str, manifests: dict, lang: str) -> Iterator[Row]:
    recordings = {recording.id: recording for recording in manifests["recordings"]}
    for said in manifests["supervisions"]:
        recording = recordings[said.recording_id]
        whole = said.start <= WHOLE and abs(recording.duration - said.duration) <= WHOLE
        split = split_of(part) or "train"  # WenetSpeech's L, M and S
        about = {"text": said.text, "speaker": said.speaker, "split": split, "lang": language_of(lang or said.language or "en")}
        start, seconds = (None, recording.duration) if whole else (said.start, said.duration)
        yield Row(part, recording.sources[0].source, said.id, start, seconds, **about)
