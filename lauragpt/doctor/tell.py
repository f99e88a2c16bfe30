"""A diagnosis for a terminal, and as one JSON object.

In: a `Diagnosis`. Out: lines of text, or plain data. Both say everything that they leave out.
"""

from typing import Any

from lauragpt.doctor.diagnosis import Diagnosis
from lauragpt.doctor.faults import KINDS, SEVERITIES, Fault
from lauragpt.doctor.hearing import WORST
from lauragpt.doctor.sound_faults import shown

SHOWN = 5  # faults of a kind on the terminal
SPEAKERS = 5  # named


def lines(found: Diagnosis) -> list[str]:
    """What a person reads."""
    data = found.data
    told = [f"{data.path}: {data.kind}, {len(data.examples)} examples, {clock(found.hours)} of sound in {len(found.facts)} recordings", ""]
    told += [f"  {note}" for note in data.notes]
    told += ["", *table(("task", "language", "split", "corpus"), hours_rows(found)), "", speakers(found), licences(found)]
    for severity in SEVERITIES:
        for name, faults in found.of(severity).items():
            told += ["", f"{severity}: {KINDS[name].title}: {len(faults)} ({name})"]
            told += [f"  {fault.what}" for fault in faults[:SHOWN]]
            told += [f"  and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
            told.append(f"  -> {KINDS[name].advice}")
    if found.hearable:
        told += ["", hearing(found)]
        for each in found.heard[:SHOWN]:
            told.append(f"  {each.cost:5.2f}  {found.examples[each.index].id}: {shown(each.text)}, heard {shown(each.heard)}")
    return [*told, "", f"{data.path}: {found.verdict}"]


def hours_rows(found: Diagnosis) -> list[tuple]:
    rows = found.hours_by(lambda example: (example.task, example.lang, example.split, example.corpus))
    return [(*key, count, clock(hours)) for key, (count, hours) in rows.items()]


def table(names: tuple[str, ...], rows: list[tuple]) -> list[str]:
    """Columns of text, the last two of which are numbers."""
    cells = [(*names, "examples", "hours"), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(cell.rjust(width) if column >= len(names) else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths)))
        for row in cells
    ]


def speakers(found: Diagnosis) -> str:
    hours = {name: hours for (name,), (_, hours) in found.hours_by(lambda example: (example.speaker or "",)).items()}
    unknown = hours.pop("", 0.0)
    said = f"speakers: {len(hours)}" if hours else "speakers: none is known"
    if hours:
        most = sorted(hours, key=lambda name: -hours[name])
        said += ", most of " + ", ".join(f"{name} ({clock(hours[name])})" for name in most[:SPEAKERS])
    return said + (f"; {clock(unknown)} without one" if hours and unknown else "")


def licences(found: Diagnosis) -> str:
    told = ", ".join(f"{corpus} ({licence.licence})" for corpus, licence in sorted(found.data.licences.items()))
    most, corpora = found.strictest
    return f"licences: {told}; the strictest: {most}, of {', '.join(corpora)}"


def hearing(found: Diagnosis) -> str:
    count = len(found.heard)
    of = "" if count == found.hearable else f" of {found.hearable}"
    return f"{count}{of} transcripts were held against the sound; the {min(WORST, count)} least likely are in --html and --json, first:"


def clock(hours: float) -> str:
    """1:02:03"""
    seconds = round(3600 * hours)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def to_dict(found: Diagnosis) -> dict[str, Any]:
    """Everything, for programs."""
    data, (most, corpora) = found.data, found.strictest
    hours = found.hours_by(lambda example: (example.task, example.lang, example.split, example.corpus))
    by_speaker = found.hours_by(lambda example: (example.speaker or "",))
    return {
        "data": str(data.path),
        "kind": data.kind,
        "verdict": found.verdict,
        "fit": found.worst != "error",
        "examples": len(data.examples),
        "recordings": len(found.facts),
        "hours": round(found.hours, 4),
        "notes": data.notes,
        "tasks": [
            {"task": task, "lang": lang, "split": split, "corpus": corpus, "examples": count, "hours": round(each, 4)}
            for (task, lang, split, corpus), (count, each) in hours.items()
        ],
        "speakers": {name: {"examples": count, "hours": round(each, 4)} for (name,), (count, each) in by_speaker.items() if name},
        "licences": {corpus: vars(licence) for corpus, licence in sorted(data.licences.items())},
        "strictest": {"asks": most, "corpora": corpora},
        "faults": [fault_dict(found, fault) for fault in found.faults],
        "heard": {
            "transcripts": len(found.heard),
            "of": found.hearable,
            "worst": [
                {"id": found.examples[each.index].id, "audio": found.examples[each.index].audio, "place": data.places[each.index],
                 "cost": round(each.cost, 3) if each.cost < float("inf") else None, "text": each.text, "heard": each.heard}
                for each in found.heard[:WORST]
            ],
        },
    }  # fmt: skip


def fault_dict(found: Diagnosis, fault: Fault) -> dict[str, Any]:
    return {
        "kind": fault.kind,
        "severity": fault.severity,
        "what": fault.what,
        "ids": [found.examples[index].id for index in fault.examples],
        "places": [found.data.places[index] for index in fault.examples],
    }
