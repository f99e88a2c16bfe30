"""Decoding against a tiny language model whose every number is known: a table of what follows what."""

import numpy as np
import pytest

from lauragpt.engine.decoding import (
    SPEECH_LOOP,
    TEXT_LOOP,
    Decoded,
    Options,
    Row,
    choose_one,
    decode,
    find_loop,
    log_softmax,
    noise,
    score,
)
from lauragpt.errors import LauraError

SIZE, EOS = 12, 11
TEXT = np.arange(SIZE) < 11  # <eos> is let in by the row's bounds, not by the mask


class TableSession:
    """The Session protocol over histories kept as plain lists; `rule(history) -> (V,)` gives the logits."""

    def __init__(self, histories, rule):
        self.histories, self.rule = [list(history) for history in histories], rule
        self._read()

    def _read(self):
        self.lengths = np.array([len(history) for history in self.histories])
        self.logits = np.stack([self.rule(history) for history in self.histories]).astype(np.float32)

    def extend(self, ids):
        assert ids.shape[0] == len(self.histories)
        out = np.zeros((*ids.shape, SIZE), dtype=np.float32)
        for row, more in enumerate(ids):
            for place, token in enumerate(more):
                self.histories[row].append(int(token))
                out[row, place] = self.rule(self.histories[row])
        self._read()
        return out

    def rollback(self, lengths):
        self.histories = [history[:length] for history, length in zip(self.histories, lengths)]
        self._read()

    def select(self, rows):
        self.histories = [list(self.histories[row]) for row in rows]
        self._read()


def random_rule(history):
    """Any history has its own fixed random logits."""
    return np.random.default_rng([7, *history]).normal(size=SIZE) * 2


def counting_rule(history):
    """0 1 2 ... 9 <eos>: the next number is always the most likely."""
    logits = np.zeros(SIZE)
    logits[history[-1] + 1 if history[-1] < 9 else EOS] = 5.0
    return logits


def test_greedy_counts_to_the_end_each_row_on_its_own():
    session = TableSession([[7], [2], [9]], counting_rule)
    done = decode(session, [Row(20)] * 3, TEXT, EOS)
    assert [d.ids for d in done] == [[8, 9], [3, 4, 5, 6, 7, 8, 9], []]
    assert {d.finish for d in done} == {"eos"}
    assert [len(d.log_probs) for d in done] == [3, 8, 1]  # <eos> is counted


def test_bounds_hold_and_say_so():
    exact, short, none, least = decode(
        TableSession([[7], [2], [3], [9]], counting_rule), [Row(5, minimum=5), Row(3), Row(0), Row(9, minimum=2)], TEXT, EOS
    )
    assert len(exact.ids) == 5 and exact.finish == "eos"
    assert short.ids == [3, 4, 5] and short.finish == "length"
    assert none == Decoded()
    assert len(least.ids) >= 2


def test_only_allowed_tokens_are_written():
    allowed = np.zeros(SIZE, dtype=bool)
    allowed[[3, 5]] = True
    (done,) = decode(TableSession([[1]], random_rule), [Row(30, minimum=30)], allowed, EOS, Options(temperature=3.0, top_k=0, loop=None))
    assert set(done.ids) == {3, 5}
    # Probabilities are among what is allowed, so two tokens share the whole.
    logits = random_rule([1])[[3, 5]].astype(np.float32)
    assert done.log_probs[0] == pytest.approx(log_softmax(logits)[[3, 5].index(done.ids[0])], abs=1e-6)


@pytest.mark.parametrize(
    "options", [Options(), Options(temperature=1.0, top_k=4, seed=3), Options(temperature=1.3, top_k=0, top_p=0.8, seed=9)]
)
def test_a_row_is_the_same_alone_and_in_any_batch(options):
    starts, rows = [[1], [2, 3], [4], [5, 6, 7]], [Row(15, key=0), Row(40, key=1), Row(9, minimum=9, key=2), Row(25, key=0)]
    together = decode(TableSession(starts, random_rule), rows, TEXT, EOS, options)
    alone = [decode(TableSession([start], random_rule), [row], TEXT, EOS, options)[0] for start, row in zip(starts, rows)]
    backwards = decode(TableSession(starts[::-1], random_rule), rows[::-1], TEXT, EOS, options)[::-1]
    assert together == alone == backwards


def test_noise_is_a_function_of_seed_key_and_position():
    first = noise(1, 2, 3, 50)
    assert np.array_equal(first, noise(1, 2, 3, 50))
    assert np.array_equal(first[:10], noise(1, 2, 3, 10))
    for other in (noise(0, 2, 3, 50), noise(1, 0, 3, 50), noise(1, 2, 4, 50)):
        assert not np.isclose(first, other).any()


def test_sampling_follows_the_distribution_and_top_k_and_top_p_cut_it():
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1] + [1e-9] * 8))

    def shares(options):
        draws = [
            decode(TableSession([[0]], lambda _: logits), [Row(1, minimum=1, key=key)], TEXT, EOS, options)[0].ids[0] for key in range(1500)
        ]
        return np.bincount(draws, minlength=4)[:4] / 1500

    assert np.allclose(shares(Options(temperature=1.0, top_k=0)), [0.4, 0.3, 0.2, 0.1], atol=0.05)
    assert np.allclose(shares(Options(temperature=1.0, top_k=2)), [4 / 7, 3 / 7, 0, 0], atol=0.05)
    # 0.4 + 0.3 reach 0.6: the third token is not needed.
    assert np.allclose(shares(Options(temperature=1.0, top_k=0, top_p=0.6)), [4 / 7, 3 / 7, 0, 0], atol=0.05)


def test_a_loop_is_stopped_and_cut_to_one_round():
    def rule(history):  # 1 2 3 1 2 3 ... for ever
        logits = np.zeros(SIZE)
        logits[history[-1] % 3 + 1] = 9.0
        return logits

    looped, counted = decode(TableSession([[9, 3], [4]], lambda h: rule(h) if h[0] == 9 else counting_rule(h)), [Row(500)] * 2, TEXT, EOS)
    assert looped.ids == [1, 2, 3] and looped.finish == "guard"
    assert looped.guards == ["loop of 3 tokens, 4 times, cut to one"]
    assert len(looped.log_probs) == 3
    assert counted.finish == "eos" and not counted.guards


def test_find_loop_against_brute_force():
    def brute(ids, loop):
        for period in range(1, loop.longest + 1):
            for repeats in range(len(ids) // period, 0, -1):
                if ids[len(ids) - repeats * period :] == ids[-period:] * repeats:
                    if repeats >= loop.repeats and repeats * period >= loop.span:
                        return period, repeats
                    break
        return None

    rng = np.random.default_rng(0)
    for _ in range(400):
        unit = rng.integers(0, 3, rng.integers(1, 9)).tolist()
        ids = rng.integers(0, 3, rng.integers(0, 12)).tolist() + unit * int(rng.integers(1, 9))
        assert find_loop(ids, TEXT_LOOP) == brute(ids, TEXT_LOOP), ids


def test_honest_repetition_is_no_loop():
    assert find_loop([5] * 11, TEXT_LOOP) is None  # "five five five ..." is a phone number
    assert find_loop([5] * 12, TEXT_LOOP) == (1, 12)
    assert find_loop([5] * 74, SPEECH_LOOP) is None  # under three seconds of pause
    assert find_loop([5] * 75, SPEECH_LOOP) == (1, 75)


def test_score_is_the_chain_rule_and_leaves_the_session():
    session = TableSession([[1], [2, 3]], random_rule)
    candidates = [[4, EOS], [5, 6, EOS], [7]]
    scores = score(session, candidates)
    for row, start in enumerate([[1], [2, 3]]):
        for column, ids in enumerate(candidates):
            by_hand, history = 0.0, list(start)
            for token in ids:
                by_hand += log_softmax(random_rule(history).astype(np.float32))[token]
                history.append(token)
            assert scores[row, column] == pytest.approx(by_hand, abs=1e-5)
    assert session.lengths.tolist() == [1, 2]


def test_choose_one_takes_the_best_of_a_few():
    session = TableSession([[1], [2]], random_rule)
    assert choose_one(session, [8, 9, 10]) == [8 + int(random_rule([start])[8:11].argmax()) for start in (1, 2)]


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.5}, {"seed": -1}]
)
def test_options_out_of_range_say_what_is_allowed(wrong):
    with pytest.raises(LauraError, match=next(iter(wrong))):
        Options(**wrong)


class CountedSession(TableSession):
    """Counts how often it was asked."""

    def __init__(self, *rest):
        super().__init__(*rest)
        self.asked = 0

    def extend(self, ids):
        self.asked += 1
        return super().extend(ids)


@pytest.mark.parametrize("options", [Options(), Options(temperature=1.0, top_k=4, seed=5), Options(temperature=0.7, top_p=0.8, seed=1)])
def test_drafts_change_nothing_but_the_number_of_steps(options):
    """Right drafts, wrong ones, some with letters more, less or other, too short, too long, empty; bounds and guards hold all the same."""
    rng = np.random.default_rng(0)
    starts = [[n] for n in range(8)]
    rows = [Row(40, key=n) for n in range(5)] + [Row(9, minimum=9, key=5), Row(30, minimum=6, key=6), Row(3, key=7)]
    plain = decode(CountedSession(starts, random_rule), rows, TEXT, EOS, options)

    def spoilt(ids):
        ids = list(ids)
        for _ in range(rng.integers(4)):
            if ids:
                at = int(rng.integers(len(ids)))
                ids[at : at + int(rng.integers(2))] = rng.integers(11, size=int(rng.integers(3))).tolist()
        return ids

    for drafts in (
        [d.ids for d in plain], [[] for _ in plain], [d.ids[:4] for d in plain], [[*d.ids, 1, 2, 3] for d in plain],
        *([spoilt(d.ids) for d in plain] for _ in range(12)), [rng.integers(11, size=20).tolist() for _ in plain],
    ):  # fmt: skip
        assert decode(CountedSession(starts, random_rule), rows, TEXT, EOS, options, drafts) == plain


def test_a_good_draft_saves_steps():
    asked = []
    for drafts in (None, [[3, 4, 5, 6, 7, 8, 9]], [[3, 4, 6, 7, 8, 9]]):
        session = CountedSession([[2]], counting_rule)
        assert decode(session, [Row(20)], TEXT, EOS, drafts=drafts)[0].ids == [3, 4, 5, 6, 7, 8, 9]
        asked.append(session.asked)
    assert asked[0] == 7 and asked[1] <= 2 and asked[2] <= 4


def test_a_loop_is_cut_with_a_draft_as_without():
    def stuck(history):
        logits = np.zeros(SIZE)
        logits[3] = 5.0
        return logits

    plain = decode(TableSession([[7]], stuck), [Row(60)], TEXT, EOS)
    assert plain[0].finish == "guard" and decode(TableSession([[7]], stuck), [Row(60)], TEXT, EOS, drafts=[[3] * 60]) == plain
