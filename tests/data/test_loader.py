"""The plan of batches: pure, of about so many seconds, drawn by weight; and the cache of recordings."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lauragpt.audio import save_audio
from lauragpt.data.loader import Plan, Waves, own_numbers, seconds_of, weight_of
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError


def heard(task: str, number: int, corpus: str = "set") -> Example:
    return Example(
        id=f"{task}/{corpus}/{number}", task=task, split="train", lang="en", corpus=corpus, duration=1.0 + number % 10, targets=["text"]
    )


MANY = [heard(task, n, corpus) for n in range(40) for task, corpus in (("asr", "set"), ("asr", "digits"), ("ser", "set"))]


def test_a_batch_is_a_function_of_seed_and_number():
    first, again = Plan(MANY, {"asr": 1, "ser": 1}, 20), Plan(MANY, {"asr": 1, "ser": 1}, 20)
    straight = [first[step] for step in range(30)]
    assert straight == [again[step] for step in reversed(range(30))][::-1]  # whatever was asked for before
    assert straight != [Plan(MANY, {"asr": 1, "ser": 1}, 20, seed=1)[step] for step in range(30)]
    assert len({tuple(batch) for batch in straight}) > 20


@pytest.mark.parametrize("runs", [
    [(2, 2, 6)], [(4, 1, 6)], [(1, 4, 1), (4, 1, 2), (2, 2, 3)], [(2, 2, 3), (1, 4, 3)], [(4, 1, 4), (4, 2, 1)],
])  # fmt: skip
def test_what_was_read_does_not_depend_on_the_number_of_processes(runs):
    """runs: one after the other, (processes, batches of a step of each, steps). At the end of each the examples read are those of one
    process, each as often."""
    plan, consumed, read = Plan(MANY, {"asr": 1, "ser": 1}, 20, seed=3), 0, Counter()
    for processes, accumulate, steps in runs:
        numbers = [own_numbers(consumed, steps, accumulate, rank, processes) for rank in range(processes)]
        assert {len(own) for own in numbers} == {steps * accumulate}
        for own in zip(*numbers, strict=True):  # whoever makes its batches first
            read.update(i for number in reversed(own) for i in plan[number])
        consumed += processes * accumulate * steps
        assert read == Counter(i for number in own_numbers(0, consumed, 1, 0, 1) for i in plan[number])
    assert consumed == 24 and len(read) > 50


def test_seconds_go_over_by_less_than_the_last():
    plan = Plan(MANY, {"asr": 1, "ser": 1}, 20)
    for step in range(200):
        seconds = [seconds_of(MANY[i]) for i in plan[step]]
        assert sum(seconds[:-1]) < 20 <= sum(seconds)


def test_what_is_long_is_drawn_as_often_as_its_weight_says():
    """However short the others are, and whatever a batch began with."""
    short = [replace(heard("asr", n), duration=0.5) for n in range(500)]
    long = [replace(heard("slu", n), duration=12.0) for n in range(50)]
    plan = Plan(short + long, {"asr": 3, "slu": 1}, 30)
    drawn = [(short + long)[i].task for step in range(1500) for i in plan[step]]
    assert np.mean([task == "slu" for task in drawn]) == pytest.approx(0.25, abs=0.02)


def test_an_example_may_cost_less_than_it_lasts():
    plan = Plan(MANY, {"ser": 1}, 20, seconds=lambda e: 1.0)
    assert {len(plan[step]) for step in range(20)} == {20}


def test_weights_choose_and_zero_excludes():
    weights = {"asr": 3, "asr/digits": 0, "ser": 1}
    assert weight_of(MANY[0], weights) == 3 and weight_of(MANY[1], weights) == 0 and weight_of(heard("slu", 0), weights) == 0
    plan = Plan(MANY, weights, 20)
    drawn = [MANY[i] for step in range(2000) for i in plan[step]]
    assert not any(e.corpus == "digits" for e in drawn)
    assert np.mean([e.task == "asr" for e in drawn]) == pytest.approx(0.75, abs=0.05)
    assert {e.id for e in drawn} == {e.id for e in MANY if e.corpus == "set"}  # all are met


@pytest.mark.parametrize("temperature", [0.1, 1.0, 2.0, 1e6])
def test_a_corpus_is_drawn_by_its_hours_to_the_power_of_one_over_the_temperature(temperature):
    many, hours = [], {"large": 160, "middle": 40, "small": 10}
    for corpus, count in hours.items():
        many += [replace(heard("asr", n, corpus), duration=3.0, targets=[""]) for n in range(count)]
    many += [replace(heard("ser", n), duration=3.0, targets=[""]) for n in range(40)]
    plan = Plan(many, {"asr": 1, "ser": 2}, 60, temperature=temperature)
    shares = {f"asr/{corpus}": count ** (1 / temperature) for corpus, count in hours.items()} | {"ser/set": 2 * 40 ** (1 / temperature)}
    drawn = Counter(f"{many[i].task}/{many[i].corpus}" for number in range(600) for i in plan[number])
    for name, share in shares.items():
        assert drawn[name] / drawn.total() == pytest.approx(share / sum(shares.values()), abs=0.02), name


def test_what_does_not_fit_is_left_out_and_nothing_left_is_an_error():
    plan = Plan(MANY, {"asr": 1}, 5)
    assert all(seconds_of(MANY[i]) <= 5 for step in range(50) for i in plan[step])
    with pytest.raises(LauraError, match="slu.*batch_seconds"):
        Plan(MANY, {"slu": 1}, 20)


def test_a_recording_is_kept_while_there_is_room(tmp_path):
    wave = (0.3 * np.sin(np.arange(16000) / 20)).astype(np.float32)
    path = tmp_path / "a.wav"
    save_audio(path, wave)
    waves, full = Waves(), Waves(gigabytes=1e-6)
    first = waves(str(path))
    np.testing.assert_allclose(first, wave, atol=1e-4)
    assert len(full(str(path))) == 16000 and not full.cache
    path.unlink()
    np.testing.assert_array_equal(waves(str(path)), first)
