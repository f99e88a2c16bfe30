"""What is measured: a checkpoint, a baseline (another recogniser), or a file of anyone's answers. In: examples. Out: `Answer`s, by example.

A system has a name and a key (what its answers depend on beside the example; they are cached under it), says which groups it can
answer, and answers them in batches. Other recognisers are in baselines.py."""

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
from lauragpt.data.spans import load_span
from lauragpt.engine.api import Laura
from lauragpt.engine.backend import TextCondition
from lauragpt.engine.chunking import TOKENS_PER_SECOND, cut
from lauragpt.errors import LauraError
from lauragpt.evaluate import metrics
from lauragpt.evaluate.ablation import ablation
from lauragpt.evaluate.answers import CASCADE, DIRECT, GPT_TOKENS, NOISY, OPUS, REAL, TRUE, Answer, AnswerStore, has_words
from lauragpt.evaluate.inputs import input_wave
from lauragpt.evaluate.opus import RATES, opus
from lauragpt.evaluate.sound_metrics import parallel_map, sound_quality, speaker_similarity
from lauragpt.result import Result
from lauragpt.spoken import normalize
from lauragpt.tasks import TASKS

BATCH = 64  # examples a call: large enough to be fast
AUDIO_BATCH = 8  # of those whose answer is sound, which takes longer: an interruption loses no more
ANSWERS = 7  # raised when what is asked of a checkpoint changes, so that cached answers from before are not used
LEVELS = (1, 2, 4, 8, 16, 32)  # numbers of quantizers that the codec is measured with
AnswerPairs = Iterator[tuple[Example, list[Answer]]]


class System(Protocol):
    name: str
    key: str

    def refuses(self, task: str, lang: str) -> str:
        """The reason why it cannot answer such examples; "" if it can."""

    def answer(self, examples: list[Example], store: AnswerStore) -> AnswerPairs:
        """Examples of one task and language, in any order. Sounds are saved with `store.save_wave`."""


@dataclass
class Checkpoint:
    """One of our models. `noise` makes a clean recording (N,) noisy, for enhancement without given pairs; `prompt` gives another
    recording of an example's speaker, for the vocoder. Both are functions of the example's id."""

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

    def answer(self, examples: list[Example], store: AnswerStore) -> AnswerPairs:
        task, lang = examples[0].task, examples[0].lang
        if task == "mt":
            for batch in batches(examples, BATCH):
                sources = [example.source for example in batch]
                yield from zip(batch, self._ask(lambda sources=sources: self.laura.translate(text=sources, to=lang), [1] * len(sources)))
            return
        respond = {"s2tt": self._translate, "tts": self._speak, "se": self._enhance, "codec": self._encode}.get(task, self._listen)
        for batch in batches(sorted(examples, key=lambda e: e.duration), AUDIO_BATCH if task in ("tts", "se", "codec") else BATCH):
            pairs: list[tuple[Example, np.ndarray]] = []
            for example in batch:
                try:
                    pairs.append((example, input_wave(example)))
                except LauraError as error:
                    yield example, [Answer(failure=str(error))]
            if pairs:
                answers = respond(task, lang, [example for example, _ in pairs], [wave for _, wave in pairs], store)
                yield from zip([example for example, _ in pairs], answers)

    def _ask(self, verb: Callable[[], list[Result]], sizes: list[int], variant: str = "") -> list[list[Answer]]:
        """One answer a result. The time of a batch is divided among its examples by their sizes."""
        start = time.perf_counter()
        results, seconds = verb(), time.perf_counter() - start
        return [
            [Answer(variant, text=r.text or "", confidence=r.confidence, finish=r.receipt["finish"], scores=r.scores,
                    seconds=seconds * size / sum(sizes), audio_seconds=r.receipt["seconds_read"])]
            for r, size in zip(results, sizes, strict=True)
        ]  # fmt: skip

    def _listen(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], store: AnswerStore) -> list[list[Answer]]:
        output_lang = lang if task == "asr" else None  # the other tasks answer in a language of their own
        answers = self._ask(lambda: self.laura.ask(task, waves, output_lang), [len(wave) for wave in waves])
        if task == "asr":
            for [answer], wave in zip(answers, waves):
                if (greedy := ctc_text(self.laura, wave)) is not None:
                    answer.texts["CTC greedy"] = greedy
        return answers

    def _translate(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], store: AnswerStore) -> list[list[Answer]]:
        """Both ways, whichever the checkpoint takes when it is asked to translate."""
        sizes = [len(wave) for wave in waves]
        ways = ((DIRECT, self.laura.with_cascade(False)), (CASCADE, self.laura.with_cascade(True)))
        answers = [self._ask(lambda laura=laura: laura.ask(task, waves, lang), sizes, variant) for variant, laura in ways]
        return [direct + cascade for direct, cascade in zip(*answers, strict=True)]

    def _enhance(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], store: AnswerStore) -> list[list[Answer]]:
        """One answer a variant of the ablation; `texts` hold what this model hears, for examples with a transcript."""
        answers, sounds, clean, right = [], [], [], []
        for example, wave in zip(examples, waves):
            noisy = load_span(example.noisy) if example.noisy else self.noise(example, wave)
            length = min(len(wave), len(noisy))
            variants, seconds, shares = ablation(self.laura, wave[:length], noisy[:length], lang, self.seed)
            answers.append([
                Answer(variant, sound=store.save_wave(example, variant, sound), audio_seconds=length / SAMPLE_RATE,
                       seconds=seconds if variant == GPT_TOKENS else 0.0)
                for variant, sound in variants.items()
            ])  # fmt: skip
            sounds += variants.values()
            right += [shares if variant == GPT_TOKENS else {} for variant in variants]
            clean += [wave[:length]] * len(variants)
        flat = [answer for by_example in answers for answer in by_example]
        for answer, scores, shares in zip(flat, parallel_map(sound_quality, clean, sounds), right, strict=True):
            answer.scores = scores | shares
        owners = [example for example, by_example in zip(examples, answers) for _ in by_example]
        self._recognise(owners, flat, sounds, lang)
        return answers

    def _recognise(self, examples: Sequence[Example], answers: list[Answer], sounds: list[np.ndarray], lang: str) -> None:
        """Fills `texts` of the answers whose words are known, with what this model hears."""
        spoken = [i for i, (e, a) in enumerate(zip(examples, answers)) if has_words(e, a)]
        long = [i for i in spoken if len(sounds[i]) >= MINIMUM * SAMPLE_RATE]  # shorter sound is refused: it has no words
        results = self.laura.transcribe([sounds[i] for i in long], lang=lang) if long else []
        for i in spoken:
            answers[i].texts["itself"] = ""
        for i, result in zip(long, results, strict=True):
            answers[i].texts["itself"] = result.text or ""

    def _encode(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], store: AnswerStore) -> list[list[Answer]]:
        """A variant for each number of quantizers, whose `text` holds the codes of the last one; then Opus at each of its rates."""
        backend, answers = self.laura.runtime.backend, []
        quantizer_rate = math.log2(backend.codebook_size) * TOKENS_PER_SECOND / 1000  # kbit/s
        for wave, codes in zip(waves, backend.codec_encode(list(waves))):
            levels = [n for n in LEVELS if n <= len(codes)]
            variants = [
                Answer(f"{n} quantizers", text=" ".join(map(str, codes[n - 1])), scores={"kbit/s": n * quantizer_rate}) for n in levels
            ]
            sounds = [backend.codec_decode([codes[:n]])[0] for n in levels]
            with suppress(metrics.MissingPackage):
                for rate in RATES:
                    sound, real_rate = opus(wave, rate)
                    variants.append(Answer(f"{OPUS} {rate} kbit/s", scores={"kbit/s": real_rate}))
                    sounds.append(sound)
            for answer, scores in zip(variants, parallel_map(sound_quality, [wave] * len(sounds), sounds), strict=True):
                answer.scores |= scores
            answers.append(variants)
        return answers

    def _speak(self, task: str, lang: str, examples: list[Example], waves: list[np.ndarray], store: AnswerStore) -> list[list[Answer]]:
        """The real recording, its tokens through the vocoder, and a variant for each voice."""
        answers = [[Answer(REAL, audio_seconds=len(wave) / SAMPLE_RATE)] for wave in waves]
        sounds = [[wave] for wave in waves]
        vocoded = [self._vocode(example, wave) for example, wave in zip(examples, waves, strict=True)]
        for i, scores in enumerate(parallel_map(sound_quality, waves, vocoded)):
            name, seconds = store.save_wave(examples[i], TRUE, vocoded[i]), len(vocoded[i]) / SAMPLE_RATE
            answers[i].append(Answer(TRUE, sound=name, audio_seconds=seconds, scores=scores))
            sounds[i].append(vocoded[i])
        for voice in voice_names(self.laura, lang) or [None]:
            for i, (answer, wave) in enumerate(self._voice_answers(voice, lang, examples, store)):
                answers[i].append(answer)
                sounds[i].append(wave)
        flat = [answer for by_example in answers for answer in by_example]
        owners = [example for example, by_example in zip(examples, answers) for _ in by_example]
        self._recognise(owners, flat, [wave for by_example in sounds for wave in by_example], lang)
        return answers

    def _voice_answers(self, voice: str | None, lang: str, examples: list[Example], store: AnswerStore) -> list[tuple[Answer, np.ndarray]]:
        """The examples' texts spoken by one voice: an answer and its wave each."""
        start = time.perf_counter()
        results = self.laura.speak([e.source for e in examples], lang=lang, voice=voice, seed=self.seed)
        seconds, samples = time.perf_counter() - start, sum(len(r.audio) for r in results) or 1
        name, answers = f"voice {voice or 'by default'}", []
        for example, r in zip(examples, results, strict=True):
            cosine = speaker_similarity(self.laura.voices.get(voice).wave, r.audio) if voice else None
            answers.append(Answer(
                name, sound=store.save_wave(example, name, r.audio), confidence=r.confidence, finish=r.receipt["finish"],
                seconds=seconds * len(r.audio) / samples, audio_seconds=len(r.audio) / SAMPLE_RATE,
                scores={} if cosine is None else {"similarity": cosine},
            ))  # fmt: skip
        return [(answer, r.audio) for answer, r in zip(answers, results)]

    def _vocode(self, example: Example, wave: np.ndarray) -> np.ndarray:
        """(N,): a recording's own tokens through the vocoder, with its text and another recording of the speaker. No tokens that the GPT
        writes for `speak` can sound better."""
        runtime, prompt = self.laura.runtime, self.prompt(example)
        [codes] = runtime.backend.codec_encode([wave])
        letters = runtime.tokenizer.encode(normalize(example.source, example.lang), TASKS["tts"].letters)
        condition = TextCondition(letters, codes.shape[1] / max(1, len(letters)))
        [speech] = runtime.backend.vocode([codes[0]], text=[condition], prompt=[prompt])
        return speech[: len(wave)]


@dataclass
class AnswerFile:
    """Answers from a JSONL file: {"id": ..., "text": ...}, or {"id": ..., "audio": FILE} if the answer is sound."""

    name: str
    rows: dict[str, dict]  # by id
    folder: Path
    key: str = ""

    def refuses(self, task: str, lang: str) -> str:
        return ""

    def answer(self, examples: list[Example], store: AnswerStore) -> AnswerPairs:
        for example in examples:
            row = self.rows.get(example.id)
            audio = example.task in ("tts", "se")
            if row is None:
                yield example, [Answer(failure=f"no answer in {self.name}")]
            elif not isinstance(row.get("audio" if audio else "text"), str):
                needed = 'a sound: its line needs "audio"' if audio else 'text: its line needs "text"'
                yield example, [Answer(failure=f"{example.task} is answered with {needed}")]
            elif audio:
                yield example, self._sound(example, row, store)
            else:
                yield example, [Answer(text=row["text"], confidence=row.get("confidence"))]

    def _sound(self, example: Example, row: dict, store: AnswerStore) -> list[Answer]:
        try:
            wave, real = load_audio(self.folder / row["audio"]), load_span(example.audio)
            noisy = load_span(example.noisy) if example.noisy else None
        except LauraError as error:
            return [Answer(failure=str(error))]
        if example.task == "se":
            inputs = [] if noisy is None else [Answer(NOISY, scores=sound_quality(real, noisy))]
            return [*inputs, Answer(self.name, sound=store.save_wave(example, self.name, wave), scores=sound_quality(real, wave))]
        return [
            Answer(REAL, audio_seconds=len(real) / SAMPLE_RATE),
            Answer(self.name, sound=store.save_wave(example, self.name, wave), audio_seconds=len(wave) / SAMPLE_RATE),
        ]


def read_answer_file(path: Path) -> AnswerFile:
    """LauraError names the line that is wrong, or an id that comes twice."""
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
            raise LauraError(f'{path}:{number}: not JSON: a line is {{"id": ..., "text": ...}}') from None
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not isinstance(row.get("text", row.get("audio")), str):
            raise LauraError(f'{path}:{number}: a line is {{"id": ..., "text": ...}} or {{"id": ..., "audio": FILE}}, all of them text')
        if row["id"] in rows:
            raise LauraError(f"{path}:{number}: the id {row['id']!r} comes a second time: give one answer an example")
        rows[row["id"]] = row
    if not rows:
        raise LauraError(f"{path} holds no answers")
    return AnswerFile(path.stem, rows, path.parent)


def checkpoint_key(name_or_path: str | Path, seed: int) -> str:
    """What a checkpoint's answers depend on: its files, the seed, this package's version."""
    folder, digest = find_checkpoint(name_or_path), hashlib.sha256(f"{__version__}/{ANSWERS}/{seed}".encode())
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".wav")):
        digest.update(path.read_bytes())
    return f"{folder.name}-{digest.hexdigest()[:12]}"


def ctc_text(laura: Laura, wave: np.ndarray) -> str | None:
    """What the encoder's CTC head alone would write, greedily; None where there is none. A column beside the answer, never the answer."""
    units, texts = laura.runtime.info.ctc_units, []
    for chunk in cut(wave):
        encoded = laura.runtime.backend.encode([wave[chunk.start : chunk.end]])
        if not encoded.ctc_log_probs.shape[2]:
            return None
        texts.append(units.decode(encoded.ctc_log_probs[0, : encoded.lengths[0]].argmax(-1).tolist()))
    return " ".join(text for text in texts if text)


def voice_names(laura: Laura, lang: str) -> list[str]:
    """The shipped voices of a language."""
    return [name for name, card in laura.voices.cards.items() if card["lang"] == lang]


def batches(items: list, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
