"""Results of claims as one HTML file, the paper's numbers beside ours, and as a table for the terminal.

In: what `run_claim` returned of each claim. Out: the file's text, in the look of the evaluation's report; a rich table. page.html holds
its frame.
"""

from collections.abc import Sequence
from datetime import date
from html import escape
from pathlib import Path
from string import Template

from rich.table import Table

from lauragpt.claims.judge import CANNOT_TELL, FAILS, HOLDS, IN_PART, UNJUDGED, seeds, sentence, shown
from lauragpt.evaluate.report.figures import style, table_row

BADGES = {HOLDS: "ok", FAILS: "bad", CANNOT_TELL: "partly", UNJUDGED: ""}
HEAD = ("measured", "n", "metric", "said to be better", "than", "difference, 95 %", "by seed", "the paper", "verdict")
METHOD = (
    "Arms differ only in what is named. Where anything is trained, it is with the same seeds, and all answer the same dev examples. The "
    "interval counts two chances: which examples there are (paired bootstrap, 1000 resamples) and which seed an arm was trained with "
    "(Student's t). A claim holds where the whole interval of the difference is on the side that it says, and does not hold where it is on "
    "the other. Times, and what is said to be equal, are told and not judged. Each comparison stands for itself: of twenty without any "
    "difference, one is likely to show one by chance."
)
SECOND_HAND = "The paper's numbers are of its test sets, its data and 2 billion parameters: compare their direction, not their size."


def page(results: Sequence[dict]) -> str:
    words = [result["verdict"] for result in results]
    counts = {word: words.count(word) for word in (HOLDS, IN_PART, FAILS, CANNOT_TELL, UNJUDGED)}
    said = ", ".join(f"<b>{count}</b> {escape(word)}" for word, count in counts.items() if count)
    sentences = "".join(f"<li>{escape(result['sentence'])}</li>" for result in results)
    return Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8")).substitute(
        style=style(),
        date=f"Written {date.today().isoformat()}",
        links=" ".join(f'<a href="#{escape(result["name"])}">{escape(result["title"])}</a>' for result in results),
        lead=f"<p>Of {len(results)} claims: {said}.</p><ul>{sentences}</ul><p>{escape(METHOD)}</p><p>{escape(SECOND_HAND)}</p>",
        sections="\n".join(map(section, results)),
    )


def section(result: dict) -> str:
    head = "".join(f'<th scope="col"{" class=num" if name == "n" else ""}>{name}</th>' for name in HEAD)
    rows = "".join(map(row, result["comparisons"]))
    arms = "".join(
        f"<li><b>{escape(name)}</b>: {escape(arm['about'])}; {seeds(len(arm['seeds']))} measured"
        + (f", estimated at {arm['minutes']:g} minutes a run on two cores" if arm["minutes"] else "")
        + "</li>"
        for name, arm in result["arms"].items()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in result["notes"])
    missing = f'<p class="small failed">Not run: {escape(", ".join(result["missing"]))}</p>' if result["missing"] else ""
    whose = "Ours, beyond the paper. " if result["ours"] else ""
    sentences = "".join(f"<li>{escape(sentence(each))}</li>" for each in result["comparisons"])
    return (
        f'<section id="{escape(result["name"])}"><h2>{escape(result["title"])} {badge(result["verdict"])}</h2>'
        f'<p class="what">{whose}{escape(result["says"])}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{missing}'
        f"<ul>{sentences}</ul>"
        f'<details class="small"><summary>What was compared, and how it differs from the paper</summary><ul>{arms}{notes}'
        f"<li>heard by: {escape(result['judge'])}, where words of made sound are counted</li></ul></details></section>"
    )


def badge(word: str) -> str:
    return f'<span class="badge {BADGES.get(word, "partly")}">{escape(word)}</span>'


def row(each: dict) -> str:
    """A comparison of ours beside the paper's."""
    kinds = ("data", "num", "metric", "score", "score", "score", "score", "floor", "more")
    return table_row(zip(kinds, HEAD, [*map(escape, cells(each)[:-1]), badge(each["verdict"])]))


def cells(each: dict) -> list[str]:
    data = ", ".join(each["data"]) or "all"
    arrow = "↑" if each["higher_is_better"] else "↓"
    values = [f"{each[arm]} {shown(each[f'{arm}_value'])}" for arm in ("better", "worse")]
    interval = "" if each["low"] is None else f"{shown(each['difference'])} ({shown(each['low'])} to {shown(each['high'])})"
    paper = f"{each['paper'][0]:g}, {each['paper'][1]:g} {each['paper_data']}" if each["paper"] else each["paper_data"]
    measured = f"{each['task']} {data}{': ' + each['variant'] if each['variant'] else ''}"
    by_seed = " ".join(map(shown, each["by_seed"]))
    return [measured, str(each["n"]), f"{each['metric']} {arrow}", *values, interval, by_seed, paper.strip(), each["verdict"]]


def table(results: Sequence[dict]) -> Table:
    made = Table(title="claims, rerun on dev", header_style="bold", row_styles=["", "dim"])
    for name in ("claim", *HEAD):
        made.add_column(name, justify="right" if name == "n" else "left", overflow="fold")
    for result in results:
        for each in result["comparisons"]:
            made.add_row(result["name"], *cells(each))
    return made
