"""Is it what the encoder hears that limits a transcript, or how the GPT reads it? The letter probabilities of the CTC head, read four ways.

    OMP_NUM_THREADS=1 python experiments/bound.py --data runs/data --checkpoint mini --corpus librispeech

Best path; prefix beam search (Graves 2012) with a word trigram of the training texts (Witten and Bell 1991), the classical reader; the
GPT with one beam and with four. Where the trigram is far ahead, the words were there to be heard, and the GPT lost them. The trigram
knows text and nothing else, no audio; its weight and its bonus for a word are the best of a few on these same dev recordings, so its
row is a little flattered. Out: word error rates as Markdown on stdout."""

import argparse
import math
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch

from lauragpt import Laura
from lauragpt.checkpoint import find_checkpoint
from lauragpt.data.loader import Waves
from lauragpt.data.manifest import Example
from lauragpt.evaluate.groups import digest
from lauragpt.evaluate.metrics import word_errors
from lauragpt.model.lauragpt import load_checkpoint
from lauragpt.spoken import normalize
from lauragpt.text import CtcUnits
from lauragpt.train.run import read_data

NEVER = -math.inf
WAYS = ((0.5, 1.0), (0.8, 1.5), (0.8, 3.0), (1.1, 3.0))  # weight of the trigram, bonus of a word


class Trigram:
    """log P(word | the two before), and of a word begun that any word begins so."""

    def __init__(self, lines, lang: str):
        self.next: dict[tuple[str, ...], Counter] = defaultdict(Counter)
        begun, words = Counter(), Counter()
        for line in lines:
            said = ["", "", *normalize(line, lang).split()]
            for i in range(2, len(said)):
                for order in range(3):
                    self.next[tuple(said[i - order : i])][said[i]] += 1
            words.update(said[2:])
        for word, count in words.items():
            for end in range(1, len(word) + 1):
                begun[word[:end]] += count
        self.begun, self.total = begun, sum(words.values())
        self.seen = {context: sum(counts.values()) for context, counts in self.next.items()}
        self.known: dict[tuple[str, ...], float] = {(): 0.0}

    def word(self, word: str, before: tuple[str, ...]) -> float:
        probability = 1e-6 / (1 + len(self.next[()]))  # of a word that was never read
        for order in range(3):
            context = before[len(before) - order :]
            if (counts := self.next.get(context)) is not None:
                seen, kinds = self.seen[context], len(counts)
                probability = (counts[word] + kinds * probability) / (seen + kinds)
        return math.log(probability)

    def words(self, words: tuple[str, ...]) -> float:
        if words not in self.known:
            self.known[words] = self.words(words[:-1]) + self.word(words[-1], ("", "", *words[:-1])[-2:])
        return self.known[words]

    def text(self, text: str) -> float:
        """Of words, the last of which may only be begun."""
        *whole, last = text.split(" ")
        begun = math.log(self.begun[last] / self.total) if self.begun[last] else math.log(1e-6) - 0.5 * len(last)
        return self.words(tuple(whole)) + (begun if last else 0.0)


def add(a: float, b: float) -> float:
    return max(a, b) + math.log1p(math.exp(-abs(a - b))) if max(a, b) > NEVER else NEVER


def search(log_probs: np.ndarray, trigram: Trigram, weight: float, bonus: float, beams: int = 24, floor: float = -6.0) -> str:
    """The likeliest text of log-probabilities (T, U), by prefixes: each with how likely it ends in a blank, and in its last letter."""
    letters, blank = CtcUnits.letters, CtcUnits.blank
    found = {"": (0.0, NEVER)}

    def worth(item: tuple[str, tuple[float, float]]) -> float:
        text, ends = item
        return add(*ends) + weight * trigram.text(text) + bonus * (text.count(" ") + 1)

    for row in log_probs:
        longer: dict[str, tuple[float, float]] = {}

        def reach(text: str, in_blank: float, in_letter: float, longer=longer) -> None:
            old = longer.get(text, (NEVER, NEVER))
            longer[text] = (add(old[0], in_blank), add(old[1], in_letter))

        likely = [unit for unit in np.flatnonzero(row > floor).tolist() if unit != blank]
        for text, (in_blank, in_letter) in found.items():
            either = add(in_blank, in_letter)
            reach(text, either + row[blank], NEVER)
            if text:
                reach(text, NEVER, in_letter + row[1 + letters.index(text[-1])])
            for unit in likely:
                letter = letters[unit - 1]
                if letter != " " or text[-1:] not in ("", " "):
                    reach(text + letter, NEVER, (in_blank if text[-1:] == letter else either) + row[unit])
        found = dict(sorted(longer.items(), key=worth, reverse=True)[:beams])
    return max(found.items(), key=lambda item: worth((item[0].strip() + " ", item[1])))[0].strip()


def rate(examples: list[Example], read) -> float:
    """Word error rate, %, of what `read` makes of each."""
    counts = [word_errors(e.targets[0], read(e), e.lang) for e in examples]
    return 100 * sum(wrong for wrong, _ in counts) / max(1, sum(of for _, of in counts))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default="mini", help="a checkpoint folder, or mini")
    parser.add_argument("--corpus", default="librispeech")
    parser.add_argument("--sentences", type=int, default=40, help="of dev at most")
    asked = parser.parse_args()
    folder, waves, units = find_checkpoint(asked.checkpoint), Waves(), CtcUnits()
    dev = [e for e in read_data(asked.data)[1] if e.task == "asr" and e.corpus == asked.corpus]
    chosen = sorted(dev, key=lambda e: digest(e.id))[: asked.sentences]
    if not chosen:
        parser.error(f"no recording of {asked.corpus!r} in the dev set of {asked.data}")
    model, heard = load_checkpoint(folder).eval(), {}
    for example in chosen:
        wave = torch.from_numpy(waves(example.audio))[None]
        with torch.inference_mode():
            heard[example.id] = model.encode(wave, torch.tensor([wave.shape[1]])).ctc_log_probs[0].double().numpy()
    lang = chosen[0].lang
    trigram = Trigram((asked.data / f"text.{lang}.txt").read_text(encoding="utf-8").splitlines(), lang)
    print(f"| {asked.corpus}, {len(chosen)} recordings of dev | WER % |\n| --- | --- |")
    print(f"| best path | {rate(chosen, lambda e: units.decode(heard[e.id].argmax(-1).tolist()).strip()):.1f} |", flush=True)
    rates = [rate(chosen, lambda e, way=way: search(heard[e.id], trigram, *way)) for way in WAYS]
    print(f"| prefix beam search with a word trigram, the best of {len(WAYS)} weights | {min(rates):.1f} |", flush=True)
    for beams in (1, 4):
        laura = Laura.load(folder, backend="torch", beams=beams)
        print(
            f"| GPT, beams: {beams} | {rate(chosen, lambda e, laura=laura: laura.transcribe(waves(e.audio), lang=e.lang).text):.1f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
