"""An evaluation as one HTML file: the table, plots, and the worst answers to look at and listen to.

In: a `Report` with its rows' examples and answers, and a function that gives an answer's sound. Out: the file's text. Sounds and pictures
are data: URIs, so nothing is fetched. page.html holds its frame, plots.py the plots, worst.py the worst answers.
"""

import math
import re
from collections.abc import Callable
from datetime import date
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from lauragpt.errors import install_hint
from lauragpt.evaluate.answers import Answer
from lauragpt.evaluate.metrics import MissingPackage
from lauragpt.evaluate.report import figures
from lauragpt.evaluate.report.figures import style
from lauragpt.evaluate.report.plots import Plot, draw
from lauragpt.evaluate.report.tables import SPLIT_RULE, Report, Row, number, sentence
from lauragpt.evaluate.report.worst import Budget, worst_sections
from lauragpt.tasks import TASKS

TITLES = {
    "asr": "Speech recognition",
    "s2tt": "Speech translation",
    "mt": "Text translation",
    "tts": "Speech synthesis",
    "se": "Speech enhancement",
    "aac": "Audio captioning",
    "ser": "Emotion recognition",
    "slu": "Spoken language understanding",
    "codec": "The codec alone",
}

# LauraGPT's published results: task -> (the paper's data set, metric, value). tts is LauraTTS, the part that was published with FunCodec.
# Quoted second-hand, as the page says.
PAPER: dict[str, tuple[tuple[str, str, str], ...]] = {
    "asr": (
        ("LibriSpeech clean", "WER %", "4.4"),
        ("LibriSpeech other", "WER %", "7.7"),
        ("AISHELL-1", "CER %", "1.8"),
        ("AISHELL-2 ios", "CER %", "3.2"),
    ),
    "s2tt": (("BSTC zh-en", "BLEU", "17.8"), ("CoVoST2 en-zh", "BLEU", "38.5")),
    "tts": (("LauraTTS on LibriTTS test-clean", "WER %", "4.56"), ("its real recordings", "WER %", "3.0")),
    "se": (("", "STOI", "0.88"), ("", "PESQ", "2.97"), ("", "WER %", "15.9")),
    "aac": (("Clotho", "SPICE", "0.08"), ("Clotho", "CIDEr", "0.22"), ("Clotho", "SPIDEr", "0.15")),
    "ser": (("MELD", "UA %", "31.2"), ("MELD", "WA %", "50.7"), ("MELD", "WF1 %", "49.2")),
    "slu": (("SLURP", "intent %", "87.9"), ("SLURP", "SLU-F1 %", "73.5")),
}
PAPER_NOTE = (
    "The paper's numbers (LauraGPT, arXiv 2310.04673; speech synthesis: LauraTTS of FunCodec) are for orientation, not for comparison: its "
    "test sets, its 2 billion parameters and its training data differ from ours. They are quoted second-hand: look them up before you cite "
    "them."
)


def page(report: Report, sound: Callable[[Answer], np.ndarray | None], paper: dict | None = None) -> str:
    """The page. `sound` gives the wave (N,) at 16 kHz of an answer that has one. `paper` replaces `PAPER`; {} for none."""
    paper = PAPER if paper is None else paper
    tasks = list(dict.fromkeys(row.task for row in report.rows))
    try:
        plots, hint = draw(report.rows, report.seed), ""
    except MissingPackage:
        plots, hint = [], f"<p>The plots need matplotlib: {install_hint('eval')}</p>"
    budget = Budget()
    worst = worst_sections(report.rows, sound, budget)
    cited = f'<p class="what small">{escape(PAPER_NOTE)}</p>' if any(task in paper for task in tasks) else ""
    failures = "".join(f"<li>{escape(line)}</li>" for line in report.failure_lines())
    if failures:
        count = sum(map(len, report.failures.values()))
        failures = f'<details class="small failed"><summary>Not measured: {count}</summary><ul>{failures}</ul></details>'
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        style=style(),
        model=escape(report.model),
        split=escape(report.split),
        rule=prose(SPLIT_RULE),
        date=f"Written {date.today().isoformat()}",
        seed=report.seed,
        links=" ".join(map(link, tasks)),
        lead=lead(report, budget),
        table="\n".join(group(task, [row for row in report.rows if row.task == task], paper.get(task, ())) for task in tasks),
        paper=cited,
        notes="".join(f"<li>{prose(note)}</li>" for note in report.notes),
        failures=failures,
        plots_hint=hint,
        sections="\n".join(section(task, [p for p in plots if p.task == task], worst.get(task, [])) for task in tasks),
    )


def link(task: str) -> str:
    return f'<a href="#{escape(task)}">{title(task)}</a>'


def title(task: str) -> str:
    return escape(TITLES.get(task, task))  # a task that was added has only its name


def prose(text: str) -> str:
    """Escaped text, with `backticks` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def lead(report: Report, budget: Budget) -> str:
    """The paragraph above the table."""
    clear = [c for row in report.rows if (c := clears_floor(row)) is not None]
    lines = []
    if clear:
        lines.append(
            f"<b>{clear.count(True)} of {len(clear)}</b> scores are better than their trivial floor with their whole 95 % interval."
        )
    verdicts = [row.verdict.word for row in report.rows if row.verdict is not None]
    if verdicts:
        words = ", ".join(f"<b>{verdicts.count(word)}</b> {word}" for word in ("better", "worse", "cannot tell"))
        lines.append(f"Against the other system, by paired bootstrap: {words}.")
    lines.append("Under each task: the plots, then the worst answers, to look at and listen to.")
    if budget.left_out:
        lines.append(f"{budget.left_out} players were left out: this page holds at most {budget.limit / 1e6:.0f} MB of sound.")
    return "".join(f"<p>{line}</p>" for line in lines)


def clears_floor(row: Row) -> bool | None:
    """Whether the whole interval is better than the floor. None without a floor that a system should beat: the floor is the best possible
    score (silence answered by silence), or it is the real recordings."""
    if row.floor is None or row.task == "tts" or not math.isfinite(row.score.value) or (not row.lower_is_better and row.floor >= 100):
        return None
    return row.score.high < row.floor if row.lower_is_better else row.score.low > row.floor  # False if the interval is nan


# --- the table -----------------------------------------------------------------------------------------------------------------


def group(task: str, rows: list[Row], published: tuple) -> str:
    """A task's rows under its name."""
    quoted = ", ".join(f"{name} {measure} {value}".strip() for name, measure, value in published)
    cited = f' <span class="soft small">the paper: {escape(quoted)}</span>' if quoted else ""
    head = f'<tr class="task"><th colspan="7" scope="rowgroup">{link(task)}{cited}</th></tr>'
    return f"<tbody>{head}{''.join(map(table_row, rows))}</tbody>"


def table_row(row: Row) -> str:
    count = str(row.n) if row.n == row.available else f"{row.n} of {row.available}"
    measured = math.isfinite(row.score.value)
    better = "lower is better" if row.lower_is_better else "higher is better"
    interval = f' <span class="soft">{number(row.score.low)} to {number(row.score.high)}</span>' if math.isfinite(row.score.low) else ""
    verdict = (
        f'<span class="verdict {row.verdict.word.split()[0]}">{escape(sentence(row.verdict))}</span>' if row.verdict is not None else ""
    )
    score = f"<b>{number(row.score.value)}</b>{interval}{bar(row)}{verdict}" if measured else '<span class="soft">not measured</span>'
    floor = (
        ""
        if row.floor is None or not math.isfinite(row.floor)
        else f"{number(row.floor)} <span class='soft small'>{escape(row.floor_name)}</span>"
    )
    factor = "" if row.real_time_factor is None else f"{row.real_time_factor:.2f}"
    metric = f'<span title="{better}">{escape(row.metric)}&nbsp;{arrow(row)}</span>'
    cells = (
        ("name", "data", escape(row.data)),
        ("num", "n", count),
        ("metric", "metric", metric),
        ("score", "score", score),
        ("floor", "trivial floor", floor),
        ("more", "also", also(row)),
        ("num", "x real time", factor),
    )
    return figures.table_row(cells)


def arrow(row: Row) -> str:
    return "↓" if row.lower_is_better else "↑"


def bar(row: Row) -> str:
    """The score, its interval and the floor on the metric's own scale."""
    marks = [v for v in (row.score.value, row.score.low, row.score.high, row.floor) if v is not None and math.isfinite(v)]
    top = max(
        *marks, 1.0 if row.metric == "STOI" else 100.0 if row.metric.endswith("%") or row.metric == "chrF" else 1.2 * max(marks), 1e-9
    )
    low = min(*marks, 0.0)

    def place(value: float) -> float:
        return 100 * (value - low) / (top - low)

    parts = ""
    if math.isfinite(row.score.low):
        parts += f'<i style="left:{place(row.score.low):.1f}%;width:{place(row.score.high) - place(row.score.low):.1f}%"></i>'
    if row.floor is not None and math.isfinite(row.floor):
        parts += f'<s style="left:{place(row.floor):.1f}%"></s>'
    parts += f'<b style="left:{place(row.score.value):.1f}%"></b>'
    return f'<div class="bar" title="{number(low)} to {number(top)}">{parts}</div>'


def also(row: Row) -> str:
    """Further metrics. How one was counted, or why it was not, is behind a click, unless the row has no numbers at all."""
    numbers = {name: value for name, value in row.also.items() if not isinstance(value, str) and math.isfinite(value)}
    remarks = {name: value for name, value in row.also.items() if isinstance(value, str)}
    undefined = [name for name in row.also if name not in numbers and name not in remarks]
    remarks |= dict.fromkeys(undefined, "is undefined for these examples")
    notes = "".join(f"<li>{escape(name)} {escape(text)}</li>" for name, text in remarks.items())
    shown = "".join(f"<li>{escape(name)} <b>{number(value)}</b></li>" for name, value in numbers.items())
    if notes and numbers:
        notes = f"<li><details><summary>remarks</summary><ul>{notes}</ul></details></li>"
    return f'<ul class="also">{shown}{notes}</ul>' if shown or notes else ""


# --- a task --------------------------------------------------------------------------------------------------------------------


def section(task: str, plots: list[Plot], worst: list[str]) -> str:
    about = f": {TASKS[task].input} to {TASKS[task].output}" if task in TASKS else ""
    figures = "".join(
        f'<figure><figcaption><h3>{escape(p.title)}</h3><span class="soft small">{escape(p.note)}</span></figcaption>{p.svg}</figure>'
        for p in plots
    )
    body = (f'<div class="plots">{figures}</div>' if figures else "") + "".join(worst)
    return f'<section id="{escape(task)}"><h2>{title(task)}</h2><p class="what"><code>{escape(task)}</code>{about}</p>{body}</section>'
