"""The measures. In: what the model answered beside what is right. Out: a `Score` (value, 95 % interval, how many).

The counting is the field's own code: jiwer (word and character errors), sacrebleu (BLEU, chrF), pystoi, pesq. Those packages come
with `pip install lauragpt[eval]`; each is imported where it is used, and a missing one raises `MissingPackage`, so that the column
says how to get it and the rest of the evaluation goes on. What is short enough to be read is written here.
Rates (WER, UA, ...) are in per cent, as are BLEU and chrF; STOI is 0..1, PESQ -0.5..4.5, SI-SDR in dB.
"""

import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.captions import sound_of
from lauragpt.errors import LauraError
from lauragpt.tasks import text_to_slu
from lauragpt.text import normalize

RESAMPLES = 1000  # bootstrap draws for an interval; the ends of a 95 % interval are then 25 draws deep


class MissingPackage(LauraError):
    """An optional package of the evaluation is not importable."""


@dataclass(frozen=True)
class Score:
    value: float  # nan where nothing could be measured
    low: float = math.nan  # 95 % bootstrap interval over the examples
    high: float = math.nan
    n: int = 0


def need(package: str) -> ModuleType:
    """The package, or MissingPackage with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(f"not measured: {package} is missing, `pip install {package}`") from error


# --- intervals -----------------------------------------------------------------------------------------------------------------


def bootstrap(n: int, statistic: Callable[[np.ndarray], float], seed: int = 0, draws: int = RESAMPLES) -> Score:
    """`statistic(indices)` on all n examples, and its 2.5 and 97.5 percentiles over resamples of the examples with replacement."""
    if n == 0:
        return Score(math.nan)
    value = statistic(np.arange(n))
    if n == 1:  # one example says nothing about its own spread
        return Score(value, n=1)
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rng.integers(0, n, n)) for _ in range(draws)])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (math.nan, math.nan)
    return Score(float(value), float(low), float(high), n)


def mean(values: Sequence[float], seed: int = 0) -> Score:
    array = np.asarray(values, dtype=np.float64)
    return bootstrap(len(array), lambda rows: float(array[rows].mean()), seed)


def ratio(numerators: Sequence[float], denominators: Sequence[float], seed: int = 0) -> Score:
    """Sum over sum, as corpus WER is; resampled by example, numerator and denominator together."""
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if bottom.sum() == 0:
        return Score(math.nan, n=len(top))

    def statistic(rows: np.ndarray) -> float:
        total = bottom[rows].sum()
        return float(top[rows].sum() / total) if total else math.nan

    return bootstrap(len(top), statistic, seed)


def percent(score: Score) -> Score:
    return Score(100 * score.value, 100 * score.low, 100 * score.high, score.n)


# --- words and characters ------------------------------------------------------------------------------------------------------


def word_errors(reference: str, hypothesis: str, lang: str) -> tuple[int, int]:
    """(errors, reference words) after `text.normalize` of both sides: lower case, no punctuation, numbers in words."""
    return _errors(normalize(reference, lang), normalize(hypothesis, lang), need("jiwer").process_words)


def character_errors(reference: str, hypothesis: str, lang: str) -> tuple[int, int]:
    """(errors, reference characters), after the same normalisation; for languages written without spaces these go first."""
    reference, hypothesis = normalize(reference, lang), normalize(hypothesis, lang)
    if lang == "zh":
        reference, hypothesis = reference.replace(" ", ""), hypothesis.replace(" ", "")
    return _errors(reference, hypothesis, need("jiwer").process_characters)


def _errors(reference: str, hypothesis: str, process: Callable) -> tuple[int, int]:
    if not reference:  # jiwer refuses an empty reference: the other way round, all that was answered counts as deleted, so as an error
        return (process(hypothesis, "").deletions if hypothesis else 0), 0
    counted = process(reference, hypothesis)
    return counted.substitutions + counted.deletions + counted.insertions, counted.hits + counted.substitutions + counted.deletions


def wer(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str, seed: int = 0) -> Score:
    """Corpus word error rate in per cent; of several references the one with the fewest errors a word counts."""
    return _error_rate(references, hypotheses, lang, word_errors, seed)


def cer(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str, seed: int = 0) -> Score:
    return _error_rate(references, hypotheses, lang, character_errors, seed)


def _error_rate(references, hypotheses, lang: str, count: Callable, seed: int) -> Score:
    pairs = [
        min((count(one, hypothesis, lang) for one in several), key=lambda pair: pair[0] / max(pair[1], 1))
        for several, hypothesis in zip(references, hypotheses, strict=True)
    ]
    return percent(ratio([errors for errors, _ in pairs], [words for _, words in pairs], seed))


# --- translation ---------------------------------------------------------------------------------------------------------------


def chrf(references: Sequence[Sequence[str]], hypotheses: Sequence[str], seed: int = 0) -> tuple[Score, str]:
    """Corpus chrF2 and sacrebleu's signature. Text as written: case and punctuation count."""
    return _sacrebleu(need("sacrebleu").metrics.CHRF(), references, hypotheses, seed)


def bleu(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str = "en", seed: int = 0) -> tuple[Score, str]:
    tokenizer = "zh" if lang == "zh" else "13a"
    return _sacrebleu(need("sacrebleu").metrics.BLEU(tokenize=tokenizer, effective_order=False), references, hypotheses, seed)


def _sacrebleu(metric, references, hypotheses, seed: int) -> tuple[Score, str]:
    if not hypotheses:
        return Score(math.nan), ""
    most = max(len(several) for several in references)  # sacrebleu wants streams: the k-th reference of all, None where there is none
    streams = [[several[k] if k < len(several) else None for several in references] for k in range(most)]
    whole = metric.corpus_score(list(hypotheses), streams)
    # Counts a sentence, once: a resample is then a sum. `corpus_score(n_bootstrap=...)` does the same but gives a half width only.
    counts = np.array(metric._extract_corpus_statistics(list(hypotheses), streams), dtype=np.int64)
    spread = bootstrap(len(counts), lambda rows: metric._compute_score_from_stats(counts[rows].sum(0).tolist()).score, seed)
    return Score(float(whole.score), spread.low, spread.high, len(hypotheses)), str(metric.get_signature())


# --- classes and slots ---------------------------------------------------------------------------------------------------------


def wa(references: Sequence[str], hypotheses: Sequence[str], seed: int = 0) -> Score:
    """Weighted accuracy: the share of the examples that are right, in per cent."""
    return percent(mean([float(r == h) for r, h in zip(references, hypotheses, strict=True)], seed))


def ua(references: Sequence[str], hypotheses: Sequence[str], seed: int = 0) -> Score:
    """Unweighted accuracy: recall averaged over the classes that the references hold, in per cent."""
    truth, right, classes = _classes(references, hypotheses)

    def statistic(rows: np.ndarray) -> float:
        support = np.bincount(truth[rows], minlength=classes)
        hits = np.bincount(truth[rows], weights=right[rows], minlength=classes)
        return float((hits[support > 0] / support[support > 0]).mean())

    return percent(bootstrap(len(truth), statistic, seed))


def wf1(references: Sequence[str], hypotheses: Sequence[str], seed: int = 0) -> Score:
    """F1 a class, averaged with the classes' support as weights (sklearn's `average="weighted"`), in per cent."""
    names = sorted({*references, *hypotheses})
    truth = np.array([names.index(r) for r in references], dtype=np.int64)
    answer = np.array([names.index(h) for h in hypotheses], dtype=np.int64)

    def statistic(rows: np.ndarray) -> float:
        support = np.bincount(truth[rows], minlength=len(names))
        given = np.bincount(answer[rows], minlength=len(names))
        hits = np.bincount(truth[rows], weights=truth[rows] == answer[rows], minlength=len(names))
        f1 = 2 * hits / np.maximum(support + given, 1)  # 2PR/(P+R) with P = hits/given, R = hits/support
        return float((f1 * support).sum() / support.sum())

    return percent(bootstrap(len(truth), statistic, seed))


def _classes(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
    names = sorted(set(references))
    truth = np.array([names.index(r) for r in references], dtype=np.int64)
    right = np.array([float(r == h) for r, h in zip(references, hypotheses, strict=True)])
    return truth, right, len(names)


@dataclass(frozen=True)
class SlotScores:
    exact: Score  # intent and every slot right, nothing added, in per cent
    intent: Score
    f1: Score  # micro F1 over (slot, value) pairs, in per cent


def slots(references: Sequence[Sequence[str]], hypotheses: Sequence[str], seed: int = 0) -> SlotScores:
    """Lines of `tasks.slu_to_text`. Values are compared as lower-case words; slot order does not count."""
    exact, intents, hits, sizes = [], [], [], []
    for several, hypothesis in zip(references, hypotheses, strict=True):
        intent, given = _order(hypothesis)
        orders = [_order(reference) for reference in several]
        exact.append(float((intent, given) in orders))
        intents.append(float(any(intent == right for right, _ in orders)))
        truth = max((right for _, right in orders), key=lambda right: len(right & given))
        hits.append(2 * len(truth & given))
        sizes.append(len(truth) + len(given))
    return SlotScores(percent(mean(exact, seed)), percent(mean(intents, seed)), percent(ratio(hits, sizes, seed)))


def _order(line: str) -> tuple[str, frozenset[tuple[str, str]]]:
    intent, given = text_to_slu(line.lower())
    return intent, frozenset(given.items())


def right_sound(sounds: Sequence[str], captions: Sequence[str], seed: int = 0) -> Score:
    """The share of captions that name the class that is heard (`captions.sound_of`), in per cent."""
    return wa(sounds, [sound_of(caption) or "" for caption in captions], seed)


# --- sound ---------------------------------------------------------------------------------------------------------------------


def stoi(clean: np.ndarray, heard: np.ndarray) -> float | None:
    """Short-time objective intelligibility of `heard` (N,) against `clean` (N,), 0..1. None: too little speech to say (under 30 frames)."""
    package = need("pystoi")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # pystoi warns and answers 1e-5 where it has too few frames
        try:
            return float(package.stoi(clean, heard, SAMPLE_RATE))
        except (RuntimeWarning, ValueError):
            return None


def pesq(clean: np.ndarray, heard: np.ndarray) -> float | None:
    """Wide-band PESQ (ITU-T P.862.2). None: no speech found in either of them."""
    package = need("pesq")
    if not clean.any() or not heard.any():
        return None  # the package would divide by the peak
    try:
        return float(package.pesq(SAMPLE_RATE, clean, heard, "wb"))
    except (package.PesqError, ValueError, ZeroDivisionError):
        return None


def si_sdr(clean: np.ndarray, heard: np.ndarray) -> float | None:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), means removed. None where one of them is silent."""
    target, estimate = clean.astype(np.float64) - clean.mean(), heard.astype(np.float64) - heard.mean()
    energy = float(target @ target)
    if energy == 0 or not estimate.any():
        return None
    projection = (estimate @ target / energy) * target
    noise = float(np.sum((estimate - projection) ** 2))
    return float(np.clip(10 * np.log10(max(float(projection @ projection), 1e-20) / max(noise, 1e-20)), -100, 100))
