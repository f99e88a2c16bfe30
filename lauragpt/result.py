"""What every verb returns: text or audio, its segments, the model's confidence, and a receipt that reproduces the answer.

In: what the engine decoded. Out: `Result.to_json` (one object on one line), `to_srt`, `to_vtt`, `to_tsv`, `to_text`.
Times are seconds from the start of the input; audio is float32 (N,) at `sample_rate`.
"""

import json
import math
from dataclasses import asdict, dataclass, field

import numpy as np

from lauragpt import subtitles
from lauragpt.subtitles import STANDARD, Cue, CueLayout


@dataclass
class Word:
    start: float
    end: float
    text: str
    confidence: float | None = None


@dataclass
class Segment:
    """A stretch of the input and the answer to it. `words`: of a transcript, with the times that the CTC head gives them. `codes`: of
    speech, its audio tokens, 25 a second, with the `probabilities` that the GPT gave them.

    Confidences, 0 to 1, are the GPT's own probabilities: of a word how likely all of its letters are, of a transcript the mean over its
    words, which is the share of them that it expects to be right; of a caption, an emotion or an order how likely all of it is; of what
    has no right and wrong, a translation or speech, the geometric mean over its tokens."""

    start: float
    end: float
    text: str
    confidence: float | None = None
    words: list[Word] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)  # as the codec counts them, from 0
    probabilities: list[float] = field(default_factory=list)  # of each code


@dataclass
class Result:
    task: str  # a key of tasks.TASKS
    lang: str  # language of the output
    text: str | None = None  # what was written; None when the answer is audio
    audio: np.ndarray | None = None  # (N,) float32; None when the answer is text
    sample_rate: int = 16000
    segments: list[Segment] = field(default_factory=list)
    confidence: float | None = None
    scores: dict[str, float] = field(default_factory=dict)  # emotion: label -> probability
    intent: str | None = None  # understand
    slots: dict[str, str] = field(default_factory=dict)  # understand
    # truncated (its file was cut short or damaged),
    # seconds_given, seconds_read, chunks, finish ("eos" | "length" | "guard" | "empty"), guards, seed, model, codec_hash, version
    receipt: dict = field(default_factory=dict)
    final: bool = True  # False of a stream's answer that may still change
    audio_path: str | None = None  # where the audio was written, once it was

    def to_row(self, file: str | None = None) -> dict:
        """The answer as plain data: file, task, lang, segments, receipt, and `text` or `audio`; scores, intent, slots where they exist."""
        row: dict = {"file": file, "task": self.task, "lang": self.lang}
        if self.text is not None:
            row["text"] = self.text
        if self.audio is not None:
            row["audio"] = self.audio_path
            row["seconds"] = round(len(self.audio) / self.sample_rate, 3)
        if self.scores:
            row["scores"] = self.scores
        if self.intent is not None:
            row["intent"], row["slots"] = self.intent, self.slots
        return row | {"confidence": self.confidence, "segments": [_plain(s) for s in self.segments], "receipt": self.receipt}

    def to_json(self, file: str | None = None, **more: object) -> str:
        """`to_row`, and `more`, on one line. Strict JSON: a NaN or an infinity raises instead of being written."""
        return json.dumps(_rounded(self.to_row(file) | more), ensure_ascii=False, allow_nan=False)

    def to_text(self) -> str:
        return self.text if self.text is not None else (self.audio_path or "")

    def to_srt(self, layout: CueLayout = STANDARD) -> str:
        """SubRip subtitles (subtitles.py). Segments without text are left out."""
        return subtitles.to_srt(self._cues(layout))

    def to_vtt(self, layout: CueLayout = STANDARD) -> str:
        """WebVTT subtitles."""
        return subtitles.to_vtt(self._cues(layout))

    def to_tsv(self) -> str:
        """start, end (milliseconds), text: a header, then a line a segment, as Whisper writes them."""
        rows = (f"{round(s.start * 1000)}\t{round(s.end * 1000)}\t{' '.join(s.text.split())}" for s in self._spoken())
        return "\n".join(["start\tend\ttext", *rows])

    def _cues(self, layout: CueLayout) -> list[Cue]:
        return subtitles.cues(self._spoken(), layout, spaced=self.lang != "zh")

    def _spoken(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.text.strip()]


@dataclass
class TextResult(Result):
    """An answer that is text."""

    text: str = ""


@dataclass
class AudioResult(Result):
    """An answer that is sound."""

    audio: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))


def _plain(segment: Segment) -> dict:
    """As data; lists only where they hold something."""
    return {key: value for key, value in asdict(segment).items() if value != []}


def confidence_of(log_probs: list[float]) -> float | None:
    """Geometric mean of token probabilities, None when there are none."""
    return math.exp(sum(log_probs) / len(log_probs)) if log_probs else None


def _rounded(value):
    """Floats to six places, so that a line stays readable."""
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(entry) for entry in value]
    return value
