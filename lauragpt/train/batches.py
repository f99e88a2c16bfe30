"""Batches of recordings: number -> batch, for every stage whose GPT takes no part (text_batches.py makes the others).

What is drawn depends on (seed, number) alone, and numbers go over all processes (data/loader.py): training resumes at the exact next batch,
also on another number of processes. `step`, which a batch is made for, chooses the phase alone. `rank`: process 0 alone keeps files.

B batch, N samples, T codec frames, L letters of a text, G width of the codec's guide.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.augment import gain
from lauragpt.data.loader import Plan, generator_of, seconds_of, weight_of
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.model.grouping import alike
from lauragpt.model.lauragpt import LauraModel
from lauragpt.spoken import normalize
from lauragpt.train.corpus import GAIN_DB, Corpus
from lauragpt.train.encoding import CodecTokens, PaddedWaves, Recordings, pad
from lauragpt.train.speech_frames import SpeechFrames
from lauragpt.train.teacher import Teacher

if TYPE_CHECKING:
    from lauragpt.train.stage import StageConfig
    from lauragpt.train.stages.codec import CodecStageConfig
    from lauragpt.train.stages.encoder import EncoderStageConfig
    from lauragpt.train.stages.speaker import SpeakerStageConfig
    from lauragpt.train.stages.speller import SpellerStageConfig
    from lauragpt.train.stages.vocoder import VocoderStageConfig

B = TypeVar("B", bound="PlannedBatches")
DEV_SEED = 99  # the same dev batches whatever the recipe's seed


@dataclass(frozen=True)
class EncoderBatch:
    recordings: Recordings
    units: list[list[int]]  # of each recording's transcript, for CTC


@dataclass(frozen=True)
class CodecBatch:
    waves: Tensor  # (B, N)
    guide: Tensor | None = None  # (B, T, G): what the first codes are to tell (teacher.py)
    number: int = 0


@dataclass(frozen=True)
class SpellerBatch:
    tokens: Tensor  # (B, T)
    lengths: Tensor  # (B,)
    letters: list[Tensor]  # (L,) of each row's text
    seed: int  # of the wrong tokens


class VocoderText(NamedTuple):
    ids: Tensor  # (B, L)
    lengths: Tensor  # (B,)
    paces: Tensor  # (B,): codec frames a letter


@dataclass(frozen=True)
class VocoderGroup:
    """Recordings of like length, with their condition: `noisy`, or `text` and `prompt`."""

    clean: PaddedWaves
    seed: int  # of the wrong tokens
    noisy: PaddedWaves | None = None
    text: VocoderText | None = None
    prompt: PaddedWaves | None = None  # of the same speaker; empty where there is no other
    tokens: Tensor | None = None  # (B, T) of the clean speech, in codec space
    target: Tensor | None = None  # in codec space what the vocoder is to predict: the codec's vectors (B, T, E) or, of a text, frames
    # (B, 4 T, 66)
    langs: tuple[str, ...] = ()
    written: bool = False  # whether the vocoder is to read tokens that the GPT writes


@dataclass(frozen=True)
class VocoderBatch:
    task: str  # "se" or "tts"
    groups: list[VocoderGroup]


@dataclass(frozen=True)
class SpeakerBatch:
    waves: Tensor  # (B, N)
    speakers: Tensor  # (B,): index of each recording's speaker


class RecordedBatches(ABC):
    """Batches that workers can make once all that needs the device, or is better done once for all of them, is done."""

    corpus: Corpus
    config: "StageConfig"

    def prepare(self, processes: int) -> None:
        """Decodes the recordings that can be drawn, by several processes, into memory that workers share."""
        self.corpus.share(self.recordings(), processes, self.config.cache_gigabytes)

    @abstractmethod
    def recordings(self) -> list[str]:
        """The paths of all that can be drawn, noises included."""


class PlannedBatches(RecordedBatches):
    """Examples drawn by plans (data/loader.py), in the mixture of the phase that a step is in."""

    def __init__(self, corpus: Corpus, examples: Sequence[Example], config, seed: int, rank: int):
        self.corpus, self.examples, self.config, self.seed, self.rank = corpus, examples, config, seed, rank
        self.plans = [self.make_plans(phase.weights) for phase in config.schedule]

    def make_plans(self, weights: dict[str, float]) -> list[Plan]:
        """The plans whose examples together make a batch."""
        return [self.make_plan(weights, self.config.batch_seconds)]

    def make_plan(self, weights: dict[str, float], batch_seconds: float) -> Plan:
        return Plan(self.examples, weights, batch_seconds, self.seed, self.seconds, self.config.temperature)

    def seconds(self, example: Example) -> float:
        """What an example costs of a batch."""
        return seconds_of(example)

    def drawable(self) -> list[Example]:
        """Every example that the plans can draw."""
        groups = [group for plans in self.plans for plan in plans for group in plan.groups]
        return [self.examples[i] for i in sorted({i for group in groups for i in group.indices})]

    def rng(self, number: int) -> np.random.Generator:
        return generator_of(self.seed, number, 1)

    def variant(self, example: Example, rng: np.random.Generator) -> np.random.Generator:
        """What an example is altered with: where it has `variants`, one of them is drawn, and alters it as ever."""
        variants = getattr(self.config, "variants", 0)
        return np.random.default_rng((self.seed, int(rng.integers(variants)), crc32(example.id.encode()))) if variants else rng

    def draw(self, number: int, step: int = 0) -> list[Example]:
        phase, _ = self.config.phase_at(step)
        return [self.examples[i] for plan in self.plans[phase] for i in plan[number]]


def train_and_dev(kind: type[B], corpus: Corpus, config, seed: int, rank: int, *parts) -> tuple[B, B | None]:
    """Batches of training and of dev; None where dev has no example of the stage's weights, LauraError where it is to be measured."""
    train = kind(corpus, corpus.train, config, seed, rank, *parts)
    if any(weight_of(example, config.weights) for example in corpus.dev):
        return train, kind(corpus, corpus.dev, config.for_dev(), DEV_SEED, 0, *parts)
    if config.evaluate_every:
        raise LauraError(f"evaluate_every: dev has no example of {', '.join(config.weights)}: prepare some, or set it to 0")
    return train, None


class EncoderBatches(PlannedBatches):
    config: "EncoderStageConfig"

    def recordings(self) -> list[str]:
        return [e.audio for e in self.drawable()] + self.corpus.noises_for(self.config.noise)

    def __call__(self, number: int, step: int = 0) -> EncoderBatch:
        rng, examples = self.rng(number), self.draw(number, step)
        waves = [self.corpus.augmented(e, self.variant(e, rng), self.config.noise, self.config.degraded) for e in examples]
        return EncoderBatch(Recordings.of(waves), [self.corpus.units.encode(example.targets[0]) for example in examples])


class CodecBatches(RecordedBatches):
    """Crops of clean speech and, where the codec has a guide, what a teacher tells of them."""

    def __init__(self, corpus: Corpus, config: "CodecStageConfig", seed: int, model: LauraModel):
        self.corpus, self.config, self.seed, self.hop = corpus, config, seed, model.config.codec.hop
        self.speech = [e for e in corpus.train if e.task == "tts" and e.duration >= config.crop_seconds]
        if not self.speech:
            raise LauraError(f"codec: no recording of tts has {config.crop_seconds:g} s: prepare such data, or lower crop_seconds")
        taught = model.config.codec.quantizer.guide and model.codec.listener is None
        self.teacher = Teacher(model, corpus, seed) if taught else None

    def recordings(self) -> list[str]:
        return [e.audio for e in self.speech]

    def prepare(self, processes: int) -> None:
        super().prepare(processes)
        for example in self.speech if self.teacher is not None else ():
            self.teacher(example.audio, 0, 1)

    def __call__(self, number: int, step: int = 0) -> CodecBatch:
        rng, size = generator_of(self.seed, number), int(self.config.crop_seconds * SAMPLE_RATE)
        crops, guide = [], []
        for _ in range(max(1, int(self.config.batch_seconds / self.config.crop_seconds))):
            audio = self.speech[int(rng.integers(len(self.speech)))].audio
            wave = self.corpus.waves(audio)
            start = int(rng.integers(max(1, len(wave) - size + 1)))
            if self.teacher is not None:
                start = start // self.hop * self.hop  # where one of the codec's frames begins as well
                guide.append(self.teacher(audio, start // self.hop, -(-size // self.hop)))
            crops.append(np.pad(wave[start : start + size], (0, max(0, size - len(wave)))))
        return CodecBatch(torch.from_numpy(np.stack(crops)), torch.stack(guide) if guide else None, number)


class SpellerBatches(PlannedBatches):
    """Audio tokens of recordings and the letters of what is said in them."""

    config: "SpellerStageConfig"

    def __init__(
        self, corpus: Corpus, examples: Sequence[Example], config: "SpellerStageConfig", seed: int, rank: int, tokens: CodecTokens
    ):
        super().__init__(corpus, examples, config, seed, rank)
        self.tokens = tokens

    def recordings(self) -> list[str]:
        return self.tokens.missing([e.audio for e in self.drawable()])

    def prepare(self, processes: int) -> None:
        paths = list(dict.fromkeys(e.audio for e in self.drawable()))
        super().prepare(processes)
        self.tokens.prepare(paths, save=self.rank == 0)

    def __call__(self, number: int, step: int = 0) -> SpellerBatch:
        rng, examples = self.rng(number), self.draw(number, step)
        tokens = [torch.tensor(self.tokens(example.audio)) for example in examples]
        letters = [letters_of(self.corpus, example) for example in examples]
        lengths = torch.tensor([len(row) for row in tokens])
        return SpellerBatch(pad_sequence(tokens, batch_first=True), lengths, letters, int(rng.integers(1 << 31)))


def letters_of(corpus: Corpus, example: Example) -> Tensor:
    """(L,) ids of the letters of what is to be spoken."""
    return torch.tensor(corpus.tokens("tts", normalize(example.source, example.lang)), dtype=torch.int64)


class VocoderBatches(PlannedBatches):
    """Recordings of one task a batch, tts or se, with their conditions."""

    config: "VocoderStageConfig"

    def __init__(
        self, corpus: Corpus, examples: Sequence[Example], config: "VocoderStageConfig", seed: int, rank: int, hop: int,
        tokens: CodecTokens | None = None, frames: SpeechFrames | None = None,
    ):  # fmt: skip
        """`hop`: samples a codec frame. `tokens`, `frames`: with them groups carry tokens of their recordings and what is to be told of
        them."""
        super().__init__(corpus, examples, config, seed, rank)
        self.hop, self.tokens, self.frames = hop, tokens, frames
        [plan] = self.plans[0]
        shares = zip(plan.groups, plan.chances.tolist(), strict=True)
        self.enhancement = sum(chance for group, chance in shares if examples[group.indices[0]].task == "se")

    def recordings(self) -> list[str]:
        drawable = self.drawable()
        return [e.audio for e in self.corpus.with_prompts(drawable)] + self.corpus.noises_for(any(e.task == "se" for e in drawable))

    def prepare(self, processes: int) -> None:
        super().prepare(processes)
        if self.tokens is not None:
            drawable = self.drawable()
            self.tokens.prepare(list(dict.fromkeys(e.audio for e in drawable)), save=self.rank == 0)
            self.frames.prepare([e.audio for e in drawable if e.task == "tts"], processes, save=self.rank == 0)
            for example in drawable:
                if example.task == "se":
                    self.tokens.vectors_of(example.audio)

    def __call__(self, number: int, step: int = 0) -> VocoderBatch:
        rng, drawn = self.rng(number), self.draw(number, step)
        task = "se" if rng.random() < self.enhancement else "tts"
        if not any(example.task == task for example in drawn):
            task = drawn[0].task
        examples = [example for example in drawn if example.task == task]
        clean = [self.corpus.waves(example.audio) for example in examples]
        noisy = [self.corpus.noisy(wave, rng) for wave in clean] if task == "se" else []
        if rng.random() < self.config.condition_mismatch:
            noisy = noisy[-1:] + noisy[:-1]
        groups = alike([len(wave) // self.hop for wave in clean])

        def of(group: list[int], every: list) -> list:
            return [every[i] for i in group] if every else []

        return VocoderBatch(task, [self._group(of(group, examples), of(group, clean), of(group, noisy), rng) for group in groups])

    def _group(self, examples: list[Example], clean: list, noisy: list, rng: np.random.Generator) -> VocoderGroup:
        more: dict = {"langs": tuple(example.lang for example in examples)}
        if self.tokens is not None:
            more["tokens"] = pad_sequence([torch.tensor(self.tokens(example.audio)) for example in examples], batch_first=True)
            target = self.tokens.vectors_of if noisy else self.frames
            more["target"] = pad_sequence([target(example.audio) for example in examples], batch_first=True)
        padded, seed = pad(clean), int(rng.integers(1 << 31))
        more["written"] = bool(self.config.written_tokens) and rng.random() < self.config.written_tokens
        if noisy:
            return VocoderGroup(padded, seed, noisy=pad(noisy), **more)
        texts = [letters_of(self.corpus, example) for example in examples]
        frames_a_letter = [len(wave) / self.hop / max(1, len(text)) for wave, text in zip(clean, texts, strict=True)]
        jitter = 1 + self.config.pace_jitter * torch.from_numpy(rng.uniform(-1, 1, len(texts))).float()
        lengths, paces = torch.tensor([len(text) for text in texts]), torch.tensor(frames_a_letter) * jitter
        prompts = [self.corpus.voice_prompt(example, rng) for example in examples]
        most = int(self.config.prompt_seconds * SAMPLE_RATE)
        prompt = pad([self.corpus.waves(other.audio)[:most] if other is not None else np.zeros(0) for other in prompts])
        text = VocoderText(pad_sequence(texts, batch_first=True), lengths, paces)
        return VocoderGroup(padded, seed, text=text, prompt=prompt, **more)


class SpeakerBatches(RecordedBatches):
    """Crops of speech, as many of each speaker as of any other."""

    def __init__(self, corpus: Corpus, speakers: list[list[Example]], config: "SpeakerStageConfig", seed: int):
        """`speakers`: the recordings of each."""
        if not speakers:
            raise LauraError("speaker: no speaker has two recordings of asr that are long enough: prepare such data, or lower crop_seconds")
        self.corpus, self.speakers, self.config, self.seed = corpus, speakers, config, seed

    def recordings(self) -> list[str]:
        return [e.audio for several in self.speakers for e in several] + self.corpus.noises_for(self.config.noise)

    def __call__(self, number: int, step: int = 0) -> SpeakerBatch:
        rng, size = generator_of(self.seed, number), int(self.config.crop_seconds * SAMPLE_RATE)
        crops, drawn = [], rng.integers(len(self.speakers), size=max(2, int(self.config.batch_seconds / self.config.crop_seconds)))
        for speaker in drawn:
            recordings = self.speakers[speaker]
            wave = self.corpus.waves(recordings[int(rng.integers(len(recordings)))].audio)
            wave = np.tile(wave, -(-size // len(wave)))  # a short one is repeated
            start = int(rng.integers(len(wave) - size + 1))
            crop = gain(wave[start : start + size], rng.uniform(*GAIN_DB)).clip(-1, 1)
            crops.append(self.corpus.noisy(crop, rng) if rng.random() < self.config.noise else crop)
        return SpeakerBatch(torch.from_numpy(np.stack(crops).astype(np.float32)), torch.from_numpy(drawn))
