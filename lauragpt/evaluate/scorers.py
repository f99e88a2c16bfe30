"""One function a task: from its examples and what was answered to its rows. What is compared with what, and what the trivial floor is,
is decided here; no model is run.

In: a `Group` (examples of one task, corpus and pair of languages, each with its answers by variant) and the `Bench`. Out: `Row`s.
`SCORERS[task](bench, group)`; a task's score lives in its function and nowhere else.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lauragpt.data.manifest import Example
from lauragpt.evaluate import metrics
from lauragpt.evaluate.ablation import COMPARED, NOISY, TRUE
from lauragpt.evaluate.answers import Answer
from lauragpt.evaluate.counts import calibration, cider_d, entity_f1, slu_f1
from lauragpt.evaluate.judges import OUTSIDE
from lauragpt.evaluate.report.tables import Row
from lauragpt.evaluate.systems import OPUS, REAL
from lauragpt.evaluate.tally import Tally, mean, ratio
from lauragpt.tasks import BUILT_IN, text_to_slu

CANDIDATES = 30  # constant sentences tried for the floor of translation


@dataclass
class Group:
    """Examples of one corpus and one pair of languages, and what was answered to them: what a row is about."""

    task: str
    name: str
    lang: str
    examples: list[Example]
    available: int  # before the limit
    answers: list[dict[str, Answer]] = field(default_factory=list)  # by variant, one an example

    def of(self, variant: str = "") -> tuple[list[Example], list[Answer]]:
        """The examples that have an answer of this variant, and the answers."""
        pairs = [(e, a[variant]) for e, a in zip(self.examples, self.answers) if variant in a and not a[variant].failure]
        return [e for e, _ in pairs], [a for _, a in pairs]

    def variants(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.answers for name, answer in row.items() if not answer.failure))

    def row(self, metric: str, tally: Tally, bench: "Bench", variant: str = "", name: str | None = None, **more) -> Row:
        examples, answers = self.of(variant)
        seconds, audio = sum(a.seconds for a in answers), sum(a.audio_seconds for a in answers)
        return Row(
            self.task, name or self.name, len(tally), self.available, metric, tally.score(bench.seed), tally=tally, seconds=seconds,
            audio_seconds=audio if seconds else 0.0, examples=examples, answers=answers, **more,
        )  # fmt: skip


@dataclass
class Bench:
    train: list[Example]  # of the tasks measured; floors come from these. [] when there is no train.jsonl
    seed: int = 0

    def commonest(self, group: Group) -> tuple[str, str]:
        """The most frequent answer of the corpus in training, and where it was counted."""
        known = [e for e in self.train if e.task == group.task and e.corpus == group.name.split(" ")[0]]
        counts = Counter(e.targets[0] for e in known or group.examples)
        return max(counts, key=lambda text: (counts[text], text)), "of train" if known else "of this split"


def column(measure: Callable[[], Tally]) -> float | str:
    """A further column: its value, or how to get the package that it lacks."""
    try:
        return measure().total
    except metrics.MissingPackage as error:
        return str(error)


def loops(answers: Sequence[Answer]) -> float:
    """The share of answers that went on until they were stopped, in per cent (the paper's loop ratio)."""
    return mean([float(a.finish in ("length", "guard")) for a in answers], 100).total


def answer_confidence(answers: Sequence[Answer], right: Sequence[float]) -> dict[str, float | str]:
    """Expected calibration error, where there are confidences."""
    known = [(a.confidence, r) for a, r in zip(answers, right, strict=True) if a.confidence is not None]
    return {"ECE %": calibration(*zip(*known)).total} if known else {}


def asr(bench: Bench, group: Group) -> list[Row]:
    """Word errors of the text, the language given. Where nothing is said, how often nothing is answered."""
    examples, answers = group.of()
    targets, texts = [e.targets for e in examples], [a.text for a in answers]
    if not any(text for several in targets for text in several):
        silent = mean([float(not text.strip()) for text in texts], 100)
        words = sum(len(text.split()) for text in texts) / max(1e-9, sum(a.audio_seconds for a in answers) / 60)
        return [group.row("stays silent %", silent, bench, floor=100.0, floor_name="always empty", also={"words invented a minute": words})]
    greedy = [a.texts.get("CTC greedy") for a in answers]
    errors = metrics.wer(targets, texts, group.lang)
    also: dict[str, float | str] = {"CER %": column(lambda: metrics.cer(targets, texts, group.lang))}
    if answers and None not in greedy:
        also["CTC greedy WER %"] = column(lambda: metrics.wer(targets, greedy, group.lang))
    accuracy = [max(0.0, 1 - top / bottom) if bottom else 0.0 for top, bottom in errors.counts]
    also |= {"loops %": loops(answers)} | answer_confidence(answers, accuracy)
    tally, name = (metrics.cer(targets, texts, group.lang), "CER %") if group.lang == "zh" else (errors, "WER %")
    return [group.row(name, tally, bench, floor=100.0, floor_name="empty text", also=also, lower_is_better=True)]


def translation(bench: Bench, group: Group) -> list[Row]:
    examples, answers = group.of()
    targets, texts = [e.targets for e in examples], [a.text for a in answers]
    tally, signature = metrics.chrf(targets, texts)
    blue, blue_signature = metrics.bleu(targets, texts, group.lang)
    also: dict[str, float | str] = {"BLEU": blue.total, "loops %": loops(answers)}
    if examples and all(example.source for example in examples):
        also["chrF of the copied source"] = column(lambda: metrics.chrf(targets, [example.source for example in examples])[0])
    also |= {"chrF is": signature, "BLEU is": blue_signature}
    constant = best_constant(bench, group, targets)
    floor = metrics.chrf(targets, [constant] * len(targets))[0].total if targets else None
    return [group.row("chrF", tally, bench, floor=floor, floor_name="best constant sentence", also=also)]


def best_constant(bench: Bench, group: Group, targets: list[list[str]]) -> str:
    """The sentence that scores best when it is the answer to everything, of some training targets (else of the references)."""
    known = [e for e in bench.train if e.task == group.task and e.lang == group.lang and e.corpus == group.name.split(" ")[0]]
    texts = sorted({e.targets[0] for e in known} or {several[0] for several in targets}, key=digest)[:CANDIDATES]
    some = targets[:200]
    package = metrics.need("sacrebleu").metrics.CHRF()
    streams = [[several[0] for several in some]]
    return max(texts, key=lambda text: package.corpus_score([text] * len(some), streams).score, default="")


def ser(bench: Bench, group: Group) -> list[Row]:
    examples, answers = group.of()
    truth, texts = [example.targets[0] for example in examples], [a.text for a in answers]
    label, where = bench.commonest(group)
    right = [float(t == text) for t, text in zip(truth, texts)]
    shares = [Answer(confidence=max(a.scores.values()) if a.scores else a.confidence) for a in answers]
    also = {"WA %": column(lambda: metrics.wa(truth, texts)), "WF1 %": column(lambda: metrics.wf1(truth, texts))} | answer_confidence(shares, right)
    floor = metrics.ua(truth, [label] * len(truth)).total
    row = group.row("UA %", metrics.ua(truth, texts), bench, floor=floor, floor_name=f"always {label}, the commonest {where}", also=also)
    row.confusion = metrics.confusion(truth, texts)
    return [row]


def aac(bench: Bench, group: Group) -> list[Row]:
    examples, answers = group.of()
    targets, texts = [e.targets for e in examples], [a.text for a in answers]
    sounds = [example.extra.get("sound") for example in examples]
    whose = " on our own wordings" if all(sounds) else ""
    also: dict[str, float | str] = {
        f"CIDEr-D{whose}": column(lambda: cider_d(targets, texts)), f"chrF{whose}": column(lambda: metrics.chrf(targets, texts)[0]),
        "loops %": loops(answers), "SPICE, SPIDEr, FENSE": "not measured: they need Java or weights of their own",
    }  # fmt: skip
    if not all(sounds):  # human captions: no class to name
        return [group.row("CIDEr-D", cider_d(targets, texts), bench, also=also)]
    known = [e.extra["sound"] for e in bench.train if e.task == "aac" and "sound" in e.extra]
    counts = Counter(known or sounds)
    label = max(counts, key=lambda sound: (counts[sound], sound))
    floor = metrics.wa(sounds, [label] * len(sounds)).total
    tally = metrics.right_sound(sounds, texts)
    also |= answer_confidence(answers, tally.counts[:, 0])
    return [group.row("right sound %", tally, bench, floor=floor, floor_name=f"always {label}", also=also)]


def slu(bench: Bench, group: Group) -> list[Row]:
    # the text of an answer is what the GPT wrote: the line of tasks.slu_to_text
    examples, answers = group.of()
    targets, texts = [e.targets for e in examples], [a.text for a in answers]
    scores = metrics.slots(targets, texts)
    line, where = bench.commonest(group)
    constant = metrics.slots(targets, [line] * len(texts))
    truth, given = [entities(e.targets[0], e) for e in examples], [entities(text) for text in texts]
    also: dict[str, float | str] = {
        "intent %": column(lambda: scores.intent), "slot F1 %": column(lambda: entity_f1(truth, given)),
        "slot F1 % of the floor": column(lambda: entity_f1(truth, [entities(line)] * len(truth))),
        "SLU-F1 %": column(lambda: slu_f1(truth, given)), "loops %": loops(answers),
    }  # fmt: skip
    also |= answer_confidence(answers, scores.exact.counts[:, 0])
    floor_name = f"always the commonest {where}: {text_to_slu(line)[0]} ..."
    floor = constant.exact.total
    return [group.row("every slot right %", scores.exact, bench, floor=floor, floor_name=floor_name, also=also)]


def entities(line: str, example: Example | None = None) -> list[tuple[str, str]]:
    """(slot, value) pairs of a line; values that were joined by a comma apart again. An example may know them better."""
    if example is not None and example.extra.get("entities"):
        return [(name, value) for name, value in example.extra["entities"]]
    return [(name, value) for name, joined in text_to_slu(line)[1].items() for value in joined.split(", ")]


def se(bench: Bench, group: Group) -> list[Row]:
    """The ablation from noisy input to the codec's ceiling. The GPT's row must stand clear of the shuffled one, or its tokens do nothing."""
    rows, floor = [], None
    for variant in group.variants():
        examples, answers = group.of(variant)
        tally = _quality(answers, "STOI")
        floor = tally.total if variant == NOISY else floor
        mine = {"floor": floor, "floor_name": "untouched"} if variant not in COMPARED and floor is not None else {}
        also = _qualities(answers) | _heard(examples, answers, group.lang)
        rows.append(group.row("STOI", tally, bench, variant, name=f"{group.name}: {variant}", also=also, **mine))
    return rows


def _heard(examples: Sequence[Example], answers: Sequence[Answer], lang: str) -> dict[str, float | str]:
    """What recognisers hear of enhanced speech, where it is known what was said."""
    known = [(e.extra["transcript"], a) for e, a in zip(examples, answers, strict=True) if e.extra.get("transcript") and "itself" in a.texts]
    if not known:
        return {}
    said, found = [[text] for text, _ in known], {}
    for judge in (OUTSIDE, "itself") if lang == "en" else ("itself",):
        told = [a.texts.get(judge) for _, a in known]
        missing = f"not measured: {judge} is missing, `pip install {judge}`"
        found[f"WER % heard by {judge}"] = missing if None in told else column(lambda told=told: metrics.wer(said, told, lang))
    return found


def tts(bench: Bench, group: Group) -> list[Row]:
    """What a recogniser hears of each voice, beside what it hears of the real recordings of the same sentences."""
    outside, rows, floor = group.lang == "en", [], None
    judge = OUTSIDE if outside else "this model itself, for want of an outside recogniser"
    for variant in group.variants():
        examples, answers = group.of(variant)
        sources = [[example.source] for example in examples]
        tally = metrics.wer(sources, [a.text for a in answers], group.lang)
        value = tally.total
        also: dict[str, float | str] = {"heard by": judge}
        if outside and all("itself" in a.texts for a in answers):
            also["WER % heard by itself"] = column(lambda a=answers, s=sources: metrics.wer(s, [x.texts["itself"] for x in a], group.lang))
        more = {}
        if variant == REAL:
            floor = value
        elif variant == TRUE:
            also |= {"STOI": _quality(answers, "STOI").total} | _qualities(answers)
            more = {"floor": floor, "floor_name": REAL}
        else:
            real = [row[REAL].audio_seconds for row in group.answers if variant in row and REAL in row]
            also |= {
                "words heard right %": column(lambda a=answers, s=sources: metrics.words_right([t for [t] in s], [x.text for x in a], group.lang)),
                "length to the real one": column(lambda a=answers, r=real: _lengths(a, r)),
                "never ended %": loops(answers),
            }  # fmt: skip
            if any("similarity" in a.scores for a in answers):
                also["similarity to the voice"] = _quality(answers, "similarity").total
            more = {"floor": floor, "floor_name": REAL}
        rows.append(group.row("WER %", tally, bench, variant, name=f"{group.name}: {variant}", also=also, lower_is_better=True, **more))
    return rows


def _lengths(answers: list[Answer], real: list[float]) -> Tally:
    return ratio([a.audio_seconds for a in answers], real)


def codec(bench: Bench, group: Group) -> list[Row]:
    """The sound after so many quantizers, and how many of the 1024 codes of the last of them these recordings use; Opus beside them."""
    rows = []
    for variant in group.variants():
        _, answers = group.of(variant)
        rows.append(group.row("STOI", _quality(answers, "STOI"), bench, variant, name=f"{group.name}: {variant}", also=_qualities(answers)))
        rows[-1].also["kbit/s"] = _quality(answers, "kbit/s").total
        if variant.startswith(OPUS):
            continue
        used = Counter(code for a in answers for code in a.text.split())
        share = np.array(list(used.values())) / max(1, sum(used.values()))
        rows[-1].also |= {"codes used": float(len(used)), "perplexity": float(np.exp(-(share * np.log(share)).sum()))}
    return rows


def _quality(answers: Sequence[Answer], name: str) -> Tally:
    return mean([a.scores[name] for a in answers if name in a.scores])


def _qualities(answers: Sequence[Answer]) -> dict[str, float | str]:
    return {name: _quality(answers, name).total for name in ("PESQ", "SI-SDR dB")}


def digest(text: str) -> bytes:
    """The order in which a limit takes examples: by hash, the same on every machine."""
    return hashlib.sha256(text.encode()).digest()


SCORERS: dict[str, Callable[[Bench, Group], list[Row]]] = {
    "asr": asr, "s2tt": translation, "mt": translation, "tts": tts, "se": se, "aac": aac, "ser": ser, "slu": slu,
    "codec": codec,
}  # fmt: skip
assert SCORERS.keys() == {*BUILT_IN, "codec"}
