"""Whether an exported checkpoint computes the same as torch: `laura export CHECKPOINT --check DATA`.

In: a checkpoint's folder and the folder of manifests. Out: a `Parity`. The verbs answer on ONNX Runtime as usual, and torch repeats every
call to the backend with the same tokens, so that after one different token the following ones can still be compared.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lauragpt.ctc import CtcAligner
from lauragpt.data.manifest import Example
from lauragpt.data.spans import load_span
from lauragpt.engine.api import Laura
from lauragpt.engine.backend import Backend, EncoderOutput, Session
from lauragpt.evaluate.groups import Group
from lauragpt.evaluate.inputs import input_wave, noise_of
from lauragpt.evaluate.run import choose, progress_bar
from lauragpt.evaluate.systems import batches
from lauragpt.tasks import TASKS

NEAR = 1e-3  # the two best tokens may be exchanged if torch's logits of them differ by at most this
SOUND = 1e-3  # a sample may differ by at most this
BATCH = 16


@dataclass
class Count:
    """What was compared for one task."""

    tokens: int = 0  # positions with logits of the GPT
    near: int = 0  # positions with another likeliest token, whose logit in torch is within NEAR of the best
    other: int = 0  # positions with another likeliest token, and not within NEAR
    logits: float = 0.0  # largest difference
    frames: int = 0  # with CTC probabilities, on which word times depend
    other_frames: int = 0  # frames with another likeliest unit, and not within NEAR
    codes: int = 0  # of the codec's first quantizer
    other_codes: int = 0
    sound: float = 0.0  # largest difference of a sample

    @property
    def holds(self) -> bool:
        return self.tokens > 0 and not self.other and not self.other_frames and self.logits < np.inf and self.sound <= SOUND


@dataclass
class Parity:
    rows: dict[str, Count] = field(default_factory=dict)  # by task

    @property
    def holds(self) -> bool:
        """Whether tokens are equal wherever torch's two best differ by more than NEAR, and samples to within SOUND."""
        return bool(self.rows) and all(count.holds for count in self.rows.values())

    def print(self) -> None:
        console = Console() if sys.stdout.isatty() else Console(width=160)  # a file or a pipe has no width to fit
        console.print(self.table())

    def table(self) -> Table:
        verdict = "It holds" if self.holds else "It does not hold"
        rule = f"tokens must be equal wherever torch's two best differ by more than {NEAR:g}, samples to within {SOUND:g}"
        table = Table(title="ONNX Runtime compared with torch", caption=f"{verdict}: {rule}")
        for name in (
            "task",
            "tokens",
            "equal %",
            "nearly equal",
            "other",
            "logits differ by",
            "CTC frames",
            "other frames",
            "codes",
            "equal codes %",
            "samples differ by",
        ):
            table.add_column(name, justify="left" if name == "task" else "right")
        for task, count in self.rows.items():
            different = count.near + count.other
            tokens = (share(different, count.tokens), str(count.near), str(count.other), f"{count.logits:.1e}")
            frames = (str(count.frames), str(count.other_frames)) if count.frames else ("", "")
            codes = (str(count.codes), share(count.other_codes, count.codes)) if count.codes else ("", "")
            table.add_row(task, str(count.tokens), *tokens, *frames, *codes, f"{count.sound:.1e}" if count.sound else "")
        return table


def share(different: int, total: int) -> str:
    """Per cent that are equal."""
    return f"{100 * (1 - different / total):.4f}" if total else ""


@dataclass
class PairedOutput(EncoderOutput):
    """The output of one encoder, with the other backend's output for the same waves."""

    other: EncoderOutput | None = None

    def rows(self, rows: list[int]) -> "PairedOutput":
        return PairedOutput(**vars(super().rows(rows)), other=self.other.rows(rows))


class ComparingBackend:
    """A backend that repeats every call on another backend and compares the results."""

    def __init__(self, backend: Backend, other: Backend):
        self.backend, self.other, self.count = backend, other, Count()
        self.session: ComparingSession | None = None  # the last one opened

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def encode(self, waves: list[np.ndarray]) -> PairedOutput:
        ours, theirs = self.backend.encode(waves), self.other.encode(waves)
        for mine, other, length in zip(ours.ctc_log_probs, theirs.ctc_log_probs, ours.lengths, strict=True):
            self.count.frames += int(length)
            self.count.other_frames += int((margins(mine[:length], other[:length]) > NEAR).sum())
        return PairedOutput(**vars(ours), other=theirs)

    def open(
        self, encoded: PairedOutput | None, ids: list[list[int]], paces: list[float] | None = None, aligners: list[CtcAligner] | None = None
    ) -> "ComparingSession":
        self.flush()
        theirs = self.other.open(
            encoded.other if encoded else None, ids, paces, [aligner.copy() for aligner in aligners] if aligners else None
        )
        self.session = ComparingSession(self.backend.open(encoded, ids, paces, aligners), theirs, self.count)
        return self.session

    def flush(self) -> None:
        """Compares the tokens that have not been compared yet."""
        if self.session is not None:
            self.session.flush()

    def vocode(self, codes: list[np.ndarray], **conditions) -> list[np.ndarray]:
        return self.compare_sound(self.backend.vocode(codes, **conditions), self.other.vocode(codes, **conditions))

    def codec_encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        codes = self.backend.codec_encode(waves)
        for ours, theirs in zip(codes, self.other.codec_encode(waves), strict=True):
            self.count.codes += len(ours[0])  # the first quantizer alone: where it differs, the later ones must differ
            self.count.other_codes += int((ours[0] != theirs[0]).sum())
        return codes

    def codec_decode(self, codes: list[np.ndarray]) -> list[np.ndarray]:
        return self.compare_sound(self.backend.codec_decode(codes), self.other.codec_decode(codes))

    def compare_sound(self, ours: list[np.ndarray], theirs: list[np.ndarray]) -> list[np.ndarray]:
        for mine, other in zip(ours, theirs, strict=True):
            self.count.sound = max(self.count.sound, largest(mine, other))
        return ours


class ComparingSession:
    """A session that is repeated on another backend. Tokens that are read one by one are collected and read by the other backend at once,
    before anything else is asked of it, which takes a fraction of the time."""

    LIMIT = 64  # tokens collected

    def __init__(self, session: Session, other: Session, count: Count):
        self.session, self.other, self.count = session, other, count
        self.pending: list[tuple[np.ndarray, np.ndarray]] = []  # ids (B, n) and our logits (B, n, V), not yet compared
        compare(session.logits, other.logits, count)

    @property
    def logits(self) -> np.ndarray:
        return self.session.logits

    @property
    def lengths(self) -> np.ndarray:
        return self.session.lengths

    def extend(self, ids: np.ndarray) -> np.ndarray:
        logits = self.session.extend(ids)
        self.pending.append((np.asarray(ids), logits))
        if len(self.pending) == self.LIMIT:
            self.flush()
        return logits

    def flush(self) -> None:
        if self.pending:
            ids, logits = (np.concatenate(parts, axis=1) for parts in zip(*self.pending, strict=True))
            compare(logits, self.other.extend(ids), self.count)
            self.pending = []

    def rollback(self, lengths: np.ndarray) -> None:
        self.flush()
        self.session.rollback(lengths)
        self.other.rollback(lengths)

    def select(self, rows: list[int]) -> None:
        self.flush()
        self.session.select(rows)
        self.other.select(rows)


def compare(ours: np.ndarray, theirs: np.ndarray, count: Count) -> None:
    """Adds the comparison of two arrays of logits (..., V) to the count."""
    ours, theirs = ours.reshape(-1, ours.shape[-1]), theirs.reshape(-1, theirs.shape[-1])
    margin = margins(ours, theirs)
    count.tokens += len(ours)
    count.near += int(((margin > 0) & (margin <= NEAR)).sum())
    count.other += int((margin > NEAR).sum())
    count.logits = max(count.logits, largest(ours, theirs))


def margins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(n, V) of both -> (n,): torch's best logit minus its logit of our best token."""
    return theirs.max(axis=1) - theirs[np.arange(len(theirs)), ours.argmax(axis=1)]


def largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference; infinite if the shapes differ or a value is not finite."""
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return np.inf
    return float(np.abs(ours - theirs).max(initial=0.0))


def parity(
    folder: Path, data: Path, split: str = "dev", tasks: Iterable[str] | None = None, limit: int | None = None, show: bool = True
) -> Parity:
    """Runs both backends on the recordings and texts of a split, without beam search. LauraError if the checkpoint was not exported, or
    torch or the data are missing."""
    examples, groups = choose(data, split, TASKS if tasks is None else tasks, limit)
    laura, result, noisy = Laura.load(folder, backend="onnx", beams=1), Parity(), noise_of(examples, seed=0)
    comparing = ComparingBackend(laura.runtime.backend, Laura.load(folder, "cpu", backend="torch").runtime.backend)
    laura = laura.with_backend(comparing)
    with progress_bar(show) as bar:
        total = bar.add_task("", total=sum(len(group.examples) for group in groups))
        for group in groups:
            bar.update(total, description=f"{group.task} {group.name}")
            comparing.count = result.rows.setdefault(group.task, Count())
            for batch in batches(sorted(group.examples, key=lambda e: e.duration), BATCH) if group.lang in laura.runtime.info.langs else ():
                answer(laura, replace(group, examples=batch), noisy)
                comparing.flush()
                bar.advance(total, len(batch))
    return result


def answer(laura: Laura, group: Group, noisy: Callable[[Example, np.ndarray], np.ndarray]) -> None:
    """Answers all examples of a group with the verb of its task."""
    task, lang, examples = group.task, group.lang, group.examples
    waves = [input_wave(e) for e in examples if e.audio]
    if task == "mt":
        laura.translate(text=[e.source for e in examples], to=lang)
    elif task == "tts":
        laura.speak([e.source for e in examples], lang=lang)
        laura.runtime.backend.codec_decode(laura.runtime.backend.codec_encode(waves))
    elif task == "se":
        laura.enhance([load_span(e.noisy) if e.noisy else noisy(e, wave) for e, wave in zip(examples, waves, strict=True)])
    else:
        laura.ask(task, waves, lang if task in ("asr", "s2tt") else None)
