"""Metrics of captions, entities and confidences as counts of each example. In: answers or confidences, and references. Out: a `Tally`.

CIDEr-D for captions (0..10), SLU-F1 and exact F1 for entities, the expected calibration error for confidences (all three in per cent).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lauragpt.evaluate.tally import Tally, mean, ratio

ORDERS = range(1, 5)  # CIDEr's n-grams
SIGMA = 6.0  # words: the width of CIDEr-D's penalty on the difference in length
Entity = tuple[str, str]  # label, value

# --- captions ------------------------------------------------------------------------------------------------------------------


def cider_d(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> Tally:
    """CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726) times 10, the mean over the examples; counts (score, 1).

    Counted as in coco-caption's code, which departs from the paper's equation 1: term frequencies are counts, not shares of the sentence
    (with clipping they differ). Document frequencies come from all `references` and stay the same in subsets and resamples; a single
    example scores 0, because its n-grams are in every document. Words are split at blanks, in lower case, without punctuation, and not by
    coco-caption's PTB tokenizer, which needs Java and splits "dog's" in two.
    ValueError if an example has no reference.
    """
    texts = [[_words(caption) for caption in captions] for captions in references]
    if not all(texts):
        raise ValueError(f"example {texts.index([])} has no reference caption: at least one is needed")
    documents = Counter(gram for captions in texts for gram in {gram for words in captions for n in ORDERS for gram in _grams(words, n)})

    def weigh(words: list[str]) -> list[dict[tuple[str, ...], float]]:
        """n-gram -> TF-IDF, for each n; an n-gram in no reference counts as if it were in those of one example."""
        counts = [Counter(_grams(words, n)) for n in ORDERS]
        return [{gram: tf * math.log(len(texts) / max(documents[gram], 1)) for gram, tf in grams.items()} for grams in counts]

    def score(captions: list[list[str]], words: list[str]) -> float:
        weights, total = weigh(words), 0.0
        for reference in captions:
            penalty = math.exp(-((len(words) - len(reference)) ** 2) / (2 * SIGMA**2))
            total += penalty * sum(map(_clipped_cosine, weights, weigh(reference))) / len(ORDERS)
        return 10 * total / len(captions)

    return mean([score(captions, _words(hypothesis)) for captions, hypothesis in zip(texts, hypotheses, strict=True)])


def _words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def _clipped_cosine(answer: dict[tuple[str, ...], float], truth: dict[tuple[str, ...], float]) -> float:
    """Clipped, so that repeating a word of the reference more often than the reference does gains nothing."""
    dot = sum(min(answer[gram], truth[gram]) * truth[gram] for gram in answer.keys() & truth.keys())
    return dot / (math.hypot(*answer.values()) * math.hypot(*truth.values())) if dot else 0.0


# --- entities ------------------------------------------------------------------------------------------------------------------


def slu_f1(references: Sequence[Sequence[Entity]], hypotheses: Sequence[Sequence[Entity]]) -> Tally:
    """SLURP's SLU-F1 (Bastianelli et al. 2020, section 4) in per cent: word-F1 and char-F1 with their TP, FP and FN added up.

    Counted as in the public code: each entity of the answer, in order, takes the nearest remaining reference of its label, the first of
    equals. That is TP 1, and the distance of the values goes to both FP and FN. Unmatched entities are FP 1 or FN 1.
    The word distance is the word error rate, which can exceed 1; the character distance is edits over the longer value's length.
    Values are compared in lower case (the public loader does so for references only). nan, not 0 as there, if neither side has an entity.
    """
    twice_tp, sizes = [], []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        pairs = [_match(_folded(reference), _folded(hypothesis), distance) for distance in (_word_distance, _character_distance)]
        twice_tp.append(2 * sum(tp for tp, _ in pairs))
        sizes.append(twice_tp[-1] + sum(errors for _, errors in pairs))
    return ratio(twice_tp, sizes, 100)  # F1 = 2 TP / (2 TP + FP + FN)


def entity_f1(references: Sequence[Sequence[Entity]], hypotheses: Sequence[Sequence[Entity]]) -> Tally:
    """Micro F1 over (label, value) pairs in per cent, exact except for case. Labels and pairs may be repeated."""
    truths, answers = ([Counter(_folded(entities)) for entities in side] for side in (references, hypotheses))
    pairs = list(zip(truths, answers, strict=True))
    return ratio([2 * (r & h).total() for r, h in pairs], [r.total() + h.total() for r, h in pairs], 100)


def _folded(entities: Sequence[Entity]) -> list[Entity]:
    return [(label, " ".join(value.lower().split())) for label, value in entities]


def _match(reference: list[Entity], hypothesis: list[Entity], distance: Callable[[str, str], float]) -> tuple[int, float]:
    """(TP, FP + FN)"""
    left, tp, errors = list(reference), 0, 0.0
    for label, value in hypothesis:
        nearest = min(((distance(truth, value), i) for i, (name, truth) in enumerate(left) if name == label), default=None)
        if nearest is None:
            errors += 1
        else:
            tp, errors = tp + 1, errors + 2 * nearest[0]
            left.pop(nearest[1])
    return tp, errors + len(left)


def _word_distance(truth: str, value: str) -> float:
    return _edits(truth.split(), value.split()) / max(len(truth.split()), 1)


def _character_distance(truth: str, value: str) -> float:
    return _edits(truth, value) / max(len(truth), len(value), 1)


def _edits(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein distance."""
    row = list(range(len(other) + 1))  # distance from the first 0 of `one` to the first j of `other`
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


# --- confidences ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence is in (low, high]; the first bin also holds 0."""

    low: float
    high: float
    n: int
    confidence: float  # mean, 0..1; nan if the bin is empty
    accuracy: float  # likewise


def calibration(confidences: Sequence[float], accuracies: Sequence[float], bins: int = 10) -> Tally:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, equation 3) in per cent, over bins of equal width.

    `confidences` and `accuracies` (n,) are 0..1; counts (n, 3 * bins) are the number, the confidence and the accuracy in each bin. With few
    examples a bin the error is high even for a calibrated model, and higher still in resamples: its interval is only rough.
    ValueError if a confidence is not in 0..1, the lengths differ or there is no bin.
    """
    certainty, truth = np.asarray(confidences, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    n = len(certainty)
    if certainty.shape != truth.shape or bins < 1:
        raise ValueError(f"{n} confidences, {len(truth)} answers, {bins} bins: as many answers and at least one bin are needed")
    if not np.all((certainty >= 0) & (certainty <= 1)):
        raise ValueError("a confidence is not in 0..1: give probabilities, not logarithms or per cent")
    counts = np.zeros((n, 3, bins))
    counts[np.arange(n), :, np.searchsorted(np.arange(1, bins) / bins, certainty)] = np.stack([np.ones(n), certainty, truth], 1)
    return Tally(counts.reshape(n, 3 * bins), _calibration_error)


def _calibration_error(sums: np.ndarray) -> float:
    n, confidence, accuracy = sums.reshape(3, -1)
    return 100 * float(np.abs(accuracy - confidence).sum() / n.sum()) if n.sum() else math.nan


def reliability(confidences: Sequence[float], accuracies: Sequence[float], bins: int = 10) -> list[Bin]:
    """The bars of the reliability diagram, low to high, with empty bins. Raises as `calibration`."""
    sums = calibration(confidences, accuracies, bins).counts.sum(0).reshape(3, bins)
    means = (sums[1:] / np.where(sums[0], sums[0], np.nan)).tolist()
    return [Bin(b / bins, (b + 1) / bins, int(n), means[0][b], means[1][b]) for b, n in enumerate(sums[0])]
