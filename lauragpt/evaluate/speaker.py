"""Speaker similarity: waves (N,) -> unit vectors (E,); the cosine of two of them says how similar two voices are.

A small time-delay network with attentive statistics pooling (x-vectors, Snyder et al. 2018; Okabe et al., arXiv 1803.10963), trained by
this project on its training speakers (`recipes/speaker.yaml`). It is for comparing our own systems, not for identifying people.

B batch, N samples at 16 kHz, F 10 ms frames, C channels, E embedding.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lauragpt.audio import SAMPLE_RATE
from lauragpt.errors import LauraError
from lauragpt.model.speaker import SpeakerEncoder

SHIPPED = Path(__file__).parents[1] / "assets" / "speaker" / "model.safetensors"
SHORTEST = SAMPLE_RATE // 2  # samples; half a second says too little about a voice


def equal_error_rate(same: np.ndarray, different: np.ndarray) -> float:
    """In per cent: the error at the threshold where as many pairs of one speaker are rejected as pairs of two speakers are accepted."""
    scores = np.concatenate([same, different])
    truth = np.concatenate([np.ones(len(same)), np.zeros(len(different))])[np.argsort(scores, kind="stable")]
    rejected = np.concatenate([[0], np.cumsum(truth)]) / max(1, len(same))  # share of same-speaker pairs below each threshold
    accepted = 1 - np.concatenate([[0], np.cumsum(1 - truth)]) / max(1, len(different))
    nearest = int(np.abs(rejected - accepted).argmin())
    return 50 * float(rejected[nearest] + accepted[nearest])


def pair_scores(embeddings: np.ndarray, speakers: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of embeddings (n, E): those of one speaker, and those of two."""
    cosines, names = embeddings @ embeddings.T, np.array(speakers)
    above, alike = np.triu(np.ones(cosines.shape, bool), 1), names[:, None] == names
    return cosines[above & alike], cosines[above & ~alike]


@cache
def shipped() -> SpeakerEncoder:
    """The encoder that ships with the package. LauraError if there is none."""
    if not SHIPPED.exists():
        raise LauraError("not measured: this installation has no speaker encoder; `laura train recipes/speaker.yaml` makes one")
    encoder = SpeakerEncoder()
    encoder.load_state_dict({name: tensor.float() for name, tensor in load_file(SHIPPED).items()})
    return encoder.eval()


def figures() -> dict[str, float]:
    """The shipped encoder on dev speakers that it was not trained on: equal error rate `eer` in per cent, and the mean cosine of pairs
    of the `same` speaker and of `different` speakers. Empty if none ships."""
    if not SHIPPED.exists():
        return {}
    with safe_open(SHIPPED, "pt") as file:
        return {name: float(value) for name, value in (file.metadata() or {}).items() if name in ("eer", "same", "different")}


@torch.inference_mode()
def embed(wave: np.ndarray, encoder: SpeakerEncoder | None = None) -> np.ndarray | None:
    """(N,) -> (E,); None if there is too little sound."""
    if len(wave) < SHORTEST or not np.abs(wave).max(initial=0) > 1e-4:
        return None
    encoder = encoder or shipped()
    batch = torch.from_numpy(np.asarray(wave, dtype=np.float32))[None].to(encoder.output.weight.device)
    return encoder(batch, torch.tensor([batch.shape[1]], device=batch.device))[0].cpu().numpy()
