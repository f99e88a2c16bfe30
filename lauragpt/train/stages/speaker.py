"""The stage of the evaluation's speaker encoder: crops of speech -> whose they are, with an additive angular margin (arXiv 1801.07698).

As many crops of each speaker as of any other, whatever they recorded. Only the encoder ships; the matrix of speakers stays behind.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.augment import gain
from lauragpt.evaluate.speaker import SpeakerEncoder, embed, equal_error_rate, pair_scores
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus

MARGIN, SCALE = 0.2, 30.0


class SpeakerStage:
    name = "speaker"

    def __init__(self, model: nn.Module, corpus: Corpus, config: StageConfig, seed: int = 0, rank: int = 0):
        """`model` is not used: the evaluation's encoder is no part of it."""
        self.corpus, self.config, self.seed, self.rank = corpus, config, seed, rank
        torch.manual_seed(seed)  # the same first weights in every process
        said: dict[str, list] = {}
        for example in corpus.train:
            if example.task == "asr" and example.speaker and example.duration >= config.crop_seconds / 2:
                said.setdefault(example.speaker, []).append(example)
        self.said = [said[name] for name in sorted(said) if len(said[name]) > 1]
        self.encoder = SpeakerEncoder()
        self.speakers = nn.Linear(self.encoder.output.out_features, len(self.said), bias=False)
        self.modules = nn.ModuleDict({"speaker": self.encoder, "classes": self.speakers})
        self.optimizers = {"model": torch.optim.AdamW(self.modules.parameters(), lr=config.lr, weight_decay=0.02, fused=True)}

    def batch(self, step: int) -> dict:
        rng, size = np.random.default_rng((self.seed, self.rank, step)), int(self.config.crop_seconds * SAMPLE_RATE)
        crops, who = [], rng.integers(len(self.said), size=max(2, int(self.config.batch_seconds / self.config.crop_seconds)))
        for speaker in who:
            several = self.said[speaker]
            wave = self.corpus.waves(several[int(rng.integers(len(several)))].audio)
            wave = np.tile(wave, -(-size // len(wave)))  # a short word is said again
            start = int(rng.integers(len(wave) - size + 1))
            crop = gain(wave[start : start + size], rng.uniform(-9, 6)).clip(-1, 1)
            crops.append(self.corpus.noisy(crop, rng) if rng.random() < self.config.noise else crop)
        return {"waves": torch.from_numpy(np.stack(crops).astype(np.float32)), "who": torch.from_numpy(who)}

    def step(self, batch: dict, update) -> dict[str, float]:
        device = self.speakers.weight.device
        waves, who = batch["waves"].to(device), batch["who"].to(device)
        samples = torch.full((len(waves),), waves.shape[1], device=device)
        cosines = F.linear(self.encoder(waves, samples), F.normalize(self.speakers.weight)).float()
        loss = F.cross_entropy(SCALE * with_margin(cosines, who), who)
        update("model", loss)
        return {"loss": loss.item(), "right": float((cosines.argmax(-1) == who).float().mean())}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The equal error rate in per cent over all pairs of the dev speakers, whom training has not heard, at most 60 recordings each."""
        said: dict[str, list] = {}
        known = {example.speaker for several in self.said for example in several}
        for example in self.corpus.dev:
            if example.task == "asr" and example.speaker and example.speaker not in known and len(said.setdefault(example.speaker, [])) < 60:
                said[example.speaker].append(example)
        self.encoder.eval()
        found = [(speaker, embed(self.corpus.waves(e.audio), self.encoder)) for speaker, several in said.items() for e in several]
        rows = [(speaker, row) for speaker, row in found if row is not None]
        if not rows:
            return {}
        same, different = pair_scores(np.stack([row for _, row in rows]), [speaker for speaker, _ in rows])
        return {"eer": equal_error_rate(same, different), "same": float(same.mean()), "different": float(different.mean())}

    def export(self, path: Path) -> Path:
        """Writes the encoder alone, fp16, with what it reaches on dev in the file's metadata (`evaluate.speaker.figures`)."""
        found = {name: f"{value:.3f}" for name, value in self.validate().items()}
        state = {name: t.half() if t.is_floating_point() else t for name, t in self.encoder.state_dict().items()}
        aside = path.with_suffix(".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.cpu().contiguous() for name, t in state.items()}, aside, metadata=found)
        aside.chmod(0o644)
        return aside.replace(path)


def with_margin(cosines: Tensor, who: Tensor) -> Tensor:
    """cos(angle + MARGIN) for each row's own class, (B, classes)."""
    angle = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    own = F.one_hot(who, cosines.shape[1]).bool()
    return torch.where(own, (angle + MARGIN).cos(), cosines)
