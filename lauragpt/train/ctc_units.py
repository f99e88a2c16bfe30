"""The CTC head's units of a recipe: letters, or subwords that are trained once; and whether recordings have frames enough for them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lauragpt.audio import SAMPLE_RATE
from lauragpt.checkpoint import find_checkpoint
from lauragpt.ctc_units import FILE, CtcSubwords, Units
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.features import FeatureConfig
from lauragpt.spoken import normalize
from lauragpt.text import CtcUnits

TOO_LONG = 0.001  # share of the examples that may have more units than frames
TEXTS = 100_000  # lines of text at most, beside all transcripts, that subwords are learnt from


def choose_ctc_units(out: Path, init: str, size: int, examples: Sequence[Example], lines: Iterable[tuple[str, str]]) -> Units:
    """Units for a head of `size`. Letters where it has as many; else the subwords in `out`, or `init`'s, or new ones. LauraError where
    those there have another size.

    examples: of training, whose transcripts they are learnt from; lines: (language, sentence) of the texts.
    """
    if size == CtcUnits.size:
        return CtcUnits()
    paths = [path for path in (Path(out) / FILE, find_checkpoint(init) / FILE if init else None) if path is not None and path.exists()]
    if paths:
        units = CtcSubwords.load(paths[0])
    else:
        transcripts = [text for example in examples if example.task == "asr" for text in example.targets]
        lines = list(lines)
        units = CtcSubwords.train(transcripts + [normalize(line, lang) for lang, line in lines[:: 1 + len(lines) // TEXTS]], size)
    if units.size != size:
        raise LauraError(
            f"{paths[0]} has {units.size} CTC units, and the preset's CTC head {size}: choose another `out`, or a preset with as many"
        )
    return units


def save_ctc_units(units: Units, out: Path) -> None:
    """Writes subwords into `out`, whole or not at all; letters need no file."""
    if isinstance(units, CtcSubwords):
        Path(out).mkdir(parents=True, exist_ok=True)
        aside = Path(out) / f"{FILE}.{os.getpid()}"
        units.save(aside)
        os.replace(aside, Path(out) / FILE)


def check_ctc_lengths(stage: str, examples: Sequence[Example], units: Units, features: FeatureConfig) -> None:
    """LauraError where over 0.1 % of the transcripts that a stage learns have more units than their recordings have frames: CTC learns
    nothing from these."""
    asr = [example for example in examples if example.task == "asr"]
    long = [example for example in asr if len(units.encode(example.targets[0])) > features.length(round(example.duration * SAMPLE_RATE))]
    if len(long) > TOO_LONG * len(asr):
        raise LauraError(
            f"{stage}: {len(long)} of {len(asr)} transcripts ({len(long) / len(asr):.1%}, {long[0].id} first) have more CTC units than "
            f"their recordings have frames of {1000 * features.seconds:g} ms, and {TOO_LONG:.1%} may. Choose a preset with more CTC units "
            "(encoder.units), so that each is longer, or with shorter frames (features.skip), or take these recordings out of the data"
        )
