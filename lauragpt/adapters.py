"""An adapter: what fine-tuning by LoRA (arXiv 2106.09685) adds to a checkpoint's weights, in a folder as peft saves it. No torch.

    adapter_config.json, adapter_model.safetensors   of a weight W (O, I) two factors, B (O, r) and A (r, I): W + scale * B @ A is meant

The file's metadata names the weights that it was trained on. `train/lora.py` writes such folders.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from lauragpt.checkpoint import hash_of
from lauragpt.errors import LauraError

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # that peft gives all names
ROWS = "new_rows."  # before the name of a table that training gave more rows, for the tokens of tasks that were added
UNKNOWN = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "modules_to_save", "trainable_token_indices")


@dataclass(frozen=True)
class Adapter:
    folder: Path
    scale: float
    factors: dict[str, tuple[np.ndarray, np.ndarray]]  # of a weight, by its name in the checkpoint: A and B
    rows: dict[str, np.ndarray]  # of a table, those behind the checkpoint's own
    hash: str  # of its file and of the weights it is added to, 16 digits

    def applied(self, name: str, weight: np.ndarray) -> np.ndarray:
        """A weight of the checkpoint as it becomes, float32; others as they are. LauraError where its shape is another."""
        if name not in self.factors:
            return weight
        A, B = self.factors[name]
        if weight.shape != (len(B), A.shape[1]):
            raise LauraError(f"{self.folder} is for another checkpoint: its {name} is {len(B)} x {A.shape[1]}, here {weight.shape}")
        return weight.astype(np.float32) + np.float32(self.scale) * (B @ A)

    def check_known(self, names: set[str]) -> None:
        """LauraError where there is no weight of a name."""
        if unknown := sorted(self.factors.keys() - names):
            raise LauraError(f"{self.folder} is for another checkpoint: here is no weight {unknown[0]}")


def read_adapter(folder: str | Path, weights: str) -> Adapter:
    """The adapter of a folder for a checkpoint whose weights hash to `weights` (CheckpointInfo). LauraError where it is none, is damaged,
    was trained on other weights, or is of a kind that cannot be added to weights."""
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config["peft_type"] != "LORA" or config.get("bias", "none") != "none" or any(config.get(key) for key in UNKNOWN):
            raise LauraError(f"{folder} is no plain LoRA adapter: train it by a recipe with `lora`, or merge it by peft")
        with safe_open(folder / TENSORS, "np") as file:
            base = (file.metadata() or {}).get("base_weights")
            names = file.keys()
            tensors = {key: file.get_tensor(key).astype(np.float32) for key in names}
        modules = sorted(key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight"))
        factors = {
            f"{key.removeprefix(PREFIX)}.weight": (tensors[f"{key}.lora_A.weight"], tensors[f"{key}.lora_B.weight"]) for key in modules
        }
        scale = config["lora_alpha"] / config["r"]
    except OSError as error:
        raise LauraError(f"{folder} is no adapter ({error.filename or TENSORS}: {error.strerror or error}): give a folder that "
                         f"holds {CONFIG} and {TENSORS}") from None  # fmt: skip
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LauraError(f"{folder} is a damaged adapter ({type(error).__name__}: {str(error)[:100]}): fetch or train it again") from None
    if base is not None and base != weights:
        raise LauraError(f"{folder} was trained on weights {base}, and these are {weights}: load the checkpoint that it belongs to")
    digest = hashlib.sha256(f"{weights} {hash_of(folder / TENSORS)}".encode()).hexdigest()
    rows = {key.removeprefix(ROWS): tensor for key, tensor in tensors.items() if key.startswith(ROWS)}
    return Adapter(folder, scale, factors, rows, digest[:16])
