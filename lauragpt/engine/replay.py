"""An answer made again from its own line of JSON: the receipt says how it came about, so that anyone can check it.

In: a row as `Result.to_row` wrote it. Out: what is not the same now, in words, nothing where all is.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lauragpt.audio import load_audio
from lauragpt.errors import LauraError
from lauragpt.result import Result
from lauragpt.tasks import TASKS

if TYPE_CHECKING:
    from lauragpt.engine.api import Laura

STEP = 2 / 32768  # what two sounds may differ by that went through a file of 16 bits
LOSSY = (".ogg",)  # of such a file only the length can be compared
FIELDS = ("text", "scores", "intent", "slots")


def replay(laura: "Laura", row: dict) -> list[str]:
    """What differs between the row and the answer that is given now. LauraError for a row that is none, that is of another model, or in
    which there is nothing to compare."""
    receipt = row.get("receipt")
    if not isinstance(receipt, dict) or row.get("task") not in TASKS:
        raise LauraError("no answer with a receipt: give the lines that --format json wrote")
    info, model, weights = laura.runtime.info, receipt.get("model"), receipt.get("weights")
    if (model, weights) != (info.name, info.weights):
        raise LauraError(f"the answer is of {model} with weights {weights}, this is {info.name} with {info.weights}: name it with --model")
    if row.get("text") is None and row.get("audio") is None:
        raise LauraError("the answer has neither text nor a file of sound: there is nothing to compare")
    if isinstance(beams := receipt.get("beams", 1), int) and beams != laura.runtime.beams:
        laura = type(laura)(replace(laura.runtime, beams=beams), laura.voices)
    now = _again(laura, row, receipt)
    plain = json.loads(now.to_json())
    differing = [
        f"{name}: {plain.get(name)!r}, it was {row[name]!r}" for name in FIELDS if name in row and not _alike(plain.get(name), row[name])
    ]
    if now.receipt.get("transcript") != receipt.get("transcript"):
        differing.append(f"transcript: {now.receipt.get('transcript')!r}, it was {receipt.get('transcript')!r}")
    if row.get("audio") is not None:
        before = load_audio(row["audio"])
        if len(before) != len(now.audio):
            differing.append(f"sound: {len(now.audio)} samples, there were {len(before)}")
        elif len(before) and Path(row["audio"]).suffix.lower() not in LOSSY and float(np.abs(before - now.audio.clip(-1, 1)).max()) > STEP:
            differing.append(f"sound: up to {float(np.abs(before - now.audio).max()):.4f} of full scale apart")
    return differing


def _alike(now: object, before: object) -> bool:
    """Numbers to a ten-thousandth: sums of floats have no one order."""
    if isinstance(now, dict) and isinstance(before, dict):
        return now.keys() == before.keys() and all(_alike(now[key], before[key]) for key in now)
    if isinstance(now, float) and isinstance(before, (int, float)):
        return abs(now - before) < 1e-4
    return now == before


def _again(laura: "Laura", row: dict, receipt: dict) -> Result:
    if "final" in row:
        raise LauraError("it was part of a stream: only answers to whole recordings are made again")
    task, lang, file = row["task"], row.get("lang"), row.get("file")
    options = {key: receipt[key] for key in ("seed", "temperature", "top_k") if key in receipt}
    try:
        laura = laura.with_cascade(_was_cascade(receipt))
        if "chain" in receipt:
            given = {"text": receipt["input"]} if "input" in receipt else {"audio": _existing(file)}
            return laura.chain(receipt["chain"], **given, **options)
        if task == "tts":
            spoken = laura.speak(receipt["text"], lang=lang, voice=receipt["voice"], voice_text=receipt["voice_text"], **options)
            for span in receipt.get("regenerated", []):
                spoken = laura.regenerate(spoken, **span)
            return spoken
        if task == "mt":
            return laura.translate(text=receipt["text"], to=lang, lang=receipt.get("source_lang"))
        if task == "se":
            return laura.enhance(_existing(file), verify="verify" in receipt)
        if task == "s2tt" and receipt.get("source_lang"):
            # Neither `translate` nor `ask` takes both the recording's language and a least confidence.
            lang, least, source_lang = receipt["asked_lang"], receipt["min_confidence"], receipt["source_lang"]
            return laura._listen(task, _existing(file), lang, least, None, None, source_lang)
        return laura.ask(task, _existing(file), receipt["asked_lang"], receipt["min_confidence"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LauraError(f"its receipt does not say how it came about ({type(error).__name__}: {error})") from None


def _was_cascade(receipt: dict) -> bool:
    """Whether a recording, also within a chain, was translated by way of its transcript, which receipts held before they said so."""
    return any(step.get("cascade", "transcript" in step) for step in (receipt, *receipt.get("steps", ())))


def _existing(file: object) -> Path:
    if not isinstance(file, str) or not Path(file).exists():
        raise LauraError(f"{file}: the recording that was answered is not there")
    return Path(file)
