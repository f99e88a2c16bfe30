"""An answer made again from its own line of JSON: the receipt says how it came about, so that anyone can check it.

In: a row as `Result.to_row` wrote it. Out: what is not the same now, in words, nothing where all is.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lauragpt.audio import load_audio
from lauragpt.errors import LauraError
from lauragpt.result import Result
from lauragpt.tasks import TASKS

if TYPE_CHECKING:
    from lauragpt.engine.laura import Laura

STEP = 2 / 32768  # what two sounds may differ by that went through a file of 16 bits


def replay(laura: "Laura", row: dict) -> list[str]:
    """What differs between the row and the answer that is given now. LauraError for a row that is none, or of another model."""
    receipt = row.get("receipt")
    if not isinstance(receipt, dict) or row.get("task") not in TASKS:
        raise LauraError("no answer with a receipt: give the lines that --format json wrote")
    own = (laura.core.model, laura.core.codec_hash)
    if (receipt.get("model"), receipt.get("codec_hash")) != own:
        raise LauraError(f"the answer is of {receipt.get('model')} with codec {receipt.get('codec_hash')}, this is {own[0]} with {own[1]}: name it with --model")
    result = _again(laura, row, receipt)
    differing = []
    if row.get("text") is not None and result.text != row["text"]:
        differing.append(f"text: {result.text!r}, it was {row['text']!r}")
    if row.get("audio") is not None:
        before = load_audio(row["audio"])
        if len(before) != len(result.audio):
            differing.append(f"sound: {len(result.audio)} samples, there were {len(before)}")
        elif len(before) and float(np.abs(before - result.audio.clip(-1, 1)).max()) > STEP:
            differing.append(f"sound: up to {float(np.abs(before - result.audio).max()):.4f} of full scale apart")
    return differing


def _again(laura: "Laura", row: dict, receipt: dict) -> Result:
    task, lang, file = row["task"], row.get("lang"), row.get("file")
    drawn = {key: receipt[key] for key in ("seed", "temperature", "top_k") if key in receipt}
    if "chain" in receipt:
        return laura.chain(receipt["chain"], _there(file), **drawn)
    if task == "tts":
        voice = receipt.get("voice")
        text = receipt.get("voice_text") if voice not in laura.voices.cards else None
        return laura.speak(receipt["text"], lang=lang, voice=voice, voice_text=text, **drawn)
    if task == "mt":
        return laura.translate(text=receipt["text"], to=lang)
    if task == "se":
        return laura.enhance(_there(file), verify="verify" in receipt)
    return laura.ask(task, _there(file), lang)


def _there(file: str | None) -> Path:
    if not file or not Path(file).exists():
        raise LauraError(f"{file}: the recording that was answered is not there")
    return Path(file)
