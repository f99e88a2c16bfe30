"""Beam search over tables of which every text's probability is known, and over the checkpoint that ships."""

import itertools

import numpy as np
import pytest

from lauragpt import Laura
from lauragpt.engine.beam_search import Beams, search
from lauragpt.engine.decoding import Decoded, Row, decode, log_softmax
from lauragpt.engine.replay import replay
from lauragpt.errors import LauraError
from tests.engine.test_decoding import EOS, SIZE, TEXT, TableSession, random_rule

FEW = np.arange(SIZE) < 3


def log_prob_of(start, ids, allowed):
    """Of a text and the <eos> behind it."""
    columns, total = [*np.flatnonzero(allowed), EOS], 0.0
    for place, token in enumerate([*ids, EOS]):
        total += log_softmax(random_rule([*start, *ids[:place]]).astype(np.float32)[columns])[columns.index(token)]
    return total


@pytest.mark.parametrize("bonus", [0.0, 0.3])
def test_wide_enough_it_finds_the_best_of_all_texts(bonus):
    starts = [[n] for n in range(12)]
    done = search(TableSession(starts, random_rule), [Row(3)] * 12, FEW, EOS, Beams(64, bonus))
    texts = [ids for length in (1, 2, 3) for ids in itertools.product(range(3), repeat=length)]
    for start, found in zip(starts, done, strict=True):
        if found.ids and found.finish == "eos":
            best = max((ids for ids in texts if len(ids) < 3), key=lambda ids: log_prob_of(start, ids, FEW) + bonus * len(ids))
            assert tuple(found.ids) == best
            assert sum(found.log_probs) == pytest.approx(log_prob_of(start, found.ids, FEW))  # the bonus is no part of it
    assert sum(bool(found.ids) and found.finish == "eos" for found in done) > 3


def test_nothing_is_the_answer_only_where_no_first_token_is_likelier():
    starts = [[n] for n in range(40)]
    first = [log_softmax(random_rule(start)[[0, 1, 2, EOS]]).argmax() == 3 for start in starts]
    for bonus in (0.0, 2.0):
        done = search(TableSession(starts, random_rule), [Row(6)] * 40, FEW, EOS, Beams(4, bonus))
        assert [not found.ids for found in done] == first and True in first and False in first


def test_it_finds_likelier_texts_than_the_likeliest_token_each_time():
    starts, rows = [[n] for n in range(30)], [Row(8)] * 30
    greedy = decode(TableSession(starts, random_rule), rows, TEXT, EOS)
    beams = search(TableSession(starts, random_rule), rows, TEXT, EOS, Beams(8))
    pairs = [(sum(a.log_probs), sum(b.log_probs)) for a, b in zip(greedy, beams) if a.finish == b.finish == "eos" and a.ids]
    assert len(pairs) > 5 and all(found >= first - 1e-9 for first, found in pairs) and any(found > first + 0.1 for first, found in pairs)


def test_a_row_gets_the_same_alone_and_beside_others():
    starts, rows = [[n] for n in range(7)], [Row(2 + n) for n in range(6)] + [Row(0)]
    together = search(TableSession(starts, random_rule), rows, TEXT, EOS, Beams(3, 0.2))
    alone = [search(TableSession([start], random_rule), [row], TEXT, EOS, Beams(3, 0.2))[0] for start, row in zip(starts, rows)]
    assert together == alone and together[-1] == Decoded(finish="length")
    assert all(len(found.ids) <= row.maximum for found, row in zip(together, rows))


@pytest.mark.parametrize("bonus", [0.0, 0.15, 0.6])
def test_what_falls_into_a_loop_is_left_for_what_does_not(bonus):
    """And going round in it some times pays nothing."""

    def rule(history):  # 3 again and again; 5 now and then, and after it the end
        logits = np.full(SIZE, -9.0)
        logits[EOS if history[-1] == 5 else 3] = 5.0
        if history[-1] == 3:
            logits[5] = 1.0
        return logits

    greedy = decode(TableSession([[0]], rule), [Row(60)], TEXT, EOS)[0]
    found = search(TableSession([[0]], rule), [Row(60)], TEXT, EOS, Beams(4, bonus))[0]
    assert greedy.finish == "guard" and found.finish == "eos" and found.ids[-1] == 5 and len(found.ids) <= 6


def test_what_its_maximum_stops_is_not_passed_off_as_ended():
    def rule(history):  # 0 1 2 3 ... for ever; an end at any time, but hardly
        logits = np.full(SIZE, -12.0)
        logits[(history[-1] + 1) % 11], logits[EOS] = 5.0, -5.0
        return logits

    for bonus in (0.0, 0.15):
        (found,) = search(TableSession([[0]], rule), [Row(9)], TEXT, EOS, Beams(4, bonus))
        assert (found.ids, found.finish) == ([1, 2, 3, 4, 5, 6, 7, 8, 9], "length")


def test_a_loop_that_none_leaves_is_cut_to_one_round():
    only_three = np.where(np.arange(SIZE) == 3, 0.0, -np.inf)
    (found,) = search(TableSession([[0]], lambda history: only_three), [Row(60)], TEXT, EOS, Beams(4))
    assert found.ids == [3] and found.finish == "guard" and "cut to one" in found.guards[0]


@pytest.mark.parametrize("count", [0, 65, 2.5, "4"])
def test_a_number_of_beams_that_is_none_is_refused(count):
    with pytest.raises(LauraError, match="beams"):
        Laura.load("mini", beams=count)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_rows_that_change_places_keep_what_they_have_read(backend):
    """Those of one opening and of several, named once, twice or not at all."""
    runtime = Laura.load("mini", backend=backend).runtime
    texts = [runtime.tokenizer.encode(text) for text in ("A man rides a horse.", "Two dogs run over the wet grass.")]
    prompts = [[*text, runtime.vocabulary.task("mt"), runtime.vocabulary.lang("de")] for text in texts]
    session, rng = runtime.backend.open(None, prompts), np.random.default_rng(0)
    histories = list(prompts)
    for rows in ([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5], [1, 1, 0, 5, 3, 3], [2, 0, 1, 4], [1, 0, 0, 3], [3, 2, 1, 0], [0, 0, 2, 3]):
        session.select(rows)
        ids = rng.integers(0, 500, (len(rows), 2))
        session.extend(ids)
        histories = [[*histories[row], *more] for row, more in zip(rows, ids.tolist())]
        expected = runtime.backend.open(None, histories).logits
        np.testing.assert_allclose(session.logits, expected, atol=2e-3 * np.abs(expected).max())


def test_a_receipt_tells_how_many_texts_were_followed(tmp_path):
    wide, narrow = Laura.load("mini"), Laura.load("mini", beams=1)
    texts = [
        "The old clock in the hall strikes nine while nobody is listening.",
        "Seven bridges lead over the river to the castle of the king.",
    ]
    rows = [laura.translate(text=texts, to="de") for laura in (wide, narrow)]
    assert [result.receipt["beams"] for result in rows[0] + rows[1]] == [4, 4, 1, 1]
    for result in rows[0] + rows[1]:
        assert replay(narrow, result.to_row()) == replay(wide, result.to_row()) == []
