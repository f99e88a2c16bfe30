"""One class a stage, one step function each: encoder (CTC), gpt (text), vocoder (L1 + L2), laura (multi-task cross-entropy).

The codec's stage is codec_stage.py. Each makes its batches from a pure plan (data/loader.py) with randomness from (seed, step), and
names the modules that are saved. What a step returns is a dict of losses by name.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.augment import change_speed, gain, mix_sounds
from lauragpt.data.captions import join_captions
from lauragpt.data.loader import Plan, seconds_of
from lauragpt.data.manifest import Example
from lauragpt.data.spelling import spelled
from lauragpt.model.encoder import Heard
from lauragpt.model.laura import LauraModel, alike
from lauragpt.model.sequence import Layout, layout, text_layout
from lauragpt.model.vocoder import vocoder_loss
from lauragpt.tasks import TASKS, slu_to_text
from lauragpt.text import normalize
from lauragpt.train.codec_stage import CodecStage, CodecStageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.recipe import StageConfig
from lauragpt.train.speaker_stage import SpeakerStage
from lauragpt.train.wordings import likeliest_wordings

Update = Callable[[str, Tensor], object]
PROMPT_SECONDS = 3.0  # of the speaker's other utterance that the vocoder hears


def pad(waves: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(B, N) and (B,)"""
    return pad_sequence([torch.from_numpy(np.asarray(w, dtype=np.float32)) for w in waves], batch_first=True), torch.tensor([len(w) for w in waves])


def shares_of(layouts: Sequence[Layout], emphasis: Sequence[float] | None = None) -> list[float]:
    """What each output token counts in the loss, together 1: a sequence of n tokens counts as the root of n times its emphasis, so that a
    second of sound, 25 tokens, does not drown an emotion, of whose few tokens one says which it is."""
    counts = [sum(row.targets) for row in layouts]
    weights = [times * count**0.5 for times, count in zip(emphasis or [1.0] * len(layouts), counts, strict=True)]
    return [weight / sum(weights) / count for weight, count in zip(weights, counts, strict=True) for _ in range(count)]


def mask_features(features: Tensor, bins: int = 80) -> Tensor:
    """SpecAugment: of each row, two bands of up to 15 mel bins and two spans of up to 8 frames are set to the mean (0)."""
    B, T, F = features.shape
    at = torch.arange(F, device=features.device) % bins
    time, kept = torch.arange(T, device=features.device), torch.ones(B, T, F, dtype=torch.bool, device=features.device)
    for _ in range(2):
        low, width = torch.randint(bins, (B, 1)), torch.randint(16, (B, 1))
        kept &= ~((at >= low) & (at < low + width))[:, None]
        start, span = torch.randint(T, (B, 1)), torch.randint(min(9, T // 4 + 1), (B, 1))
        kept &= ~((time >= start) & (time < start + span))[:, :, None]
    return features * kept


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

    def hear(self, waves: Tensor, samples: Tensor) -> Heard:
        """(B, N), (B,) -> Heard, in groups of like length: what is padding is hardly computed."""
        lengths, order, parts = self.model.features.lengths(samples), [], []
        for group in alike(lengths.tolist()):
            features, count = self.model.features(waves[group, : int(samples[group].max())].to(self.device), samples[group].to(self.device))
            if self.config.mask and self.model.training:
                features = mask_features(features)
            parts.append(self.model.listen(features, count))
            order += group
        back = torch.tensor(order).argsort().tolist()

        def together(name: str) -> Tensor | None:
            rows = [row for part in parts if getattr(part, name) is not None for row in getattr(part, name)]
            return pad_sequence([rows[i] for i in back], batch_first=True) if rows else None

        return Heard(together("embeddings"), lengths.to(self.device), together("ctc_log_probs"), together("middle_log_probs"))

    def spell(self, rows: list[Tensor]) -> Tensor:
        """Probabilities (T, U) each -> (B, T, D)."""
        return self.model.spell(pad_sequence(rows, batch_first=True).to(self.device))

    def ctc(self, heard: Heard, texts: Sequence[str], rows: Sequence[int]) -> Tensor:
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

    def reading(self, task: str, lang: str, said: str, target: str, rng: np.random.Generator) -> tuple[Layout, np.ndarray]:
        """The layout of `target` after the frames (T, U) that spell `said`."""
        frames = spelled(self.corpus.units.encode(said), rng, worst=float(rng.choice((0.0, 0.15, 0.4))))
        return layout(self.model.vocabulary, task, lang, self.corpus.write(task, target), len(frames)), frames

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
        lang, spoken = self.corpus.phrase(rng)
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


class EncoderStage(ModelStage):
    """CTC pre-training of the encoder (the paper starts from a trained recogniser)."""

    name, trained = "encoder", ("encoder",)

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
        if example.task != "mt":
            said = normalize(example.extra["transcript"], example.source_lang or example.lang) if "transcript" in example.extra else target
            return self.reading(example.task, example.lang, said, target, rng)
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


class LauraStage(ModelStage):
    """Every task at once: cross-entropy over output tokens, and the CTC term where there are words. GPT and encoder train jointly."""

    name, trained = "laura", ("encoder", "spelling", "gpt")

    def __init__(self, model: LauraModel, corpus: Corpus, config: StageConfig, seed: int = 0, rank: int = 0):
        super().__init__(model, corpus, config, seed, rank)
        if model.encoder.tapped is not None and not model.encoder.tapped.deviation.any():
            measure_tap(model, corpus, seed)
        self.wordings = likeliest_wordings(model, corpus.train, corpus.waves, config.wordings, seed) if config.wordings else {}

    def make_plan(self, weights: dict[str, float]) -> Plan:
        small = {key: value for key, value in weights.items() if TASKS[key.partition("/")[0]].small}
        self.small_plan = super().make_plan(small) if small and self.config.small_from < self.config.small_until else None
        texts = {key: value for key, value in weights.items() if TASKS[key.partition("/")[0]].without_sound}
        if not texts or not self.config.text_seconds:
            return super().make_plan(weights)
        self.text_plan = Plan(self.corpus.train, texts, self.config.text_seconds, self.seed, self.rank)
        return super().make_plan({key: value for key, value in weights.items() if key not in texts})

    def seconds(self, example: Example) -> float:
        cut = self.config.sound_seconds
        return min(cut, example.duration) if example.task == "aac" and cut else seconds_of(example)

    def batch(self, step: int) -> dict:
        config, rng = self.config, self.rng(step)
        small = self.small_plan is not None and config.small_from <= step / config.steps < config.small_until
        drawn = (self.small_plan if small else self.plan)[step] + (self.text_plan[step] if self.text_plan else [])
        rows = [self.row(self.corpus.train[i], rng) for i in drawn]
        rows.sort(key=lambda row: row["wave"] is None)  # those that listen first, so that frames and rows keep one order
        waves = [row["wave"] for row in rows if row["wave"] is not None]
        read = [self.phrase(rng) for _ in range(max(1, round(self.config.phrases * len(rows))) if self.corpus.lines else 0)]
        if self.corpus.orders and self.config.orders:
            read += [self.order(rng) for _ in range(max(1, round(self.config.orders * len(rows))))]
        spelled = {"layouts": [row[0] for row in read], "spelled": [torch.from_numpy(row[1]) for row in read]}
        return {"rows": rows, "waves": pad(waves) if waves else None} | spelled

    def order(self, rng: np.random.Generator) -> tuple[Layout, np.ndarray]:
        """An order to be understood from what the CTC head might spell: the recordings come without their words."""
        said, intent, slots = self.corpus.orders.draw(rng)
        return self.reading("slu", "en", said, slu_to_text(intent, slots), rng)

    def row(self, example: Example, rng: np.random.Generator) -> dict:
        """An example drawn: the wave it hears, its layout, the words that CTC learns (None where there are none to learn)."""
        task, encode, words = TASKS[example.task], self.corpus.tokenizer.encode, None
        wave, source, output = None, [], []
        if task.name == "tts":
            return {"wave": None, "words": None, "task": "tts", "layout": self.speech(example, rng)}
        if task.name == "se":
            clean = self.corpus.waves(example.audio)
            wave, output = self.corpus.noisy(clean, rng), self.codes(example)
        elif task.name == "aac":
            wave, text = self.sounds(example, rng)
            output = encode(text)
        elif task.name == "mt":
            source, output = encode(example.source), encode(example.targets[0])
        else:
            wave = self.corpus.heard(example, rng, self.config.noise)
            output = self.corpus.write(task.name, example.targets[int(rng.integers(len(example.targets)))])
            words = example.targets[0] if task.name == "asr" else self.wordings.get(example.id)
        if task.output == "audio":
            output = self.model.vocabulary.audio(output)
        frames = int(self.model.features.lengths(torch.tensor(len(wave)))) if wave is not None else 0
        return {
            "wave": wave, "words": words, "task": task.name,
            "layout": layout(self.model.vocabulary, task.name, example.lang, output, frames, source),
        }  # fmt: skip

    def sounds(self, example: Example, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """A sound and a wording of it; now and then two sounds at once."""
        wave, text = self.sound(example, rng), self.wording(example, rng)
        if rng.random() < 0.5:
            wave = change_speed(wave, float(rng.uniform(0.8, 1.25)))
        if rng.random() < 0.2:
            others = [self.corpus.train[i] for i in self.plan[int(rng.integers(1 << 30))]]
            for other in others:
                if other.task == "aac" and other.extra.get("sound") != example.extra.get("sound"):
                    second = self.sound(other, rng)
                    if np.abs(wave).max() > 0 and np.abs(second).max() > 0:
                        return mix_sounds(wave, second, rng)[: len(wave)], join_captions(text, self.wording(other, rng))
        return gain(wave, rng.uniform(-9, 6)).clip(-1, 1), text

    def sound(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        """A sound begins anywhere. Of two cuts the louder one, so that what is cut out is seldom the silence around a sound."""
        wave, size = self.corpus.waves(example.audio), int(self.config.sound_seconds * SAMPLE_RATE)
        wave = np.roll(wave, int(rng.integers(len(wave))))
        if not 0 < size < len(wave):
            return wave
        return max((wave[k : k + size] for k in rng.integers(len(wave) - size + 1, size=2)), key=lambda cut: float(np.square(cut).sum()))

    def wording(self, example: Example, rng: np.random.Generator) -> str:
        return example.targets[int(rng.integers(min(len(example.targets), self.config.captions or len(example.targets))))]

    def step(self, batch: dict, update: Update) -> dict[str, float]:
        rows = batch["rows"]
        heard = self.hear(*batch["waves"]) if batch["waves"] is not None else None
        layouts = [row["layout"] for row in rows]
        spelled = self.model.loss(batch["layouts"], self.spell(batch["spelled"])) if batch["layouts"] else torch.zeros(0, device=self.device)
        losses = self.model.loss(layouts, heard.embeddings if heard else None)
        emphasis = [self.config.emphasis.get(row["task"], 1.0) for row in rows] + [1.0] * len(batch["layouts"])
        shares = torch.tensor(shares_of(layouts + batch["layouts"], emphasis), device=self.device)
        loss, report, at = (torch.cat([losses, spelled]) * shares).sum(), {"read": [spelled.detach().mean()]} if len(spelled) else {}, 0
        for row in rows:
            count = sum(row["layout"].targets)
            report.setdefault(row["task"], []).append(losses[at : at + count].detach().mean())
            at += count
        spoken = [(i, row["words"]) for i, row in enumerate(rows) if row["words"] is not None]
        if spoken:
            ctc = self.ctc(heard, [words for _, words in spoken], [i for i, _ in spoken])
            loss = loss + self.config.ctc * ctc
            report["ctc"] = [ctc.detach()]
        update("model", loss)
        return {"loss": loss.item()} | {name: float(torch.stack(values).mean()) for name, values in report.items()}


@torch.no_grad()
def measure_tap(model: LauraModel, corpus: Corpus, seed: int = 0, count: int = 200) -> None:
    """Lets the tapped layer's frames be standardised over some recordings of training, half of them of sounds where there are any."""
    kinds = [[e for e in corpus.train if e.audio and (e.task == "aac") == sounds] for sounds in (False, True)]
    rng, frames, device = np.random.default_rng((seed, 2)), [], model.spelling.weight.device
    hook = model.encoder.layers[model.encoder.config.tap - 1].register_forward_hook(lambda module, given, x: frames.append(x[0]))
    model.eval()
    for kind in kinds:
        for i in rng.integers(len(kind), size=count // 2) if kind else ():
            wave = torch.from_numpy(corpus.waves(kind[i].audio)).to(device)
            model.encode(wave[None], torch.tensor([len(wave)], device=device))
    hook.remove()
    model.encoder.tapped.measure(torch.cat(frames))


class VocoderStage(ModelStage):
    """Tokens and a condition to the sum of all embeddings. The codec is frozen."""

    name, trained = "vocoder", ("vocoder",)
    corrupted, strangers = 0.08, 0.3  # shares: tokens replaced by others (the GPT errs); conditions of another utterance

    def __init__(self, model: LauraModel, *rest, **more):
        super().__init__(model, *rest, **more)
        with torch.no_grad():  # at first, nearly nothing is added to the tokens' own embeddings
            model.vocoder.output.weight.mul_(0.1)
            model.vocoder.output.bias.zero_()

    def batch(self, step: int) -> dict:
        rng = self.rng(step)
        examples = [self.corpus.train[i] for i in self.plan[step]]
        wanted = "se" if rng.random() < self.config.weights.get("se", 0.0) / sum(self.config.weights.values()) else "tts"
        same = [e for e in examples if e.task == wanted] or examples
        same = [e for e in same if e.task == same[0].task]
        clean = [self.corpus.waves(e.audio) for e in same]
        groups = alike([len(wave) // self.model.config.codec.hop for wave in clean])
        return {"groups": [self.group([same[i] for i in group], [clean[i] for i in group], rng) for group in groups]}

    def group(self, same: list[Example], clean: list[np.ndarray], rng: np.random.Generator) -> dict:
        """Examples of one task and of like length, with their conditions."""
        encode = self.corpus.tokenizer.encode
        batch = {"clean": pad(clean), "corrupt": rng.integers(1 << 31)}
        if same[0].task == "se":
            noisy = [self.corpus.noisy(wave, rng) for wave in clean]
            # Now and then the noise of another utterance: the tokens say what was spoken, so that nothing goes round the GPT.
            order = np.arange(len(same)) if rng.random() >= self.strangers else np.roll(np.arange(len(same)), 1)
            batch["noisy"] = pad([noisy[i] for i in order])
        else:
            texts = [torch.tensor(encode(normalize(e.source, e.lang))) for e in same]
            batch["text"] = pad_sequence(texts, batch_first=True), torch.tensor([len(t) for t in texts])
            others = [self.corpus.prompt(e, rng) for e in same]
            most = int(PROMPT_SECONDS * SAMPLE_RATE)
            batch["prompt"] = pad([self.corpus.waves(o.audio)[:most] if o is not None else np.zeros(0) for o in others])
        return batch

    def step(self, batch: dict, update: Update) -> dict[str, float]:
        tokens = [int(-(-group["clean"][1] // self.model.config.codec.hop).sum()) for group in batch["groups"]]
        loss = sum(self.loss(group) * (count / sum(tokens)) for group, count in zip(batch["groups"], tokens, strict=True))
        update("model", loss)
        return {"loss": loss.item(), "noisy" if "noisy" in batch["groups"][0] else "text": loss.item()}

    def loss(self, batch: dict) -> Tensor:
        device, codec = self.device, self.model.codec.eval()
        clean, samples = (tensor.to(device) for tensor in batch["clean"])
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            codes = codec.encode(clean, samples)
            target = codec.embed(codes)
        tokens, lengths = codes[:, 0], -(-samples // self.model.config.codec.hop)
        generator = torch.Generator().manual_seed(int(batch["corrupt"]))
        wrong = (torch.rand(tokens.shape, generator=generator) < self.corrupted).to(device)
        tokens = torch.where(wrong, torch.randint(self.model.config.audio_size, tokens.shape, generator=generator).to(device), tokens)
        conditions = {
            name: tuple(t.to(device) for t in batch[name]) for name in ("text", "prompt", "noisy")
            if name in batch and batch[name][0].shape[1]
        }  # fmt: skip
        return vocoder_loss(self.model.vocode(tokens, lengths, **conditions), target, lengths)


class CodecTraining(CodecStage):
    """The codec's stage with its batches: crops of clean speech."""

    def __init__(self, model: LauraModel, corpus: Corpus, config: StageConfig, seed: int = 0, rank: int = 0):
        super().__init__(CodecStageConfig(
            codec=model.config.codec, lr=config.lr, adversarial_from=config.adversarial_from, quantize_from=config.quantize_from, seed=seed
        ))  # fmt: skip
        self.codec.load_state_dict(model.codec.state_dict())
        self.corpus, self.seconds, self.seed, self.rank = corpus, config.batch_seconds, seed, rank
        self.clean = [e for e in corpus.train if e.task == "tts" and e.duration >= self.config.crop_seconds]

    def batch(self, step: int) -> dict:
        rng, size = np.random.default_rng((self.seed, self.rank, step)), int(self.config.crop_seconds * SAMPLE_RATE)
        crops = []
        for _ in range(max(1, int(self.seconds / self.config.crop_seconds))):
            wave = self.corpus.waves(self.clean[int(rng.integers(len(self.clean)))].audio)
            start = int(rng.integers(max(1, len(wave) - size + 1)))
            crops.append(np.pad(wave[start : start + size], (0, max(0, size - len(wave)))))
        return {"wave": torch.from_numpy(np.stack(crops)).to(next(self.codec.parameters()).device)}

    def validate(self) -> dict[str, float]:
        speech = [e for e in self.corpus.dev if e.task == "tts"][:16]
        waves = [torch.from_numpy(self.corpus.waves(e.audio)) for e in speech]
        return super().validate(waves) | {f"{k}_first": v for k, v in super().validate(waves, 1).items()}


STAGE_CLASSES = {"codec": CodecTraining, "encoder": EncoderStage, "gpt": GPTStage, "vocoder": VocoderStage, "laura": LauraStage, "speaker": SpeakerStage}
