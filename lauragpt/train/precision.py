"""What training computes in."""

import os

import torch

# oneDNN keeps what it compiled for each shape, a thousand shapes in each of two caches: a gigabyte, as batches differ in length. It reads
# these variables when it first computes, behind this import.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "64")


def precision(cuda: bool = False) -> str:
    """What autocast should compute in, "bf16" or "no": bf16 where the processor multiplies in it. Elsewhere it is several times slower than
    float32."""
    if cuda:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    able = torch.cpu.get_capabilities() if torch.backends.mkldnn.is_available() else {}
    return "bf16" if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")) else "no"
