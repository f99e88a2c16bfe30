"""Which frames tell the sounds of speech apart? Phones of flite's speech, whose times are known, found from a model's 40 ms frames.

Sentences of the prepared texts are spoken in four voices; a linear probe on three quarters of them is asked about the others: of each
layer of the encoder and of the codec's latents. Of codes, which have no order, the commonest phone of each is its answer.

    python experiments/phones.py --checkpoint mini --data runs/data

Out: a table as Markdown on stdout. Needs `flite`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lauragpt.audio import load_audio
from lauragpt.checkpoint import find_checkpoint
from lauragpt.codec.quantizer import kmeans
from lauragpt.model.lauragpt import LauraModel, load_checkpoint

VOICES = ("slt", "rms", "awb", "kal16")
FRAME = 0.04  # seconds
CODES = 1024


def speech(lines: list[str]) -> list[tuple[np.ndarray, list[str]]]:
    """(wave, the phone at the middle of each frame) a sentence."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for number, line in enumerate(lines):
            path = Path(folder) / "said.wav"
            command = ["flite", "-voice", VOICES[number % len(VOICES)], "-t", line, "-psdur", str(path)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            ends = [(phone, float(end)) for phone, _, end in (pair.rpartition(":") for pair in printed.split()) if phone]
            wave = load_audio(path)
            middles = (np.arange(-(-len(wave) // int(FRAME * 16000))) + 0.5) * FRAME
            made.append((wave, [next((phone for phone, end in ends if middle < end), "pau") for middle in middles]))
    return made


def probe(rows: list[Tensor], phones: list[Tensor], train: int, steps: int = 400) -> float:
    """The share of the frames (T, C) of later sentences whose phone a linear layer finds."""
    x, y = torch.cat(rows[:train]).float(), torch.cat(phones[:train])
    mean, deviation = x.mean(0), x.std(0).clamp(min=1e-5)
    layer = torch.nn.Linear(x.shape[1], int(max(p.max() for p in phones)) + 1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(layer((x - mean) / deviation), y).backward()
        optimizer.step()
    return float((layer((torch.cat(rows[train:]).float() - mean) / deviation).argmax(1) == torch.cat(phones[train:])).float().mean())


def purity(codes: list[Tensor], phones: list[Tensor], train: int) -> float:
    """The share of the frames (T,) of later sentences that have the commonest phone of their code."""
    table = torch.zeros(CODES, int(max(p.max() for p in phones)) + 1)
    table.index_put_((torch.cat(codes[:train]), torch.cat(phones[:train])), torch.ones(()), accumulate=True)
    return float((table.argmax(1)[torch.cat(codes[train:])] == torch.cat(phones[train:])).float().mean())


@torch.inference_mode()
def frames(model: LauraModel, waves: list[np.ndarray], counts: list[int]) -> dict[str, list[Tensor]]:
    """By name: (T, C) a sentence, or (T,) for codes; as many frames as there are phones."""
    found: dict[str, list[Tensor]] = {}
    for wave, count in zip(waves, counts, strict=True):
        given = torch.from_numpy(wave)[None]
        features = model.features(given, torch.tensor([len(wave)]))
        rows = {f"encoder, layer {n}": model.encoder.frames(*features, n)[0] for n in range(1, len(model.encoder.layers) + 1)}
        latents = model.codec.latents(given)
        rows |= {
            "codec, latents": model.codec.quantizer.split(latents)[0][0],
            "codec, first codes": model.codec.quantizer.encode(latents, 1)[0, 0],
        }
        for name, row in rows.items():
            short = count - len(row)
            row = torch.cat([row, row[-1:].expand(short, *row.shape[1:])]) if short > 0 else row[:count]
            found.setdefault(name, []).append(row.clone())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Where a model's frames tell phones apart.")
    parser.add_argument("--checkpoint", default="mini", help="a checkpoint folder, or the name of one that ships (mini)")
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="the prepared texts (runs/data)")
    parser.add_argument("--sentences", type=int, default=400, help="spoken (400)")
    asked = parser.parse_args()
    if shutil.which("flite") is None:
        print("phones: flite is missing: install it, for instance by `apt-get install flite`", file=sys.stderr)
        return 1
    lines = [line for line in (asked.data / "text.en.txt").read_text(encoding="utf-8").splitlines() if 30 < len(line) < 90]
    spoken = speech(lines[:: max(1, len(lines) // asked.sentences)][: asked.sentences])
    number = {phone: n for n, phone in enumerate(sorted({p for _, row in spoken for p in row}))}
    phones, train = [torch.tensor([number[p] for p in row]) for _, row in spoken], 3 * len(spoken) // 4
    torch.manual_seed(0)
    every = frames(load_checkpoint(find_checkpoint(asked.checkpoint)), [wave for wave, _ in spoken], [len(row) for row in phones])
    print(
        f"{len(spoken) - train} sentences after {train}, {len(number)} phones, {sum(map(len, phones))} frames\n\n"
        "| frames | phones found % |\n| --- | --- |"
    )
    for name, rows in every.items():
        share = purity(rows, phones, train) if rows[0].dim() == 1 else probe(rows, phones, train)
        print(f"| {name} | {100 * share:.1f} |", flush=True)
        if name == f"encoder, layer {len([n for n in every if n.startswith('encoder')]) // 2}":
            x = torch.cat(rows).float()
            x = (x - x.mean(0)) / x.std(0)
            centres = kmeans(x, CODES, 10, torch.Generator().manual_seed(0))
            nearest = torch.addmm(centres.square().sum(1), x, centres.t(), alpha=-2).argmin(1)
            print(
                f"| {name}, {CODES} clusters | {100 * purity(list(nearest.split([len(p) for p in phones])), phones, train):.1f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
