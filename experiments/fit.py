"""Is the encoder trained too little or too long? What its CTC head alone makes of recordings that it was trained on, and of others.

    python experiments/fit.py --data runs/data --checkpoint mini
    python experiments/fit.py --data runs/data --stage runs/mini/encoder

Where both are read equally badly, more steps help; where only the others are read badly, more or more varied recordings do. Out: word
and character error rates by corpus, on train and on dev, as Markdown on stdout. It is no answer of the model's: that is the GPT's."""

import argparse
import sys
from pathlib import Path

import torch

from lauragpt.checkpoint import find_checkpoint
from lauragpt.data.loader import Waves
from lauragpt.data.manifest import Example
from lauragpt.evaluate.groups import digest
from lauragpt.evaluate.metrics import character_errors, word_errors
from lauragpt.model.lauragpt import LauraModel, load_checkpoint
from lauragpt.text import CtcUnits
from lauragpt.train.run import read_data
from lauragpt.train.state import load_weights, weights_of


def rates(model: LauraModel, examples: list[Example], waves: Waves) -> tuple[float, float]:
    """Word and character error rate, %, of the best path."""
    units, words, letters = CtcUnits(), [0, 0], [0, 0]
    for example in examples:
        wave = torch.from_numpy(waves(example.audio))[None]
        with torch.inference_mode():
            heard = model.encode(wave, torch.tensor([wave.shape[1]]))
        said = units.decode(heard.ctc_log_probs[0].argmax(-1).tolist()).strip()
        for total, count in ((words, word_errors), (letters, character_errors)):
            wrong, of = count(example.targets[0], said, example.lang)
            total[0] += wrong
            total[1] += of
    return 100 * words[0] / max(1, words[1]), 100 * letters[0] / max(1, letters[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default="mini", help="a checkpoint folder, or mini")
    parser.add_argument("--stage", type=Path, help="take the encoder from this stage's folder instead")
    parser.add_argument("--sentences", type=int, default=120, help="of each corpus and split at most")
    asked = parser.parse_args()
    model = load_checkpoint(find_checkpoint(asked.checkpoint)).eval()
    if asked.stage:
        state = load_weights(weights_of(asked.stage, keep_best=False))
        model.encoder.load_state_dict({key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")})
    train, dev = ([e for e in examples if e.task == "asr" and e.targets[0]] for examples in read_data(asked.data))
    print("| corpus | train WER % | train CER % | dev WER % | dev CER % |\n| --- | --- | --- | --- | --- |")
    for corpus in sorted({e.corpus for e in dev}):
        row = []
        for examples in (train, dev):
            chosen = sorted((e for e in examples if e.corpus == corpus), key=lambda e: digest(e.id))[: asked.sentences]
            row += rates(model, chosen, Waves()) if chosen else ("", "")
        print(f"| {corpus} | " + " | ".join(f"{value:.1f}" if value != "" else "" for value in row) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
