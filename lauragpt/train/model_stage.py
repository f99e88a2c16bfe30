"""What the stages over a LauraModel share: the plan of batches, hearing, reading, speech, the CTC loss, the optimizer over what trains.

A stage makes its batches from a pure plan (data/loader.py) with randomness from (seed, step), names the modules that are saved, and has one
step function, which returns a dict of losses by name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lauragpt.ctc import CtcAligner
from lauragpt.data.loader import Plan, seconds_of
from lauragpt.data.manifest import Example
from lauragpt.data.posteriors import PosteriorBank, random_posteriors
from lauragpt.errors import LauraError
from lauragpt.features import mel, mel_edges
from lauragpt.model.encoder import EncoderOutput
from lauragpt.model.lauragpt import LauraModel, alike
from lauragpt.sequence import Layout, layout
from lauragpt.spoken import normalize
from lauragpt.tasks import TASKS
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.loop import precision

Update = Callable[[str, Tensor], object]


def pad(waves: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(B, N) and (B,)"""
    return pad_sequence([torch.from_numpy(np.asarray(w, dtype=np.float32)) for w in waves], batch_first=True), torch.tensor([len(w) for w in waves])


def shares_of(layouts: Sequence[Layout], loss_weight: Sequence[float] | None = None) -> list[float]:
    """What each output token counts in the loss, together 1: a sequence of n tokens counts as the root of n times its loss_weight, so that a
    second of sound, 25 tokens, does not drown an emotion, of whose few tokens one says which it is."""
    counts = [sum(row.targets) for row in layouts]
    weights = [times * count**0.5 for times, count in zip(loss_weight or [1.0] * len(layouts), counts, strict=True)]
    return [weight / sum(weights) / count for weight, count in zip(weights, counts, strict=True) for _ in range(count)]


def mask_features(features: Tensor, bins: int) -> Tensor:
    """SpecAugment: of each row of (B, T, F), two bands of up to 20 mel bins and, for every 32 frames, of one at least, a span of up to 8 (of a quarter
    at most) are set to the mean (0)."""
    B, T, F = features.shape
    at, time, kept = torch.arange(F) % bins, torch.arange(T), torch.ones(B, T, F, dtype=torch.bool)
    for _ in range(2):
        low, width = torch.randint(bins, (B, 1)), torch.randint(21, (B, 1))
        kept &= ~((at >= low) & (at < low + width))[:, None]
    for _ in range(max(1, T // 32)):
        start, span = torch.randint(T, (B, 1)), torch.randint(min(9, T // 4 + 1), (B, 1))
        kept &= ~((time >= start) & (time < start + span))[:, :, None]
    return features * kept.to(features.device)


def warp_features(features: Tensor, bins: int, most: float = 0.1, bend: float = 4800.0, top: float = 8000.0) -> Tensor:
    """Vocal tract length perturbation (Jaitly and Hinton 2013): each row of (B, T, F) as if said by a mouth up to `most` longer or shorter, its
    frequencies multiplied by one factor up to about `bend` Hz, and evenly from there to `top`, which stays."""
    edges = mel_edges(bins)
    hertz = 700 * np.expm1(edges[1:-1] / 1127)
    factor = 1 + most * (2 * torch.rand(len(features), 1, dtype=torch.float64).numpy() - 1)
    knee = bend * factor.clip(max=1)
    source = np.where(hertz <= knee / factor, hertz * factor, top - (top - knee) / (top - knee / factor) * (top - hertz))  # (B, bins), in Hz
    at = torch.from_numpy(((mel(source) - edges[1]) / (edges[1] - edges[0])).clip(0, bins - 1)).to(features.device, features.dtype)
    low = at.long().clamp(max=bins - 2)
    rows = features.unflatten(2, (-1, bins))
    first, second = (rows.gather(3, index[:, None, None].expand_as(rows)) for index in (low, low + 1))
    return torch.lerp(first, second, (at - low)[:, None, None]).flatten(2)


def _batches(examples: list[Example], seconds: float, batch_seconds: float) -> Iterator[list[Example]]:
    """The first of the examples, as many as make so many seconds, in batches of about so many."""
    batch, size = [], 0.0
    for example in examples:
        batch.append(example)
        size += example.duration
        if size >= min(batch_seconds, seconds):
            yield batch
            seconds -= size
            batch, size = [], 0.0
            if seconds <= 0:
                return
    if batch:
        yield batch


class ModelStage:
    """What the stages over a LauraModel share: the plan, the optimizer over what trains."""

    name = ""
    trained: tuple[str, ...] = ()
    small_plan: Plan | None = None  # of the small tasks alone
    text_plan: Plan | None = None  # of the tasks without sound

    def __init__(self, model: LauraModel, corpus: Corpus, config: StageConfig, seed: int = 0, rank: int = 0):
        self.model, self.corpus, self.config, self.seed, self.rank = model, corpus, config, seed, rank
        self.modules = nn.ModuleDict({name: getattr(model, name) for name in self.trained})
        decayed = [p for p in self.modules.parameters() if p.dim() > 1]
        plain = [p for p in self.modules.parameters() if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        self.optimizers = {"model": torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)}
        self.plan = self.make_plan(config.weights)
        self.known: dict[str, np.ndarray] = {}  # tokens by recording
        self.posterior_bank = self.collect_posterior_banks()
        for layer in model.gpt.layers if config.compile and "gpt" in self.trained else ():
            layer.compile(dynamic=True)

    def make_plan(self, weights: dict[str, float]) -> Plan:
        return Plan(self.corpus.train, weights, self.config.batch_seconds, self.seed, self.rank, self.seconds)

    def seconds(self, example: Example) -> float:
        """What an example costs of a batch."""
        return seconds_of(example)

    def rng(self, step: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.rank, step, 1))

    @property
    def device(self) -> torch.device:
        return self.model.gpt.embed_tokens.weight.device

    def hear(self, waves: Tensor, samples: Tensor) -> EncoderOutput:
        """(B, N), (B,) -> EncoderOutput, in groups of like length: what is padding is hardly computed."""
        lengths, bins, order, parts = self.model.features.lengths(samples), self.model.config.features.bins, [], []
        for group in alike(lengths.tolist()):
            features, count = self.model.features(waves[group, : int(samples[group].max())].to(self.device), samples[group].to(self.device))
            if self.config.mask and self.model.encoder.training:
                features = mask_features(warp_features(features, bins), bins)
            parts.append(self.model.listen(features, count))
            order += group
        back = torch.tensor(order).argsort().tolist()

        def together(name: str) -> Tensor | None:
            rows = [row for part in parts if getattr(part, name) is not None for row in getattr(part, name)]
            return pad_sequence([rows[i] for i in back], batch_first=True) if rows else None

        return EncoderOutput(together("embeddings"), lengths.to(self.device), together("ctc_log_probs"), together("middle_log_probs"))

    def embed_posteriors(self, rows: list[Tensor]) -> Tensor:
        """Probabilities (T, U) each -> (B, T, D)."""
        return self.model.embed_posteriors(pad_sequence(rows, batch_first=True).to(self.device))

    def ctc(self, heard: EncoderOutput, texts: Sequence[str], rows: Sequence[int]) -> Tensor:
        """Mean CTC loss a unit over the rows that have words; the middle layer's counts a third."""
        units = [self.corpus.units.encode(text) for text in texts]
        targets, counts = torch.tensor([u for row in units for u in row]), torch.tensor([len(u) for u in units])
        rows, loss = torch.tensor(rows), torch.zeros((), device=self.device)
        for log_probs, weight in ((heard.ctc_log_probs, 1.0), (heard.middle_log_probs, 0.3)):
            if log_probs is not None:
                each = nn.functional.ctc_loss(
                    log_probs[rows].transpose(0, 1).cpu(), targets, heard.lengths[rows].cpu(), counts, reduction="none", zero_infinity=True
                )
                loss = loss + weight * each.sum().to(self.device) / counts.clamp(min=1).sum()
        return loss

    @torch.no_grad()
    def collect_posterior_banks(self, batch_seconds: float = 60.0) -> dict[str, list[PosteriorBank]]:
        """By language, a corpus each that is in the data: what the CTC head says of recordings as training hears them. It knows them: half are masked, so
        that it errs about as often as it does of others."""
        found: dict[str, list[PosteriorBank]] = {}
        encoder, rng, was = self.model.encoder, np.random.default_rng((self.seed, self.rank, 3)), self.model.encoder.training
        bf16 = precision(self.device.type == "cuda") == "bf16"
        with torch.random.fork_rng(), torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            torch.manual_seed(int(rng.integers(2**31)))  # of the masks
            for corpus, hours in self.config.posterior_bank.items():
                examples = [e for e in self.corpus.train if e.task == "asr" and e.corpus == corpus and e.targets[0]]
                heard: dict[str, list[tuple[str, np.ndarray]]] = {}
                for several in _batches([examples[i] for i in rng.permutation(len(examples))], 3600 * hours, batch_seconds):
                    encoder.train(rng.random() < 0.5)
                    out = self.hear(*pad([self.corpus.heard(e, rng, self.config.noise) for e in several]))
                    for e, log_probs, length in zip(several, out.ctc_log_probs.float().cpu().numpy(), out.lengths.tolist(), strict=True):
                        heard.setdefault(e.lang, []).append((e.targets[0], log_probs[:length]))
                for lang, recordings in heard.items():
                    found.setdefault(lang, []).append(PosteriorBank(recordings))
        encoder.train(was)
        if self.config.posterior_bank and not found:
            raise LauraError(f"posterior_bank: no recording of {', '.join(self.config.posterior_bank)} in the data: prepare one, or leave posterior_bank out")
        return found

    def posteriors(self, said: str, lang: str, rng: np.random.Generator) -> np.ndarray:
        """What the CTC head might say of a text in spoken form, (T, U)."""
        units, heard = self.corpus.units.encode(said), self.posterior_bank.get(lang)
        if not heard:
            return random_posteriors(units, rng, worst=float(rng.choice((0.0, 0.15, 0.4))))
        chances = np.array([len(one.rows) for one in heard], dtype=float)
        return heard[int(rng.choice(len(heard), p=chances / chances.sum()))].sample(units, rng)

    def reading(self, task: str, lang: str, said: str, target: str, rng: np.random.Generator, spoken: str | None = None) -> tuple[Layout, np.ndarray]:
        """The layout of `target` after the frames (T, U) that spell `said`, in the target's language or `spoken`."""
        frames = self.posteriors(said, spoken or lang, rng)
        row = layout(self.model.vocabulary, task, lang, self.corpus.write(task, target), len(frames))
        return self.align_letters(row, task, frames.argmax(1)), frames

    def inject_text(self, example: Example, target: str, rng: np.random.Generator) -> tuple[Layout, np.ndarray] | None:
        """Now and then a pair to be translated as if its source were spoken. Pairs whose target is in lower case are left as text, since speech is
        translated into text with capitals."""
        small = target == target.lower() != target.upper()  # some scripts have no capitals
        if example.task != "mt" or small or rng.random() >= self.config.text_injection:
            return None
        return self.reading("s2tt", example.lang, normalize(example.source, example.source_lang), target, rng, example.source_lang)

    def transcript(self, said: str, lang: str, rng: np.random.Generator) -> str:
        """What might be written down of what is said: some letters wrong, lost or added, by chance."""
        frames = self.posteriors(said, lang, rng)
        return " ".join(self.corpus.units.decode(frames.argmax(1).tolist()).split()) or said

    def align_letters(self, row: Layout, task: str, best: np.ndarray) -> Layout:
        """A transcript's letters at the times at which they are said, by the best CTC unit of each frame."""
        if not (self.model.config.time_aligned and TASKS[task].output == "text" and TASKS[task].letters):
            return row
        return replace(row, said=tuple(CtcAligner.of(self.corpus.tokenizer, best.tolist()).times(0, row.ids[2:-1])))

    def speech(self, example: Example, rng: np.random.Generator) -> Layout:
        """A text to be spoken, now and then behind another utterance of the speaker, which goes on in the same voice."""
        prompt = self.corpus.prompt(example, rng) if rng.random() < 0.3 else None
        said = [e for e in (prompt, example) if e is not None]
        source = self.corpus.write("tts", " ".join(normalize(e.source, e.lang) for e in said))
        codes = [code for e in said for code in self.codes(e)]
        return layout(self.model.vocabulary, "tts", example.lang, self.model.vocabulary.audio(codes), source=source)

    @torch.no_grad()
    def codes(self, example: Example) -> list[int]:
        """The tokens of a recording as it is, made once: the codec is frozen."""
        if example.audio not in self.known:
            self.model.codec.eval()
            wave = torch.from_numpy(self.corpus.waves(example.audio))[None].to(self.device)
            self.known[example.audio] = self.model.codec.encode(wave, n_quantizers=1)[0, 0].short().cpu().numpy()
        return self.known[example.audio].tolist()

    def phrase(self, rng: np.random.Generator) -> tuple[Layout, np.ndarray]:
        """Some words of the texts to be read from their spelling."""
        lang, spoken = self.corpus.phrase(rng, self.config.phrase_words)
        return self.reading("asr", lang, spoken, spoken, rng)

    def validate(self) -> dict[str, float]:
        """Mean losses over some fixed dev batches."""
        examples, plans = self.corpus.train, (self.plan, self.small_plan, self.text_plan)
        total: dict[str, list[float]] = {}
        self.corpus.train, self.small_plan, self.text_plan = self.corpus.dev, None, None
        try:
            self.plan = Plan(self.corpus.dev, self.config.weights, self.config.batch_seconds, seed=99, seconds=self.seconds)
            with torch.no_grad():
                for step in range(4):
                    for name, value in self.step(self.batch(step) | {"step": step}, lambda name, loss: None).items():
                        total.setdefault(name, []).append(value)
        finally:
            self.corpus.train, (self.plan, self.small_plan, self.text_plan) = examples, plans
        return {name: float(np.mean(values)) for name, values in total.items()}
