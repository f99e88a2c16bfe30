"""One function a task: from examples and their answers to rows of the report. Each decides what is compared and what the trivial floor is.

In: a `Group` (examples of one task, corpus and pair of languages, each with its answers by variant) and the `Bench`. Out: `Row`s.
`SCORERS[task](bench, group)`; a task's score is computed in its function and nowhere else. No model is run here.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from lauragpt.data.manifest import Example
from lauragpt.evaluate import metrics
from lauragpt.evaluate.answers import NOISY, OPUS, REAL, REFERENCES, TRUE, Answer, has_words
from lauragpt.evaluate.counts import calibration, cider_d, entity_f1, slu_f1
from lauragpt.evaluate.groups import Bench, Group, digest
from lauragpt.evaluate.report.tables import Row, sentence
from lauragpt.evaluate.tally import Tally, compare, mean, ratio
from lauragpt.tasks import BUILT_IN, text_to_slu

CANDIDATES = 30  # constant sentences tried for the floor of translation
Further = dict[str, Tally | float | str]  # columns beside the score; a text says why there is no number


def column(measure: Callable[[], Tally]) -> Tally | str:
    """A further column: its counts, or how to install the package that it needs."""
    try:
        return measure()
    except metrics.MissingPackage as error:
        return str(error)


def loops(answers: Sequence[Answer]) -> Tally:
    """The share of answers that went on until they were stopped, in per cent (the paper's loop ratio)."""
    return mean([float(a.finish in ("length", "guard")) for a in answers], 100)


def calibration_error(answers: Sequence[Answer], accuracy: Sequence[float]) -> Further:
    """Expected calibration error, if there are confidences."""
    pairs = [(a.confidence, value) for a, value in zip(answers, accuracy, strict=True) if a.confidence is not None]
    return {"ECE %": calibration(*zip(*pairs)).total} if pairs else {}


def asr(bench: Bench, group: Group) -> list[Row]:
    """Word errors of the text. For recordings without speech, how often the answer is empty."""
    examples, answers = group.of()
    targets, texts = [e.targets for e in examples], [a.text for a in answers]
    if not any(text for several in targets for text in several):
        empty = mean([float(not text.strip()) for text in texts], 100)
        words = sum(len(text.split()) for text in texts) / max(1e-9, sum(a.audio_seconds for a in answers) / 60)
        return [group.row("stays silent %", empty, bench, floor=100.0, floor_name="always empty", also={"words invented a minute": words})]
    greedy = [a.texts.get("CTC greedy") for a in answers]
    errors = metrics.wer(targets, texts, group.lang)
    also: Further = {"CER %": column(lambda: metrics.cer(targets, texts, group.lang))}
    if answers and None not in greedy:
        also["CTC greedy WER %"] = column(lambda: metrics.wer(targets, greedy, group.lang))
    accuracy = [max(0.0, 1 - wrong / words) if words else 0.0 for wrong, words in errors.counts]
    also |= {"loops %": loops(answers)} | calibration_error(answers, accuracy)
    tally, name = (metrics.cer(targets, texts, group.lang), "CER %") if group.lang == "zh" else (errors, "WER %")
    return [group.row(name, tally, bench, floor=100.0, floor_name="empty text", also=also, lower_is_better=True)]


def translation(bench: Bench, group: Group) -> list[Row]:
    """A row, or of speech that was translated directly and as a cascade a row each, the second compared with the first."""
    rows = [_translation(bench, group, variant) for variant in group.variants() or [""]]
    if len(rows) == 2:
        direct, cascade = rows
        cascade.also["compared with direct"] = sentence(compare(direct.tally, cascade.tally, higher_is_better=True, seed=bench.seed))
    return rows


def _translation(bench: Bench, group: Group, variant: str) -> Row:
    examples, answers = group.of(variant)
    targets, texts = [e.targets for e in examples], [a.text for a in answers]
    tally, signature = metrics.chrf(targets, texts)
    bleu, bleu_signature = metrics.bleu(targets, texts, group.lang)
    also: Further = {"BLEU": bleu, "loops %": loops(answers)}
    if examples and all(example.source for example in examples):
        also["chrF of the copied source"] = column(lambda: metrics.chrf(targets, [example.source for example in examples])[0])
    also |= {"chrF is": signature, "BLEU is": bleu_signature}
    constant = best_constant(bench, group, targets)
    floor = metrics.chrf(targets, [constant] * len(targets))[0].total if targets else None
    name = f"{group.name}: {variant}" if variant else group.name
    return group.row("chrF", tally, bench, variant, name=name, floor=floor, floor_name="best constant sentence", also=also)


def best_constant(bench: Bench, group: Group, targets: list[list[str]]) -> str:
    """The one sentence that scores best as the answer to everything, out of some training targets (without any, of the references)."""
    train = [e for e in bench.train if e.task == group.task and e.lang == group.lang and e.corpus == group.corpus]
    candidates = sorted({e.targets[0] for e in train} or {references[0] for references in targets}, key=digest)[:CANDIDATES]
    streams = [[references[0] for references in targets[:200]]]
    chrf = metrics.need("sacrebleu").metrics.CHRF()
    return max(candidates, key=lambda text: chrf.corpus_score([text] * len(streams[0]), streams).score, default="")


def ser(bench: Bench, group: Group) -> list[Row]:
    examples, answers = group.of()
    truth, texts = [example.targets[0] for example in examples], [a.text for a in answers]
    label, where = bench.commonest(group)
    correct = [float(t == text) for t, text in zip(truth, texts)]
    probabilities = [Answer(confidence=max(a.scores.values()) if a.scores else a.confidence) for a in answers]
    also = {"WA %": column(lambda: metrics.wa(truth, texts)), "WF1 %": column(lambda: metrics.wf1(truth, texts))}
    also |= calibration_error(probabilities, correct)
    floor = metrics.ua(truth, [label] * len(truth)).total
    row = group.row("UA %", metrics.ua(truth, texts), bench, floor=floor, floor_name=f"always {label}, the commonest {where}", also=also)
    row.confusion = metrics.confusion(truth, texts)
    return [row]


def aac(bench: Bench, group: Group) -> list[Row]:
    examples, answers = group.of()
    targets, texts = [e.targets for e in examples], [a.text for a in answers]
    sounds = [example.extra.get("sound") for example in examples]
    note = " on our own wordings" if all(sounds) else ""
    also: Further = {
        f"CIDEr-D{note}": column(lambda: cider_d(targets, texts)), f"chrF{note}": column(lambda: metrics.chrf(targets, texts)[0]),
        "loops %": loops(answers), "SPICE, SPIDEr, FENSE": "not measured: they need Java or weights of their own",
    }  # fmt: skip
    if not all(sounds):  # captions by people: there is no class to name
        return [group.row("CIDEr-D", cider_d(targets, texts), bench, also=also)]
    counts = Counter([e.extra["sound"] for e in bench.train if e.task == "aac" and "sound" in e.extra] or sounds)
    label = max(counts, key=lambda sound: (counts[sound], sound))
    floor = metrics.wa(sounds, [label] * len(sounds)).total
    tally = metrics.right_sound(sounds, texts)
    also |= calibration_error(answers, tally.counts[:, 0])
    return [group.row("right sound %", tally, bench, floor=floor, floor_name=f"always {label}", also=also)]


def slu(bench: Bench, group: Group) -> list[Row]:
    # the text of an answer is the line that the GPT wrote, in the form of tasks.slu_to_text
    examples, answers = group.of()
    targets, texts = [e.targets for e in examples], [a.text for a in answers]
    scores = metrics.slots(targets, texts)
    line, where = bench.commonest(group)
    constant = metrics.slots(targets, [line] * len(texts))
    truth, predicted = [entities(e.targets[0], e) for e in examples], [entities(text) for text in texts]
    also: Further = {
        "intent %": column(lambda: scores.intent), "slot F1 %": column(lambda: entity_f1(truth, predicted)),
        "slot F1 % of the floor": column(lambda: entity_f1(truth, [entities(line)] * len(truth))),
        "SLU-F1 %": column(lambda: slu_f1(truth, predicted)), "loops %": loops(answers),
    }  # fmt: skip
    also |= calibration_error(answers, scores.exact.counts[:, 0])
    floor_name = f"always the commonest {where}: {text_to_slu(line)[0]} ..."
    floor = constant.exact.total
    return [group.row("every slot right %", scores.exact, bench, floor=floor, floor_name=floor_name, also=also)]


def entities(line: str, example: Example | None = None) -> list[tuple[str, str]]:
    """(slot, value) pairs of a line, with values that were joined by a comma split again. An example's own list of entities goes first."""
    if example is not None and example.extra.get("entities"):
        return [(name, value) for name, value in example.extra["entities"]]
    return [(name, value) for name, joined in text_to_slu(line)[1].items() for value in joined.split(", ")]


def added(bench: Bench, group: Group) -> list[Row]:
    """Of a task that was added and has no scorer of its own: how many answers are right, word for word."""
    examples, answers = group.of()
    truth, texts = [example.targets[0] for example in examples], [answer.text for answer in answers]
    label, where = bench.commonest(group)
    floor = metrics.wa(truth, [label] * len(truth)).total
    row = group.row("right %", metrics.wa(truth, texts), bench, floor=floor, floor_name=f"always {label}, the commonest {where}")
    row.also |= calibration_error(answers, [float(t == text) for t, text in zip(truth, texts)])
    return [row]


def se(bench: Bench, group: Group) -> list[Row]:
    """The ablation from noisy input to the codec's ceiling. If the GPT's row is no better than the shuffled one, its tokens do nothing."""
    rows, floor = [], None
    for variant in group.variants():
        examples, answers = group.of(variant)
        tally = _quality(answers, "STOI")
        floor = tally.total if variant == NOISY else floor
        floors = {"floor": floor, "floor_name": "untouched"} if variant not in REFERENCES and floor is not None else {}
        also = _qualities(answers) | _recognition(bench, examples, answers, group.lang)
        for name in ("tokens right", "teacher-forced"):
            if any(name in answer.scores for answer in answers):
                also[f"{name} %"] = _quality(answers, name, 100)
        rows.append(group.row("STOI", tally, bench, variant, name=f"{group.name}: {variant}", also=also, **floors))
    return rows


def _recognition(bench: Bench, examples: Sequence[Example], answers: Sequence[Answer], lang: str) -> Further:
    """Word errors of the judge and of this model on enhanced speech, for examples with a transcript."""
    pairs = [(e.extra["transcript"], a) for e, a in zip(examples, answers, strict=True) if has_words(e, a)]
    references, columns = [[text] for text, _ in pairs], {}
    for name, key in ((bench.judge.name, bench.judge.key), ("itself", "itself")):
        texts = [a.texts.get(key) for _, a in pairs]
        if pairs and None not in texts:
            columns[f"WER % heard by {name}"] = column(lambda texts=texts: metrics.wer(references, texts, lang))
    return columns


def tts(bench: Bench, group: Group) -> list[Row]:
    """Word errors of a recogniser on each voice, beside its errors on the real recordings of the same sentences."""
    judged, rows, floor = bench.judge.knows(group.lang), [], None
    recogniser = bench.judge.name if judged else f"this model itself, for {bench.judge.name} was not trained on {group.lang}"
    for variant in group.variants():
        examples, answers = group.of(variant)
        sources = [[example.source] for example in examples]
        tally = metrics.wer(sources, [a.text for a in answers], group.lang)
        value = tally.total
        also: Further = {"heard by": recogniser}
        if judged and all("itself" in a.texts for a in answers):
            also["WER % heard by itself"] = column(lambda a=answers, s=sources: metrics.wer(s, [x.texts["itself"] for x in a], group.lang))
        floors = {}
        if variant == REAL:
            floor = value
        elif variant == TRUE:
            also |= {"STOI": _quality(answers, "STOI")} | _qualities(answers)
            floors = {"floor": floor, "floor_name": REAL}
        else:
            real = [by_variant[REAL].audio_seconds for by_variant in group.answers if variant in by_variant and REAL in by_variant]
            also |= {
                "words heard right %": column(
                    lambda a=answers, s=sources: metrics.words_right([t for [t] in s], [x.text for x in a], group.lang)
                ),
                "length to the real one": column(lambda a=answers, r=real: ratio([x.audio_seconds for x in a], r)),
                "never ended %": loops(answers),
            }  # fmt: skip
            if any("similarity" in a.scores for a in answers):
                also["similarity to the voice"] = _quality(answers, "similarity")
            floors = {"floor": floor, "floor_name": REAL}
        rows.append(group.row("WER %", tally, bench, variant, name=f"{group.name}: {variant}", also=also, lower_is_better=True, **floors))
    return rows


def codec(bench: Bench, group: Group) -> list[Row]:
    """The sound after 1, 2, 4 ... quantizers, and how many of the 1024 codes of the last one these recordings use; then Opus."""
    rows = []
    for variant in group.variants():
        _, answers = group.of(variant)
        rows.append(group.row("STOI", _quality(answers, "STOI"), bench, variant, name=f"{group.name}: {variant}", also=_qualities(answers)))
        rows[-1].also["kbit/s"] = _quality(answers, "kbit/s").total
        if variant.startswith(OPUS):
            continue
        counts = Counter(code for a in answers for code in a.text.split())
        share = np.array(list(counts.values())) / max(1, sum(counts.values()))
        rows[-1].also |= {"codes used": float(len(counts)), "perplexity": float(np.exp(-(share * np.log(share)).sum()))}
    return rows


def _quality(answers: Sequence[Answer], name: str, times: float = 1.0) -> Tally:
    return mean([a.scores[name] for a in answers if name in a.scores], times)


def _qualities(answers: Sequence[Answer]) -> Further:
    return {name: _quality(answers, name) for name in ("PESQ", "SI-SDR dB")}


SCORERS: dict[str, Callable[[Bench, Group], list[Row]]] = {
    "asr": asr, "s2tt": translation, "mt": translation, "tts": tts, "se": se, "aac": aac, "ser": ser, "slu": slu,
    "codec": codec,
}  # fmt: skip
assert SCORERS.keys() == {*BUILT_IN, "codec"}
