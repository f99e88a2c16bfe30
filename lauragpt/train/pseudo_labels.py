"""Orders that were recorded without their words -> the likeliest wording of each by the CTC head (self-training, arXiv 1909.09116).

The slots of an order are known, so that only their order and the words around them are to be found: of many wordings (data/slu_templates.py), the
one to which the encoder that training starts from gives the highest probability. From there on CTC learns it like any transcript.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lauragpt.data.manifest import Example
from lauragpt.data.slu_templates import template_words
from lauragpt.model.lauragpt import LauraModel
from lauragpt.text import CtcUnits


@torch.no_grad()
def likeliest_texts(model: LauraModel, examples: Sequence[Example], waves, tries: int = 200, seed: int = 0) -> dict[str, str]:
    """id -> words, of the examples that have slots and no words. `waves` reads a path into (N,) float32."""
    units, found, device = CtcUnits(), {}, model.posterior_embedding.weight.device
    model.eval()
    for number, example in enumerate(examples):
        if example.task != "slu" or not example.extra.get("slots") or "transcript" in example.extra:
            continue
        rng = np.random.default_rng((seed, number))
        said = sorted({template_words(example.extra["slots"], rng) for _ in range(tries)})
        wave = torch.from_numpy(waves(example.audio)).to(device)
        features, lengths = model.features(wave[None], torch.tensor([len(wave)], device=device))
        log_probs = model.listen(features, lengths).ctc_log_probs[0, : int(lengths[0])]
        found[example.id] = said[int(_log_probabilities(log_probs.float().cpu(), [units.encode(text) for text in said]).argmax())]
    return found


def _log_probabilities(log_probs: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
    """log p(text | sound) of each, (n,), from the CTC head's (T, U)."""
    counts = torch.tensor([len(text) for text in texts])
    every = log_probs[:, None].expand(-1, len(texts), -1)
    flat = torch.tensor([unit for text in texts for unit in text])
    return -nn.functional.ctc_loss(every, flat, torch.full_like(counts, len(log_probs)), counts, reduction="none")
