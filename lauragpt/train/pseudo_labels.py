"""Requests that were recorded without a transcript -> the likeliest text of each by the CTC head (self-training, arXiv 1909.09116).

The slots of a request are given, so that only their order and the words around them are to be found: of many texts
(data/slu_templates.py), the one to which the encoder that training starts from gives the highest probability. From there on CTC learns it
like any transcript.

T frames, U CTC units.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lauragpt.ctc_units import Units
from lauragpt.data.manifest import Example
from lauragpt.data.slu_templates import template_words
from lauragpt.model.lauragpt import LauraModel


@torch.no_grad()
def likeliest_texts(
    model: LauraModel, examples: Sequence[Example], waves: Callable[[str], np.ndarray], units: Units, tries: int = 200, seed: int = 0
) -> dict[str, str]:
    """id -> text, of the examples that have slots and no transcript. `waves` reads a path into (N,) float32."""
    found, device = {}, model.posterior_embedding.weight.device
    model.eval()
    for number, example in enumerate(examples):
        if example.task != "slu" or not example.extra.get("slots") or "transcript" in example.extra:
            continue
        rng = np.random.default_rng((seed, number))
        texts = sorted({template_words(example.extra["slots"], rng) for _ in range(tries)})
        wave = torch.from_numpy(waves(example.audio)).to(device)
        features, lengths = model.features(wave[None], torch.tensor([len(wave)], device=device))
        log_probs = model.listen(features, lengths).ctc_log_probs[0, : int(lengths[0])]
        found[example.id] = texts[int(log_likelihoods(log_probs.float().cpu(), [units.encode(text) for text in texts]).argmax())]
    return found


def log_likelihoods(log_probs: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
    """log p(text | sound) of each, (n,), from the CTC head's (T, U)."""
    counts = torch.tensor([len(text) for text in texts])
    every = log_probs[:, None].expand(-1, len(texts), -1)
    flat = torch.tensor([unit for text in texts for unit in text])
    return -nn.functional.ctc_loss(every, flat, torch.full_like(counts, len(log_probs)), counts, reduction="none")
