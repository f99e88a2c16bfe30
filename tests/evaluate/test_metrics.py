"""The measures against the packages called by hand, against formulas worked out by hand, and at their edges."""

import math

import jiwer
import numpy as np
import pesq as pesq_package
import pystoi
import pytest
import sacrebleu

from lauragpt.data.captions import CAPTIONS
from lauragpt.evaluate import metrics
from lauragpt.evaluate.metrics import MissingPackage

TRUTH = ["the cat sat on the mat", "one two three", "hello world", "good night"]
HEARD = ["the cat sat on mat", "one too three four", "hello world", ""]
RNG = np.random.default_rng(0)


def speechlike(seconds: float = 2.0) -> np.ndarray:
    """Noise in syllables: enough structure for STOI and PESQ to be defined."""
    time = np.arange(int(seconds * 16000)) / 16000
    tone = sum(np.sin(2 * np.pi * f * time) / f for f in (150, 300, 450, 900, 1800, 2700)) * 40
    return (0.4 * np.abs(np.sin(2 * np.pi * 2 * time)) * (tone + 0.3 * np.random.default_rng(1).standard_normal(len(time)))).astype(
        np.float32
    )


def test_wer_and_cer_are_jiwers():
    targets = [[text] for text in TRUTH]
    assert metrics.wer(targets, HEARD, "en").total == pytest.approx(100 * jiwer.wer(TRUTH, HEARD))
    assert metrics.cer(targets, HEARD, "en").total == pytest.approx(100 * jiwer.cer(TRUTH, HEARD))


def test_wer_by_hand():
    # 1 deletion; 1 substitution and 1 insertion; right; 2 deletions: 5 errors in 13 words
    assert metrics.wer([[text] for text in TRUTH], HEARD, "en").total == pytest.approx(100 * 5 / 13)


def test_words_right_are_those_in_their_place():
    # 5 of 6, 2 of 3 (the word too many costs nothing here), 2 of 2, 0 of 2
    assert metrics.words_right(TRUTH, HEARD, "en").total == pytest.approx(100 * 9 / 13)
    assert metrics.words_right(["One, two!"], ["so one and two"], "en").total == 100


def test_wer_compares_normalised_text_and_the_nearest_reference():
    assert metrics.wer([["Hello, World!"]], ["hello world"], "en").total == 0
    assert metrics.wer([["something else entirely", "hello world"]], ["hello world"], "en").total == 0


def test_empty_references_count_what_is_invented():
    assert metrics.word_errors("", "two words", "en") == (2, 0)
    assert metrics.word_errors("", "", "en") == (0, 0)
    assert metrics.wer([[""], ["one two"]], ["invented", "one two"], "en").total == pytest.approx(50)
    assert math.isnan(metrics.wer([[""]], ["invented"], "en").total)


def test_empty_answers_are_all_deletions():
    assert metrics.wer([[text] for text in TRUTH], [""] * 4, "en").total == 100


def test_chrf_and_bleu_are_sacrebleus():
    references = [["Ein Hund läuft.", "Ein Hund rennt."], ["Die Katze schläft auf dem Sofa."], ["Guten Tag"]]
    answers = ["Ein Hund rennt.", "Die Katze sitzt auf dem Sofa.", "Tag"]
    streams = [[r[0] for r in references], [references[0][1], None, None]]
    chrf, signature = metrics.chrf(references, answers)
    assert chrf.total == pytest.approx(sacrebleu.CHRF().corpus_score(answers, streams).score)
    assert "nc:6" in signature and "version:" in signature
    bleu, signature = metrics.bleu(references, answers)
    assert bleu.total == pytest.approx(sacrebleu.BLEU().corpus_score(answers, streams).score)
    assert "tok:13a" in signature
    assert math.isnan(chrf.score().low)  # too few to resample
    many = metrics.chrf(2 * references, 2 * answers)[0]
    assert many.total == pytest.approx(chrf.total) and many.score().low <= chrf.total <= many.score().high


def test_some_sentences_score_as_a_corpus_of_them():
    """The sum of the sentences' counts must be the corpus score of exactly those sentences, however often each is drawn."""
    references, answers = [["a small dog"], ["the big house"], ["it rains today"]], ["a small cat", "the house", "it rains"]
    picked = [0, 2, 2]
    whole = sacrebleu.CHRF().corpus_score([answers[i] for i in picked], [[references[i][0] for i in picked]]).score
    assert metrics.chrf(references, answers)[0].of(picked).total == pytest.approx(whole)


def test_accuracies_by_hand():
    truth = ["a", "a", "a", "a", "b", "b", "c", "c"]
    heard = ["a", "a", "a", "b", "b", "c", "c", "d"]
    assert metrics.wa(truth, heard).total == pytest.approx(100 * 5 / 8)
    assert metrics.ua(truth, heard).total == pytest.approx(100 * (3 / 4 + 1 / 2 + 1 / 2) / 3)
    # a: P 3/3 R 3/4 F 6/7; b: P 1/2 R 1/2 F 1/2; c: P 1/2 R 1/2 F 1/2; d: no support. Weights 4, 2, 2 of 8.
    assert metrics.wf1(truth, heard).total == pytest.approx(100 * (4 * 6 / 7 + 2 * 0.5 + 2 * 0.5) / 8)


def test_a_constant_answer_has_the_unweighted_accuracy_of_chance():
    labels = ["a"] * 50 + ["b"] * 3 + ["c"] * 2 + ["d"]
    assert metrics.ua(labels, ["a"] * len(labels)).total == pytest.approx(25)


def test_slots_by_hand():
    truth = [["orderDrink | coffeeDrink = latte | size = small"], ["orderDrink | coffeeDrink = mocha"], ["orderDrink | size = large"]]
    heard = ["orderDrink | size = Small | coffeeDrink = latte", "orderDrink | coffeeDrink = mocha | roast = dark", "cancel | size = large"]
    scores = metrics.slots(truth, heard)
    assert scores.exact.total == pytest.approx(100 / 3)  # order and case do not count; a slot too many and a wrong intent do
    assert scores.intent.total == pytest.approx(200 / 3)
    assert metrics.slots(truth, ["", "|", "= ="]).exact.total == 0


def test_right_sound_knows_our_wordings_and_nothing_else():
    sounds = ["dog", "rain", "siren"]
    assert metrics.right_sound(sounds, [CAPTIONS["dog"][1], CAPTIONS["rain"][0], "zzz"]).total == pytest.approx(200 / 3)


def test_stoi_and_pesq_are_the_packages():
    clean = speechlike()
    noisy = (clean + 0.05 * RNG.standard_normal(len(clean))).astype(np.float32)
    assert metrics.stoi(clean, noisy) == pytest.approx(pystoi.stoi(clean, noisy, 16000))
    assert metrics.pesq(clean, noisy) == pytest.approx(pesq_package.pesq(16000, clean, noisy, "wb"))


def test_too_little_sound_is_no_number():
    short, silent = speechlike(0.1), np.zeros(16000, np.float32)
    assert metrics.stoi(short, short) is None
    assert metrics.pesq(silent, silent) is None
    assert metrics.si_sdr(silent, short[:1600]) is None


def test_si_sdr_by_hand():
    time = np.arange(16000) / 16000
    clean, noise = np.sin(2 * np.pi * 100 * time), 0.1 * np.cos(2 * np.pi * 100 * time)  # orthogonal, 20 dB apart
    assert metrics.si_sdr(clean, clean + noise) == pytest.approx(20, abs=1e-6)
    assert metrics.si_sdr(clean, 5 * (clean + noise)) == pytest.approx(20, abs=1e-6)


def test_a_confusion_matrix_by_hand():
    table, names = metrics.confusion(["sad", "sad", "calm"], ["sad", "angry", "calm"])
    assert names == ["angry", "calm", "sad"] and table.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_a_missing_package_says_how_to_get_it():
    with pytest.raises(MissingPackage, match="pip install no_such_package"):
        metrics.need("no_such_package")
