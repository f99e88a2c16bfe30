"""Who is asked: a checkpoint, a baseline (another recogniser), or a file of anyone's answers. In: examples. Out: `Answer`s, an example at a time.

A system has a name and a key (what its answers depend on beside the example: they are kept under it), says which groups it can answer,
and answers them in batches. Other recognisers are in baselines.py.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lauragpt import __version__
from lauragpt.audio import MINIMUM, SAMPLE_RATE, load_audio
from lauragpt.checkpoint import find_checkpoint
from lauragpt.data.manifest import Example
from lauragpt.engine.api import Laura
from lauragpt.engine.backend import TextCondition
from lauragpt.engine.chunking import HOP, cut
from lauragpt.errors import LauraError
from lauragpt.evaluate import metrics
from lauragpt.evaluate.ablation import MINE, NOISY, SHUFFLED, TRUE, ablation
from lauragpt.evaluate.answers import Answer, Answers
from lauragpt.evaluate.judges import OUTSIDE, in_processes, pocketsphinx_hears, qualities, similarity
from lauragpt.evaluate.opus import RATES, opus
from lauragpt.result import Result
from lauragpt.spoken import normalize
from lauragpt.tasks import TASKS

BATCH = 64  # items a call: large enough to be quick
SOUNDS = 8  # of those whose answer is sound, which takes as long: an interruption loses no more
REAL = "the real recordings"
OPUS = "Opus at"  # and so many kbit/s: the mark beside the codec
ANSWERS = 5  # raised when what is asked of a checkpoint changes, so that answers kept from before are not taken for new ones
LEVELS = (1, 2, 4, 8, 16, 32)  # numbers of quantizers that the codec is measured with
Answered = Iterator[tuple[Example, list[Answer]]]


class System(Protocol):
    name: str
    key: str

    def refuses(self, task: str, lang: str) -> str:
        """Why it cannot answer such examples; "" when it can."""

    def answer(self, examples: list[Example], answers: Answers) -> Answered:
        """Examples of one task and language, in any order; sounds go to `answers.keep`."""


@dataclass
class Checkpoint:
    """A model of ours. `noise`: clean (N,) -> noisy (N,), a function of the example's id, for enhancement without given pairs; `prompt`:
    another recording of an example's speaker, for speaking with the tokens of the real one."""

    laura: Laura
    noise: Callable[[Example, np.ndarray], np.ndarray]
    prompt: Callable[[Example], np.ndarray | None]
    seed: int = 0
    key: str = ""

    @property
    def name(self) -> str:
        return self.laura.name

    def refuses(self, task: str, lang: str) -> str:
        return "" if lang in self.laura.runtime.info.langs else f"{self.name} was not trained on {lang}"

    def answer(self, examples: list[Example], answers: Answers) -> Answered:
        task, lang = examples[0].task, examples[0].lang
        if task == "mt":
            for batch in batches(examples):
                sources = [example.source for example in batch]
                yield from zip(batch, self._ask(lambda sources=sources: self.laura.translate(text=sources, to=lang), sources))
            return
        for batch in batches(sorted(examples, key=lambda e: e.duration), SOUNDS if task in ("tts", "se", "codec") else BATCH):
            pairs: list[tuple[Example, np.ndarray]] = []
            for example in batch:
                try:
                    pairs.append((example, load_audio(example.audio)))
                except LauraError as error:
                    yield example, [Answer(failure=str(error))]
            if pairs:
                told = {"tts": self._speak, "se": self._enhance, "codec": self._encode}.get(task, self._listen)(task, lang, *zip(*pairs), answers)
                yield from zip([example for example, _ in pairs], told)

    def _ask(self, verb: Callable[[], list[Result]], items: list, sizes: list[int] | None = None) -> list[list[Answer]]:
        """One answer an item. The time of a batch is shared among its members by their sizes."""
        began = time.perf_counter()
        results, took = verb(), time.perf_counter() - began
        sizes = sizes or [1] * len(items)
        return [
            [Answer(text=r.text or "", confidence=r.confidence, finish=r.receipt["finish"], scores=r.scores,
                    seconds=took * size / sum(sizes), audio_seconds=r.receipt["seconds_read"])]
            for r, size in zip(results, sizes, strict=True)
        ]  # fmt: skip

    def _listen(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], answers: Answers) -> list[list[Answer]]:
        waves = list(waves)
        given = lang if task in ("asr", "s2tt") else None  # the language is asked for where the task is about it
        told = self._ask(lambda: self.laura.ask(task, waves, given), waves, [len(wave) for wave in waves])
        if task == "asr":
            for [answer], wave in zip(told, waves):
                answer.texts["CTC greedy"] = ctc_text(self.laura, wave)
        return told

    def _enhance(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], answers: Answers) -> list[list[Answer]]:
        """One answer a variant of the ablation; where it is known what was said, `text` is what was heard of it."""
        told, sounds, clean = [], [], []
        for example, wave in zip(examples, waves):
            noisy = load_audio(example.noisy) if example.noisy else self.noise(example, wave)
            length = min(len(wave), len(noisy))
            sounds_by_variant, took = ablation(self.laura, wave[:length], noisy[:length], self.seed)
            told.append([
                Answer(variant, sound=answers.keep(example, variant, sound), audio_seconds=length / SAMPLE_RATE,
                       seconds=took if variant == MINE else 0.0)
                for variant, sound in sounds_by_variant.items()
            ])  # fmt: skip
            sounds += sounds_by_variant.values()
            clean += [wave[:length]] * len(sounds_by_variant)
        every = [answer for row in told for answer in row]
        for answer, scores in zip(every, in_processes(qualities, clean, sounds), strict=True):
            answer.scores = scores
        with suppress(metrics.MissingPackage):  # its column says so
            judged = [i for i, answer in enumerate(every) if answer.variant != SHUFFLED]  # which holds no words, and costs as much to hear
            owners = [e for e, row in zip(examples, told) for _ in row]
            self._judge([owners[i] for i in judged], [every[i] for i in judged], [sounds[i] for i in judged], lang)
        return told

    def _judge(self, examples: Sequence[Example], answers: list[Answer], sounds: list[np.ndarray], lang: str) -> None:
        """What recognisers hear of sounds of which is known what they say: this model, and of English one from outside (MissingPackage)."""
        said = [i for i, e in enumerate(examples) if e.task == "tts" or e.extra.get("transcript")]
        long = [i for i in said if len(sounds[i]) >= MINIMUM * SAMPLE_RATE]  # less holds no word, and is refused
        own = self.laura.transcribe([sounds[i] for i in long], lang=lang) if long else []
        for i, text in [*((i, "") for i in said), *((i, result.text or "") for i, result in zip(long, own, strict=True))]:
            answers[i].texts["itself"] = text
        for i, text in zip(said, in_processes(pocketsphinx_hears, [sounds[i] for i in said]) if lang == "en" else ()):
            answers[i].texts[OUTSIDE] = text

    def _encode(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], answers: Answers) -> list[list[Answer]]:
        """A number of quantizers a variant, whose `text` holds the codes of the last of them; then Opus, at each of its rates."""
        backend, told = self.laura.runtime.backend, []
        bits = math.log2(backend.codebook_size) * SAMPLE_RATE / HOP / 1000  # kbit/s of a quantizer
        for wave, codes in zip(waves, backend.codec_encode(list(waves))):
            levels = [n for n in LEVELS if n <= len(codes)]
            made = [Answer(f"{n} quantizers", text=" ".join(map(str, codes[n - 1])), scores={"kbit/s": n * bits}) for n in levels]
            sounds = [backend.codec_decode([codes[:n]])[0] for n in levels]
            with suppress(metrics.MissingPackage):
                for rate in RATES:
                    sound, took = opus(wave, rate)
                    made.append(Answer(f"{OPUS} {rate} kbit/s", scores={"kbit/s": took}))
                    sounds.append(sound)
            for answer, scores in zip(made, in_processes(qualities, [wave] * len(sounds), sounds), strict=True):
                answer.scores |= scores
            told.append(made)
        return told

    def _speak(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], answers: Answers) -> list[list[Answer]]:
        """The real recording, its tokens through the vocoder, and a voice a variant; `text` is what the outside recogniser heard, where
        there is one for the language."""
        told = [[Answer(REAL, audio_seconds=len(wave) / SAMPLE_RATE)] for wave in waves]
        sounds = [[wave] for wave in waves]
        made = [self._vocode(example, wave) for example, wave in zip(examples, waves, strict=True)]
        scores = in_processes(qualities, waves, made)
        for example, row, several, said, found in zip(examples, told, sounds, made, scores, strict=True):
            row.append(Answer(TRUE, sound=answers.keep(example, TRUE, said), audio_seconds=len(said) / SAMPLE_RATE, scores=found))
            several.append(said)
        for voice in voice_names(self.laura, lang) or [None]:
            began = time.perf_counter()
            results = self.laura.speak([e.source for e in examples], lang=lang, voice=voice, seed=self.seed)
            took, total = time.perf_counter() - began, sum(len(r.audio) for r in results) or 1
            for example, row, wave, r in zip(examples, told, sounds, results, strict=True):
                name = f"voice {voice or 'by default'}"
                row.append(Answer(name, sound=answers.keep(example, name, r.audio), confidence=r.confidence, finish=r.receipt["finish"],
                                  seconds=took * len(r.audio) / total, audio_seconds=len(r.audio) / SAMPLE_RATE))  # fmt: skip
                own = similarity(self.laura.voices.get(voice).wave, r.audio) if voice else None
                row[-1].scores |= {} if own is None else {"similarity": own}
                wave.append(r.audio)
        every, heard = [answer for row in told for answer in row], [wave for row in sounds for wave in row]
        self._judge([e for e, row in zip(examples, told) for _ in row], every, heard, lang)
        for answer in every:
            answer.text = answer.texts.get(OUTSIDE, answer.texts["itself"])
        return told

    def _vocode(self, example: Example, wave: np.ndarray) -> np.ndarray:
        """(N,): what the vocoder makes of a recording's own tokens, given its text and another recording of the speaker. No tokens that
        the GPT may write for `speak` can be heard better."""
        runtime, prompt = self.laura.runtime, self.prompt(example)
        [codes] = runtime.backend.codec_encode([wave])
        letters = runtime.tokenizer.encode(normalize(example.source, example.lang), TASKS["tts"].letters)
        spoken = TextCondition(letters, codes.shape[1] / max(1, len(letters)))
        [said] = runtime.backend.vocode([codes[0]], text=[spoken], prompt=[prompt])
        return said[: len(wave)]


@dataclass
class Given:
    """Anyone's answers from a JSONL file: {"id": ..., "text": ...}, or {"id": ..., "audio": FILE} where the answer is sound."""

    name: str
    rows: dict[str, dict]
    folder: Path
    key: str = ""

    def refuses(self, task: str, lang: str) -> str:
        return ""

    def answer(self, examples: list[Example], answers: Answers) -> Answered:
        for example in examples:
            row = self.rows.get(example.id)
            if row is None:
                yield example, [Answer(failure=f"{self.name} holds no answer to it")]
            elif not isinstance(row.get("audio" if example.task in ("tts", "se") else "text"), str):
                wanted = "a sound: its line needs \"audio\"" if example.task in ("tts", "se") else "text: its line needs \"text\""
                yield example, [Answer(failure=f"{example.task} is answered with {wanted}")]
            elif example.task in ("tts", "se"):
                yield example, self._sound(example, row, answers)
            else:
                yield example, [Answer(text=row["text"], confidence=row.get("confidence"))]

    def _sound(self, example: Example, row: dict, answers: Answers) -> list[Answer]:
        try:
            wave, real = load_audio(self.folder / row["audio"]), load_audio(example.audio)
        except LauraError as error:
            return [Answer(failure=str(error))]
        if example.task == "se":
            noisy = [Answer(NOISY, scores=qualities(real, load_audio(example.noisy)))] if example.noisy else []
            return [*noisy, Answer(self.name, sound=answers.keep(example, self.name, wave), scores=qualities(real, wave))]
        hear = pocketsphinx_hears if example.lang == "en" else lambda wave: ""
        return [
            Answer(REAL, text=hear(real), audio_seconds=len(real) / SAMPLE_RATE),
            Answer(self.name, text=hear(wave), sound=answers.keep(example, self.name, wave), audio_seconds=len(wave) / SAMPLE_RATE),
        ]


def read_given(path: Path) -> Given:
    """A file of answers. LauraError names the line that is wrong, and an id that comes twice."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LauraError(f"{path} cannot be read as text: {getattr(error, 'strerror', None) or error}") from None
    rows: dict[str, dict] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise LauraError(f"{path}:{number}: not JSON: a line is {{\"id\": ..., \"text\": ...}}") from None
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not isinstance(row.get("text", row.get("audio")), str):
            raise LauraError(f'{path}:{number}: a line is {{"id": ..., "text": ...}} or {{"id": ..., "audio": FILE}}, all of them text')
        if row["id"] in rows:
            raise LauraError(f"{path}:{number}: the id {row['id']!r} comes a second time: leave one answer an example")
        rows[row["id"]] = row
    if not rows:
        raise LauraError(f"{path} holds no answers")
    return Given(path.stem, rows, path.parent)


def checkpoint_key(name_or_path: str | Path, seed: int) -> str:
    """What a checkpoint's answers depend on: its files, the seed, this package's version."""
    folder, digest = find_checkpoint(name_or_path), hashlib.sha256(f"{__version__}/{ANSWERS}/{seed}".encode())
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".wav")):
        digest.update(path.read_bytes())
    return f"{folder.name}-{digest.hexdigest()[:12]}"


def ctc_text(laura: Laura, wave: np.ndarray) -> str:
    """What the encoder's CTC head alone would write, greedily. A column beside the answer, never the answer."""
    units, texts = laura.runtime.info.ctc_units, []
    for chunk in cut(wave):
        encoded = laura.runtime.backend.encode([wave[chunk.start : chunk.end]])
        texts.append(units.decode(encoded.ctc_log_probs[0, : encoded.lengths[0]].argmax(-1).tolist()))
    return " ".join(text for text in texts if text)


def voice_names(laura: Laura, lang: str) -> list[str]:
    """The shipped voices of a language."""
    return [name for name, card in laura.voices.cards.items() if card["lang"] == lang]


def batches(items: list, size: int | None = None) -> Iterator[list]:
    size = size or BATCH
    for start in range(0, len(items), size):
        yield items[start : start + size]
