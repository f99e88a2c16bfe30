"""The stage of all tasks together: recordings and texts -> cross-entropy over output tokens, and the CTC term where there are words."""

import numpy as np
import torch

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.augment import change_speed, gain, mix_sounds
from lauragpt.data.captions import join_captions
from lauragpt.data.loader import Plan, seconds_of
from lauragpt.data.manifest import Example
from lauragpt.model.lauragpt import LauraModel
from lauragpt.sequence import Layout, layout
from lauragpt.spoken import normalize
from lauragpt.tasks import TASKS, slu_to_text
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.model_stage import ModelStage, Update, pad, shares_of
from lauragpt.train.pseudo_labels import likeliest_texts


class JointStage(ModelStage):
    """Every task at once: cross-entropy over output tokens, and the CTC term where there are words. GPT and encoder train jointly."""

    name, trained = "laura", ("encoder", "posterior_embedding", "gpt")

    def __init__(self, model: LauraModel, corpus: Corpus, config: StageConfig, seed: int = 0, rank: int = 0):
        super().__init__(model, corpus, config, seed, rank)
        if model.encoder.intermediate is not None and not model.encoder.intermediate.deviation.any():
            measure_intermediate_layer(model, corpus, seed)
        self.pseudo_labels = likeliest_texts(model, corpus.train, corpus.waves, config.pseudo_labels, seed) if config.pseudo_labels else {}

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
        examples = [self.corpus.train[i] for i in drawn]
        text_injection = [self.inject_text(e, e.targets[0], rng) if e.targets else None for e in examples]
        rows = [self.row(example, rng) for example, spoken in zip(examples, text_injection) if spoken is None]
        rows.sort(key=lambda row: row["wave"] is None)  # those that listen first, so that frames and rows keep one order
        waves = [row["wave"] for row in rows if row["wave"] is not None]
        read = [self.phrase(rng) for _ in range(max(1, round(self.config.phrases * len(rows))) if self.corpus.lines else 0)]
        read += [spoken for spoken in text_injection if spoken is not None]
        if self.corpus.slu_templates and self.config.slu_templates:
            read += [self.slu_template(rng) for _ in range(max(1, round(self.config.slu_templates * len(rows))))]
        spelled = {"layouts": [row[0] for row in read], "posteriors": [torch.from_numpy(row[1]) for row in read]}
        return {"rows": rows, "waves": pad(waves) if waves else None} | spelled

    def slu_template(self, rng: np.random.Generator) -> tuple[Layout, np.ndarray]:
        """An order to be understood from what the CTC head might spell: the recordings come without their words."""
        said, intent, slots = self.corpus.slu_templates.draw(rng)
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
            source, output = encode(self.source(example.source, example.source_lang, rng)), encode(example.targets[0])
        else:
            wave = self.corpus.heard(example, rng, self.config.noise)
            output = self.corpus.write(task.name, example.targets[int(rng.integers(len(example.targets)))])
            words = example.targets[0] if task.name == "asr" else self.pseudo_labels.get(example.id)
        if task.output == "audio":
            output = self.model.vocabulary.audio(output)
        frames = int(self.model.features.lengths(torch.tensor(len(wave)))) if wave is not None else 0
        return {
            "wave": wave, "words": words, "task": task.name,
            "layout": layout(self.model.vocabulary, task.name, example.lang, output, frames, source),
        }  # fmt: skip

    def source(self, text: str, lang: str, rng: np.random.Generator) -> str:
        """A text to be translated as it is, or as a transcript has it."""
        said = normalize(text, lang) if rng.random() < self.config.asr_noise else ""
        return self.transcript(said, lang, rng) if said else text

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
        best = heard.ctc_log_probs.detach().argmax(-1).cpu().numpy() if heard else ()
        layouts[: len(best)] = [self.align_letters(row, rows[i]["task"], best[i, : row.frames]) for i, row in enumerate(layouts[: len(best)])]
        spelled = self.model.loss(batch["layouts"], self.embed_posteriors(batch["posteriors"])) if batch["layouts"] else torch.zeros(0, device=self.device)
        losses = self.model.loss(layouts, heard.embeddings if heard else None) if layouts else torch.zeros(0, device=self.device)
        loss_weight = [self.config.loss_weight.get(row["task"], 1.0) for row in rows] + [1.0] * len(batch["layouts"])
        shares = torch.tensor(shares_of(layouts + batch["layouts"], loss_weight), device=self.device)
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
def measure_intermediate_layer(model: LauraModel, corpus: Corpus, seed: int = 0, count: int = 200) -> None:
    """Lets the tapped layer's frames be standardised over some recordings of training, half of them of sounds where there are any."""
    kinds = [[e for e in corpus.train if e.audio and (e.task == "aac") == sounds] for sounds in (False, True)]
    rng, frames, device = np.random.default_rng((seed, 2)), [], model.posterior_embedding.weight.device
    model.eval()
    for kind in kinds:
        for i in rng.integers(len(kind), size=count // 2) if kind else ():
            wave = torch.from_numpy(corpus.waves(kind[i].audio)).to(device)
            features = model.features(wave[None], torch.tensor([len(wave)], device=device))
            frames.append(model.encoder.frames(*features, model.encoder.config.intermediate_layer)[0])
    if frames:
        model.encoder.intermediate.measure(torch.cat(frames))
