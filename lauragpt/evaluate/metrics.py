"""The metrics. In: answers and references, one entry an example. Out: a `Tally`, whose score is the metric.

The counting is done by the standard packages: jiwer (word and character errors), sacrebleu (BLEU, chrF), pystoi, pesq. They come with
the extra `eval`; each is imported where it is used, and a missing one raises `MissingPackage`, so that its column says how
to install it and the rest of the evaluation continues. Short metrics are written here.
Rates (WER, UA, ...) are in per cent, as are BLEU and chrF; STOI is 0..1, PESQ -0.5..4.5, SI-SDR in dB.
"""

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.captions import sound_of
from lauragpt.errors import LauraError
from lauragpt.evaluate.tally import Tally, mean, ratio
from lauragpt.spoken import normalize
from lauragpt.tasks import text_to_slu


class MissingPackage(LauraError):
    """An optional package of the evaluation cannot be imported."""


def need(package: str, install: str = "") -> ModuleType:
    """The package, or MissingPackage with the command that installs it, as `install` if that is another name."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(f"not measured: {install or package} is missing, `pip install {install or package}`") from error


# --- words and characters ------------------------------------------------------------------------------------------------------


def word_errors(reference: str, hypothesis: str, lang: str) -> tuple[int, int]:
    """(errors, reference words) after `spoken.normalize` of both sides: lower case, no punctuation, numbers in words."""
    return _errors(normalize(reference, lang), normalize(hypothesis, lang), need("jiwer").process_words)


def character_errors(reference: str, hypothesis: str, lang: str) -> tuple[int, int]:
    """(errors, reference characters), after the same normalisation; Chinese is counted without spaces."""
    reference, hypothesis = normalize(reference, lang), normalize(hypothesis, lang)
    if lang == "zh":
        reference, hypothesis = reference.replace(" ", ""), hypothesis.replace(" ", "")
    return _errors(reference, hypothesis, need("jiwer").process_characters)


def _errors(reference: str, hypothesis: str, process: Callable) -> tuple[int, int]:
    if not reference:  # jiwer refuses an empty reference. With the sides exchanged, every answered word is a deletion, and so an error.
        return (process(hypothesis, "").deletions if hypothesis else 0), 0
    counted = process(reference, hypothesis)
    return counted.substitutions + counted.deletions + counted.insertions, counted.hits + counted.substitutions + counted.deletions


def wer(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str) -> Tally:
    """Corpus word error rate in per cent; of several references, the one with the lowest rate counts."""
    return _error_rate(references, hypotheses, lang, word_errors)


def words_right(references: Sequence[str], hypotheses: Sequence[str], lang: str) -> Tally:
    """The share of the reference's words that the answer has in their place, in per cent; inserted words do not count."""
    hits, words = [], []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        reference, hypothesis = normalize(reference, lang), normalize(hypothesis, lang)
        hits.append(need("jiwer").process_words(reference, hypothesis).hits if reference else 0)
        words.append(len(reference.split()))
    return ratio(hits, words, 100)


def cer(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str) -> Tally:
    return _error_rate(references, hypotheses, lang, character_errors)


def _error_rate(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str, count: Callable) -> Tally:
    pairs = [
        min((count(reference, hypothesis, lang) for reference in alternatives), key=lambda pair: pair[0] / max(pair[1], 1))
        for alternatives, hypothesis in zip(references, hypotheses, strict=True)
    ]
    return ratio([errors for errors, _ in pairs], [words for _, words in pairs], 100)


# --- translation ---------------------------------------------------------------------------------------------------------------


def chrf(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> tuple[Tally, str]:
    """Corpus chrF2 and sacrebleu's signature. Case and punctuation count."""
    return _sacrebleu(need("sacrebleu").metrics.CHRF(), references, hypotheses)


def bleu(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str = "en") -> tuple[Tally, str]:
    tokenizer = "zh" if lang == "zh" else "13a"
    return _sacrebleu(need("sacrebleu").metrics.BLEU(tokenize=tokenizer, effective_order=False), references, hypotheses)


def _sacrebleu(metric, references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> tuple[Tally, str]:
    if not hypotheses:
        return mean([]), ""
    most = max(map(len, references))  # sacrebleu takes streams: the k-th reference of every example, or None
    streams = [[alternatives[k] if k < len(alternatives) else None for alternatives in references] for k in range(most)]
    # The counts that `corpus_score` sums over sentences; there is no public way to them.
    counts = np.array(metric._extract_corpus_statistics(list(hypotheses), streams), dtype=np.float64)
    return Tally(counts, lambda sums: float(metric._compute_score_from_stats(sums.astype(int).tolist()).score)), str(metric.get_signature())


# --- classes and slots ---------------------------------------------------------------------------------------------------------


def wa(references: Sequence[str], hypotheses: Sequence[str]) -> Tally:
    """Weighted accuracy: the share of the examples that are right, in per cent."""
    return mean([float(r == h) for r, h in zip(references, hypotheses, strict=True)], 100)


def confusion(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(c, c) how often class i was answered with class j, and the names of the classes."""
    names = sorted({*references, *hypotheses})
    table = np.zeros((len(names), len(names)), dtype=np.int64)
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        table[names.index(reference), names.index(hypothesis)] += 1
    return table, names


def ua(references: Sequence[str], hypotheses: Sequence[str]) -> Tally:
    """Unweighted accuracy: recall averaged over the classes of the references, in per cent."""

    def value(support: np.ndarray, predicted: np.ndarray, hits: np.ndarray) -> float:
        return 100 * float((hits[support > 0] / support[support > 0]).mean())

    return _by_class(references, hypotheses, value)


def wf1(references: Sequence[str], hypotheses: Sequence[str]) -> Tally:
    """F1 of each class, averaged with the classes' support as weights (sklearn's `average="weighted"`), in per cent."""

    def value(support: np.ndarray, predicted: np.ndarray, hits: np.ndarray) -> float:
        f1 = 2 * hits / np.maximum(support + predicted, 1)  # 2PR/(P+R) with P = hits/predicted, R = hits/support
        return 100 * float((f1 * support).sum() / support.sum())

    return _by_class(references, hypotheses, value)


def _by_class(references: Sequence[str], hypotheses: Sequence[str], value: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Tally:
    """Counts of an example: one-hot truth, one-hot answer, one-hot truth if they agree."""
    names = sorted({*references, *hypotheses})
    hot = np.eye(len(names))
    truth = hot[[names.index(r) for r in references]]
    predicted = hot[[names.index(h) for h in hypotheses]]
    return Tally(np.concatenate([truth, predicted, truth * predicted], 1), lambda sums: value(*np.split(sums, 3)))


@dataclass(frozen=True)
class SlotTallies:
    exact: Tally  # intent and every slot right and no slot added, in per cent
    intent: Tally


def slots(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> SlotTallies:
    """Lines of `tasks.slu_to_text`. Values are compared as lower-case words; slot order does not count."""
    exact, intents = [], []
    for alternatives, hypothesis in zip(references, hypotheses, strict=True):
        prediction = _parse_slu(hypothesis)
        truths = [_parse_slu(reference) for reference in alternatives]
        exact.append(float(prediction in truths))
        intents.append(float(any(prediction[0] == intent for intent, _ in truths)))
    return SlotTallies(mean(exact, 100), mean(intents, 100))


def _parse_slu(line: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """(intent, {(slot, value)})"""
    intent, pairs = text_to_slu(line.lower())
    return intent, frozenset(pairs.items())


def right_sound(sounds: Sequence[str], captions: Sequence[str]) -> Tally:
    """The share of captions that name the class of the sound (`captions.sound_of`), in per cent."""
    return wa(sounds, [sound_of(caption) or "" for caption in captions])


# --- sound ---------------------------------------------------------------------------------------------------------------------


def stoi(clean: np.ndarray, wave: np.ndarray) -> float | None:
    """Short-time objective intelligibility of `wave` (N,) against `clean` (N,), 0..1. None if there is too little speech (under 30
    frames)."""
    package = need("pystoi")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # with too few frames pystoi warns and returns 1e-5
        try:
            return float(package.stoi(clean, wave, SAMPLE_RATE))
        except (RuntimeWarning, ValueError):
            return None


def pesq(clean: np.ndarray, wave: np.ndarray) -> float | None:
    """Wide-band PESQ (ITU-T P.862.2). None if one of them holds no speech."""
    package = need("pesq")
    if not clean.any() or not wave.any():
        return None  # the package would divide by the peak
    try:
        return float(package.pesq(SAMPLE_RATE, clean, wave, "wb"))
    except (package.PesqError, ValueError, ZeroDivisionError):
        return None


def si_sdr(clean: np.ndarray, wave: np.ndarray) -> float | None:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), means removed. None if one of them is silent."""
    target, estimate = clean.astype(np.float64) - clean.mean(), wave.astype(np.float64) - wave.mean()
    energy = float(target @ target)
    if energy == 0 or not estimate.any():
        return None
    projection = (estimate @ target / energy) * target
    noise = float(np.sum((estimate - projection) ** 2))
    return float(np.clip(10 * np.log10(max(float(projection @ projection), 1e-20) / max(noise, 1e-20)), -100, 100))
