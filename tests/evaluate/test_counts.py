"""CIDEr-D, SLU-F1 and calibration against the public scorers' numbers, slow twins and examples worked out by hand."""

import math
import random

import jiwer
import numpy as np
import pytest

from lauragpt.evaluate.counts import Bin, _edits, _word_distance, calibration, cider_d, entity_f1, reliability, slu_f1

CAPTIONS = [
    ["a dog barks", "a dog is barking loudly", "barking of a dog in the yard"],
    ["rain falls on a tin roof", "heavy rain is falling"],
    ["a car horn honks twice", "a driver honks the horn", "honking of a car horn"],
    ["a dog barks and a car horn honks"],
    ["birds sing and chirp in the morning", "birds are chirping"],
    ["rain falls on a tin roof"],
]
HEARD = [
    "a dog is barking in the yard",
    "heavy rain falls on a roof",
    "a horn honks honks honks",
    "a dog barks and a car horn honks",
    "wind",
    "",
]
ORDERS = [
    [("time", "five am"), ("date", "tomorrow")],
    [("person", "anna maria"), ("person", "anna")],
    [("place_name", "new york")],
    [],
    [("song_name", "let it be")],
]
ANSWERS = [
    [("time", "nine am"), ("date", "tomorrow")],
    [("person", "anna"), ("person", "maria")],
    [("place_name", "new york city hall"), ("date", "today")],
    [("time", "noon")],
    [],
]


def value(tally) -> float:
    return tally.score(0).value


# --- captions ------------------------------------------------------------------------------------------------------------------


def test_cider_d_is_coco_captions():
    # pycocoevalcap 1.2, Cider().compute_score on these very strings
    scores = [3.1442672238333147, 3.2033109295337026, 0.6663541799319844, 10.0, 0.0, 0.0]
    tally = cider_d(CAPTIONS, HEARD)
    assert tally.counts == pytest.approx(np.array([[score, 1] for score in scores]))
    assert value(tally) == pytest.approx(2.835655388883167)


def vector_cider_d(references: list[list[str]], hypotheses: list[str]) -> list[float]:
    """The paper's equations over dense vectors of the whole vocabulary; g is not divided by the sentence's length, as in coco-caption."""

    def grams(text: str, n: int) -> list[str]:
        words = text.split()
        return [" ".join(words[i : i + n]) for i in range(len(words)) if i + n <= len(words)]

    scores = np.zeros(len(hypotheses))
    for n in (1, 2, 3, 4):
        everything = [*hypotheses, *(text for several in references for text in several)]
        vocabulary = sorted({gram for text in everything for gram in grams(text, n)})
        if not vocabulary:
            continue
        held = [[any(gram in grams(text, n) for text in several) for gram in vocabulary] for several in references]
        idf = np.log(len(references)) - np.log(np.maximum(1, np.sum(held, axis=0)))

        def g(text: str, n=n, vocabulary=vocabulary, idf=idf) -> np.ndarray:
            return np.array([grams(text, n).count(gram) for gram in vocabulary]) * idf

        for i, (several, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
            for text in several:
                c, s = g(hypothesis), g(text)
                norms = np.linalg.norm(c) * np.linalg.norm(s)
                apart = len(hypothesis.split()) - len(text.split())
                cosine = np.minimum(c, s) @ s / norms if norms else 0
                scores[i] += 10 / 4 / len(several) * cosine * math.exp(-(apart**2) / 72)
    return scores.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_cider_d_is_its_slow_twin(seed):
    draw = random.Random(seed)

    def sentence() -> str:
        return " ".join(draw.choices("abcdef", k=draw.randint(0, 9)))

    references = [[sentence() for _ in range(draw.randint(1, 4))] for _ in range(draw.randint(1, 8))]
    hypotheses = [draw.choice([sentence(), several[0]]) for several in references]
    assert cider_d(references, hypotheses).counts[:, 0].tolist() == pytest.approx(vector_cider_d(references, hypotheses), abs=1e-12)


def test_cider_d_by_hand():
    # Unigrams "rain" and "wind" are each in one of two examples: idf log 2. There are no longer n-grams, so three of the four terms are 0.
    assert cider_d([["rain"], ["wind"]], ["rain", "rain"]).counts.tolist() == pytest.approx(np.array([[10 / 4, 1], [0, 1]]))
    # "rain rain": the unigram's cosine is clipped from 1 to 1 * 1 / (2 * 1), the bigram is new; one word too long.
    assert value(cider_d([["rain"], ["wind"]], ["rain rain", ""])) == pytest.approx(10 / 4 * 0.5 * math.exp(-1 / 72) / 2)


def test_a_caption_of_many_words_that_is_right_scores_ten():
    references = [["one two three four five"], ["six seven eight nine ten"]]
    assert value(cider_d(references, [several[0] for several in references])) == pytest.approx(10)


def test_case_and_punctuation_of_captions_do_not_count():
    written = [["A dog, barking!"], ["Rain on the man's roof."]]
    plain = [["a dog barking"], ["rain on the mans roof"]]
    assert (
        value(cider_d(written, ["a DOG barking", "rain, on the man's roof"])) == value(cider_d(plain, ["a dog barking", plain[1][0]])) > 0
    )


def test_captions_at_the_edges():
    assert value(cider_d([["rain falls"]], ["rain falls"])) == 0  # one example: its n-grams are in every document, as in coco-caption
    assert value(cider_d([[""], ["wind"]], ["", "?!"])) == 0
    assert math.isnan(value(cider_d([], [])))
    with pytest.raises(ValueError, match="example 1 has no reference"):
        cider_d([["rain"], []], ["rain", "wind"])
    with pytest.raises(ValueError):
        cider_d([["rain"]], [])


def test_a_subset_keeps_the_document_frequencies_of_all():
    tally = cider_d(CAPTIONS, HEARD)
    assert tally.value(tally.counts[[0, 3, 3]].sum(0)) == pytest.approx((3.1442672238333147 + 10 + 10) / 3)


# --- entities ------------------------------------------------------------------------------------------------------------------


def test_slu_f1_is_the_public_scorers():
    # SLURP's own matching with jiwer 4.0.0 and textdistance 4.6.3 on these very entities; summed over word and character distance:
    # TP 5 + 5, FP 4 + 3.34126984, FN 3 + 2.34126984; word-F1 0.588235, char-F1 0.637652
    tally = slu_f1(ORDERS, ANSWERS)
    assert value(tally) == pytest.approx(100 * 0.6119475473530841)
    assert tally.counts.sum(0) == pytest.approx([20, 20 + 7 + 5.682539682539683])


def test_slu_f1_by_hand():
    # time: TP 1; words: 1 of 2 differs, so 0.5 to FP and FN; characters: "five" -> "nine" is 2 edits of 7.
    # date: invented, FP 1. person: missed, FN 1. The last two once for words, once for characters.
    truth, answer = [("time", "five am"), ("person", "anna")], [("time", "nine am"), ("date", "today")]
    tp, fp = 1 + 1, (0.5 + 1) + (2 / 7 + 1)
    precision = recall = tp / (tp + fp)
    assert value(slu_f1([truth], [answer])) == pytest.approx(100 * 2 * precision * recall / (precision + recall))


def test_a_value_that_runs_on_costs_more_than_one():
    # words: 3 insertions on 1 reference word, distance 3; characters: 10 of 14 differ. TP 2, FP = FN = 3 + 10 / 14.
    tally = slu_f1([[("date", "noon")]], [[("date", "noon or so now")]])
    assert value(tally) == pytest.approx(100 * 2 / (2 + 3 + 10 / 14))


def test_repeated_labels_are_matched_in_the_order_of_the_answer():
    truth = [("person", "anna maria"), ("person", "anna")]
    assert value(slu_f1([truth], [truth[::-1]])) == 100
    # "maria" comes first: word distance 0.5 to "anna maria" and 1 to "anna"; "anna" is then exact. Characters: 5 of 10 and 4 of 5.
    assert value(slu_f1([truth], [[("person", "maria"), ("person", "anna")]])) == pytest.approx(100 * 4 / (4 + 0.5 + 0.5))
    # In words "anna b" is 2 / 2 from "x y" and 1 / 1 from "anna": the first of equals goes, and "anna" is exact. In characters "anna" is
    # nearer (2 of 6, not 5 of 6), so the exact answer that follows is left with "x y", 4 of 4. No search for the best pairing.
    truth, answer = [("person", "x y"), ("person", "anna")], [("person", "anna b"), ("person", "anna")]
    words, characters = 1 + 0, 2 / 6 + 1
    assert value(slu_f1([truth], [answer])) == pytest.approx(100 * 4 / (4 + words + characters))


def literal_slu_f1(references, hypotheses) -> float:
    """Word-F1's and char-F1's confusion counts by label, step by step, then precision and recall."""
    counts = {"tp": 0.0, "fp": 0.0, "fn": 0.0}
    for level in ("word", "char"):
        for reference, hypothesis in zip(references, hypotheses, strict=True):
            for label in {name for name, _ in [*reference, *hypothesis]}:
                waiting = [value for name, value in reference if name == label]
                for given in [value for name, value in hypothesis if name == label]:
                    if not waiting:
                        counts["fp"] += 1
                        continue
                    if level == "word":
                        far = [jiwer.wer(truth, given) for truth in waiting]
                    else:
                        far = [jiwer.process_characters(truth, given) for truth in waiting]
                        far = [
                            (c.substitutions + c.deletions + c.insertions) / max(len(t), len(given))
                            for c, t in zip(far, waiting, strict=True)
                        ]
                    nearest = far.index(min(far))
                    waiting.pop(nearest)
                    counts["tp"] += 1
                    counts["fp"] += far[nearest]
                    counts["fn"] += far[nearest]
                counts["fn"] += len(waiting)
    precision = counts["tp"] / max(counts["tp"] + counts["fp"], 1e-9)
    recall = counts["tp"] / max(counts["tp"] + counts["fn"], 1e-9)
    return 100 * 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(30))
def test_slu_f1_is_its_literal_twin(seed):
    draw = random.Random(seed)

    def entities() -> list[tuple[str, str]]:
        return [(draw.choice("ABC"), " ".join(draw.choices(["am", "pm", "anna", "ann", "nan"], k=draw.randint(1, 4)))) for _ in range(4)]

    references = [entities()[: draw.randint(0, 4)] for _ in range(6)] + [entities()]
    hypotheses = [entities()[: draw.randint(0, 4)] for _ in range(6)] + [entities()]
    assert value(slu_f1(references, hypotheses)) == pytest.approx(literal_slu_f1(references, hypotheses))


def test_entities_at_the_edges():
    assert value(slu_f1(ORDERS, ORDERS)) == value(entity_f1(ORDERS, ORDERS)) == 100
    assert value(slu_f1([[("date", "to day")]], [[("date", "To  Day")]])) == 100  # case and blanks
    assert value(slu_f1([[("date", "today")]], [[("Date", "today")]])) == 0  # labels are what they are
    assert value(slu_f1(ORDERS, [[]] * 5)) == value(entity_f1(ORDERS, [[]] * 5)) == 0
    assert value(slu_f1([[]], [[("date", "today")]])) == value(entity_f1([[]], [[("date", "today")]])) == 0
    assert math.isnan(value(slu_f1([[]], [[]]))) and math.isnan(value(slu_f1([], []))) and math.isnan(value(entity_f1([[]], [[]])))
    assert value(slu_f1([[("date", "")]], [[("date", "")]])) == 100  # an empty value is a value
    assert value(slu_f1([[("date", "today")]], [[("date", "")]])) == pytest.approx(50)  # the label is right, all of the value is missing
    with pytest.raises(ValueError):
        slu_f1(ORDERS, ANSWERS[:4])


def test_entity_f1_by_hand():
    # right: tomorrow; anna. 6 in truth, 7 answered.
    assert value(entity_f1(ORDERS, ANSWERS)) == pytest.approx(100 * 2 * 2 / (6 + 7))
    # A pair said twice is right as often as the reference has it.
    assert value(entity_f1([[("person", "anna")]], [[("person", "Anna"), ("person", "anna")]])) == pytest.approx(100 * 2 / 3)


def test_edits_are_jiwers():
    draw = random.Random(0)
    for _ in range(200):
        one, other = ("".join(draw.choices("abc", k=draw.randint(1, 8))) for _ in range(2))
        counted = jiwer.process_characters(one, other)
        assert _edits(one, other) == _edits(other, one) == counted.substitutions + counted.deletions + counted.insertions
    assert (_edits("", "abc"), _edits("abc", ""), _edits("", ""), _edits("kitten", "sitting")) == (3, 3, 0, 3)
    for truth, given in ("five am", "at nine am"), ("noon", "noon or so now"), ("", "noon today"):
        assert _word_distance(truth, given) == jiwer.wer(truth, given)


# --- confidences ---------------------------------------------------------------------------------------------------------------


def test_calibration_by_hand():
    # (0.5, 1]: 3 of 4 right at a mean of 0.8; [0, 0.5]: 0 of 1 right at 0.4.  4/5 * 0.05 + 1/5 * 0.4
    sure, right = [0.9, 0.8, 0.7, 0.8, 0.4], [1, 1, 0, 1, 0]
    assert value(calibration(sure, right, 2)) == pytest.approx(100 * (0.8 * 0.05 + 0.2 * 0.4))
    low, high = reliability(sure, right, 2)
    assert low == Bin(0.0, 0.5, 1, 0.4, 0.0)
    assert (high.low, high.high, high.n, high.confidence, high.accuracy) == (0.5, 1.0, 4, pytest.approx(0.8), 0.75)


@pytest.mark.parametrize("bins", [1, 3, 10, 15])
def test_calibration_is_its_slow_twin(bins):
    rng = np.random.default_rng(bins)
    sure = np.concatenate([rng.random(200), np.arange(21) / 20])
    right = rng.random(221) < sure
    total, seen = 0.0, 0
    for b, found in zip(range(bins), reliability(sure, right, bins), strict=True):
        inside = (sure > b / bins) & (sure <= (b + 1) / bins) | ((b == 0) & (sure == 0))
        total += inside.sum() / 221 * abs(right[inside].mean() - sure[inside].mean())
        seen += found.n
        assert found == Bin(b / bins, (b + 1) / bins, inside.sum(), pytest.approx(sure[inside].mean()), pytest.approx(right[inside].mean()))
    assert seen == 221
    assert value(calibration(sure, right, bins)) == pytest.approx(100 * total)


def test_a_bin_holds_its_upper_edge():
    for tenths in range(1, 11):  # 0.3 and 0.7 are no exact tenths of 1
        assert [found.n for found in reliability([tenths / 10], [1])].index(1) == tenths - 1
    assert reliability([0.0], [1])[0].n == 1


def test_the_calibration_of_some_examples_is_a_sum():
    rng = np.random.default_rng(0)
    sure, right = rng.random(50), rng.integers(0, 2, 50)
    rows = [3, 3, 7, 20, 41]
    tally = calibration(sure, right)
    assert tally.counts.shape == (50, 30) and tally.counts.dtype == np.float64
    assert tally.value(tally.counts[rows].sum(0)) == pytest.approx(value(calibration(sure[rows], right[rows])))


def test_calibration_at_its_edges():
    assert value(calibration([1.0, 0.0], [1, 0])) == 0
    assert value(calibration([1.0], [0])) == 100
    assert value(calibration([0.75], [0.75])) == 0  # right may be a share
    assert math.isnan(value(calibration([], [])))
    empty = reliability([], [], 2)
    assert [found.n for found in empty] == [0, 0] and math.isnan(empty[0].confidence) and math.isnan(empty[1].accuracy)
    for sure, right, bins in ([1.2], [1], 10), ([math.nan], [1], 10), ([0.5], [1, 0], 10), ([0.5], [1], 0):
        with pytest.raises(ValueError):
            calibration(sure, right, bins)
