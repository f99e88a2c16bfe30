"""One step or many? The paper's one-step vocoder (section 3.4) beside the scheme it replaces: quantizer by quantizer, as VALL-E does.

Both are the same transformer with the same conditions (text and a prompt of the speaker), trained from nothing on the same recordings
for the same time, on the same frozen codec; both are given the true first tokens of dev recordings. The one predicts the sum of all
embeddings at once. The other predicts the next quantizer's codes from the sum of those before it (of a level drawn anew for each group
of a batch), and needs a pass a quantizer; it is measured at 8 and at all of them. No token is corrupted in training, since none is in
the measurement.

    python experiments/multi_step.py --data runs/data --minutes 15

Out: a table of WER by pocketsphinx, STOI, PESQ and seconds, as Markdown on stdout.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from timed import train_for
from torch import Tensor, nn

from lauragpt.audio import SAMPLE_RATE
from lauragpt.checkpoint import find_checkpoint
from lauragpt.evaluate import metrics
from lauragpt.evaluate.inputs import prompt_of
from lauragpt.evaluate.sound_metrics import parallel_map, pocketsphinx_text, sound_quality
from lauragpt.model.lauragpt import LauraModel, load_checkpoint
from lauragpt.model.vocoder import Vocoder, VocoderConfig
from lauragpt.spoken import normalize
from lauragpt.text import Tokenizer
from lauragpt.train.batches import VocoderGroup
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages.vocoder import VocoderStage, VocoderStageConfig

CONFIG = VocoderStageConfig(batch_seconds=40, lr=1e-3, warmup=100, token_errors=0.0, weights={"tts": 1, "tts/synth-tts": 1.2})


class LevelInput(nn.Module):
    """What takes the token embedding's place: the sum of the lower levels' embeddings (B, T, E), and the level -> (B, T, C)."""

    def __init__(self, embedding: int, width: int, levels: int):
        super().__init__()
        self.sum, self.level, self.at = nn.Linear(embedding, width), nn.Embedding(levels, width), 0

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.sum(embeddings) + self.level.weight[self.at]


class MultiStep(Vocoder):
    """The sum of the embeddings of levels 0 .. j-1 and the condition -> logits of level j's codes (B, T, V): minus the squared distance of
    what is predicted of the residual to each code, scaled."""

    def __init__(self, config: VocoderConfig, codebooks: Tensor):
        super().__init__(config)
        self.tokens = LevelInput(config.embedding, config.width, len(codebooks))
        self.sharpness = nn.Parameter(torch.zeros(len(codebooks)))
        self.register_buffer("codebooks", codebooks.clone())

    def logits(self, embeddings: Tensor, at: int, lengths: Tensor, **conditions) -> Tensor:
        """embeddings (B, T, E)"""
        self.tokens.at = at
        predicted, codes = self.output(self.states(embeddings, lengths, **conditions)).float(), self.codebooks[at]
        with torch.autocast(predicted.device.type, enabled=False):
            distance = predicted.square().sum(-1, keepdim=True) + codes.square().sum(-1) - 2 * predicted @ codes.t()
            return -distance * self.sharpness[at].exp()


class MultiStepStage(VocoderStage):
    """The vocoder's batches, another loss: cross-entropy of one level's codes."""

    def loss(self, group: VocoderGroup) -> Tensor:
        codec, K, samples = self.model.codec.eval(), self.model.config.codec.quantizer.n_quantizers, group.clean.samples
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            codes = codec.encode(*group.clean)
        at = 1 + group.seed % (K - 1)
        lengths, conditions = -(-samples // codec.config.hop), self.conditions(group)
        logits = self.model.vocoder.logits(codec.embed(codes[:, :at]), at, lengths, **conditions)
        real = torch.arange(codes.shape[2]) < lengths[:, None]
        return F.cross_entropy(logits[real], codes[:, at][real])


def spoken(letters: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(L,), (T,) -> the text as the vocoder takes it."""
    return letters[None], torch.tensor([len(letters)]), torch.tensor([len(codes) / max(1, len(letters))])


@torch.inference_mode()
def one_step(model: LauraModel, codes: Tensor, text: Tensor, prompt: Tensor | None, quantizers: int) -> Tensor:
    """codes (T,) -> embeddings (1, T, E)"""
    T = torch.tensor([len(codes)])
    heard = model.condition_of(prompt[None], torch.tensor([len(prompt)])) if prompt is not None else None
    return model.vocode(codes[None], T, spoken(text, codes), heard)


@torch.inference_mode()
def multi_step(model: LauraModel, codes: Tensor, text: Tensor, prompt: Tensor | None, quantizers: int) -> Tensor:
    found, T = codes[None, None], torch.tensor([len(codes)])
    heard = model.condition_of(prompt[None], torch.tensor([len(prompt)])) if prompt is not None else None
    for at in range(1, quantizers):
        logits = model.vocoder.logits(model.codec.embed(found), at, T, text=spoken(text, codes), prompt=heard)
        found = torch.cat([found, logits.argmax(-1)[:, None]], dim=1)
    return model.codec.embed(found)


def main() -> int:
    parser = argparse.ArgumentParser(description="The one-step vocoder beside the multi-step scheme.")
    parser.add_argument("--checkpoint", default="mini", help="whose codec and tokenizer are used (mini)")
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="prepared manifests (runs/data)")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, each (15)")
    parser.add_argument("--limit", type=int, default=16, help="dev recordings a corpus (16)")
    parser.add_argument("--out", type=Path, default=Path("runs/multi-step"), help="folder for the weights (runs/multi-step)")
    asked = parser.parse_args()
    folder = find_checkpoint(asked.checkpoint)
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    train, dev = read_data(asked.data)
    corpus = Corpus(train, dev, asked.data, tokenizer)
    spoken, prompt = [e for e in dev if e.task == "tts" and e.lang == "en"], prompt_of(dev)
    chosen = [e for name in sorted({e.corpus for e in spoken}) for e in [e for e in spoken if e.corpus == name][: asked.limit]]
    for example in train:  # read once before anything is timed
        if example.task == "tts":
            corpus.waves(example.audio)
    clean, rows = [corpus.waves(e.audio) for e in chosen], []
    for name, kind, scheme in (("one step", VocoderStage, one_step), ("quantizer by quantizer", MultiStepStage, multi_step)):
        torch.manual_seed(0)
        model = load_checkpoint(folder)
        every = model.config.codec.quantizer.n_quantizers
        model.vocoder = (
            Vocoder(model.config.vocoder) if scheme is one_step else MultiStep(model.config.vocoder, model.codec.quantizer.codebooks)
        )
        steps = train_for(kind(model, corpus, CONFIG), asked.minutes, asked.out / name.replace(" ", "-"))
        model.eval()
        for quantizers in (every,) if scheme is one_step else (min(8, every), every):
            sounds, seconds = [], 0.0
            for example, wave in zip(chosen, clean, strict=True):
                given, codes = prompt(example), model.codec.encode(torch.from_numpy(wave)[None])[0, 0]
                text = torch.tensor(corpus.tokens("tts", normalize(example.source, example.lang)))
                began = time.perf_counter()
                embeddings = scheme(model, codes, text, torch.from_numpy(given) if given is not None else None, quantizers)
                with torch.inference_mode():
                    sounds.append(model.codec.decode_embeddings(embeddings)[0, : len(wave)].numpy())
                seconds += time.perf_counter() - began
            scores = parallel_map(sound_quality, clean, sounds)
            wer = metrics.wer([[e.source] for e in chosen], parallel_map(pocketsphinx_text, sounds), "en").total
            means = [float(np.mean([s[m] for s in scores if m in s])) for m in ("STOI", "PESQ")]
            label = name if scheme is one_step else f"{name}, {quantizers}"
            rows.append((label, steps, len(chosen), wer, *means, seconds / sum(map(len, clean)) * SAMPLE_RATE))
    real = metrics.wer([[e.source] for e in chosen], parallel_map(pocketsphinx_text, clean), "en").total
    print(f"{asked.minutes:g} minutes of training each; dev recordings, true first tokens; the recordings themselves: WER {real:.1f} %\n")
    print(
        "| scheme | steps | n | WER % heard by pocketsphinx | STOI | PESQ | seconds a second of sound |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    for row in rows:
        print("| {} | {} | {} | {:.1f} | {:.3f} | {:.2f} | {:.4f} |".format(*row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
