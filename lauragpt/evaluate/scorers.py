"""One function a task: from its examples to its rows. Here is decided what is compared with what, and what the trivial floor is.

In: a `Group` (examples of one task, corpus and language pair) and the `Bench` (the model, training examples for floors, noise for
mixing). Out: `Row`s. `SCORERS[task](bench, group)`; a task's score lives in its function and nowhere else.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from lauragpt.audio import SAMPLE_RATE, load_audio
from lauragpt.data.manifest import Example
from lauragpt.engine.laura import Laura
from lauragpt.engine.longform import cut
from lauragpt.errors import LauraError
from lauragpt.evaluate import metrics
from lauragpt.evaluate.ladder import ladder
from lauragpt.evaluate.report import Row
from lauragpt.result import Result
from lauragpt.text import CtcUnits
from lauragpt.tasks import TASKS, text_to_slu

BATCH = 16  # items a call: small enough for a bar that moves, large enough to be quick
CANDIDATES = 30  # constant sentences tried for the floor of translation
Item = TypeVar("Item")


@dataclass
class Group:
    """Examples of one corpus and one pair of languages: what a row is about."""

    task: str
    name: str
    lang: str
    examples: list[Example]
    available: int  # before the limit

    def row(self, metric: str, score: metrics.Score, name: str | None = None, **more) -> Row:
        return Row(self.task, name or self.name, score.n or len(self.examples), self.available, metric, score, **more)


@dataclass
class Bench:
    laura: Laura
    train: list[Example]  # of the tasks measured; floors come from these. [] when there is no train.jsonl
    noise: Callable[[Example, np.ndarray], np.ndarray]  # clean (N,) -> noisy (N,), a function of the example's id
    seed: int = 0
    advance: Callable[[int], None] = lambda n: None
    failures: list[str] = field(default_factory=list)

    def waves(self, examples: list[Example]) -> Iterator[tuple[Example, np.ndarray]]:
        """Each example with its recording; one that cannot be read is a failure, and the others go on."""
        for example in examples:
            try:
                yield example, load_audio(example.audio)
            except LauraError as error:
                self.failures.append(f"{example.id}: {error}")
                self.advance(1)

    def ask(self, items: list[Item], verb: Callable[[list[Item]], list[Result]]) -> tuple[list[Result], float]:
        """The verb's answers in order, and the seconds they took, without reading files."""
        results, seconds = [], 0.0
        for at in range(0, len(items), BATCH):
            batch, began = items[at : at + BATCH], time.perf_counter()
            results += verb(batch)
            seconds += time.perf_counter() - began
            self.advance(len(batch))
        return results, seconds

    def listen(self, group: Group, verb: Callable[[list[np.ndarray]], list[Result]]) -> "Heard":
        pairs = list(self.waves(group.examples))
        waves = [wave for _, wave in pairs]
        results, seconds = self.ask(waves, verb)
        return Heard([e for e, _ in pairs], waves, [r.text or "" for r in results], seconds, sum(map(len, waves)) / SAMPLE_RATE)

    def commonest(self, group: Group) -> tuple[str, str]:
        """The most frequent answer of the corpus in training, and where it was counted."""
        known = [e for e in self.train if e.task == group.task and e.corpus == group.name.split(" ")[0]]
        counts = Counter(e.targets[0] for e in known or group.examples)
        return max(counts, key=lambda text: (counts[text], text)), "of train" if known else "of this split"


@dataclass
class Heard:
    examples: list[Example]
    waves: list[np.ndarray]
    texts: list[str]
    seconds: float
    audio_seconds: float

    @property
    def time(self) -> dict[str, float]:
        return {"seconds": self.seconds, "audio_seconds": self.audio_seconds}

    @property
    def targets(self) -> list[list[str]]:
        return [example.targets for example in self.examples]


def column(measure: Callable[[], metrics.Score]) -> float | str:
    """A further column: its value, or how to get the package that it lacks."""
    try:
        return measure().value
    except metrics.MissingPackage as error:
        return str(error)


def asr(bench: Bench, group: Group) -> list[Row]:
    """Word errors of the GPT's text, the language given. Where nothing is said, how often the model says nothing."""
    heard = bench.listen(group, lambda waves: bench.laura.transcribe(waves, lang=group.lang))
    if not any(text for several in heard.targets for text in several):
        score = metrics.percent(metrics.mean([float(not text.strip()) for text in heard.texts], bench.seed))
        return [group.row("stays silent %", score, floor=100.0, floor_name="always empty", **heard.time)]
    also = {
        "CER %": column(lambda: metrics.cer(heard.targets, heard.texts, group.lang)),
        "CTC greedy WER %": column(lambda: metrics.wer(heard.targets, ctc_texts(bench.laura, heard.waves), group.lang)),
    }
    measure, name = (metrics.cer, "CER %") if group.lang == "zh" else (metrics.wer, "WER %")
    score = measure(heard.targets, heard.texts, group.lang, bench.seed)
    return [group.row(name, score, floor=100.0, floor_name="empty text", also=also, **heard.time)]


def ctc_texts(laura: Laura, waves: list[np.ndarray]) -> list[str]:
    """What the encoder's CTC head alone would write, greedily. A column beside the answer, never the answer."""
    units = CtcUnits()
    texts = []
    for wave in waves:
        pieces = [wave[chunk.start : chunk.end] for chunk in cut(wave)]
        encoded = [laura.core.backend.encode([piece]) for piece in pieces]
        texts.append(" ".join(units.decode(e.ctc_log_probs[0, : e.lengths[0]].argmax(-1).tolist()) for e in encoded))
    return texts


def translate_text(bench: Bench, group: Group) -> list[Row]:
    sources = [example.source for example in group.examples]
    results, seconds = bench.ask(sources, lambda texts: bench.laura.translate(text=texts, to=group.lang))
    return [_translation(bench, group, group.examples, [r.text or "" for r in results], seconds=seconds)]


def translate_speech(bench: Bench, group: Group) -> list[Row]:
    heard = bench.listen(group, lambda waves: bench.laura.translate(waves, to=group.lang))
    return [_translation(bench, group, heard.examples, heard.texts, **heard.time)]


def _translation(bench: Bench, group: Group, examples: list[Example], texts: list[str], **times: float) -> Row:
    targets = [example.targets for example in examples]
    score, signature = metrics.chrf(targets, texts, bench.seed)
    also: dict[str, float | str] = {"BLEU": metrics.bleu(targets, texts, group.lang)[0].value}
    if all(example.source for example in examples):
        also["chrF of the copied source"] = metrics.chrf(targets, [example.source for example in examples])[0].value
    also["chrF is"] = signature
    constant = best_constant(bench, group, targets)
    floor = metrics.chrf(targets, [constant] * len(targets))[0].value if targets else None
    return group.row("chrF", score, floor=floor, floor_name="best constant sentence", also=also, **times)


def best_constant(bench: Bench, group: Group, targets: list[list[str]]) -> str:
    """The sentence that scores best when it is the answer to everything, of some training targets (else of the references)."""
    known = [e for e in bench.train if e.task == group.task and e.lang == group.lang and e.corpus == group.name.split(" ")[0]]
    texts = sorted({e.targets[0] for e in known} or {several[0] for several in targets}, key=digest)[:CANDIDATES]
    some = targets[:200]
    package = metrics.need("sacrebleu").metrics.CHRF()
    streams = [[several[0] for several in some]]
    return max(texts, key=lambda text: package.corpus_score([text] * len(some), streams).score, default="")


def ser(bench: Bench, group: Group) -> list[Row]:
    heard = bench.listen(group, lambda waves: bench.laura.emotion(waves))
    truth = [example.targets[0] for example in heard.examples]
    label, where = bench.commonest(group)
    also = {"WA %": metrics.wa(truth, heard.texts).value, "WF1 %": metrics.wf1(truth, heard.texts).value}
    floor = metrics.ua(truth, [label] * len(truth)).value
    score = metrics.ua(truth, heard.texts, bench.seed)
    return [group.row("UA %", score, floor=floor, floor_name=f"always {label}, the commonest {where}", also=also, **heard.time)]


def aac(bench: Bench, group: Group) -> list[Row]:
    heard = bench.listen(group, lambda waves: bench.laura.caption(waves))
    also: dict[str, float | str] = {"chrF on our own wordings": column(lambda: metrics.chrf(heard.targets, heard.texts)[0])}
    sounds = [example.extra.get("sound") for example in heard.examples]
    if not all(sounds):  # human captions: no class to name
        return [group.row("chrF", metrics.chrf(heard.targets, heard.texts, bench.seed)[0], **heard.time)]
    known = [e.extra["sound"] for e in bench.train if e.task == "aac" and "sound" in e.extra]
    counts = Counter(known or sounds)
    label = max(counts, key=lambda sound: (counts[sound], sound))
    floor = metrics.wa(sounds, [label] * len(sounds)).value
    score = metrics.right_sound(sounds, heard.texts, bench.seed)
    return [group.row("right sound %", score, floor=floor, floor_name=f"always {label}", also=also, **heard.time)]


def slu(bench: Bench, group: Group) -> list[Row]:
    # `text` of `understand` is what the GPT wrote: the line of tasks.slu_to_text
    heard = bench.listen(group, lambda waves: bench.laura.understand(waves))
    scores = metrics.slots(heard.targets, heard.texts, bench.seed)
    line, where = bench.commonest(group)
    constant = metrics.slots(heard.targets, [line] * len(heard.texts))
    also = {"intent %": scores.intent.value, "slot F1 %": scores.f1.value, "slot F1 % of the floor": constant.f1.value}
    floor_name = f"always the commonest {where}: {text_to_slu(line)[0]} ..."
    return [group.row("every slot right %", scores.exact, floor=constant.exact.value, floor_name=floor_name, also=also, **heard.time)]


def se(bench: Bench, group: Group) -> list[Row]:
    """The ladder from noisy input to the codec's ceiling. The GPT's row must stand clear of the shuffled one, or its tokens do nothing."""
    steps: dict[str, list] = {}
    seconds = audio_seconds = 0.0
    for example, clean in bench.waves(group.examples):
        noisy = load_audio(example.noisy) if example.noisy else bench.noise(example, clean)
        length = min(len(clean), len(noisy))
        rungs, took = ladder(bench.laura, clean[:length], noisy[:length], bench.seed)
        seconds, audio_seconds = seconds + took, audio_seconds + length / SAMPLE_RATE
        for name, wave in rungs.items():
            steps.setdefault(name, []).append((clean[:length], wave))
        bench.advance(1)
    rows, floor = [], None
    for name, pairs in steps.items():
        score = _mean(metrics.stoi, pairs, bench.seed)
        also = {"PESQ": column(lambda p=pairs: _mean(metrics.pesq, p)), "SI-SDR dB": _mean(metrics.si_sdr, pairs).value}
        mine = name == "the GPT's tokens"
        floor = score.value if floor is None else floor
        given = {"floor": floor, "floor_name": "untouched", "seconds": seconds, "audio_seconds": audio_seconds} if mine else {}
        rows.append(group.row("STOI", score, name=f"{group.name}: {name}", also=also, **given))
    return rows


def _mean(measure: Callable, pairs: list[tuple[np.ndarray, np.ndarray]], seed: int = 0) -> metrics.Score:
    values = [value for clean, wave in pairs if (value := measure(clean, wave)) is not None]
    return metrics.mean(values, seed)


def tts(bench: Bench, group: Group) -> list[Row]:
    """What an outside recogniser hears of each shipped voice, beside what it hears of the real recordings of the same sentences."""
    outside = group.lang == "en"
    judge = "pocketsphinx" if outside else "this model itself, for want of an outside recogniser"
    hear = pocketsphinx_hears if outside else (lambda wave: bench.laura.transcribe(wave, lang=group.lang).text or "")
    pairs = list(bench.waves(group.examples))
    sources = [[example.source] for example, _ in pairs]
    real = metrics.wer(sources, [hear(wave) for _, wave in pairs], group.lang, bench.seed)
    rows = [group.row("WER %", real, name=f"{group.name}: the real recordings", also={"heard by": judge})]
    for voice in voice_names(bench.laura, group.lang) or [None]:
        speak = lambda texts, voice=voice: bench.laura.speak(texts, lang=group.lang, voice=voice, seed=bench.seed)  # noqa: E731
        results, seconds = bench.ask([source for [source] in sources], speak)
        score = metrics.wer(sources, [hear(r.audio) if len(r.audio) else "" for r in results], group.lang, bench.seed)
        spoken = sum(len(r.audio) / r.sample_rate for r in results)
        also = {"heard by": judge, "words heard right %": max(0.0, 100 - score.value)}
        name = f"{group.name}: voice {voice or 'by default'}"
        times = {"seconds": seconds, "audio_seconds": spoken}
        rows.append(group.row("WER %", score, name=name, floor=real.value, floor_name="the real recordings", also=also, **times))
    return rows


def voice_names(laura: Laura, lang: str) -> list[str]:
    """The shipped voices of a language."""
    return [name for name, card in laura.voices.cards.items() if card["lang"] == lang]


def pocketsphinx_hears(wave: np.ndarray) -> str:
    """The words that pocketsphinx (its own American English model) finds in a wave (N,) at 16 kHz."""
    decoder = metrics.need("pocketsphinx").Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    return decoder.hyp().hypstr if decoder.hyp() else ""


def digest(text: str) -> bytes:
    """The order in which a limit takes examples: by hash, the same on every machine."""
    return hashlib.sha256(text.encode()).digest()


SCORERS: dict[str, Callable[[Bench, Group], list[Row]]] = {
    "asr": asr, "s2tt": translate_speech, "mt": translate_text, "tts": tts, "se": se, "aac": aac, "ser": ser, "slu": slu,
}  # fmt: skip
assert SCORERS.keys() == TASKS.keys()
