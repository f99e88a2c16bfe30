"""Text -> what the CTC head might say of it, frame by frame, for tasks that the GPT learns from text alone (data/posteriors.py).

The banks are collected once, when a stage begins: the CTC head's posteriors of some recordings of training, by language.

T frames, U CTC units.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from lauragpt.data.loader import generator_of
from lauragpt.data.manifest import Example
from lauragpt.data.posteriors import PosteriorBank, random_posteriors
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.corpus import Corpus
from lauragpt.train.encoding import Recordings, encode_recordings
from lauragpt.train.precision import precision

ERROR_RATES = (0.0, 0.15, 0.4)  # highest share of wrong letters, drawn for each text, where a language has no bank


class PosteriorSampler:
    def __init__(self, corpus: Corpus, banks: Mapping[str, list[PosteriorBank]]):
        self.units, self.banks = corpus.units, banks

    def __call__(self, text: str, lang: str, rng: np.random.Generator) -> np.ndarray:
        """What the CTC head might say of a text in spoken form, (T, U) probabilities."""
        units, banks = self.units.encode(text), self.banks.get(lang)
        if not banks:
            return random_posteriors(units, rng, worst=float(rng.choice(ERROR_RATES)), size=self.units.size)
        sizes = np.array([len(bank.rows) for bank in banks], dtype=float)
        return banks[int(rng.choice(len(banks), p=sizes / sizes.sum()))].sample(units, rng)

    def transcript(self, text: str, lang: str, rng: np.random.Generator) -> str:
        """The text as recognition might write it: some letters wrong, lost or added."""
        best = self(text, lang, rng).argmax(1).tolist()
        return " ".join(self.units.decode(best).split()) or text


@torch.no_grad()
def collect_banks(
    model: LauraModel, corpus: Corpus, hours: Mapping[str, float], noise: float, degraded: float, augment: bool, seed: int,
    batch_seconds: float = 60.0,
) -> dict[str, list[PosteriorBank]]:  # fmt: skip
    """language -> banks, one a corpus. `hours`: corpus -> most hours of it. The encoder has learnt these recordings: half of the batches
    go through it in training mode, so that it errs about as often as on others. LauraError where no recording of the corpora is in the
    data."""
    banks: dict[str, list[PosteriorBank]] = {}
    encoder, was_training = model.encoder, model.encoder.training
    # Batch 3 is drawn with the same numbers, which does no harm: runs of versions before 0.3 go on with the same banks.
    rng, device = generator_of(seed, 3), model.posterior_embedding.weight.device.type
    with torch.random.fork_rng(), torch.autocast(device, torch.bfloat16, enabled=precision(device == "cuda") == "bf16"):
        torch.manual_seed(int(rng.integers(2**31)))  # of the masks
        for name, most in hours.items():
            examples = [e for e in corpus.train if e.task == "asr" and e.corpus == name and e.targets[0]]
            recordings: dict[str, list[tuple[str, np.ndarray]]] = {}
            for batch in _batches([examples[i] for i in rng.permutation(len(examples))], 3600 * most, batch_seconds):
                encoder.train(rng.random() < 0.5)
                waves = [corpus.augmented(e, rng, noise, degraded) for e in batch]
                output = encode_recordings(model, Recordings.of(waves), augment)
                for e, log_probs, length in zip(batch, output.ctc_log_probs.float().cpu().numpy(), output.lengths.tolist(), strict=True):
                    recordings.setdefault(e.lang, []).append((e.targets[0], log_probs[:length]))
            for lang, several in recordings.items():
                banks.setdefault(lang, []).append(PosteriorBank(several, corpus.units))
    encoder.train(was_training)
    if hours and not banks:
        raise LauraError(f"posterior_bank: no recording of {', '.join(hours)} in the data: prepare one, or leave posterior_bank out")
    return banks


def _batches(examples: list[Example], seconds: float, batch_seconds: float) -> Iterator[list[Example]]:
    """The first examples that make `seconds`, in batches of about `batch_seconds`."""
    batch, size = [], 0.0
    for example in examples:
        batch.append(example)
        size += example.duration
        if size >= min(batch_seconds, seconds):
            yield batch
            seconds -= size
            batch, size = [], 0.0
            if seconds <= 0:
                return
    if batch:
        yield batch
