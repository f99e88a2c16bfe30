"""Random Qwens, saved by transformers as they are published: config.json, safetensors in several files with an index, tokenizer.json."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer as BPE
from tokenizers import models, pre_tokenizers, trainers
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

TEXTS = ["the quick brown fox jumps over the lazy dog", "der schnelle braune Fuchs springt über den faulen Hund"] * 2
SPECIAL = ["<|im_start|>", "<|im_end|>"]
SIZES = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
MODELS = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


def qwen_of(kind: str, tied: bool, **options: object) -> PreTrainedModel:
    config, model = MODELS[kind]
    torch.manual_seed(1)
    made = model(config(**SIZES | ({"head_dim": 24} if kind == "qwen3" else {}) | options, tie_word_embeddings=tied))
    with torch.no_grad():  # biases and norms start at 0 and 1, where a mistake would not show
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def tokenizer_of(texts: list[str], size: int = 300) -> Qwen2Tokenizer:
    """One of Qwen's kind with at most `size` units, and the special tokens behind them."""
    bpe = BPE(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    learnt = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(vocab=learnt["vocab"], merges=[tuple(pair) for pair in learnt["merges"]])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    return tokenizer


def save_qwen(folder: Path, model: PreTrainedModel) -> Path:
    """Writes what a published folder holds, the weights in several files."""
    model.save_pretrained(folder, max_shard_size="100KB")
    tokenizer_of(TEXTS).save_pretrained(folder)
    (folder / "LICENSE").write_text("\n                  Apache License\n           Version 2.0, January 2004\n")
    return folder
