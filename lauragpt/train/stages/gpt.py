"""The GPT's stage: all tasks that need no sound. In: sentences, pairs of sentences, CTC posteriors made from text. Out: a GPT that reads them."""

import numpy as np
import torch

from lauragpt.data.loader import Plan
from lauragpt.data.manifest import Example
from lauragpt.sequence import Layout, layout, text_layout
from lauragpt.spoken import normalize
from lauragpt.train.model_stage import ModelStage, Update, shares_of


class GPTStage(ModelStage):
    """All that needs no ear: plain sentences, translation, speaking, and reading what the CTC head might spell (data/posteriors.py)."""

    name, trained = "gpt", ("gpt", "posterior_embedding")
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
        return {"layouts": [row[0] for row in rows], "posteriors": [torch.from_numpy(row[1]) for row in rows if row[1] is not None]}

    def row(self, example: Example, rng: np.random.Generator) -> tuple[Layout, np.ndarray | None]:
        if example.task == "tts":
            return self.speech(example, rng), None
        target = example.targets[int(rng.integers(len(example.targets)))]
        if spoken := self.inject_text(example, target, rng):
            return spoken
        if example.task != "mt":
            said = normalize(example.extra["transcript"], example.source_lang or example.lang) if "transcript" in example.extra else target
            return self.reading(example.task, example.lang, said, target, rng, example.source_lang)
        encode = self.corpus.tokenizer.encode
        return layout(self.model.vocabulary, "mt", example.lang, encode(target), source=encode(example.source)), None

    def step(self, batch: dict, update: Update) -> dict[str, float]:
        layouts, rows = batch["layouts"], batch["posteriors"]
        losses = self.model.loss(layouts, self.embed_posteriors(rows) if rows else None)
        loss = (losses * torch.tensor(shares_of(layouts), device=self.device)).sum()
        update("model", loss)
        names, spoken, report = ["text"] * len(layouts), self.model.vocabulary.task("tts"), {}
        names[: len(rows)] = ["read"] * len(rows)
        for name, row, part in zip(names, layouts, losses.detach().split([sum(row.targets) for row in layouts]), strict=True):
            report.setdefault("tts" if spoken in row.ids else name, []).append(part.mean())
        return {"loss": loss.item()} | {name: float(torch.stack(parts).mean()) for name, parts in report.items()}
