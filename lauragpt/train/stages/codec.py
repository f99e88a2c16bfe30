"""Training the codec: one step function. A batch of waveforms (B, N) goes through generator, then (later) discriminator.

The step reads top to bottom: encode, quantize with structured dropout, decode, one dict of losses, one dict of weights, one sum.
Only the generator's turn moves the codebooks. The discriminator joins at `adversarial_from`.

Where the quantizer has a guide, it learns what a trained speech encoder tells of each frame (train/teacher.py): the first codes, which
the GPT writes, then stand for sounds of speech before they stand for their colour.

B batch, N samples, K codebooks, T frames, G width of the guide.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.audio import SAMPLE_RATE
from lauragpt.codec.codec import CODEC_PRESETS, Codec, CodecConfig
from lauragpt.codec.discriminator import Discriminator, DiscriminatorConfig
from lauragpt.codec.losses import SpectralLoss, adversarial_loss, discriminator_loss, feature_matching_loss
from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.teacher import Teacher

Update = Callable[[str, Tensor], object]  # update(optimizer name, loss): zero_grad, backward, clip, step


@dataclass(frozen=True)
class CodecStageConfig:
    codec: CodecConfig = field(default_factory=lambda: CODEC_PRESETS["mini"])
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    lr: float = 5e-4
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 1e-3
    crop_seconds: float = 1.28  # read by whoever makes the batches
    windows: tuple[int, ...] = (64, 256, 512, 1024)  # of the spectral loss; the paper's 32 and 128 besides cost a tenth of the speed each
    quantize_from: int = 300  # before this step the latents pass unquantized: codebooks that start earlier collapse, since an
    # untrained encoder's latents move faster than a moving average follows
    kmeans_batches: int = 8  # k-means sees the latents of this many batches
    adversarial_from: int = 20_000  # step at which the discriminator joins
    adversarial_seconds: float = 0.64  # it judges a random piece this long, since it costs most of the step
    gain_db: tuple[float, float] = (-12.0, 3.0)  # random gain a row, in place of normalising the loudness
    seed: int = 0
    # weights of the losses; FunCodec's, but for the waveform: a magnitude-only encoder cannot know its phase
    waveform: float = 0.0
    spectral: float = 1.0
    commitment: float = 1.0
    adversarial: float = 1 / 9
    matching: float = 1.0
    guide: float = 0.3


class CodecStage:
    name = "codec"

    def __init__(self, config: CodecStageConfig, batches: Callable[[int], dict]):
        """`batches`: step -> {"wave": (B, N) float32}, with a guide "taught" (B, T, G) beside it."""
        self.config, self.batch = config, batches
        self.codec = Codec.from_config(config.codec)
        self.discriminator = Discriminator(config.discriminator)
        self.modules = nn.ModuleDict({"codec": self.codec, "discriminator": self.discriminator})
        options = {"lr": config.lr, "betas": config.betas, "weight_decay": config.weight_decay, "fused": True}
        self.optimizers = {
            "generator": torch.optim.AdamW(self.codec.parameters(), **options),
            "discriminator": torch.optim.AdamW(self.discriminator.parameters(), **options),
        }
        self.spectral_loss = SpectralLoss(config.windows, config.codec.sample_rate)
        self._recent: deque[Tensor] = deque()  # first-codebook indices of the last batches, for the usage report

    def step(self, batch: dict, update: Update) -> dict[str, float]:
        """batch: that of the step, and "step". Returns every loss by name, unweighted, and how the first codebook is used."""
        config, wave, step = self.config, batch["wave"], int(batch["step"])
        self.spectral_loss.to(wave.device)
        generator = self._generator(step)
        wave = self._gain(wave, generator)
        quantizing = self._start_codebooks(step)
        levels = self.codec.quantizer.draw_levels(len(wave), generator) if quantizing else 0
        output = self.codec(wave, levels, update=True)

        losses = {
            "spectral": self.spectral_loss(output.wave, wave),
            "waveform": F.l1_loss(output.wave.float(), wave),
            "commitment": output.commitment.mean(),
        }
        if config.codec.quantizer.guide:
            _, guide = self.codec.quantizer.split(output.latents.float())
            losses["guide"] = F.mse_loss(guide, batch["taught"]) * (guide.shape[-1] / config.codec.dim)  # 1 when it tells nothing: see Teacher
        adversarial = step >= config.adversarial_from
        if adversarial:
            real, decoded = self._piece(wave, output.wave, generator)
            self.discriminator.requires_grad_(False)
            with torch.no_grad():
                judged_real = self.discriminator(real)
            judged = self.discriminator(decoded)
            losses["adversarial"] = adversarial_loss(judged.logits)
            losses["matching"] = feature_matching_loss(judged_real.features, judged.features)
            self.discriminator.requires_grad_(True)
        loss = sum(getattr(config, name) * value for name, value in losses.items())
        update("generator", loss)

        if adversarial:
            losses["discriminator"] = discriminator_loss(
                self.discriminator(real).logits, self.discriminator(decoded.detach()).logits
            )
            update("discriminator", losses["discriminator"])
        return {"loss": loss.item()} | {k: v.item() for k, v in losses.items()} | self._usage(output.codes)

    @torch.no_grad()
    def _start_codebooks(self, step: int) -> bool:
        """Whether the codebooks take part in this step, as trained ones always do; at the first one, k-means over its batch and those to come."""
        quantizer, count = self.codec.quantizer, self.config.kmeans_batches
        if not bool(quantizer.initialised.all()):
            if step < self.config.quantize_from:
                return False
            waves = [self._gain(self.batch(at)["wave"], self._generator(at)) for at in range(step, step + count)]
            quantizer.initialise(torch.cat([self.codec.latents(wave).float().flatten(0, 1) for wave in waves]), batches=count)
        return True

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)

    def _gain(self, wave: Tensor, generator: torch.Generator) -> Tensor:
        """A random gain a row, drawn from the part of the range in which the row does not clip."""
        low, high = self.config.gain_db
        decibels = low + (high - low) * torch.rand(len(wave), 1, generator=generator)
        gain = (10 ** (decibels / 20)).to(wave.device)
        return wave * torch.minimum(gain, 0.99 / wave.abs().amax(1, keepdim=True).clamp(min=1e-4))

    def _piece(self, wave: Tensor, decoded: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        length = int(self.config.adversarial_seconds * self.config.codec.sample_rate)
        start = int(torch.randint(max(wave.shape[1] - length, 0) + 1, (1,), generator=generator))
        return wave[:, start : start + length], decoded[:, start : start + length]

    def _usage(self, codes: Tensor) -> dict[str, float]:
        """Share of the first codebook's codes in the last 20 k frames, and the perplexity of their distribution."""
        if not codes.shape[1]:
            return {}
        self._recent.append(codes[:, 0].reshape(-1).cpu())
        while sum(map(len, self._recent)) - len(self._recent[0]) > 20_000:
            self._recent.popleft()
        size = self.config.codec.quantizer.codebook_size
        counts = torch.bincount(torch.cat(list(self._recent)), minlength=size).double()
        p = counts / counts.sum()
        return {"usage": float((counts > 0).double().mean()), "perplexity": float(torch.exp(-torch.xlogy(p, p).sum()))}

    @torch.no_grad()
    def validate(self, waves: list[Tensor], n_quantizers: int | None = None) -> dict[str, float]:
        """Each wave (N,) through encode and decode: mel distance (mean L1 of log-mel, window 1024) and, with pystoi, STOI."""
        rate = self.config.codec.sample_rate
        distance, heard = [], []
        training = self.codec.training
        self.codec.eval()
        measure = SpectralLoss((1024,), rate, linear=0.0)
        for wave in waves:
            device = next(self.codec.parameters()).device
            decoded = self.codec.decode(self.codec.encode(wave[None].to(device), n_quantizers=n_quantizers))[0, : len(wave)].cpu()
            distance.append(float(measure(decoded[None], wave[None].cpu())))
            score = stoi(wave.cpu(), decoded, rate)
            if score is not None:
                heard.append(score)
        self.codec.train(training)
        return {"mel_distance": sum(distance) / len(distance)} | ({"stoi": sum(heard) / len(heard)} if heard else {})


def stoi(reference: Tensor, decoded: Tensor, sample_rate: int) -> float | None:
    """Short-time objective intelligibility, 0 to 1; None where pystoi is not installed."""
    try:
        from pystoi import stoi as measure
    except ImportError:
        return None
    return float(measure(reference.numpy(), decoded.float().numpy(), sample_rate))


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
