"""The codec's stage: crops of clean speech (B, N) go through generator, then (later) discriminator.

The step reads top to bottom: encode, quantize with structured dropout, decode, one dict of losses, one weight each, one sum. Only the
generator's turn moves the codebooks. The discriminator joins at `adversarial_from`.

Where the quantizer has a guide, it learns what the trained encoder tells of each frame (teacher.py): the first codes, which the GPT
writes, then stand for the sounds of speech before they stand for their colour. A listener tells more (stages/listener.py) and stays as it
is; crops should then be as long as what it hears at a time, 8 s. Networks that begin with published weights keep their encoder, so that
codebooks and decoder alone are trained.

B batch, N samples, K codebooks, T frames, G width of the guide.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.codec.discriminator import Discriminator, DiscriminatorConfig
from lauragpt.codec.losses import SpectralLoss, adversarial_loss, discriminator_loss, feature_matching_loss
from lauragpt.errors import LauraError
from lauragpt.evaluate.metrics import MissingPackage, stoi
from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.batches import CodecBatch, CodecBatches
from lauragpt.train.corpus import Corpus
from lauragpt.train.stage import StageConfig, Update, adamw

DEV_RECORDINGS = 16
USAGE_FRAMES = 20_000  # over which the use of the first codebook is reported


@dataclass(frozen=True)
class CodecStageConfig(StageConfig):
    init: str = ""  # folder of Lyra v2's files, with whose weights the networks of a codec of that kind begin
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 1e-3
    crop_seconds: float = 1.28
    gain_db: tuple[float, float] = (-12.0, 3.0)  # random gain of each crop, in place of normalising the loudness
    quantize_from: int = 300  # step. Before it the latents pass unquantized: codebooks that start earlier collapse, since an untrained
    # encoder's latents move faster than a moving average follows
    kmeans_batches: int = 8  # k-means sees the latents of this many batches
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    adversarial_from: int = 1_000_000  # step at which the discriminator joins
    adversarial_seconds: float = 0.64  # it judges a random crop this long, since it costs most of the step
    spectral_windows: tuple[int, ...] = (64, 256, 512, 1024)  # the paper's 32 and 128 besides cost a tenth of the speed each
    # FunCodec's weights, but for the waveform: a magnitude-only encoder cannot know its phase
    waveform_weight: float = 0.0
    spectral_weight: float = 1.0
    commitment_weight: float = 1.0
    adversarial_weight: float = 1 / 9
    matching_weight: float = 1.0
    guide_weight: float = 0.3
    best_by: str = "mel_distance"

    def __post_init__(self):
        super().__post_init__()
        if self.accumulate > 1:
            raise LauraError("accumulate: codebooks and discriminator learn from one batch at a time: raise batch_seconds instead")


class CodecStage:
    name = "codec"
    Config = CodecStageConfig

    def __init__(self, model: LauraModel, corpus: Corpus, config: CodecStageConfig, seed: int = 0, rank: int = 0):
        self.config, self.corpus, self.seed, self.codec = config, corpus, seed, model.codec
        if model.listener is not None:
            model.listener.requires_grad_(False)
            model.listener.round_as_stored()
        if config.init:
            model.codec.encoder.requires_grad_(False)
        self.discriminator = Discriminator(config.discriminator)
        self.modules = nn.ModuleDict({"codec": self.codec, "discriminator": self.discriminator})
        self.optimizers = {
            "generator": adamw([p for p in self.codec.parameters() if p.requires_grad], config),
            "discriminator": adamw(self.discriminator.parameters(), config),
        }
        self.batch = CodecBatches(corpus, config, seed, model)
        if self.batch.teacher is not None:
            self.modules["teacher"] = self.batch.teacher.axes
        self.spectral_loss = SpectralLoss(config.spectral_windows, self.codec.config.sample_rate)
        self._recent: deque[Tensor] = deque()  # first-codebook indices of the last batches, for the usage report

    def step(self, batch: CodecBatch, step: int, update: Update) -> dict[str, float]:
        """Returns every loss by name, unweighted, and how the first codebook is used."""
        config, quantizer = self.config, self.codec.quantizer
        wave = batch.waves.to(quantizer.codebooks.device)
        self.spectral_loss.to(wave.device)
        generator = self._generator(batch.number)
        wave = self._gain(wave, generator)
        quantizing = self._start_codebooks(step, batch.number)
        levels = quantizer.draw_levels(len(wave), generator) if quantizing else 0
        output = self.codec(wave, levels, update=True)

        losses = {
            "spectral": self.spectral_loss(output.wave, wave),
            "waveform": F.l1_loss(output.wave.float(), wave),
            "commitment": output.commitment.mean(),
        }
        if quantizer.config.guide and self.codec.listener is None:
            _, guide = quantizer.split(output.latents.float())
            scale = guide.shape[-1] / self.codec.config.dim  # the loss is 1 when the codes tell nothing: see Teacher
            losses["guide"] = F.mse_loss(guide, batch.guide.to(wave.device)) * scale
        adversarial = step >= config.adversarial_from
        if adversarial:
            real, decoded = self._crop(wave, output.wave, generator)
            self.discriminator.requires_grad_(False)
            with torch.no_grad():
                judged_real = self.discriminator(real)
            judged = self.discriminator(decoded)
            losses["adversarial"] = adversarial_loss(judged.logits)
            losses["matching"] = feature_matching_loss(judged_real.features, judged.features)
            self.discriminator.requires_grad_(True)
        loss = sum(getattr(config, f"{name}_weight") * value for name, value in losses.items())
        update("generator", loss)

        if adversarial:
            losses["discriminator"] = discriminator_loss(
                self.discriminator(real).logits, self.discriminator(decoded.detach()).logits
            )
            update("discriminator", losses["discriminator"])
        return {"loss": loss.item()} | {k: v.item() for k, v in losses.items()} | self._usage(output.codes)

    @torch.no_grad()
    def _start_codebooks(self, step: int, number: int) -> bool:
        """Whether the codebooks take part in this step, as trained ones always do; at the first one, k-means over its batch, which has this
        number, and those to come."""
        quantizer, count = self.codec.quantizer, self.config.kmeans_batches
        if not bool(quantizer.initialised.all()):
            if step < self.config.quantize_from:
                return False
            device, numbers = quantizer.codebooks.device, range(number, number + count)
            waves = [self._gain(self.batch(each).waves.to(device), self._generator(each)) for each in numbers]
            quantizer.initialise(torch.cat([self.codec.latents(wave).float().flatten(0, 1) for wave in waves]), batches=count)
        return True

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + number)

    def _gain(self, wave: Tensor, generator: torch.Generator) -> Tensor:
        """A random gain a row, drawn from the part of the range in which the row does not clip."""
        low, high = self.config.gain_db
        decibels = low + (high - low) * torch.rand(len(wave), 1, generator=generator)
        gain = (10 ** (decibels / 20)).to(wave.device)
        return wave * torch.minimum(gain, 0.99 / wave.abs().amax(1, keepdim=True).clamp(min=1e-4))

    def _crop(self, wave: Tensor, decoded: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        length = int(self.config.adversarial_seconds * self.codec.config.sample_rate)
        start = int(torch.randint(max(wave.shape[1] - length, 0) + 1, (1,), generator=generator))
        return wave[:, start : start + length], decoded[:, start : start + length]

    def _usage(self, codes: Tensor) -> dict[str, float]:
        """Share of the first codebook's codes in the last frames, and the perplexity of their distribution."""
        if not codes.shape[1]:
            return {}
        self._recent.append(codes[:, 0].reshape(-1).cpu())
        while sum(map(len, self._recent)) - len(self._recent[0]) > USAGE_FRAMES:
            self._recent.popleft()
        size = self.codec.config.quantizer.codebook_size
        counts = torch.bincount(torch.cat(list(self._recent)), minlength=size).double()
        p = counts / counts.sum()
        return {"usage": float((counts > 0).double().mean()), "perplexity": float(torch.exp(-torch.xlogy(p, p).sum()))}

    def validate(self) -> dict[str, float]:
        """With all quantizers, and as `..._first` with the first alone: mel distance (mean L1 of log-mel, window 1024) and, with pystoi,
        STOI."""
        speech = [e for e in self.corpus.dev if e.task == "tts"][:DEV_RECORDINGS]
        if not speech and self.config.evaluate_every:
            raise LauraError("evaluate_every: dev has no example of tts: prepare some, or set it to 0")
        waves = [torch.from_numpy(self.corpus.waves(example.audio)) for example in speech]
        self.codec.eval()
        return (self.measure(waves) | {f"{name}_first": value for name, value in self.measure(waves, 1).items()}) if waves else {}

    @torch.no_grad()
    def measure(self, waves: list[Tensor], n_quantizers: int | None = None) -> dict[str, float]:
        """Means over waves (N,)."""
        distances, intelligibility, device = [], [], self.codec.quantizer.codebooks.device
        log_mel = SpectralLoss((1024,), self.codec.config.sample_rate, linear=0.0)
        for wave in waves:
            decoded = self.codec.decode(self.codec.encode(wave[None].to(device), n_quantizers=n_quantizers))[0, : len(wave)].cpu()
            distances.append(float(log_mel(decoded[None], wave[None])))
            with suppress(MissingPackage):
                intelligibility.append(stoi(wave.numpy(), decoded.float().numpy()))
        found = [score for score in intelligibility if score is not None]
        return {"mel_distance": sum(distances) / len(distances)} | ({"stoi": sum(found) / len(found)} if found else {})
