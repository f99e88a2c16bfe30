"""What should the GPT hear, how large should it be, and what should each token count? A checkpoint is trained on for the same time in
several ways; its encoder stays as it is, so that the frames are made once for all of them.

    python experiments/listening.py --data runs/data --vary parts --minutes 5

`parts` leaves out, in turn, the layers below the last, the letters of the CTC head, and all frames. `layers` grows the GPT. `loss` weighs a
sequence by the root of its length, or every token alike, as the paper does.
Out: a table of the losses on dev, nats a token, by what was varied, with the steps that each came to, as Markdown on stdout.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from timed import train_for

from lauragpt.checkpoint import find_checkpoint
from lauragpt.model.gpt import GPT
from lauragpt.model.lauragpt import LauraModel, load_checkpoint
from lauragpt.text import Tokenizer
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages import joint
from lauragpt.train.stages.joint import JointStage, JointStageConfig

TASKS = ("asr", "s2tt", "ser", "aac", "slu", "mt")
CONFIG = {
    "batch_seconds": 48, "text_seconds": 24, "lr": 7e-4, "warmup": 50, "noise": 0.12, "degraded": 0.2, "variants": 1,
    "frames_gigabytes": 40, "dev_batches": 12, "phrases": 0.3, "sound_seconds": 4.0, "captions": 1,
    "weights": {"asr": 100, "s2tt": 16, "ser": 14, "aac": 24, "slu": 40, "mt": 28},
}  # fmt: skip


def without_lower_layers(model: LauraModel) -> None:
    model.encoder.intermediate = None


def without_letters(model: LauraModel) -> None:
    model.with_posteriors = lambda output: output


def without_frames(model: LauraModel) -> None:
    for linear in (model.encoder.output, model.encoder.intermediate.linear):
        for parameter in linear.parameters():
            torch.nn.init.zeros_(parameter).requires_grad_(False)


def grown(layers: int) -> Callable[[LauraModel], None]:
    def grow(model: LauraModel) -> None:
        smaller, model.gpt = model.gpt, GPT(replace(model.gpt.config, layers=model.gpt.config.layers + layers))
        model.gpt.begin_as(smaller)

    return grow


def every_token_alike(model: LauraModel) -> None:
    joint.token_weights = lambda layouts, weights: [1 / (tokens := sum(sum(row.targets) for row in layouts))] * tokens


VARIED = {
    "parts": {
        "everything": lambda model: None, "no layers below the last": without_lower_layers, "no letters": without_letters,
        "no frames": without_frames,
    },
    "layers": {"as it is": grown(0), "3 layers more": grown(3), "6 layers more": grown(6)},
    "loss": {"the root of the length": lambda model: None, "every token alike": every_token_alike},
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="What the GPT hears, its size and its loss, varied, for the same time each.")
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="prepared manifests (runs/data)")
    parser.add_argument("--start", default="mini", help="the checkpoint that is trained on (mini)")
    parser.add_argument("--vary", choices=sorted(VARIED), default="parts")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, each (5)")
    parser.add_argument("--out", type=Path, default=Path("runs/listening"), help="folder for weights and frames (runs/listening)")
    asked = parser.parse_args()
    start, (train, dev) = find_checkpoint(asked.start), read_data(asked.data)
    corpus = Corpus(train, dev, asked.data, Tokenizer.load(start / "tokenizer.json"))
    corpus.out = asked.out
    print(f"| {asked.vary} | steps | {' | '.join(TASKS)} |\n|{' --- |' * (2 + len(TASKS))}")
    for name, vary in VARIED[asked.vary].items():
        torch.manual_seed(0)
        model = load_checkpoint(start)
        vary(model)
        stage = JointStage(model, corpus, JointStageConfig(**CONFIG, frozen_layers=len(model.encoder.layers)))
        steps = train_for(stage, asked.minutes, asked.out / name.replace(" ", "-"))
        stage.modules.eval()
        losses = stage.validate()
        print(f"| {name} | {steps} | {' | '.join(f'{losses[task]:.3f}' for task in TASKS)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
