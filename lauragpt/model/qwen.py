"""The GPT that begins as a published one: dense Qwen2, Qwen2.5 and Qwen3, from their folders as they are published.

In: a folder (model/published.py). Out: its sizes; a GPT with its weights and, behind its vocabulary, rows for what it has no tokens for.
"""

from pathlib import Path

import torch
from torch import Tensor

from lauragpt.errors import LauraError
from lauragpt.model.gpt import GPT, GPTConfig
from lauragpt.model.published import damaged, read_published_config, read_published_tensors

KINDS = ("qwen2", "qwen3")  # Qwen1.5 and Qwen2.5 are of type qwen2
VOCABULARY = ("embed_tokens.weight", "lm_head.weight")  # what has a row for each token


def qwen_config(folder: Path) -> GPTConfig:
    """The sizes of a published GPT, its vocabulary as it is there. LauraError where the folder holds another model, or one with what our
    GPT does not compute."""
    config = read_published_config(folder, KINDS, "the GPT")
    try:
        if lacking := unsupported(config):
            raise LauraError(f"{folder} has {lacking}, which the GPT does not compute: choose a Qwen2, Qwen2.5 or Qwen3 without")
        kind, rope = config["model_type"], rope_of(config)
        width, heads, kv_heads = (int(config[key]) for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
        vocabulary, layers, ffn = (int(config[key]) for key in ("vocab_size", "num_hidden_layers", "intermediate_size"))
        return GPTConfig(
            vocabulary, width, layers, heads, kv_heads, head_width=config.get("head_dim") or width // heads, ffn=ffn,
            rope_theta=float(rope["rope_theta"]), norm_eps=float(config["rms_norm_eps"]), qkv_bias=kind == "qwen2",
            qk_norm=kind == "qwen3", tied=bool(config.get("tie_word_embeddings")),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder, error) from None


def rope_of(config: dict) -> dict:
    """What it says of rotary positions: in one place since transformers 5, in two before."""
    return config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10_000.0), **(config.get("rope_scaling") or {})}


def unsupported(config: dict) -> str:
    """What a configuration asks for beyond what our GPT computes; "" for nothing."""
    rope, layers = rope_of(config), config["num_hidden_layers"]
    sliding = config.get("use_sliding_window") and config.get("max_window_layers", 0) < layers
    kinds = config.get("layer_types") or (["sliding_attention"] if sliding else [])
    wrong = {
        "rope scaling": rope.get("rope_type", rope.get("type", "default")) != "default" or rope.get("partial_rotary_factor", 1) != 1,
        "sliding windows": any(kind != "full_attention" for kind in kinds),
        "biases in Qwen3's attention": config["model_type"] == "qwen3" and config.get("attention_bias"),
        f"the activation {config.get('hidden_act')}": config.get("hidden_act", "silu") != "silu",
        "quantized weights": "quantization_config" in config,
    }
    return next((what for what, holds in wrong.items() if holds), "")


def qwen_gpt(folder: Path, config: GPTConfig, dtype: torch.dtype = torch.float32) -> GPT:
    """A published GPT of the sizes that `qwen_config` gave, but for a larger vocabulary: the further tokens begin as the mean of all
    others. Its weights are never twice in memory. LauraError where tensors are missing or do not fit."""
    with torch.device("meta"):
        gpt = GPT(config)
    gpt = gpt.to(dtype).to_empty(device="cpu")
    size, own = qwen_config(folder).vocabulary, gpt.state_dict()
    read_published_tensors(folder, {name: tensor[:size] if name in VOCABULARY else tensor for name, tensor in own.items()})
    for name in own.keys() & VOCABULARY:
        own[name][size:] = mean_row(own[name][:size])
    return gpt


def mean_row(rows: Tensor) -> Tensor:
    """(V, D) -> (D,) float64, without a copy of all rows."""
    return torch.stack([part.sum(0, dtype=torch.float64) for part in rows.split(4096)]).sum(0) / len(rows)
