"""Results in the shapes of OpenAI's API, to the field; and receipts as headers.

In: a `Result`. Out: what clients of /v1/audio/transcriptions and /v1/audio/translations get in each `response_format`.
"""

import json
import math
import zlib

from fastapi.responses import JSONResponse, PlainTextResponse, Response

from lauragpt.result import Result, Segment
from lauragpt.tasks import TASKS
from lauragpt.text import Tokenizer

LANGUAGES = {"en": "english", "de": "german", "zh": "chinese"}
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
RECEIPT = "X-Laura-Receipt"
RECEIPT_BYTES = 4096  # of the header: what is longer, many clients do not read
# Parts of a receipt, in the order in which they are left out.
LONG = ("text", "voice_text", "input", "steps", "transcript", "verify", "sequences", "regenerated")


def text_response(result: Result, format: str, granularities: list[str], tokenizer: Tokenizer, ignored: list[str]) -> Response:
    """A transcript or a translation in one of FORMATS. `ignored`: what was asked for and has no effect."""
    headers = headers_of(result.receipt, ignored)
    if format == "json":
        return JSONResponse(plain(result), headers=headers)
    if format == "verbose_json":
        return JSONResponse(verbose(result, granularities, tokenizer), headers=headers)
    if format == "text":
        return PlainTextResponse(f"{result.to_text()}\n", headers=headers)
    subtitles = result.to_srt() if format == "srt" else result.to_vtt()
    return PlainTextResponse(f"{subtitles.rstrip()}\n\n", headers=headers, media_type="text/vtt" if format == "vtt" else "text/plain")


def plain(result: Result) -> dict:
    """The usage is that of models that are paid by the second; translations have none."""
    if result.task == "s2tt":
        return {"text": result.text}
    return {"text": result.text, "usage": usage(result)}


def usage(result: Result) -> dict:
    return {"type": "duration", "seconds": math.ceil(result.receipt["seconds_given"])}


def verbose(result: Result, granularities: list[str], tokenizer: Tokenizer) -> dict:
    translated = result.task == "s2tt"
    row: dict = {
        "task": "translate" if translated else "transcribe",
        "language": LANGUAGES.get(result.lang, result.lang),
        "duration": result.receipt["seconds_given"],
        "text": result.text,
    }
    spoken = [segment for segment in result.segments if segment.text.strip()]
    if "word" in granularities and not translated:
        row["words"] = words_of(spoken)
    if "segment" in granularities:
        letters = TASKS[result.task].letters
        row["segments"] = [segment_row(number, segment, tokenizer.encode(segment.text, letters)) for number, segment in enumerate(spoken)]
    return row | ({} if translated else {"usage": usage(result)}) | {"receipt": result.receipt}


def words_of(segments: list[Segment]) -> list[dict]:
    """OpenAI's fields, and the confidence of each word."""
    return [
        {"word": word.text, "start": word.start, "end": word.end, "confidence": word.confidence}
        for segment in segments
        for word in segment.words
    ]


def segment_row(number: int, segment: Segment, tokens: list[int]) -> dict:
    """`avg_logprob` is the logarithm of the segment's confidence. There is no estimate of `no_speech_prob`: silence has no segment."""
    data = segment.text.encode()
    return {
        "id": number,
        "seek": round(segment.start * 100),  # in frames of 10 ms, as Whisper counts
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": tokens,
        "temperature": 0.0,
        "avg_logprob": math.log(max(segment.confidence or 1e-9, 1e-9)),
        "compression_ratio": len(data) / len(zlib.compress(data)),
        "no_speech_prob": 0.0,
    }


def headers_of(receipt: dict, ignored: list[str] | None = None) -> dict[str, str]:
    """The receipt as a header, without its longest parts where it is too long for one; and the names of what was ignored."""
    return {RECEIPT: receipt_line(receipt)} | ({"X-Laura-Ignored": ", ".join(ignored)} if ignored else {})


def receipt_line(receipt: dict) -> str:
    kept = dict(receipt)
    for name in LONG:
        line = json.dumps(kept, separators=(",", ":"))
        if len(line) <= RECEIPT_BYTES:
            break
        if name in kept:
            kept["left_out"] = [*kept.get("left_out", []), name]
            del kept[name]
    return json.dumps(kept, separators=(",", ":"))


def event(row: dict) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(row)}\n\n".encode()
