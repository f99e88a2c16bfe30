"""How large should the GPT and the encoder be, where only so much time is given? Several widths of each, trained from nothing for the
same time.

The GPT learns to translate text, the encoder to spell short speech; everything but the width is `mini`'s.

    OMP_NUM_THREADS=1 python experiments/sizes.py --data runs/data --part gpt --minutes 5

Out: a table of the loss on dev by width, with the parameters and the steps that each came to, as Markdown on stdout.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from timed import train_for

from lauragpt.checkpoint import find_checkpoint
from lauragpt.data.loader import weight_of
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel
from lauragpt.text import Tokenizer
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages.encoder import EncoderStage, EncoderStageConfig
from lauragpt.train.stages.gpt import GPTStage, GPTStageConfig

WIDTHS = {"gpt": (128, 256, 384), "encoder": (96, 192, 288)}
STAGES = {
    "gpt": (GPTStage, "text", GPTStageConfig(batch_seconds=90, lr=1e-3, warmup=50, phrases=0.0, weights={"mt/multi30k": 1})),
    "encoder": (EncoderStage, "ctc", EncoderStageConfig(batch_seconds=40, lr=1.5e-3, warmup=50, noise=0.0, spec_augment=False, weights={
        "asr/digits": 3, "asr/synth-short": 3, "asr/kathleen": 1, "asr/kerstin": 1})),
}  # fmt: skip


def sized(part: str, width: int) -> LauraConfig:
    """`mini` with one part of another width: heads of the same width as its own, and as many times as wide inside."""
    config = PRESETS["mini"]
    if part == "gpt":
        heads = width // config.gpt.head_width
        gpt = replace(config.gpt, width=width, heads=heads, kv_heads=heads // 2, ffn=3 * width)
        return replace(config, gpt=gpt, encoder=replace(config.encoder, output=width))
    return replace(config, encoder=replace(config.encoder, width=width, heads=width // 48, ffn=4 * width))


def main() -> int:
    parser = argparse.ArgumentParser(description="The GPT and the encoder at several widths, for the same time.")
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="prepared manifests (runs/data)")
    parser.add_argument("--part", choices=sorted(WIDTHS), default="gpt")
    parser.add_argument("--minutes", type=float, default=6.0, help="of training, each (6)")
    parser.add_argument("--out", type=Path, default=Path("runs/sizes"), help="folder for the weights (runs/sizes)")
    asked = parser.parse_args()
    train, dev = read_data(asked.data)
    corpus = Corpus(train, dev, asked.data, Tokenizer.load(find_checkpoint("mini") / "tokenizer.json"))
    kind, loss, config = STAGES[asked.part]
    for example in train:  # read once before anything is timed
        if example.audio and weight_of(example, config.weights):
            corpus.waves(example.audio)
    print(f"{asked.part}, {asked.minutes:g} minutes of training each\n")
    print("| width | parameters M | steps | loss on dev, nats a token or letter |\n| --- | --- | --- | --- |")
    for width in WIDTHS[asked.part]:
        torch.manual_seed(0)
        stage = kind(LauraModel(sized(asked.part, width)), corpus, config)
        size = sum(p.numel() for p in stage.modules[asked.part].parameters()) / 1e6
        steps = train_for(stage, asked.minutes, asked.out / f"{asked.part}-{width}")
        print(f"| {width} | {size:.1f} | {steps} | {stage.validate()[loss]:.3f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
