"""The GPT: embeddings (B, S, D) -> logits (B, S, V). Names and maths are Qwen's, whose public weights model/qwen.py reads.

RMSNorm, rotary positions, grouped-query attention, SwiGLU; QKV bias (Qwen2) and QK-norm (Qwen3) are options.

B batch, S positions, D width, H heads, W width of a head, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lauragpt.model.attention import attend


@dataclass(frozen=True)
class GPTConfig:
    vocabulary: int
    width: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 64
    ffn: int = 768
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    qkv_bias: bool = False  # Qwen2
    qk_norm: bool = True  # Qwen3
    tied: bool = True  # the output matrix is the embedding


class KVCache(Protocol):
    slots: int  # positions that it has room for
    layers: list[tuple[Tensor, Tensor]]  # keys and values (B, kv_heads, slots, W) of each, written in place; slot = position

    def reach(self, positions: Tensor, like: Tensor) -> None:
        """Makes room for positions (B, S) of embeddings (B, S, D); what is in slots that nothing was written to must be finite."""


def inverse_frequencies(half: int, theta: float, device: torch.device | None = None) -> Tensor:
    """(half,): the angle, in radians a position, by which each pair of a head's numbers is rotated."""
    return theta ** (-torch.arange(half, device=device, dtype=torch.float32) / half)


def rotations(positions: Tensor, half: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine (B, 1, S, half) of positions (B, S), whole or not."""
    angle = positions[:, None, :, None].float() * inverse_frequencies(half, theta, positions.device)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (arXiv 2104.09864), half-split as in Qwen: x (B, H, S, W) by the `rotations` of its positions."""
    half = x.shape[-1] // 2
    cos, sin = rotation[0].to(x.dtype), rotation[1].to(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


class HeadNorm(nn.RMSNorm):
    """RMSNorm in float32 whatever the precision of the heads, since torch has no fast one of mixed precision."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.normalized_shape, self.weight.float(), self.eps).to(x.dtype)


class SelfAttention(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config, W = config, config.head_width
        self.q_proj = nn.Linear(config.width, config.heads * W, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.width, config.kv_heads * W, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.width, config.kv_heads * W, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.heads * W, config.width, bias=False)
        self.q_norm = HeadNorm(W, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = HeadNorm(W, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor, slots: Tensor | None, cached: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """mask (..., S, T): True where a position attends; slots (B, kv_heads, S, W): where new keys and values go in `cached`."""
        (B, S, _), W = x.shape, self.config.head_width
        q = self.q_norm(self.q_proj(x).view(B, S, -1, W)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(B, S, -1, W)).transpose(1, 2)
        v = self.v_proj(x).view(B, S, -1, W).transpose(1, 2)
        q, k = rotate(q, rotation), rotate(k, rotation)
        if cached is not None:
            k, v = (old.scatter_(2, slots, new) for old, new in zip(cached, (k, v), strict=True))
        groups = self.config.heads // self.config.kv_heads
        mixed = attend(q, _repeat(k, groups), _repeat(v, groups), mask)
        return self.o_proj(mixed.transpose(1, 2).reshape(B, S, -1))


def _repeat(x: Tensor, groups: int) -> Tensor:
    return x if groups == 1 else x.repeat_interleave(groups, 1)


class SwiGLU(nn.Module):
    def __init__(self, width: int, ffn: int):
        super().__init__()
        self.gate_proj = nn.Linear(width, ffn, bias=False)
        self.up_proj = nn.Linear(width, ffn, bias=False)
        self.down_proj = nn.Linear(ffn, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.width, config.norm_eps)
        self.self_attn = SelfAttention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.width, config.norm_eps)
        self.mlp = SwiGLU(config.width, config.ffn)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor, slots: Tensor | None, cached: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotation, mask, slots, cached)
        return x + self.mlp(self.post_attention_layernorm(x))

    def each(
        self, batches: Sequence[Tensor], rotations: Sequence[tuple[Tensor, Tensor]], masks: Sequence[Tensor]
    ) -> list[Tensor]:
        """Of several batches without a cache, each (B, S, D)."""
        return [self(x, rotation, mask, None, None) for x, rotation, mask in zip(batches, rotations, masks, strict=True)]


class GPT(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, config.norm_eps)
        self.lm_head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                scale = (2 * config.layers) ** -0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)

    def embed(self, ids: Tensor) -> Tensor:
        """(..., S) -> (..., S, D)"""
        return self.embed_tokens(ids)

    def forward(
        self, embeddings: Tensor, positions: Tensor | None = None, cache: KVCache | None = None, times: Tensor | None = None
    ) -> Tensor:
        """(B, S, D) -> (B, S, V). Rows shorter than S are padded on the right.

        positions (B, S): places in the sequence, 0, 1, 2 ... when not given: a position attends to all before it.
        times (B, S), float: the rotary positions (`Vocabulary.times`); the positions when not given.
        """
        return self.logits(self.hidden(embeddings, positions, cache, times))

    def hidden(
        self, x: Tensor, positions: Tensor | None = None, cache: KVCache | None = None, times: Tensor | None = None
    ) -> Tensor:
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        rotation = rotations(positions if times is None else times, self.config.head_width // 2, self.config.rope_theta)
        if cache is None:
            mask, slots = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril(), None
        else:
            cache.reach(positions, x)
            mask = torch.arange(cache.slots, device=x.device) <= positions[:, None, :, None]  # (B, 1, S, slots)
            slots = positions[:, None, :, None].expand(-1, self.config.kv_heads, -1, self.config.head_width)
        for depth, layer in enumerate(self.layers):
            x = layer(x, rotation, mask, slots, None if cache is None else cache.layers[depth])
        return self.norm(x)

    def hidden_of(self, batches: Sequence[Tensor], times: Sequence[Tensor]) -> Tensor:
        """Batches (B, S, D) with their times (B, S) -> (n, D): all positions, one batch behind the other. A layer is called once for all
        of them, so that processes that share its weights call it as often, whatever the number of their batches."""
        turned = [rotations(each, self.config.head_width // 2, self.config.rope_theta) for each in times]
        masks = [torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril() for x in batches]
        for layer in self.layers:
            batches = layer.each(batches, turned, masks)
        return self.norm(torch.cat([x.flatten(0, 1) for x in batches]))

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed_tokens.weight) if self.lm_head is None else self.lm_head(hidden)

    def begin_as(self, other: "GPT") -> None:
        """Takes the weights of a GPT that may have fewer layers: those behind them add nothing at first, so that it says what the other
        says (arXiv 1511.05641). RuntimeError where another size differs or it has more layers."""
        if replace(other.config, layers=self.config.layers) != self.config or other.config.layers > self.config.layers:
            raise RuntimeError(f"{other.config} cannot be grown to {self.config}")
        for layer in self.layers[other.config.layers :]:
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)
        self.load_state_dict(self.state_dict() | other.state_dict())
