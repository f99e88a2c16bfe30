"""The stages by name, and the short ones: encoder (CTC), gpt (text), the codec's batches. Each has one step function.

The others stand alone: codec_stage.py, vocoder_stage.py, laura_stage.py (all tasks together), speaker_stage.py (the evaluation's own).
"""

import numpy as np
import torch

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.loader import Plan
from lauragpt.data.manifest import Example
from lauragpt.model.laura import LauraModel
from lauragpt.model.sequence import Layout, layout, text_layout
from lauragpt.text import normalize
from lauragpt.train.codec_stage import CodecStage, CodecStageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.laura_stage import LauraStage
from lauragpt.train.model_stage import ModelStage, Update, pad, shares_of
from lauragpt.train.recipe import StageConfig
from lauragpt.train.speaker_stage import SpeakerStage
from lauragpt.train.teacher import Teacher
from lauragpt.train.vocoder_stage import VocoderStage


class EncoderStage(ModelStage):
    """CTC pre-training of the encoder (the paper starts from a trained recogniser)."""

    name, trained = "encoder", ("encoder",)

    def __init__(self, model: LauraModel, *rest, **more):
        super().__init__(model, *rest, **more)
        if model.encoder.tapped is not None:
            model.encoder.tapped.deviation.zero_()  # the layer changes: joint training measures it when it begins

    def batch(self, step: int) -> dict:
        rng = self.rng(step)
        examples = [self.corpus.train[i] for i in self.plan[step]]
        return {"waves": pad([self.corpus.heard(e, rng, self.config.noise) for e in examples]), "texts": [e.targets[0] for e in examples]}

    def step(self, batch: dict, update: Update) -> dict[str, float]:
        loss = self.ctc(self.hear(*batch["waves"]), batch["texts"], range(len(batch["texts"])))
        update("model", loss)
        return {"ctc": loss.item()}


class GPTStage(ModelStage):
    """All that needs no ear: plain sentences, translation, speaking, and reading what the CTC head might spell (data/spelling.py)."""

    name, trained = "gpt", ("gpt", "spelling")
    read = 0.95  # the share of the phrases that is read from its spelling; the others are sentences to go on with

    def make_plan(self, weights: dict[str, float]) -> Plan:
        return super().make_plan({"mt": 1.0} | weights)

    def batch(self, step: int) -> dict:
        rng, encode, vocabulary = self.rng(step), self.corpus.tokenizer.encode, self.model.vocabulary
        rows = [self.row(self.corpus.train[i], rng) for i in self.plan[step]]
        for _ in range(round(self.config.phrases * len(rows))):
            if rng.random() < self.read:
                rows.append(self.phrase(rng))
            else:
                lang, line = self.corpus.sentence(rng)
                rows.append((text_layout(vocabulary, lang, encode(line)[:64]), None))
        rows.sort(key=lambda row: row[1] is None)
        return {"layouts": [row[0] for row in rows], "spelled": [torch.from_numpy(row[1]) for row in rows if row[1] is not None]}

    def row(self, example: Example, rng: np.random.Generator) -> tuple[Layout, np.ndarray | None]:
        if example.task == "tts":
            return self.speech(example, rng), None
        target = example.targets[int(rng.integers(len(example.targets)))]
        if spoken := self.overheard(example, target, rng):
            return spoken
        if example.task != "mt":
            said = normalize(example.extra["transcript"], example.source_lang or example.lang) if "transcript" in example.extra else target
            return self.reading(example.task, example.lang, said, target, rng, example.source_lang)
        encode = self.corpus.tokenizer.encode
        return layout(self.model.vocabulary, "mt", example.lang, encode(target), source=encode(example.source)), None

    def step(self, batch: dict, update: Update) -> dict[str, float]:
        layouts, rows = batch["layouts"], batch["spelled"]
        losses = self.model.loss(layouts, self.spell(rows) if rows else None)
        loss = (losses * torch.tensor(shares_of(layouts), device=self.device)).sum()
        update("model", loss)
        names, spoken, report = ["text"] * len(layouts), self.model.vocabulary.task("tts"), {}
        names[: len(rows)] = ["read"] * len(rows)
        for name, row, part in zip(names, layouts, losses.detach().split([sum(row.targets) for row in layouts]), strict=True):
            report.setdefault("tts" if spoken in row.ids else name, []).append(part.mean())
        return {"loss": loss.item()} | {name: float(torch.stack(parts).mean()) for name, parts in report.items()}


class CodecTraining(CodecStage):
    """The codec's stage with its batches: crops of clean speech and, where its first codes are guided, what the encoder tells of them."""

    def __init__(self, model: LauraModel, corpus: Corpus, config: StageConfig, seed: int = 0, rank: int = 0):
        super().__init__(CodecStageConfig(
            codec=model.config.codec, lr=config.lr, adversarial_from=config.adversarial_from, quantize_from=config.quantize_from, seed=seed
        ), self.crops)  # fmt: skip
        self.codec.load_state_dict(model.codec.state_dict())
        self.corpus, self.seconds, self.seed, self.rank = corpus, config.batch_seconds, seed, rank
        self.clean = [e for e in corpus.train if e.task == "tts" and e.duration >= self.config.crop_seconds]
        self.teacher = Teacher(model, corpus, seed) if model.config.codec.quantizer.guide else None
        if self.teacher is not None:
            self.modules["teacher"] = self.teacher.axes

    def crops(self, step: int) -> dict:
        rng, size = np.random.default_rng((self.seed, self.rank, step)), int(self.config.crop_seconds * SAMPLE_RATE)
        hop, device, crops, taught = self.codec.config.hop, next(self.codec.parameters()).device, [], []
        for _ in range(max(1, int(self.seconds / self.config.crop_seconds))):
            audio = self.clean[int(rng.integers(len(self.clean)))].audio
            wave = self.corpus.waves(audio)
            start = int(rng.integers(max(1, len(wave) - size + 1)))
            if self.teacher is not None:
                start = start // hop * hop  # where one of its frames begins as well
            crops.append(np.pad(wave[start : start + size], (0, max(0, size - len(wave)))))
            if self.teacher is not None:
                taught.append(self.teacher(audio, start // hop, -(-size // hop)))
        batch = {"wave": torch.from_numpy(np.stack(crops)).to(device)}
        return batch | ({"taught": torch.stack(taught).to(device)} if taught else {})

    def validate(self) -> dict[str, float]:
        speech = [e for e in self.corpus.dev if e.task == "tts"][:16]
        waves = [torch.from_numpy(self.corpus.waves(e.audio)) for e in speech]
        return super().validate(waves) | {f"{k}_first": v for k, v in super().validate(waves, 1).items()}


STAGE_CLASSES = {"codec": CodecTraining, "encoder": EncoderStage, "gpt": GPTStage, "vocoder": VocoderStage, "laura": LauraStage, "speaker": SpeakerStage}
