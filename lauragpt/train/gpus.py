"""GPUs that a training can be planned for: their memory, and how many multiplications and additions they do in bf16.

Figures are the makers', for dense matrices and sums in float32, without the doubling that sparse matrices allow:

- H100 SXM and H200 SXM: NVIDIA H100 and H200 Tensor Core GPU datasheets (1,979 TFLOP/s in bf16 with sparsity, half of it dense)
- A100: NVIDIA A100 Tensor Core GPU datasheet (312 TFLOP/s)
- L4: NVIDIA L4 Tensor Core GPU datasheet (242 TFLOP/s with sparsity)
- RTX 4090: NVIDIA Ada GPU Architecture whitepaper, appendix A (165.2 TFLOP/s, sums in float32)
"""

import os
from dataclasses import dataclass

from lauragpt.errors import LauraError

GB = 1e9
ROOM = 0.9  # share of the memory that a training can fill: the rest is the driver's, and lost between blocks


@dataclass(frozen=True)
class GPU:
    name: str
    memory: float  # bytes
    flops: float  # operations a second, dense bf16; 0 where none are stated

    def fits(self, size: float) -> bool:
        return size <= ROOM * self.memory


def _table() -> dict[str, GPU]:
    rows = (
        ("h100", 80, 989.4e12), ("h200", 141, 989.4e12), ("a100-40", 40, 312e12), ("a100-80", 80, 312e12), ("l4", 24, 121e12),
        ("rtx4090", 24, 165.2e12),
    )  # fmt: skip
    return {name: GPU(name, gigabytes * GB, flops) for name, gigabytes, flops in rows}


NAMES = (*_table(), "cpu")


def find_gpu(name: str) -> GPU:
    """By its name; `cpu` is this machine, of whose processor no peak is stated. LauraError for one that is not in the table."""
    if name == "cpu":
        return GPU("cpu", float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")), 0.0)
    try:
        return _table()[name.lower()]
    except KeyError:
        raise LauraError(f"--gpu {name}: this GPU is unknown: choose from {', '.join(NAMES)}") from None
