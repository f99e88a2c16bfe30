"""The measures. In: what was answered beside what is right, one entry an example. Out: a `Tally`, whose score is the measure.

The counting is the field's own code: jiwer (word and character errors), sacrebleu (BLEU, chrF), pystoi, pesq. Those packages come
with `pip install lauragpt[eval]`; each is imported where it is used, and a missing one raises `MissingPackage`, so that the column
says how to get it and the rest of the evaluation goes on. What is short enough to be read is written here.
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

RESAMPLES = 1000  # bootstrap draws for an interval; the ends of a 95 % interval are then 25 draws deep


class MissingPackage(LauraError):
    """An optional package of the evaluation is not importable."""


def need(package: str) -> ModuleType:
    """The package, or MissingPackage with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(f"not measured: {package} is missing, `pip install {package}`") from error


# --- words and characters ------------------------------------------------------------------------------------------------------


def word_errors(reference: str, hypothesis: str, lang: str) -> tuple[int, int]:
    """(errors, reference words) after `spoken.normalize` of both sides: lower case, no punctuation, numbers in words."""
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


def wer(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str) -> Tally:
    """Corpus word error rate in per cent; of several references the one with the fewest errors a word counts."""
    return _error_rate(references, hypotheses, lang, word_errors)


def words_right(references: Sequence[str], hypotheses: Sequence[str], lang: str) -> Tally:
    """The share of the reference's words that were answered in their place, in per cent; words too many do not count against it."""
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
        min((count(one, hypothesis, lang) for one in several), key=lambda pair: pair[0] / max(pair[1], 1))
        for several, hypothesis in zip(references, hypotheses, strict=True)
    ]
    return ratio([errors for errors, _ in pairs], [words for _, words in pairs], 100)


# --- translation ---------------------------------------------------------------------------------------------------------------


def chrf(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> tuple[Tally, str]:
    """Corpus chrF2 and sacrebleu's signature. Text as written: case and punctuation count."""
    return _sacrebleu(need("sacrebleu").metrics.CHRF(), references, hypotheses)


def bleu(references: Sequence[Sequence[str]], hypotheses: Sequence[str], lang: str = "en") -> tuple[Tally, str]:
    tokenizer = "zh" if lang == "zh" else "13a"
    return _sacrebleu(need("sacrebleu").metrics.BLEU(tokenize=tokenizer, effective_order=False), references, hypotheses)


def _sacrebleu(metric, references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> tuple[Tally, str]:
    if not hypotheses:
        return mean([]), ""
    most = max(len(several) for several in references)  # sacrebleu wants streams: the k-th reference of all, None where there is none
    streams = [[several[k] if k < len(several) else None for several in references] for k in range(most)]
    # The counts a sentence that `corpus_score` sums; it has no public way to them.
    counts = np.array(metric._extract_corpus_statistics(list(hypotheses), streams), dtype=np.float64)
    return Tally(counts, lambda sums: float(metric._compute_score_from_stats(sums.astype(int).tolist()).score)), str(metric.get_signature())


# --- classes and slots ---------------------------------------------------------------------------------------------------------


def wa(references: Sequence[str], hypotheses: Sequence[str]) -> Tally:
    """Weighted accuracy: the share of the examples that are right, in per cent."""
    return mean([float(r == h) for r, h in zip(references, hypotheses, strict=True)], 100)


def confusion(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(c, c) how often class i was called class j, and the names of the classes."""
    names = sorted({*references, *hypotheses})
    table = np.zeros((len(names), len(names)), dtype=np.int64)
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        table[names.index(reference), names.index(hypothesis)] += 1
    return table, names


def ua(references: Sequence[str], hypotheses: Sequence[str]) -> Tally:
    """Unweighted accuracy: recall averaged over the classes that the references hold, in per cent."""

    def value(support: np.ndarray, given: np.ndarray, hits: np.ndarray) -> float:
        return 100 * float((hits[support > 0] / support[support > 0]).mean())

    return _by_class(references, hypotheses, value)


def wf1(references: Sequence[str], hypotheses: Sequence[str]) -> Tally:
    """F1 a class, averaged with the classes' support as weights (sklearn's `average="weighted"`), in per cent."""

    def value(support: np.ndarray, given: np.ndarray, hits: np.ndarray) -> float:
        f1 = 2 * hits / np.maximum(support + given, 1)  # 2PR/(P+R) with P = hits/given, R = hits/support
        return 100 * float((f1 * support).sum() / support.sum())

    return _by_class(references, hypotheses, value)


def _by_class(references: Sequence[str], hypotheses: Sequence[str], value: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Tally:
    """Counts an example: one-hot truth, one-hot answer, one-hot truth where they agree."""
    names = sorted({*references, *hypotheses})
    hot = np.eye(len(names))
    truth = hot[[names.index(r) for r in references]]
    given = hot[[names.index(h) for h in hypotheses]]
    return Tally(np.concatenate([truth, given, truth * given], 1), lambda sums: value(*np.split(sums, 3)))


@dataclass(frozen=True)
class SlotTallies:
    exact: Tally  # intent and every slot right, nothing added, in per cent
    intent: Tally


def slots(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> SlotTallies:
    """Lines of `tasks.slu_to_text`. Values are compared as lower-case words; slot order does not count."""
    exact, intents = [], []
    for several, hypothesis in zip(references, hypotheses, strict=True):
        intent, given = _order(hypothesis)
        orders = [_order(reference) for reference in several]
        exact.append(float((intent, given) in orders))
        intents.append(float(any(intent == right for right, _ in orders)))
    return SlotTallies(mean(exact, 100), mean(intents, 100))


def _order(line: str) -> tuple[str, frozenset[tuple[str, str]]]:
    intent, given = text_to_slu(line.lower())
    return intent, frozenset(given.items())


def right_sound(sounds: Sequence[str], captions: Sequence[str]) -> Tally:
    """The share of captions that name the class that is heard (`captions.sound_of`), in per cent."""
    return wa(sounds, [sound_of(caption) or "" for caption in captions])


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
