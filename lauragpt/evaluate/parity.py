"""Whether an exported checkpoint computes what torch does: `laura export CHECKPOINT --check DATA`.

In: a checkpoint's folder and the folder of manifests. The verbs answer on ONNX Runtime as ever, and torch is given every call that they make of
the backend, with the same tokens: one token that came out otherwise does not make all those behind it incomparable. Out: a `Parity`.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lauragpt.audio import load_audio
from lauragpt.ctc import CtcAligner
from lauragpt.data.manifest import Example
from lauragpt.engine.api import Laura
from lauragpt.engine.backend import Backend, EncoderOutput, Session
from lauragpt.errors import LauraError
from lauragpt.evaluate.run import check, make_groups, noise_of, progress_bar, read_split
from lauragpt.evaluate.scorers import Group
from lauragpt.evaluate.systems import batches

NEAR = 1e-3  # the two best tokens may change places where torch's logits of them differ by no more
SOUND = 1e-3  # a sample may differ by no more


@dataclass
class Count:
    """Of what one task compared."""

    tokens: int = 0  # places at which the GPT was asked what comes next
    near: int = 0  # at which another token is the likeliest, of two that torch finds as likely to within NEAR
    other: int = 0  # at which another is, of two that it does not
    logits: float = 0.0  # largest difference
    frames: int = 0  # of which the CTC head told the likeliest unit: when what is written is said hangs on it
    other_frames: int = 0  # in which another is, of two that torch does not find as likely to within NEAR
    codes: int = 0  # the codec's
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
        """Tokens are equal wherever torch's two best differ by more than NEAR, sound to SOUND."""
        return bool(self.rows) and all(count.holds for count in self.rows.values())

    def print(self) -> None:
        console = Console() if sys.stdout.isatty() else Console(width=160)  # a file or a pipe has no width to fit
        console.print(self.table())

    def table(self) -> Table:
        verdict = "It holds" if self.holds else "It does not hold"
        rule = f"tokens are to be equal wherever torch's two best differ by more than {NEAR:g}, samples to {SOUND:g}"
        table = Table(title="ONNX Runtime beside torch", caption=f"{verdict}: {rule}")
        for name in ("task", "tokens", "equal %", "nearly equal", "other", "logits differ by", "CTC frames", "other frames", "codes", "equal codes %", "samples differ by"):
            table.add_column(name, justify="left" if name == "task" else "right")
        for task, count in self.rows.items():
            different = count.near + count.other
            tokens = (share(different, count.tokens), str(count.near), str(count.other), f"{count.logits:.1e}")
            frames = (str(count.frames), str(count.other_frames)) if count.frames else ("", "")
            codes = (str(count.codes), share(count.other_codes, count.codes)) if count.codes else ("", "")
            table.add_row(task, str(count.tokens), *tokens, *frames, *codes, f"{count.sound:.1e}" if count.sound else "")
        return table


def share(different: int, of: int) -> str:
    """Per cent of a number that are not different."""
    return f"{100 * (1 - different / of):.4f}" if of else ""


@dataclass
class Twice(EncoderOutput):
    """What one backend heard, and what the other did of the same."""

    other: EncoderOutput | None = None

    def rows(self, rows: list[int]) -> "Twice":
        return Twice(**vars(super().rows(rows)), other=self.other.rows(rows))


class Shadowed:
    """A backend whose every call another one repeats, and is compared."""

    def __init__(self, backend: Backend, other: Backend):
        self.backend, self.other, self.count = backend, other, Count()
        self.session: ShadowedSession | None = None  # the last one opened

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def encode(self, waves: list[np.ndarray]) -> Twice:
        ours, theirs = self.backend.encode(waves), self.other.encode(waves)
        for mine, other, length in zip(ours.ctc_log_probs, theirs.ctc_log_probs, ours.lengths, strict=True):
            self.count.frames += int(length)
            self.count.other_frames += int((margins(mine[:length], other[:length]) > NEAR).sum())
        return Twice(**vars(ours), other=theirs)

    def open(
        self, encoded: Twice | None, ids: list[list[int]], paces: list[float] | None = None, aligners: list[CtcAligner] | None = None
    ) -> "ShadowedSession":
        self.settle()
        theirs = self.other.open(encoded.other if encoded else None, ids, paces, [aligner.copy() for aligner in aligners] if aligners else None)
        self.session = ShadowedSession(self.backend.open(encoded, ids, paces, aligners), theirs, self.count)
        return self.session

    def settle(self) -> None:
        """Compares what is still to be compared."""
        if self.session is not None:
            self.session.settle()

    def vocode(self, codes: list[np.ndarray], **conditions) -> list[np.ndarray]:
        return self.same(self.backend.vocode(codes, **conditions), self.other.vocode(codes, **conditions))

    def codec_encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        codes = self.backend.codec_encode(waves)
        for ours, theirs in zip(codes, self.other.codec_encode(waves), strict=True):
            self.count.codes += len(ours[0])  # by the first quantizer: where it chose another, those behind it must
            self.count.other_codes += int((ours[0] != theirs[0]).sum())
        return codes

    def codec_decode(self, codes: list[np.ndarray]) -> list[np.ndarray]:
        return self.same(self.backend.codec_decode(codes), self.other.codec_decode(codes))

    def same(self, ours: list[np.ndarray], theirs: list[np.ndarray]) -> list[np.ndarray]:
        for mine, other in zip(ours, theirs, strict=True):
            self.count.sound = max(self.count.sound, largest(mine, other))
        return ours


class ShadowedSession:
    """Tokens that were read one by one are read by torch at once, as soon as something else is asked for: it takes a fraction of the time."""

    MOST = 64

    def __init__(self, session: Session, other: Session, count: Count):
        self.session, self.other, self.count = session, other, count
        self.behind: list[tuple[np.ndarray, np.ndarray]] = []  # ids (B, n) and logits (B, n, V) that torch has yet to read
        compare(session.logits, other.logits, count)

    @property
    def logits(self) -> np.ndarray:
        return self.session.logits

    @property
    def lengths(self) -> np.ndarray:
        return self.session.lengths

    def extend(self, ids: np.ndarray) -> np.ndarray:
        logits = self.session.extend(ids)
        self.behind.append((np.asarray(ids), logits))
        if len(self.behind) == self.MOST:
            self.settle()
        return logits

    def settle(self) -> None:
        if self.behind:
            ids, logits = (np.concatenate(parts, axis=1) for parts in zip(*self.behind, strict=True))
            compare(logits, self.other.extend(ids), self.count)
            self.behind = []

    def rollback(self, lengths: np.ndarray) -> None:
        self.settle()
        self.session.rollback(lengths)
        self.other.rollback(lengths)

    def select(self, rows: list[int]) -> None:
        self.settle()
        self.session.select(rows)
        self.other.select(rows)


def compare(ours: np.ndarray, theirs: np.ndarray, count: Count) -> None:
    """Logits (..., V) of both."""
    ours, theirs = ours.reshape(-1, ours.shape[-1]), theirs.reshape(-1, theirs.shape[-1])
    apart = margins(ours, theirs)
    count.tokens += len(ours)
    count.near += int(((apart > 0) & (apart <= NEAR)).sum())
    count.other += int((apart > NEAR).sum())
    count.logits = max(count.logits, largest(ours, theirs))


def margins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(n, V) of both -> (n,): by how much less torch likes our likeliest than its own."""
    return theirs.max(axis=1) - theirs[np.arange(len(theirs)), ours.argmax(axis=1)]


def largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference; infinite where one is no number, or of another shape."""
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return np.inf
    return float(np.abs(ours - theirs).max(initial=0.0))


def chosen(data: Path, split: str, tasks: Iterable[str] | None, limit: int | None) -> tuple[list[Example], list[Group]]:
    """All of the split, and what is compared. LauraError where there is nothing."""
    wanted, examples = check(data, split, tasks, limit), read_split(data, split)
    groups = make_groups([e for e in examples if e.task in wanted], limit)
    if not groups:
        raise LauraError(f"{data} has no {split} examples of {', '.join(wanted)}: run `laura prepare` first")
    return examples, groups


def parity(
    folder: Path, data: Path, split: str = "dev", tasks: Iterable[str] | None = None, limit: int | None = None, show: bool = True
) -> Parity:
    """Both backends on the recordings and texts of a split, each text written token by token: which of several is the likeliest has no part in it.
    LauraError where the checkpoint was not exported, torch is missing, or the data are."""
    examples, groups = chosen(data, split, tasks, limit)
    laura, result, noisy = Laura.load(folder, backend="onnx", beams=1), Parity(), noise_of(examples, seed=0)
    shadowed = Shadowed(laura.runtime.backend, Laura.load(folder, "cpu", backend="torch").runtime.backend)
    laura = laura.with_backend(shadowed)
    with progress_bar(show) as bar:
        total = bar.add_task("", total=sum(len(group.examples) for group in groups))
        for group in groups:
            bar.update(total, description=f"{group.task} {group.name}")
            shadowed.count = result.rows.setdefault(group.task, Count())
            for batch in batches(sorted(group.examples, key=lambda e: e.duration), 16) if group.lang in laura.runtime.info.langs else ():
                answer(laura, Group(group.task, group.name, group.lang, batch, len(batch)), noisy)
                shadowed.settle()
                bar.advance(total, len(batch))
    return result


def answer(laura: Laura, group: Group, noisy: Callable[[Example, np.ndarray], np.ndarray]) -> None:
    """Lets the verb of the group's task answer all of it."""
    task, lang, examples = group.task, group.lang, group.examples
    waves = [load_audio(e.audio) for e in examples if e.audio]
    if task == "mt":
        laura.translate(text=[e.source for e in examples], to=lang)
    elif task == "tts":
        laura.speak([e.source for e in examples], lang=lang)
        laura.runtime.backend.codec_decode(laura.runtime.backend.codec_encode(waves))
    elif task == "se":
        laura.enhance([load_audio(e.noisy) if e.noisy else noisy(e, wave) for e, wave in zip(examples, waves, strict=True)])
    else:
        laura.ask(task, waves, lang if task in ("asr", "s2tt") else None)
