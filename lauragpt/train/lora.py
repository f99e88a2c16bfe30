"""LoRA (arXiv 2106.09685): a stage trains small factors beside the weights, by peft, and hands on weights to which they were added.

In a stage's checkpoint the weights and their factors lie side by side, as peft names them; `merged` makes plain weights of both.
"""

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lauragpt.adapters import PREFIX, ROWS, TENSORS
from lauragpt.checkpoint import hash_of_weights
from lauragpt.errors import LauraError, LauraWarning, install_hint
from lauragpt.files import replace_folder
from lauragpt.stored_weights import all_tensors

ADAPTED = ("gpt", "encoder")  # parts of the model that may have adapters
SCALE = 2.0  # of the factors' product: alpha / rank, as is usual


@dataclass(frozen=True)
class LoraConfig:
    rank: int = 0  # of the factors, such as 8; 0 trains the weights themselves
    parts: tuple[str, ...] = ()  # which have adapters: gpt, encoder; none named: those of the stage. All else stays as it is

    def __post_init__(self):
        if self.rank < 0:
            raise LauraError(f"lora: rank must not be below 0, not {self.rank}")
        if self.parts and not self.rank:
            raise LauraError("lora: parts without a rank: give one, such as 8")


def add_adapters(modules: nn.ModuleDict, config: LoraConfig) -> None:
    """Puts adapters into every linear layer that would be trained, of the parts that `config` names; they alone are trained. What the
    modules compute stays as it was. LauraError where a part is not of this stage, or peft is missing."""
    own = [name for name in ADAPTED if name in modules]
    if unknown := [name for name in config.parts if name not in own]:
        raise LauraError(f"lora: parts: {unknown[0]!r} cannot have adapters in this stage: choose from {', '.join(own)}")
    peft = import_peft()
    layers = [
        f"{part}.{name}"
        for part in config.parts or own
        for name, layer in modules[part].named_modules()
        if isinstance(layer, nn.Linear) and layer.weight.requires_grad
    ]
    settings = peft.LoraConfig(r=config.rank, lora_alpha=SCALE * config.rank, target_modules=layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same in every process
        peft.inject_adapter_in_model(settings, modules)


def import_peft():
    try:
        import peft
    except ModuleNotFoundError as error:
        raise LauraError(f"lora needs {error.name}: {install_hint('lora')}") from None
    return peft


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A stage's tensors by the names of the model, adapters added to their weights."""
    plain = {}
    for name, tensor in tensors.items():
        if name.endswith(".base_layer.weight"):
            stem = name.removesuffix("base_layer.weight")
            tensor = tensor + SCALE * (tensors[f"{stem}lora_B.default.weight"] @ tensors[f"{stem}lora_A.default.weight"])
        if ".lora_" not in name:
            plain[name.replace(".base_layer.", ".")] = tensor
    return plain


def save_adapter(folder: Path, tensors: Mapping[str, Tensor], start: Path, card: str) -> None:
    """Writes a stage's adapters as a folder of peft's, whole or not at all. `start`: the checkpoint that training began with; `card`: what
    to say of licences. Where anything else was changed nothing is written, as a LauraWarning says."""
    begun = {name: torch.from_numpy(tensor) for name, tensor in all_tensors(start).items()}
    begun = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in begun.items()}
    own = {name.replace(".base_layer.", "."): tensor for name, tensor in tensors.items() if ".lora_" not in name}
    grown = {name for name, tensor in own.items() if name in begun and len(tensor) > len(begun[name]) and tensor.dim() == 2}
    for name, tensor in own.items():
        rows = tensor[: len(begun[name])] if name in grown else tensor
        if name not in begun or not rows.equal(begun[name]):
            warnings.warn(f"no adapter is written, as {name} is not that of `init`: use the merged weights", LauraWarning, stacklevel=2)
            return
    factors = {name.replace(".default", ""): tensor for name, tensor in tensors.items() if ".lora_" in name}
    stored = {f"{PREFIX}{name}": tensor for name, tensor in factors.items()}
    stored |= {f"{ROWS}{name}": own[name][len(begun[name]) :] for name in grown}
    modules = sorted(name.removesuffix(".lora_A.weight") for name in factors if name.endswith(".lora_A.weight"))
    rank = len(factors[f"{modules[0]}.lora_A.weight"])
    aside = folder.with_name(f"{folder.name}.part")
    settings = import_peft().LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=modules, inference_mode=True)
    shutil.rmtree(aside, ignore_errors=True)
    settings.save_pretrained(aside)
    metadata = {"base_weights": hash_of_weights(start)[:16]}
    save_file({name: tensor.cpu().contiguous() for name, tensor in stored.items()}, aside / TENSORS, metadata)
    (aside / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    replace_folder(aside, folder)
