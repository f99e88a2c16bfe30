"""The stage of the evaluation's speaker encoder: crops of speech -> their speaker, with an additive angular margin (arXiv 1801.07698).

Every speaker is drawn as often as any other. Only the encoder ships, without the matrix of training speakers.

B batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from lauragpt.data.manifest import Example
from lauragpt.evaluate.speaker import SpeakerEncoder, embed, equal_error_rate, pair_scores
from lauragpt.train.batches import SpeakerBatch, SpeakerBatches
from lauragpt.train.corpus import Corpus
from lauragpt.train.stage import StageConfig, Update, adamw

DEV_RECORDINGS = 60  # of a speaker at most


@dataclass(frozen=True)
class SpeakerStageConfig(StageConfig):
    betas: tuple[float, float] = (0.9, 0.999)
    crop_seconds: float = 2.0
    noise: float = 0.3  # chance that a crop is made noisy
    margin: float = 0.2  # radians
    scale: float = 30.0  # of the cosines
    best_by: str = "eer"


class SpeakerStage:
    name = "speaker"
    Config = SpeakerStageConfig

    def __init__(self, model: nn.Module, corpus: Corpus, config: SpeakerStageConfig, seed: int = 0, rank: int = 0):
        """`model` is not used: the speaker encoder is no part of it."""
        self.corpus, self.config = corpus, config
        torch.manual_seed(seed)  # the same first weights in every process
        long_enough = [e for e in corpus.train if e.duration >= config.crop_seconds / 2]
        self.recordings = {name: several for name, several in sorted(by_speaker(long_enough).items()) if len(several) > 1}
        self.encoder = SpeakerEncoder()
        self.classes = nn.Linear(self.encoder.output.out_features, len(self.recordings), bias=False)
        self.modules = nn.ModuleDict({"speaker": self.encoder, "classes": self.classes})
        self.optimizers = {"model": adamw(self.modules.parameters(), config)}
        self.batch = SpeakerBatches(corpus, list(self.recordings.values()), config, seed)

    def step(self, batch: SpeakerBatch, step: int, update: Update) -> dict[str, float]:
        device = self.classes.weight.device
        waves, speakers = batch.waves.to(device), batch.speakers.to(device)
        samples = torch.full((len(waves),), waves.shape[1], device=device)
        cosines = F.linear(self.encoder(waves, samples), F.normalize(self.classes.weight)).float()
        loss = F.cross_entropy(self.config.scale * with_margin(cosines, speakers, self.config.margin), speakers)
        update("model", loss)
        return {"loss": loss.item(), "right": float((cosines.argmax(-1) == speakers).float().mean())}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The equal error rate in per cent over all pairs of recordings of the dev speakers, none of whom is in training."""
        unseen = {name: several[:DEV_RECORDINGS] for name, several in by_speaker(self.corpus.dev).items() if name not in self.recordings}
        self.encoder.eval()
        found = [(speaker, embed(self.corpus.waves(e.audio), self.encoder)) for speaker, several in unseen.items() for e in several]
        embeddings = [(speaker, embedding) for speaker, embedding in found if embedding is not None]
        if not embeddings:
            return {}
        same, different = pair_scores(np.stack([embedding for _, embedding in embeddings]), [speaker for speaker, _ in embeddings])
        return {"eer": equal_error_rate(same, different), "same": float(same.mean()), "different": float(different.mean())}

    def export(self, path: Path) -> Path:
        """Writes the encoder alone, fp16, with its figures on dev in the file's metadata (`evaluate.speaker.figures`)."""
        figures = {name: f"{value:.3f}" for name, value in self.validate().items()}
        state = {name: t.half() if t.is_floating_point() else t for name, t in self.encoder.state_dict().items()}
        aside = path.with_suffix(".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.cpu().contiguous() for name, t in state.items()}, aside, metadata=figures)
        aside.chmod(0o644)
        return aside.replace(path)


def by_speaker(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """The recordings for recognition whose speaker is known."""
    recordings: dict[str, list[Example]] = {}
    for example in examples:
        if example.task == "asr" and example.speaker:
            recordings.setdefault(example.speaker, []).append(example)
    return recordings


def with_margin(cosines: Tensor, speakers: Tensor, margin: float) -> Tensor:
    """(B, classes), with cos(angle + margin) for each row's own speaker (B,)."""
    angle = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    own = F.one_hot(speakers, cosines.shape[1]).bool()
    return torch.where(own, (angle + margin).cos(), cosines)
