"""A diagnosis as one HTML file: the verdict, what there is, the faults, and the transcripts to listen to.

In: a `Diagnosis`. Out: the file's text, in the look of the evaluation's report. Sounds are data: URIs, so nothing is fetched. page.html
holds its frame.
"""

import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from lauragpt.data.spans import load_spans
from lauragpt.doctor.diagnosis import Diagnosis
from lauragpt.doctor.faults import KINDS, SEVERITIES, Fault
from lauragpt.doctor.hearing import WORST, Heard
from lauragpt.doctor.tell import clock, hours_rows, speakers
from lauragpt.errors import LauraWarning
from lauragpt.evaluate.report.figures import compare, style, table_row
from lauragpt.evaluate.report.worst import Budget, line, marked, player, text

Sounds = Mapping[str, np.ndarray]
MOST, FEW = 200, 10  # faults of a kind that are listed, and that are so at once
AUDIBLE = ("conflict", "too-fast", "pace", "truncated", "clipped", "quiet")  # kinds whose first faults can be listened to
PLAYED = 3  # of each
BADGES = {"error": ("bad", "not fit"), "warning": ("partly", "fit"), "note": ("ok", "fit"), None: ("ok", "fit")}
HOURS = ("task", "language", "split", "corpus", "examples", "hours")
LICENCES = ("corpus", "licence", "commercial use")
PERMISSION = {True: "allowed", False: "forbidden", None: "not known"}


def page(found: Diagnosis) -> str:
    data, (badge, word), (asked, corpora) = found.data, BADGES[found.worst], found.strictest
    budget, kinds = Budget(), [name for severity in SEVERITIES for name in found.of(severity)]
    sounds = played(found, kinds)
    heard = hearing(found, sounds, budget)  # the page's room is first of all for these
    faults = "".join(section(found, name, sounds, budget) for name in kinds)
    links = ['<a href="#what">What there is</a>', *(f'<a href="#{name}">{escape(sentence(KINDS[name].title))}</a>' for name in kinds)]
    links += ['<a href="#heard">Listen</a>'] if heard else []
    left_out = f"{budget.left_out} players were left out: this page holds at most {budget.limit / 1e6:.0f} MB of sound."
    return Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8")).substitute(
        style=style(),
        name=escape(str(data.path)),
        summary=escape(f"{data.kind}: {len(data.examples)} examples, {clock(found.hours)} of sound in {len(found.facts)} recordings."),
        links=" ".join([*links, '<a href="#licences">Licences</a>']),
        badge=badge,
        word=word,
        verdict=escape(found.verdict),
        notes="".join(f"<li>{escape(note)}</li>" for note in data.notes),
        speakers=escape(speakers(found)),
        hours="".join(row(HOURS, cells) for cells in hours_rows(found)),
        faults=faults,
        heard=heard,
        strictest=escape(f"{asked}, of {', '.join(corpora)}"),
        licences="".join(
            row(LICENCES, (corpus, each.licence, PERMISSION[each.commercial])) for corpus, each in sorted(data.licences.items())
        ),
        left_out=left_out if budget.left_out else "",
    )


def played(found: Diagnosis, kinds: Sequence[str]) -> dict[str, np.ndarray]:
    """The samples of everything that can be listened to. Recordings that cannot be read are left out."""
    indices = [each.index for each in found.heard[:WORST]]
    indices += [fault.examples[0] for kind in kinds if kind in AUDIBLE for fault in found.faults_of(kind)[:PLAYED]]
    names = dict.fromkeys(found.examples[index].audio or "" for index in indices)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LauraWarning)  # of recordings that are cut short, which the page tells
        return dict(load_spans(name for name in names if not found.facts[name].error))


def row(names: tuple[str, ...], cells: tuple) -> str:
    """A row of a table; each cell says what it is, for screens on which columns do not fit side by side."""
    kinds = ("num" if name in ("examples", "hours") else "name" for name in names)
    return table_row(zip(kinds, names, map(escape, map(str, cells))))


def section(found: Diagnosis, kind: str, sounds: Sounds, budget: Budget) -> str:
    """All faults of a kind."""
    faults, about = found.faults_of(kind), KINDS[kind]
    items = "".join(f"<li>{escape(fault.what)}{place(found, fault)}</li>" for fault in faults[:MOST])
    more = f"<li>and {len(faults) - MOST} more: --json lists all</li>" if len(faults) > MOST else ""
    cards = "".join(fault_card(found, fault, sounds, budget) for fault in faults[:PLAYED]) if kind in AUDIBLE else ""
    listed = f'<details class="small"{" open" if len(faults) <= FEW else ""}><summary>all</summary><ul>{items}{more}</ul></details>'
    return (
        f'<section id="{kind}"><h2>{escape(sentence(about.title))}: {len(faults)}</h2>'
        f'<p class="what">{sentence(about.severity)}: {escape(about.advice)}.</p>'
        + (f'<div class="cards">{cards}</div>' if cards else "")
        + f"{listed}</section>"
    )


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def place(found: Diagnosis, fault: Fault) -> str:
    """The line of the data that the first example of a fault comes from."""
    return f' <span class="soft">({escape(found.data.places[fault.examples[0]])})</span>' if fault.examples else ""


def fault_card(found: Diagnosis, fault: Fault, sounds: Sounds, budget: Budget) -> str:
    example = found.examples[fault.examples[0]]
    said = (example.targets or [example.source or ""])[0]
    sound = player("sound", lambda: sounds.get(example.audio or ""), budget)
    return f"<article><h3>{escape(example.id)}</h3>{text('text', said)}{sound}</article>"


def hearing(found: Diagnosis, sounds: Sounds, budget: Budget) -> str:
    if not found.heard:
        return ""
    worst = found.heard[:WORST]
    of = f"{len(found.heard)} of {found.hearable}" if len(found.heard) < found.hearable else f"all {found.hearable}"
    cards = "".join(heard_card(found, each, sounds, budget) for each in worst)
    return (
        f'<section id="heard"><h2>Listen: the {len(worst)} least likely transcripts</h2><p class="what">Of {of} transcripts that were held '
        "against the sound, those for which the model's CTC head loses most a letter (nats; 0: it hears just that). Is it the transcript "
        f'that is wrong, or the model?</p><div class="cards">{cards}</div></section>'
    )


def heard_card(found: Diagnosis, each: Heard, sounds: Sounds, budget: Budget) -> str:
    example = found.examples[each.index]
    words, reference = compare(each.heard, each.text, example.source_lang or example.lang)
    return (
        f"<article><header><h3>{escape(example.id)}</h3><b>{each.cost:.2f}</b></header>"
        + line("transcript", marked(reference))
        + line("heard", marked(words), "answer")
        + player("sound", lambda: sounds.get(example.audio or ""), budget)
        + f"<footer>{escape(found.data.places[each.index])}</footer></article>"
    )
