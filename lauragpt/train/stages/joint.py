"""The stage of all tasks together: recordings and texts -> cross-entropy over output tokens, and CTC where there is a transcript."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from lauragpt.errors import LauraError
from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.lauragpt import LauraModel, to_device
from lauragpt.sequence import Layout
from lauragpt.train.batches import train_and_dev
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import encode_recordings, stacked
from lauragpt.train.frozen_frames import frozen_frames
from lauragpt.train.losses import ctc_loss, ctc_size, means_by_name, sequence_shares, token_weights
from lauragpt.train.pseudo_labels import likeliest_texts
from lauragpt.train.stage import ListeningConfig, ModelStage, Phase, Update
from lauragpt.train.stages.gpt import ReadingConfig, embed_posteriors, reading_parts
from lauragpt.train.text_batches import JointBatch, JointBatches, time_aligned


@dataclass(frozen=True)
class JointStageConfig(ListeningConfig, ReadingConfig):
    phases: tuple[Phase, ...] = ()  # one after the other, as the paper's three; in a recipe each takes from the stage what it leaves out
    loss_weight: dict[str, float] = field(default_factory=dict)  # task -> how many times as much its tokens count in the loss
    ctc_weight: float = 0.3  # of CTC beside the cross-entropy
    text_seconds: float = 0.0  # of text to be translated beside each batch of what has sound; 0 mixes all by weight
    asr_noise: float = 0.0  # chance that a text to be translated is read as a transcript has it: in spoken form, with errors
    slu_templates: float = 0.0  # requests made of slots beside each example, understood from posteriors
    sound_seconds: float = 0.0  # crop of a sound that is captioned; 0 crops nothing
    captions: int = 0  # of each sound, the first ones, are learnt; 0 learns all
    pseudo_labels: int = 0  # texts tried for each request without a transcript, of which CTC learns the likeliest; 0 learns none

    def __post_init__(self):
        super().__post_init__()
        steps = sum(phase.steps for phase in self.phases)
        if self.phases and self.steps != steps:
            raise LauraError(f"steps is {self.steps}, but those of the phases are {steps} together: leave steps out")

    def for_dev(self) -> "JointStageConfig":
        return replace(self, phases=(), text_seconds=0.0)  # every task in one mixture

    @property
    def schedule(self) -> tuple[Phase, ...]:
        return self.phases or super().schedule


class JointStage(ModelStage):
    """GPT and encoder train together."""

    name, trained = "joint", ("encoder", "posterior_embedding", "gpt")
    Config = JointStageConfig

    def __init__(self, model: LauraModel, corpus: Corpus, config: JointStageConfig, seed: int = 0, rank: int = 0):
        self.frozen = frozen_frames(model, corpus, config, rank)
        super().__init__(model, config, config.published_lr)
        self.tokenizer = corpus.tokenizer
        parts = reading_parts(model, corpus, config, seed)
        if model.encoder.intermediate is not None and not model.encoder.intermediate.deviation.any():
            measure_intermediate_layer(model, corpus, seed)
        tries = config.pseudo_labels
        labels = likeliest_texts(model, corpus.train, corpus.waves, corpus.units, tries, seed) if tries else {}
        self.batch, self.dev_batch = train_and_dev(JointBatches, corpus, config, seed, rank, *parts, labels)

    def sizes(self, batch: JointBatch) -> dict[str, float]:
        layouts = [example.layout for example in batch.examples] + batch.read.layouts
        shares = sequence_shares(layouts, self._sequence_weights(batch))
        return {"tokens": sum(shares), "ctc": ctc_size(example.units for example in batch.examples if example.units is not None)}

    def _sequence_weights(self, batch: JointBatch) -> list[float]:
        """How many times as much the tokens of each sequence count: of the examples, then of what is read."""
        return [self.config.loss_weight.get(example.task, 1.0) for example in batch.examples] + [1.0] * len(batch.read.layouts)

    def step(self, batch: JointBatch, step: int, update: Update) -> dict[str, Tensor]:
        config, device = self.config, self.device
        recordings = batch.recordings
        output = encode_recordings(self.model, recordings, config.spec_augment, self.frozen) if recordings else None
        layouts = self._align([example.layout for example in batch.examples], batch, output)
        heard = [output.embeddings] if output else []
        if batch.read.posteriors:
            heard.append(embed_posteriors(self.model, batch.read))
        # At once, and not what is heard and what is read one after the other: the GPT is called once in a step of every process.
        each = self.model.loss(layouts + batch.read.layouts, stacked(heard), apart=len(layouts))
        losses, read = each.tensor_split([sum(sum(row.targets) for row in layouts)])
        weights = token_weights(layouts + batch.read.layouts, self._sequence_weights(batch))
        loss = (each * to_device(np.array(weights, np.float32), device)).sum()
        parts, report = {"tokens": loss}, {"read": read.detach().mean()} if len(read) else {}
        report |= means_by_name(losses, layouts, [example.task for example in batch.examples])
        transcribed = [(index, example.units) for index, example in enumerate(batch.examples) if example.units is not None]
        if transcribed:
            rows, units = zip(*transcribed, strict=True)
            ctc = ctc_loss(output, rows, units, config.middle_ctc_weight)
            parts["ctc"] = config.ctc_weight * ctc
            report["ctc"] = ctc.detach()
        update("model", parts)
        return {"loss": sum(parts.values()).detach()} | report

    def _align(self, layouts: list[Layout], batch: JointBatch, output: EncoderOutput | None) -> list[Layout]:
        """The transcripts' letters at the times at which CTC hears them, as they will be when they are written."""
        if output is None or not self.model.config.time_aligned:
            return layouts
        best = output.ctc_log_probs.detach().argmax(-1).cpu().numpy()
        examples = zip(layouts, batch.examples, best)  # recordings come first: the others stay as they are
        return [time_aligned(row, e.task, units[: row.frames], self.tokenizer) for row, e, units in examples] + layouts[len(best) :]


@torch.no_grad()
def measure_intermediate_layer(model: LauraModel, corpus: Corpus, seed: int = 0, count: int = 200) -> None:
    """Standardises the frames of the intermediate layer over recordings of training, half of them sounds where there are any."""
    kinds = [[e for e in corpus.train if e.audio and (e.task == "aac") == sounds] for sounds in (False, True)]
    rng, device = np.random.default_rng((seed, 2)), model.posterior_embedding.weight.device
    frames: list[Tensor] = []
    model.eval()
    for kind in kinds:
        for i in rng.integers(len(kind), size=count // 2) if kind else ():
            wave = torch.from_numpy(corpus.waves(kind[i].audio)).to(device)
            features = model.features(wave[None], torch.tensor([len(wave)], device=device))
            frames.append(model.encoder.intermediate_frames(*features)[0])
    if frames:
        model.encoder.intermediate.measure(torch.cat(frames))
