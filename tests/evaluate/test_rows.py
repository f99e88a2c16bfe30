"""Rows keep the counts of their further metrics, so that two systems can be compared by those too."""

import math

import pytest
from evaluate.builders import example

from lauragpt.evaluate.answers import Answer
from lauragpt.evaluate.groups import Bench, Group
from lauragpt.evaluate.scorers import SCORERS
from lauragpt.evaluate.tally import Tally


def row_of(task: str, targets: list[str], answers: list[Answer], **fields):
    examples = [example(task, number, targets=[target], **fields) for number, target in enumerate(targets)]
    group = Group(task, "kathleen", "en", examples, len(examples), [{"": answer} for answer in answers])
    [row] = SCORERS[task](Bench([]), group)
    return row


def test_a_column_is_the_total_of_its_counts():
    answers = [Answer(text="one", finish="eos"), Answer(text="two two", finish="length"), Answer(text="", finish="guard")]
    row = row_of("asr", ["one", "two", "three"], answers)
    assert row.tallies.keys() == {"CER %", "loops %"} and row.also["loops %"] == pytest.approx(200 / 3)
    assert row.tallies["loops %"].counts[:, 0].tolist() == [0, 1, 1]
    line = "order | drink = tea"
    slu = row_of("slu", [line] * 3, [Answer(text=text, finish="eos") for text in (line, "order | drink = milk", "leave")])
    assert slu.also["intent %"] == pytest.approx(200 / 3) and {"intent %", "SLU-F1 %", "slot F1 %"} <= slu.tallies.keys()
    for each in (row, slu):
        assert all(isinstance(tally, Tally) and len(tally) == 3 and tally.total == each.also[name] for name, tally in each.tallies.items())
        assert not any(isinstance(value, Tally) for value in each.also.values())


def test_sound_has_counts_of_its_quality():
    answers = [Answer(variant="the GPT's tokens", scores={"STOI": 0.5, "PESQ": 1.2 + n, "SI-SDR dB": 3.0}) for n in range(2)]
    examples = [example("se", number) for number in range(2)]
    [row] = SCORERS["se"](Bench([]), Group("se", "kathleen", "en", examples, 2, [{answer.variant: answer} for answer in answers]))
    assert math.isclose(row.tallies["PESQ"].total, 1.7) and math.isclose(row.also["PESQ"], 1.7)
