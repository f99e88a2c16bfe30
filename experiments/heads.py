"""Which head should decode? The spectral one (an inverse STFT behind blocks at frame rate) beside SEANet's upsampling convolutions.

Both decode the latents of the same spectral encoder, with the same quantizer, losses and data, trained from nothing for the same time on
this machine, at sizes that are alike in parameters.

    python experiments/heads.py --data runs/data --minutes 15

Out: a table of STOI and PESQ on dev speech by number of quantizers, with the time that decoding takes on one thread, as Markdown on stdout.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timed import train_for

from lauragpt.checkpoint import find_checkpoint
from lauragpt.codec import Codec
from lauragpt.evaluate.judges import in_processes, qualities
from lauragpt.model.lauragpt import PRESETS, LauraModel, load_checkpoint
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages import CodecTraining

LEVELS = (1, 8, 32)
CORPORA = ("kathleen", "kerstin", "librispeech", "ljspeech")


def sized(head: str, filters: int) -> LauraModel:
    """`mini` with nothing trained but the encoder, which the codec's first codes are guided by."""
    config = PRESETS["mini"]
    config = replace(config, codec=replace(config.codec, head=head, seanet=replace(config.codec.seanet, filters=filters)))
    torch.manual_seed(0)
    model = LauraModel(config)
    model.encoder.load_state_dict(load_checkpoint(find_checkpoint("mini")).encoder.state_dict())
    return model


@torch.inference_mode()
def measure(codec: Codec, waves: list[np.ndarray]) -> tuple[list[dict[str, float]], float]:
    """Mean scores a level of LEVELS, and seconds of decoding a second of sound on one thread."""
    found, codes = [], [codec.encode(torch.from_numpy(wave)[None]) for wave in waves]
    for level in LEVELS:
        sounds = [codec.decode(row[:, :level])[0, : len(wave)].numpy() for row, wave in zip(codes, waves, strict=True)]
        scores = in_processes(qualities, waves, sounds)
        found.append({name: float(np.mean([s[name] for s in scores if name in s])) for name in ("STOI", "PESQ")})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    began = time.perf_counter()
    for row in codes:
        codec.decode(row)
    seconds = time.perf_counter() - began
    torch.set_num_threads(threads)
    return found, seconds / (sum(map(len, waves)) / 16000)


def main() -> int:
    parser = argparse.ArgumentParser(description="The spectral head beside SEANet's.")
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="prepared manifests (runs/data)")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, each (15)")
    parser.add_argument("--limit", type=int, default=6, help="dev recordings a corpus (6)")
    parser.add_argument("--filters", type=int, default=12, help="of the SEANet head (12)")
    parser.add_argument("--out", type=Path, default=Path("runs/heads"), help="folder for the weights (runs/heads)")
    asked = parser.parse_args()
    train, dev = read_data(asked.data)
    corpus = Corpus(train, dev, asked.data, None)
    chosen = [e for name in CORPORA for e in [e for e in dev if e.task == "tts" and e.corpus == name][: asked.limit]]
    waves = [corpus.waves(e.audio) for e in chosen]
    for example in train:  # read once before anything is timed
        if example.task == "tts":
            corpus.waves(example.audio)
    heads = " | ".join(f"STOI {n} q | PESQ {n} q" for n in LEVELS)
    print(f"{asked.minutes:g} minutes of training each, {len(waves)} dev recordings\n")
    print(f"| head | parameters M | steps | {heads} | decoding, real time factor on one thread |\n|{' --- |' * (4 + 2 * len(LEVELS))}")
    for head in ("spectral", "seanet"):
        model = sized(head, asked.filters)
        config = StageConfig(batch_seconds=20.5, lr=1e-3, warmup=100)
        stage = CodecTraining(model, corpus, config)
        steps = train_for(stage, config, asked.minutes, asked.out / head)
        found, seconds = measure(stage.codec.eval(), waves)
        size = sum(p.numel() for p in stage.codec.decoder.parameters()) / 1e6
        cells = " | ".join(f"{scores['STOI']:.3f} | {scores['PESQ']:.2f}" for scores in found)
        print(f"| {head} | {size:.1f} | {steps} | {cells} | {seconds:.4f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
