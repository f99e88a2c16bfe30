"""Batches of sequences for the GPT: number -> batch of the GPT's stage (no recording) and of joint training (recordings and text).

T encoder frames, U CTC units, N samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lauragpt.audio import SAMPLE_RATE
from lauragpt.ctc import CtcAligner
from lauragpt.data.augment import change_speed, gain, mix_sounds
from lauragpt.data.captions import join_captions
from lauragpt.data.loader import Plan, seconds_of
from lauragpt.data.manifest import Example
from lauragpt.model.lauragpt import LauraModel
from lauragpt.sequence import Layout, Vocabulary, layout, text_layout
from lauragpt.spoken import normalize
from lauragpt.tasks import TASKS, slu_to_text
from lauragpt.text import Tokenizer
from lauragpt.train.batches import PlannedBatches
from lauragpt.train.corpus import GAIN_DB, Corpus
from lauragpt.train.encoding import CodecTokens, Recordings
from lauragpt.train.posterior_banks import PosteriorSampler

if TYPE_CHECKING:
    from lauragpt.train.stages.gpt import GPTStageConfig
    from lauragpt.train.stages.joint import JointStageConfig

SENTENCE_TOKENS = 64  # of a plain sentence at most
SOUND_SPEED, SOUND_SPEED_CHANCE, SOUND_MIX_CHANCE = (0.8, 1.25), 0.5, 0.2


class ReadSequence(NamedTuple):
    """A sequence of the GPT; with posteriors it reads these in place of a recording."""

    layout: Layout
    posteriors: np.ndarray | None = None  # (T, U)


@dataclass(frozen=True)
class ReadBatch:
    layouts: list[Layout]
    posteriors: list[Tensor]  # (T, U) each; the first layouts read them, in this order

    @classmethod
    def of(cls, sequences: Sequence[ReadSequence]) -> "ReadBatch":
        ordered = sorted(sequences, key=lambda sequence: sequence.posteriors is None)
        return cls([s.layout for s in ordered], [torch.from_numpy(s.posteriors) for s in ordered if s.posteriors is not None])


@dataclass(frozen=True)
class JointExample:
    task: str
    layout: Layout
    units: list[int] | None = None  # of its transcript, for CTC, where there is one


@dataclass(frozen=True)
class JointBatch:
    examples: list[JointExample]  # those with a recording come first
    recordings: Recordings | None  # theirs, in this order
    read: ReadBatch


def time_aligned(row: Layout, task: str, best_units: np.ndarray, tokenizer: Tokenizer) -> Layout:
    """A transcript's letters at the times at which they are spoken, by the best CTC unit of each frame (T,); other tasks' as they are."""
    if not (TASKS[task].output == "text" and TASKS[task].letters):
        return row
    return replace(row, said=tuple(CtcAligner.of(tokenizer, best_units.tolist()).times(0, row.ids[2:-1])))


def with_token_errors(row: Layout, vocabulary: Vocabulary, share: float, rng: np.random.Generator) -> Layout:
    """A share of the row's audio tokens is read as others; what is to be written stays."""
    if not share:
        return row
    ids = np.array(row.ids)
    wrong = vocabulary.sounds(ids) & (rng.random(len(ids)) < share)
    others = vocabulary.text_size + rng.integers(vocabulary.audio_size, size=len(ids))
    return replace(row, read=tuple(np.where(wrong, others, ids).tolist()))


class SequenceBatches(PlannedBatches):
    """The sequences that the GPT's stage and joint training share."""

    config: "GPTStageConfig | JointStageConfig"

    def __init__(
        self, corpus: Corpus, examples: Sequence[Example], config, seed: int, rank: int, model: LauraModel, posteriors: PosteriorSampler,
        tokens: CodecTokens, pseudo_labels: Mapping[str, str] = MappingProxyType({}),
    ):  # fmt: skip
        """`pseudo_labels`: example's id -> transcript, where the data has none."""
        super().__init__(corpus, examples, config, seed, rank)
        self.vocabulary, self.features, self.aligned = model.vocabulary, model.config.features, model.config.time_aligned
        self.discrete = model.config.discrete
        self.posteriors, self.codec_tokens, self.pseudo_labels = posteriors, tokens, pseudo_labels

    def recordings(self) -> list[str]:
        return []  # those of speech are read as tokens

    def prepare(self, processes: int) -> None:
        """Makes the codec's tokens too, on the model's device."""
        drawable = self.drawable()
        spoken = [e for e in drawable if e.task == "tts"]
        told = self.corpus.with_prompts(spoken) if self.config.voice_prompt else spoken
        paths = list(dict.fromkeys(e.audio for e in [*told, *(e for e in drawable if e.task == "se")]))
        recordings = self.recordings() + self.codec_tokens.missing(paths)
        self.corpus.share(recordings, processes, self.config.cache_gigabytes)
        self.codec_tokens.prepare(paths, save=self.rank == 0)

    def reading(self, task: str, lang: str, text: str, target: str, rng: np.random.Generator, text_lang: str | None = None) -> ReadSequence:
        """`target` behind the posteriors of `text`, which is in the target's language or in `text_lang`."""
        posteriors = self.posteriors(text, text_lang or lang, rng)
        row = layout(self.vocabulary, task, lang, self.corpus.tokens(task, target), len(posteriors))
        if self.aligned:
            row = time_aligned(row, task, posteriors.argmax(1), self.corpus.tokenizer)
        return ReadSequence(row, posteriors)

    def inject_text(self, example: Example, target: str, rng: np.random.Generator) -> ReadSequence | None:
        """With the chance `text_injection`, a pair to be translated as if its source were spoken. Not where the target is in lower case:
        speech is translated into text with capitals."""
        lower_case = target == target.lower() != target.upper()  # some scripts have no capitals
        if example.task != "mt" or lower_case or rng.random() >= self.config.text_injection:
            return None
        return self.reading("s2tt", example.lang, normalize(example.source, example.source_lang), target, rng, example.source_lang)

    def speech(self, example: Example, rng: np.random.Generator) -> Layout:
        """A text to be spoken; with the chance `voice_prompt` after another utterance of the speaker."""
        prompt = self.corpus.voice_prompt(example, rng) if rng.random() < self.config.voice_prompt else None
        utterances = [e for e in (prompt, example) if e is not None]
        source = self.corpus.tokens("tts", " ".join(normalize(e.source, e.lang) for e in utterances))
        codes = [code for e in utterances for code in self.codec_tokens(e.audio)]
        row = layout(self.vocabulary, "tts", example.lang, self.vocabulary.audio(codes), source=source)
        return with_token_errors(row, self.vocabulary, self.config.token_errors, rng)

    def phrase(self, rng: np.random.Generator) -> ReadSequence:
        """A phrase of the texts to be transcribed from its posteriors."""
        lang, text = self.corpus.phrase(rng, self.config.phrase_words)
        return self.reading("asr", lang, text, text, rng)


class GPTBatches(SequenceBatches):
    config: "GPTStageConfig"

    def __call__(self, number: int, step: int = 0) -> ReadBatch:
        rng = self.rng(number)
        sequences = [self.sequence(example, rng) for example in self.draw(number, step)]
        for _ in range(round(self.config.phrases * len(sequences))):
            if rng.random() < 1 - self.config.plain_sentences:
                sequences.append(self.phrase(rng))
            else:
                lang, line = self.corpus.sentence(rng)
                sequences.append(ReadSequence(text_layout(self.vocabulary, lang, self.corpus.tokenizer.encode(line)[:SENTENCE_TOKENS])))
        return ReadBatch.of(sequences)

    def sequence(self, example: Example, rng: np.random.Generator) -> ReadSequence:
        if example.task == "tts":
            return ReadSequence(self.speech(example, rng))
        target = example.targets[int(rng.integers(len(example.targets)))]
        if injected := self.inject_text(example, target, rng):
            return injected
        if example.task != "mt":
            text = normalize(example.extra["transcript"], example.source_lang or example.lang) if "transcript" in example.extra else target
            return self.reading(example.task, example.lang, text, target, rng, example.source_lang)
        encode = self.corpus.tokenizer.encode
        return ReadSequence(layout(self.vocabulary, "mt", example.lang, encode(target), source=encode(example.source)))


class JointBatches(SequenceBatches):
    """Every task at once, in the mixture of the phase that a step is in."""

    config: "JointStageConfig"

    def recordings(self) -> list[str]:
        heard = [e for e in self.drawable() if e.audio and e.task != "tts"]
        return [e.audio for e in heard] + self.corpus.noises_for(self.config.noise or any(e.task == "se" for e in heard))

    def make_plans(self, weights: dict[str, float]) -> list[Plan]:
        """With text_seconds the tasks without sound have batches of their own beside those with sound."""
        seconds, config = self.config.text_seconds, self.config
        text = {key: weight for key, weight in weights.items() if seconds and TASKS[key.partition("/")[0]].without_sound}
        rest = {key: weight for key, weight in weights.items() if key not in text}
        return [self.make_plan(part, size) for part, size in ((rest, config.batch_seconds), (text, seconds)) if part]

    def seconds(self, example: Example) -> float:
        crop = self.config.sound_seconds
        return min(crop, example.duration) if example.task == "aac" and crop else seconds_of(example)

    def __call__(self, number: int, step: int = 0) -> JointBatch:
        config, rng, drawn = self.config, self.rng(number), self.draw(number, step)
        injected = [self.inject_text(e, e.targets[0], rng) if e.targets else None for e in drawn]
        plain = [example for example, reading in zip(drawn, injected, strict=True) if reading is None]
        made = sorted((self.example(example, self.variant(example, rng)) for example in plain), key=lambda pair: pair[1] is None)
        examples, waves = [example for example, _ in made], [wave for _, wave in made if wave is not None]
        read = []
        if self.corpus.lines and config.phrases:
            read = [self.phrase(rng) for _ in range(max(1, round(config.phrases * len(examples))))]
        read += [reading for reading in injected if reading is not None]
        if self.corpus.slu_templates and config.slu_templates:
            read += [self.slu_template(rng) for _ in range(max(1, round(config.slu_templates * len(examples))))]
        return JointBatch(examples, Recordings.of(waves) if waves else None, ReadBatch.of(read))

    def slu_template(self, rng: np.random.Generator) -> ReadSequence:
        """A request to be understood from its posteriors, since those that were recorded have no transcript."""
        text, intent, slots = self.corpus.slu_templates.draw(rng)
        return self.reading("slu", "en", text, slu_to_text(intent, slots), rng)

    def example(self, example: Example, rng: np.random.Generator) -> tuple[JointExample, np.ndarray | None]:
        """An example and the recording that it reads, if any (N,)."""
        task, encode, wave, source, transcript = TASKS[example.task], self.corpus.tokenizer.encode, None, [], None
        if task.name == "tts":
            return JointExample("tts", self.speech(example, rng)), None
        if task.name == "se":
            wave = self.corpus.noisy(self.corpus.waves(example.audio), rng)
            output = self.vocabulary.audio(self.codec_tokens(example.audio))
        elif task.name == "aac":
            wave, text = self.sounds(example, rng)
            output = encode(text)
        elif task.name == "mt":
            source, output = encode(self.source_text(example.source, example.source_lang, rng)), encode(example.targets[0])
        else:
            wave = self.corpus.augmented(example, rng, self.config.noise, self.config.degraded)
            output = self.corpus.tokens(task.name, example.targets[int(rng.integers(len(example.targets)))])
            transcript = example.targets[0] if task.name == "asr" else self.pseudo_labels.get(example.id)
        frames = self.features.length(len(wave)) if wave is not None else 0
        units = self.corpus.units.encode(transcript) if transcript is not None and not self.discrete else None
        row = layout(self.vocabulary, task.name, example.lang, output, frames, source)
        if task.name == "se":
            row = with_token_errors(row, self.vocabulary, self.config.token_errors, rng)
        return JointExample(task.name, row, units), wave

    def source_text(self, text: str, lang: str, rng: np.random.Generator) -> str:
        """A text to be translated; with the chance `asr_noise` as a transcript has it: in spoken form, with errors."""
        spoken = normalize(text, lang) if rng.random() < self.config.asr_noise else ""
        return self.posteriors.transcript(spoken, lang, rng) if spoken else text

    def sounds(self, example: Example, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """(wave, caption) of a sound, or of two at once."""
        wave, text = self.sound(example, rng), self.caption(example, rng)
        if rng.random() < SOUND_SPEED_CHANCE:
            wave = change_speed(wave, float(rng.uniform(*SOUND_SPEED)))
        if rng.random() < SOUND_MIX_CHANCE:
            for other in [self.examples[i] for i in self.plans[0][0][int(rng.integers(1 << 30))]]:
                if other.task == "aac" and other.extra.get("sound") != example.extra.get("sound"):
                    second = self.sound(other, rng)
                    if np.abs(wave).max() > 0 and np.abs(second).max() > 0:
                        return mix_sounds(wave, second, rng)[: len(wave)], join_captions(text, self.caption(other, rng))
        return gain(wave, rng.uniform(*GAIN_DB)).clip(-1, 1), text

    def sound(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        """A crop that begins anywhere: the louder of two, so that it is seldom the silence around a sound."""
        wave, size = self.corpus.waves(example.audio), int(self.config.sound_seconds * SAMPLE_RATE)
        wave = np.roll(wave, int(rng.integers(len(wave))))
        if not 0 < size < len(wave):
            return wave
        crops = (wave[start : start + size] for start in rng.integers(len(wave) - size + 1, size=2))
        return max(crops, key=lambda crop: float(np.square(crop).sum()))

    def caption(self, example: Example, rng: np.random.Generator) -> str:
        return example.targets[int(rng.integers(min(len(example.targets), self.config.captions or len(example.targets))))]
