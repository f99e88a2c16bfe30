"""The plots of an evaluation: inline SVG that takes its colours and font from the page, so that it works in light and dark mode.

In: the `Row`s of a report. Out: `Plot`s. matplotlib comes with the extra `eval`; without it `draw` raises MissingPackage and
the page has no plots.
"""

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np

from lauragpt.evaluate import metrics
from lauragpt.evaluate.answers import OPUS, Answer
from lauragpt.evaluate.counts import calibration, reliability
from lauragpt.evaluate.report.tables import Row, number
from lauragpt.evaluate.tally import Score

# matplotlib needs literal colours: these stand for the page's variables and are replaced in the finished SVG.
INK, SOFT, LINE, ACCENT = "#010203", "#040506", "#070809", "#0a0b0c"
VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)", ACCENT: "var(--accent)"}
WIDTH = 5.0  # inches of 72 px: the text is then as large as the page's small print in a column of 360 px
LONGEST = 32  # characters of a label
STYLE = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 9, "text.color": INK, "axes.labelcolor": SOFT, "axes.edgecolor": LINE,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.color": SOFT, "ytick.color": INK, "ytick.left": False,
    "lines.solid_capstyle": "butt", "grid.color": LINE, "axes.facecolor": "none", "figure.facecolor": "none",
}  # fmt: skip

TITLES = {  # of tasks whose rows are variants of one answer
    "se": ("the ablation of enhancement", "If the GPT's tokens are no better than the shuffled ones, they do nothing."),
    "tts": ("each voice beside the real recordings", "Errors on the real recordings are the recogniser's; the rest are the voice's."),
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    task: str
    title: str
    note: str  # how to read it
    svg: str


def draw(rows: Sequence[Row], seed: int = 0) -> list[Plot]:
    """All plots for which the rows have enough data. MissingPackage without matplotlib."""
    metrics.need("matplotlib")
    plots = []
    for task in dict.fromkeys(row.task for row in rows):
        measured = [row for row in rows if row.task == task and math.isfinite(row.score.value)]
        if task == "codec":
            plots += [
                rates(corpus, group, measure)
                for corpus, group in by_corpus(measured).items()
                for measure in ("STOI", "PESQ")
                if with_rate(group, measure)
            ]
        elif task in TITLES:
            plots += [variants(corpus, group) for corpus, group in by_corpus(measured).items() if len(group) > 1]
        else:
            plots += [scores(metric, [r for r in measured if r.metric == metric]) for metric in dict.fromkeys(r.metric for r in measured)]
        plots += [confusion(row) for row in measured if row.confusion is not None]
        plots += [reliability_plot(row) for row in measured if any(right_or_wrong(row))]
        plots += [breakdown(row, parts) for row in measured if not row.is_reference and (parts := row.parts(seed))]
    return plots


def by_corpus(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows called "corpus: variant", by corpus."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.data.split(": ")[0], []).append(row)
    return groups


# --- what is drawn -------------------------------------------------------------------------------------------------------------


def scores(metric: str, rows: Sequence[Row]) -> Plot:
    """The rows of a task beside their trivial floors."""

    def paint(axes) -> None:
        intervals(axes, [row.data for row in rows], [row.score for row in rows])
        for place, row in enumerate(rows):
            if row.floor is not None and math.isfinite(row.floor):
                axes.plot([row.floor] * 2, [place - 0.3, place + 0.3], color=SOFT, linewidth=1.5, linestyle=(0, (2, 1.5)))
        low, high = axes.get_xlim()
        top = 103 if metric.endswith("%") or metric == "chrF" else high  # per cent always run from 0 to 100
        axes.set(xlim=(min(low, -0.03 * top), max(high, top)), xlabel=axis_name(rows[0]))

    note = "Dot: the score; bar: its 95 % interval; dashed: the trivial floor."
    return Plot(rows[0].task, f"{metric} by corpus", note, picture(paint, 0.75 + 0.3 * len(rows)))


def variants(corpus: str, rows: Sequence[Row]) -> Plot:
    """Bars: the variants of enhancement, or the voices beside the real recordings."""

    def paint(axes) -> None:
        for place, row in enumerate(rows):
            value, ours = row.score.value, not row.is_reference
            axes.barh(place, value, height=0.6, color=ACCENT if ours else SOFT, alpha=0.6 if ours else 0.4, linewidth=0)
            if math.isfinite(row.score.low):
                axes.plot([row.score.low, row.score.high], [place] * 2, color=INK, linewidth=1.2)
            end = max(value, row.score.high) if math.isfinite(row.score.high) else value
            axes.annotate(number(value), (max(end, 0), place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        name_places(axes, [row.data.split(": ", 1)[-1] for row in rows])
        axes.set_xlim(right=1.12 * axes.get_xlim()[1])  # room for the last number
        axes.set_xlabel(axis_name(rows[0]))

    title, note = TITLES[rows[0].task]
    return Plot(rows[0].task, f"{corpus}: {title}", f"{note} Line: the 95 % interval.", picture(paint, 0.75 + 0.3 * len(rows)))


def quality(row: Row, measure: str) -> float:
    return row.score.value if row.metric == measure else row.also.get(measure, math.nan)


def with_rate(rows: Sequence[Row], measure: str) -> list[Row]:
    """The rows with a bit rate and the metric: PESQ and Opus may be missing."""
    return [row for row in rows if math.isfinite(row.also.get("kbit/s", math.nan)) and math.isfinite(quality(row, measure))]


def rates(corpus: str, rows: Sequence[Row], measure: str) -> Plot:
    """Quality against bit rate: the codec by its number of quantizers, and Opus."""

    def paint(axes) -> None:
        for ours, name, colour in ((True, "this codec", ACCENT), (False, "Opus", INK)):
            points = [row for row in with_rate(rows, measure) if row.data.split(": ", 1)[-1].startswith(OPUS) != ours]
            if not points:
                continue
            places, heights = [row.also["kbit/s"] for row in points], [quality(row, measure) for row in points]
            axes.plot(places, heights, "o-", color=colour, markersize=4, linewidth=1.2)
            for row, place in zip(points, places):
                if row.metric == measure and math.isfinite(row.score.low):
                    axes.plot([place] * 2, [row.score.low, row.score.high], color=colour, linewidth=4, alpha=0.3)
            axes.annotate(name, (places[-1], heights[-1]), (4, 6), textcoords="offset points", ha="center", fontsize=8, color=colour)
        axes.set_xscale("log", base=2)
        axes.set_xticks([0.25, 0.5, 1, 2, 4, 8, 12], ["¼", "½", "1", "2", "4", "8", "12"])
        axes.minorticks_off()
        axes.set(xlim=(0.2, 16), xlabel="kbit/s", ylabel=f"{measure}, higher is better")
        axes.grid(linewidth=0.6)

    note = "What the codec alone loses: no decoded answer can be better. Bar: the 95 % interval."
    return Plot("codec", f"{corpus}: {measure} by bit rate", note, picture(paint, 2.6))


def breakdown(row: Row, parts: Sequence[tuple[str, Score]]) -> Plot:
    def paint(axes) -> None:
        axes.axvline(row.score.value, color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
        intervals(axes, [f"{name} ({score.n})" for name, score in parts], [score for _, score in parts])
        axes.set_xlabel(axis_name(row))

    note = "In brackets: number of examples. Dashed: the score of all. Few examples give wide intervals."
    return Plot(row.task, f"{row.data}: by part", note, picture(paint, 0.75 + 0.24 * len(parts)))


def confusion(row: Row) -> Plot:
    counts, names = row.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)

    def paint(axes) -> None:
        for truth, answer in np.argwhere(counts):
            axes.add_patch(_patch((answer - 0.5, truth - 0.5), alpha=0.08 + 0.55 * float(shares[truth, answer])))
            axes.text(answer, truth, str(counts[truth, answer]), ha="center", va="center", fontsize=8)
        name_places(axes, names)
        axes.set_xticks(range(len(names)), [label(name) for name in names], rotation=40, ha="right", rotation_mode="anchor", color=INK)
        axes.set(xlim=(-0.5, len(names) - 0.5), xlabel="answer", ylabel="truth")
        axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.grid(False)
        axes.grid(which="minor", linewidth=0.6)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)

    return Plot(row.task, f"{row.data}: confusion matrix", "Counts; the darker, the larger the share of the true class.",
                picture(paint, 1.2 + 0.32 * len(names)))  # fmt: skip


def reliability_plot(row: Row) -> Plot:
    confidences, correct = right_or_wrong(row)
    bins = [b for b in reliability(confidences, correct) if b.n]

    def paint(axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
        for b in bins:
            axes.bar((b.low + b.high) / 2, b.accuracy, width=0.92 * (b.high - b.low), color=ACCENT, alpha=0.3, linewidth=0)
            axes.plot(b.confidence, b.accuracy, "o", color=ACCENT, markersize=5, clip_on=False)
            axes.annotate(str(b.n), (b.confidence, b.accuracy), (0, 6), textcoords="offset points", ha="center", fontsize=8, color=SOFT)
        axes.set(xlim=(0, 1), ylim=(0, 1.1), xlabel="confidence", ylabel="accuracy")
        axes.set_yticks([0, 0.5, 1])
        axes.grid(linewidth=0.6)

    error = number(calibration(confidences, correct).total)
    note = f"Below the dashed line the confidence is too high. Numbers: examples. Expected calibration error {error} %."
    return Plot(row.task, f"{row.data}: accuracy by confidence", note, picture(paint, 2.6))


def right_or_wrong(row: Row) -> tuple[list[float], list[float]]:
    """Confidences, and 1 or 0 for right or wrong; two empty lists if the answers of a row are not simply right or wrong."""
    if row.lower_is_better or not row.metric.endswith("%") or row.tally is None or len(row.tally) != len(row.answers):
        return [], []
    correct = [row.tally.of([place]).total / 100 for place in range(len(row.tally))]
    pairs = [(value, c) for answer, c in zip(row.answers, correct) if (value := confidence(answer)) is not None]
    if not pairs or any(c not in (0, 1) for c in correct):
        return [], []
    return [value for value, _ in pairs], [c for _, c in pairs]


def confidence(answer: Answer) -> float | None:
    """The answer's confidence; for a choice between classes, the probability of the chosen one."""
    value = max(answer.scores.values()) if answer.scores else answer.confidence
    return value if value is not None and 0 <= value <= 1 else None


# --- how it is drawn -----------------------------------------------------------------------------------------------------------


def intervals(axes, names: Sequence[str], scores: Sequence[Score]) -> None:
    for place, score in enumerate(scores):
        if math.isfinite(score.low):
            axes.plot([score.low, score.high], [place] * 2, color=ACCENT, linewidth=5, alpha=0.35)
        if math.isfinite(score.value):
            axes.plot(score.value, place, "o", color=ACCENT, markersize=5)
    name_places(axes, names)


def name_places(axes, names: Sequence[str]) -> None:
    """The first on top."""
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.6)
    axes.set_axisbelow(True)


def axis_name(row: Row) -> str:
    return f"{row.metric}, {'lower' if row.lower_is_better else 'higher'} is better"


def label(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def picture(paint: Callable, height: float) -> str:
    """An SVG element that inherits font and colours; `height` in inches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    file = StringIO()
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that matplotlib's font lacks: the page's font has it
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure.subplots())
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inherit(file.getvalue())


def _patch(corner: tuple[float, float], alpha: float):
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, color=ACCENT, alpha=alpha, linewidth=0)


def _inherit(svg: str) -> str:
    """The <svg> element without prolog, style sheet and background, and without ids that nothing refers to: ids are global in a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg class="plot" viewBox="\1" xmlns:xlink="http://www.w3.org/1999/xlink">', svg, count=1
    )
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\s*\n\s*", "\n", svg)
