"""Published Qwens, in folders that transformers saves: the same logits, more tokens, and what cannot be read is told."""

import json
import shutil

import pytest
import torch
from qwens import qwen_of, save_qwen
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from lauragpt.engine.torch_backend import Cache
from lauragpt.errors import LauraError
from lauragpt.model.gpt import GPT
from lauragpt.model.lauragpt import PRESETS, with_gpt
from lauragpt.model.qwen import qwen_config, qwen_gpt

# The sizes of some that are published, and what is said of each.
PUBLISHED = {
    "Qwen2.5-0.5B": ("qwen2", 896, 24, 14, 2, 4864, 151_936, True, 494_032_768),
    "Qwen2.5-1.5B": ("qwen2", 1536, 28, 12, 2, 8960, 151_936, True, 1_543_714_304),
    "Qwen1.5-1.8B": ("qwen2", 2048, 24, 16, 16, 5504, 151_936, False, 1_836_828_672),
    "Qwen2.5-7B": ("qwen2", 3584, 28, 28, 4, 18_944, 152_064, False, 7_615_616_512),
    "Qwen3-0.6B": ("qwen3", 1024, 28, 16, 8, 3072, 151_936, True, 596_049_920),
    "Qwen3-8B": ("qwen3", 4096, 36, 32, 8, 12_288, 151_936, False, 8_190_735_360),
}


@pytest.fixture(scope="module", params=[("qwen2", True), ("qwen2", False), ("qwen3", True), ("qwen3", False)], ids=str)
def published(request, tmp_path_factory):
    """(folder, transformers' model read from it)"""
    kind, tied = request.param
    theta = {"rope_type": "default", "rope_theta": 1e6 if tied else 1e4}
    model = qwen_of(kind, tied, rope_parameters=theta, rms_norm_eps=1e-6 if tied else 1e-3)
    folder = save_qwen(tmp_path_factory.mktemp("qwen"), model)
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder, AutoModelForCausalLM.from_pretrained(folder).eval()


def grown(folder, dtype: torch.dtype = torch.float32) -> GPT:
    """With the preset's audio and task tokens."""
    return qwen_gpt(folder, with_gpt(PRESETS["debug"], qwen_config(folder)).gpt, dtype).eval()


@torch.no_grad()
def test_text_is_as_likely_as_it_was(published):
    folder, theirs = published
    gpt, ids = grown(folder), torch.randint(320, (3, 40))
    logits = gpt(gpt.embed(ids))
    assert logits.shape == (3, 40, 320 + PRESETS["debug"].audio_size + 12)
    torch.testing.assert_close(logits[..., :320], theirs(ids).logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_it_writes_what_transformers_writes(published):
    folder, theirs = published
    torch.manual_seed(0)
    gpt, begun = grown(folder), torch.randint(320, (1, 9))
    options = {"attention_mask": torch.ones_like(begun), "max_new_tokens": 30, "do_sample": False}
    wanted = theirs.generate(begun, **options)[0, 9:].tolist()
    cache, written, new = Cache(gpt.config), [], begun
    while len(written) < 30:
        positions = torch.arange(new.shape[1])[None] + (9 + len(written) - new.shape[1])
        new = gpt(gpt.embed(new), positions, cache)[:, -1:, :320].argmax(-1)
        written.append(int(new))
    assert written == wanted


@torch.no_grad()
def test_new_tokens_are_the_mean_of_the_old_ones(published):
    folder, theirs = published
    gpt = grown(folder)
    for ours, old in ((gpt.embed_tokens, theirs.model.embed_tokens), (gpt.lm_head, theirs.lm_head)):
        if ours is None:
            assert theirs.config.tie_word_embeddings
            continue
        assert torch.equal(ours.weight[:320], old.weight)
        torch.testing.assert_close(ours.weight[320:], old.weight.mean(0).expand(len(ours.weight) - 320, -1))


@torch.no_grad()
def test_bf16_stays_bf16(published, tmp_path):
    folder, _ = published
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    save_qwen(tmp_path, model)
    halves, whole = grown(tmp_path, torch.bfloat16), grown(tmp_path)
    for name, tensor in halves.state_dict().items():
        assert tensor.dtype == torch.bfloat16
        torch.testing.assert_close(tensor.float(), whole.state_dict()[name], atol=0, rtol=2**-8)  # a mean is rounded, the rest is exact
    ids = torch.randint(320, (2, 20))
    torch.testing.assert_close(halves(halves.embed(ids))[..., :320], model(ids).logits, atol=0.3, rtol=0.05)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name, tmp_path):
    """As their folders said before transformers 5 wrote its own."""
    kind, width, layers, heads, kv_heads, ffn, vocabulary, tied, count = PUBLISHED[name]
    config = {
        "model_type": kind, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": ffn, "vocab_size": vocabulary, "tie_word_embeddings": tied,
        "rope_theta": 1e6, "rope_scaling": None, "rms_norm_eps": 1e-6, "use_sliding_window": False, "sliding_window": 32_768,
        "max_window_layers": 21, "hidden_act": "silu", "torch_dtype": "bfloat16", "max_position_embeddings": 32_768,
    } | ({"head_dim": 128, "attention_bias": False} if kind == "qwen3" else {})  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        ours, theirs = GPT(qwen_config(tmp_path)), AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    assert sum(parameter.numel() for parameter in ours.parameters()) == count
    shapes = {key.removeprefix("model."): tensor.shape for key, tensor in theirs.named_parameters()}
    assert {key: tensor.shape for key, tensor in ours.named_parameters()} == shapes


@pytest.mark.parametrize(("change", "words"), [
    ({"model_type": "qwen2_moe"}, r"a model of type 'qwen2_moe': the GPT begins with one of type qwen2 or qwen3 alone"),
    ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}}, "has rope scaling, which the GPT does not compute"),
    ({"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 4.0}}, "has rope scaling"),
    ({"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, "has sliding windows"),
    ({"layer_types": None, "use_sliding_window": True, "max_window_layers": 2}, "has sliding windows"),
    ({"model_type": "qwen3", "attention_bias": True}, "has biases in Qwen3's attention"),
    ({"hidden_act": "gelu"}, "has the activation gelu"),
    ({"quantization_config": {"quant_method": "gptq"}}, "has quantized weights"),
    ({"num_attention_heads": None}, "is no model as transformers saves it"),
])  # fmt: skip
def test_what_the_gpt_does_not_compute_is_refused(change, words, published, tmp_path):
    config = json.loads((published[0] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(LauraError, match=words) as told:
        qwen_config(tmp_path)
    assert "\n" not in str(told.value)


def test_sliding_windows_that_are_not_in_use_are_no_matter(published, tmp_path):
    config = json.loads((published[0] / "config.json").read_text())
    for change in ({"layer_types": None, "use_sliding_window": True, "max_window_layers": 3}, {"sliding_window": 32_768}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        assert qwen_config(tmp_path) == qwen_config(published[0])


def test_damaged_folders_are_told(published, tmp_path):
    folder, config = tmp_path / "copy", qwen_config(published[0])
    with pytest.raises(LauraError, match="no model as transformers saves it"):
        qwen_config(folder)
    shutil.copytree(published[0], folder)
    path = next(path for path in sorted(folder.glob("*.safetensors")) if "model.norm.weight" in load_file(path))
    tensors = load_file(path)
    save_file(tensors | {"model.norm.weight": torch.ones(63)}, path)
    with pytest.raises(LauraError, match=r"norm\.weight has the shape \(63,\), and by its config\.json \(64,\)"):
        qwen_gpt(folder, config)
    save_file({key: tensor for key, tensor in tensors.items() if key != "model.norm.weight"}, path)
    with pytest.raises(LauraError, match="no model as transformers saves it"):
        qwen_gpt(folder, config)
    path.unlink()
    with pytest.raises(LauraError, match="no model as transformers saves it"):
        qwen_gpt(folder, config)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    del index["weight_map"]["model.norm.weight"]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(LauraError, match=r"lacks 1 of its tensors, norm\.weight first"):
        qwen_gpt(folder, config)
