"""Subwords as CTC units: texts come back, words are cut the same anywhere, and what reads letters reads them as well."""

import numpy as np
import pytest

from lauragpt.ctc import CtcAligner, align, word_times
from lauragpt.ctc_units import FILE, CtcSubwords, load_ctc_units
from lauragpt.data.posteriors import PosteriorBank, random_posteriors
from lauragpt.errors import LauraError
from lauragpt.text import CtcUnits, Tokenizer

TEXTS = ["the night was calm and snowy", "it was the best of times", "it was the worst of times",
         "die straße ist lang und die nacht ist still", "that isn't what they wanted", "schöne grüße aus der stadt"] * 3  # fmt: skip


@pytest.fixture(scope="module")
def subwords():
    return CtcSubwords.train(TEXTS, 80)


def path(units: list[int], blank: int = 0) -> list[int]:
    """A path of frames that says the units: each twice, a blank between."""
    return [frame for unit in units for frame in (unit, unit, blank)]


def spoken(subwords: CtcSubwords, text: str) -> np.ndarray:
    """Log-probabilities (T, U) whose best path is `path`."""
    probabilities = np.full((3 * len(subwords.encode(text)), subwords.size), 0.1 / subwords.size)
    probabilities[np.arange(len(probabilities)), path(subwords.encode(text))] += 0.9
    return np.log(probabilities)


@pytest.mark.parametrize("text", [*TEXTS[:6], "calm", "a stranger time than those", ""])
def test_texts_come_back(subwords, text):
    assert subwords.decode(path(subwords.encode(text))) == text


def test_fewer_than_letters_and_the_same_for_a_word_anywhere(subwords):
    text = "it was the best of times"
    assert len(subwords.encode(text)) < 0.6 * len(text)
    assert subwords.encode(text) == [unit for word in text.split() for unit in subwords.encode(word)]
    assert subwords.encode(f"  {text} ") == subwords.encode(text) and subwords.encode(" ") == []


@pytest.mark.parametrize("size", [40, 80, 1024])
def test_there_are_as_many_units_as_the_head_has(size):
    units = CtcSubwords.train(TEXTS, size)
    assert units.size == size
    assert {unit for text in TEXTS for unit in units.encode(text)} <= set(range(1, size)), "the blank stands for no text"
    assert units.decode([size - 1] * 3) == units.piece(size - 1).strip()
    if size == 1024:
        assert units.piece(size - 1) == "", "a unit that only fills up"


def test_what_was_never_met_loses_its_accents_or_is_left_out(subwords):
    assert subwords.decode(path(subwords.encode("Cálm! 北"))) == "calm"


def test_a_checkpoint_keeps_them_and_one_without_has_letters(subwords, tmp_path):
    assert isinstance(load_ctc_units(tmp_path), CtcUnits)
    subwords.save(tmp_path / FILE)
    loaded = load_ctc_units(tmp_path)
    assert (loaded.size, loaded.pieces) == (subwords.size, subwords.pieces)
    assert all(loaded.encode(text) == subwords.encode(text) for text in TEXTS)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(LauraError, match="ctc_tokenizer.json cannot be read"):
        load_ctc_units(tmp_path)


def test_without_transcripts_there_is_nothing_to_learn():
    with pytest.raises(LauraError, match="learnt from transcripts, and there are none"):
        CtcSubwords.train(["", ""], 100)


def test_a_draft_is_written_in_the_gpts_letters(subwords):
    tokenizer = Tokenizer.train(TEXTS, 300)
    text = "it was calm"
    aligner = CtcAligner.of(tokenizer, path(subwords.encode(text)), subwords)
    assert tokenizer.decode(aligner.draft) == text and aligner.draft == tokenizer.encode(text, letters=True)
    assert aligner.frames == sorted(aligner.frames) and max(aligner.frames) == 3 * (len(subwords.encode(text)) - 1)


def test_words_have_times(subwords):
    words = "the worst of times".split()
    log_probs = spoken(subwords, " ".join(words))
    times = word_times(log_probs, words, 0.06 * len(log_probs), 0.06, subwords)
    counts = np.cumsum([0, *(3 * len(subwords.encode(word)) for word in words)])
    for (start, end), first, last in zip(times, counts, counts[1:], strict=False):
        assert first * 0.06 - 0.05 < start < end < last * 0.06 + 0.05
    assert align(log_probs, subwords.encode("the worst of times")) is not None


def test_posteriors_are_made_of_them(subwords):
    bank = PosteriorBank([(text, spoken(subwords, text)) for text in TEXTS[:6]], subwords)
    text = "the best of times and the night was lang"
    for seed in range(5):
        rows = bank.sample(subwords.encode(text), np.random.default_rng(seed))
        assert rows.shape[1] == subwords.size and subwords.decode(rows.argmax(1)) == text
        rows = random_posteriors(subwords.encode(text), np.random.default_rng(seed), worst=0.0, size=subwords.size)
        assert rows.shape[1] == subwords.size and subwords.decode(rows.argmax(1)) == text
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
