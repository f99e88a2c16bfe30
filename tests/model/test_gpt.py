"""The GPT's cache against the pass without one, what a position sees, and how it grows. (test_qwen.py holds it against transformers.)"""

from dataclasses import replace

import pytest
import torch

from lauragpt.engine.torch_backend import Cache
from lauragpt.model.gpt import GPT, GPTConfig


def ours(kind: str, tied: bool, theta: float, eps: float) -> GPT:
    qwen2 = kind == "qwen2"
    return GPT(
        GPTConfig(
            vocabulary=96, width=64, layers=3, heads=4, kv_heads=2, head_width=16 if qwen2 else 24, ffn=80, rope_theta=theta, norm_eps=eps,
            qkv_bias=qwen2, qk_norm=not qwen2, tied=tied,
        )
    ).eval()  # fmt: skip


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
@torch.no_grad()
def test_cached_logits_are_the_uncached(kind):
    torch.manual_seed(2)
    model = ours(kind, True, 1e4, 1e-6)
    cache = Cache(model.config)
    ids = torch.randint(96, (2, 30))
    whole = model(model.embed(ids))
    start = 0
    for size in (7, 1, 1, 4, 1, 16):
        positions = torch.arange(start, start + size).expand(2, size)
        got = model(model.embed(ids[:, start : start + size]), positions, cache)
        torch.testing.assert_close(got, whole[:, start : start + size], atol=1e-5, rtol=1e-4)
        start += size
    assert start == 30


@torch.no_grad()
def test_cached_rows_of_uneven_length():
    torch.manual_seed(3)
    model = ours("qwen3", True, 1e4, 1e-6)
    cache = Cache(model.config)
    ids, lengths = torch.randint(96, (2, 12)), torch.tensor([4, 9])
    model(model.embed(ids[:, :9]), torch.arange(9).expand(2, 9), cache)  # row 0 holds four, the rest is padding
    more = torch.randint(96, (2, 3))
    got = model(model.embed(more), lengths[:, None] + torch.arange(3), cache)
    for row, length in enumerate(lengths.tolist()):
        alone = model(model.embed(torch.cat([ids[row, :length], more[row]])[None]))[0, length:]
        torch.testing.assert_close(got[row], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_no_position_sees_what_follows():
    model = ours("qwen3", True, 1e4, 1e-6)
    a, b = torch.randn(1, 10, 64), torch.randn(1, 10, 64)
    b[:, :6] = a[:, :6]
    torch.testing.assert_close(model(a)[:, :6], model(b)[:, :6], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model(a)[:, 6], model(b)[:, 6], atol=1e-3)


def test_training_computes_what_answering_computes():
    """Where gradients are wanted attention is written out; elsewhere it is torch's own."""
    model = ours("qwen3", True, 10_000.0, 1e-6)
    x = torch.randn(2, 17, 64)
    trained = model(x)
    with torch.no_grad():
        torch.testing.assert_close(trained, model(x), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_grown_gpt_says_what_the_smaller_one_says():
    torch.manual_seed(0)
    small = ours("qwen3", True, 10_000.0, 1e-6)
    config = replace(small.config, layers=5)
    grown, x = GPT(config), torch.randn(2, 9, 64)
    before = grown(x)
    for other in (replace(config, layers=6), replace(config, ffn=81)):
        with pytest.raises(RuntimeError):
            grown.begin_as(GPT(other))
    torch.testing.assert_close(grown(x), before)  # nothing was altered
    grown.begin_as(small)
    torch.testing.assert_close(grown(x), small(x))
    assert all(layer.mlp.gate_proj.weight.any() for layer in grown.layers)  # those behind can learn
