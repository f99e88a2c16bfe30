"""A checkpoint's networks as ONNX graphs, for the engine that needs no torch (engine/onnx_backend.py).

    listen   features (B, T, F) -> frames for the GPT (B, T, D), CTC log-probabilities (B, T, U)
    step     embeddings (B, n, D) behind a cache -> logits (B, m, V) at m of the n places, and their keys and values
    predict  tokens (B, T) and a condition -> the sum of the codec's embeddings (B, T, E)
    sound    embeddings (B, T, E) -> wave (B, T * hop)
    codes    wave (B, T * hop) -> codes (B, K, T)

The weights stay in `model.safetensors`: graphs.json says which tensor each initializer is (engine/onnx_graphs.py).
"""

import contextlib
import io
import json
import logging
import os
import shutil
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from lauragpt.engine.onnx_graphs import BLOCK, FORMAT, hash_of, pack, taken
from lauragpt.errors import LauraError
from lauragpt.model.gpt import GPT, rotate
from lauragpt.model.laura import LauraModel, load_checkpoint

OPSET = 20
SMALL = 128  # numbers: an initializer of fewer stays in the graph
BITS = (8, 32)
NAMES = ("listen", "step", "predict", "sound", "codes")


class Listen(nn.Module):
    def __init__(self, model: LauraModel):
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        heard = self.model.listen(features, lengths)
        return heard.embeddings, heard.ctc_log_probs


class Packed(nn.Module):
    """A linear layer whose weights are 8-bit blocks: MatMulNBits of ONNX Runtime, whose rows never depend on their batch."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        packed, scales = pack(weight.detach().numpy())
        self.register_buffer("packed", torch.from_numpy(packed))
        self.register_buffer("scales", torch.from_numpy(scales))
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        N, K = len(self.packed), self.packed.shape[1] * BLOCK
        attributes = {"K": K, "N": N, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        y = torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits", (x, self.packed, self.scales), attributes, dtype=x.dtype, shape=(*x.shape[:-1], N), version=1
        )
        return y if self.bias is None else y + self.bias


def packed(gpt: GPT) -> GPT:
    """The GPT with all its products in 8-bit blocks; float where the width is no multiple of a block."""
    gpt = deepcopy(gpt)
    for layer in gpt.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, linear in list(part.named_children()):
                if isinstance(linear, nn.Linear) and linear.in_features % BLOCK == 0:
                    setattr(part, name, Packed(linear.weight, linear.bias))
    return gpt


class Step(nn.Module):
    """The GPT over n new places of each row. What came before lies in the cache, keys (B, H, W, S) and values (B, H, S, W) a layer, of whose
    S slots a row's first `lengths[b]` count. The new keys (B, H, W, n) and values (B, H, n, W) are put there by whoever keeps the cache:
    a graph that gave back the whole of it would copy it at each token."""

    def __init__(self, gpt: GPT, bits: int):
        super().__init__()
        self.gpt = packed(gpt) if bits == 8 else gpt
        matrix = gpt.embed_tokens.weight if gpt.lm_head is None else gpt.lm_head.weight
        self.head = Packed(matrix) if bits == 8 and matrix.shape[1] % BLOCK == 0 else gpt.logits

    def forward(self, embeddings: Tensor, times: Tensor, lengths: Tensor, at: Tensor, cache: list[Tensor]) -> tuple[Tensor, ...]:
        """embeddings (B, n, D), times (B, n), lengths (B,), at (B, m): the places whose logits are wanted."""
        config, x, made = self.gpt.config, embeddings, []
        (B, n, _), S, W, H = x.shape, cache[0].shape[3], config.head_width, config.kv_heads
        groups = config.heads // H
        before = (torch.arange(S) < lengths[:, None])[:, None, None, None].expand(B, 1, 1, n, S)
        earlier = torch.ones(n, n, dtype=torch.bool).tril()[None, None, None].expand(B, 1, 1, n, n)
        seen = torch.cat([before, earlier], -1)
        for depth, layer in enumerate(self.gpt.layers):
            attention, h = layer.self_attn, layer.input_layernorm(x)
            q = attention.q_norm(attention.q_proj(h).view(B, n, -1, W)).transpose(1, 2)
            k = attention.k_norm(attention.k_proj(h).view(B, n, -1, W)).transpose(1, 2)
            v = attention.v_proj(h).view(B, n, -1, W).transpose(1, 2)
            q = rotate(q, times, config.rope_theta) * W**-0.5
            k = rotate(k, times, config.rope_theta).transpose(2, 3)
            q = q.reshape(B, H, groups * n, W)  # the heads that share keys, one below the other
            weights = torch.cat([q @ cache[2 * depth], q @ k], -1).view(B, H, groups, n, S + n)
            weights = weights.masked_fill(~seen, float("-inf")).softmax(-1).view(B, H, groups * n, S + n)
            mixed = weights[..., :S] @ cache[2 * depth + 1] + weights[..., S:] @ v
            x = x + attention.o_proj(mixed.view(B, H * groups, n, W).transpose(1, 2).reshape(B, n, -1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            made += [k, v]
        x = self.gpt.norm(x)
        return self.head(x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))), *made


class Predict(nn.Module):
    def __init__(self, model: LauraModel):
        super().__init__()
        self.vocoder, self.codec = model.vocoder, model.codec

    def forward(
        self, tokens: Tensor, lengths: Tensor, text: Tensor, text_lengths: Tensor, paces: Tensor, prompt: Tensor, prompt_lengths: Tensor,
        noisy: Tensor, noisy_lengths: Tensor,
    ) -> Tensor:  # fmt: skip
        """A condition that is not given has the length 0; `noisy` is as long as the tokens."""
        given = {"text": (text, text_lengths, paces), "prompt": (prompt, prompt_lengths), "noisy": (noisy, noisy_lengths)}
        return self.codec.embed(tokens[:, None]) + self.vocoder(tokens, lengths, **given)


class Sound(nn.Module):
    def __init__(self, model: LauraModel):
        super().__init__()
        self.codec = model.codec

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        return self.codec.decode_embeddings(embeddings, lengths)


class Codes(nn.Module):
    def __init__(self, model: LauraModel):
        super().__init__()
        self.codec = model.codec

    def forward(self, hops: Tensor, lengths: Tensor) -> Tensor:
        """hops (B, T, hop), lengths (B,) in samples -> codes (B, K, T)."""
        frames = (lengths + hops.shape[2] - 1) // hops.shape[2]
        return self.codec.quantizer.encode(self.codec.encoder(hops.flatten(1), frames))


def graphs(model: LauraModel, bits: int) -> dict[str, tuple]:
    """name -> (module, example inputs, dynamic shapes, names of inputs, names of outputs)."""
    config, rows, D = model.config, {0: "B"}, model.config.gpt.width
    B, T, n, S, H, W, layers = 2, 24, 3, 16, config.gpt.kv_heads, config.gpt.head_width, config.gpt.layers
    cache = [torch.zeros((B, H, W, S) if i % 2 == 0 else (B, H, S, W)) for i in range(2 * layers)]
    slots = [{0: "B", 3 - i % 2: "S"} for i in range(2 * layers)]
    parts = [f"{kind}{i}" for i in range(layers) for kind in ("keys", "values")]
    whole, half = torch.tensor([T, T // 2]), torch.tensor([8, 5])
    features, condition, hop = config.features.width, config.vocoder.features, config.codec.hop
    return {
        "listen": (Listen(model), (torch.randn(B, T, features), whole), ({0: "B", 1: "T"}, rows), ["features", "lengths"], ["frames", "ctc"]),
        "step": (
            Step(model.gpt, bits), (torch.randn(B, n, D), torch.zeros(B, n), torch.tensor([9, 4]), torch.zeros(B, 2, dtype=torch.long), cache),
            ({0: "B", 1: "n"}, {0: "B", 1: "n"}, rows, {0: "B", 1: "m"}, slots),
            ["embeddings", "times", "lengths", "at", *parts], ["logits", *(f"new_{part}" for part in parts)],
        ),
        "predict": (
            Predict(model),  # no tensor twice: torch.export would take both for one
            (torch.zeros(B, T, dtype=torch.long), whole, torch.zeros(B, 8, dtype=torch.long), half, torch.rand(B) + 1,
             torch.randn(B, 9, condition), half + 1, torch.randn(B, T, condition), whole.clone()),
            ({0: "B", 1: "T"}, rows, {0: "B", 1: "L"}, rows, rows, {0: "B", 1: "P"}, rows, {0: "B", 1: "T"}, rows),
            ["tokens", "lengths", "text", "text_lengths", "paces", "prompt", "prompt_lengths", "noisy", "noisy_lengths"], ["embeddings"],
        ),
        "sound": (Sound(model), (torch.randn(B, T, config.codec.dim), whole), ({0: "B", 1: "T"}, rows), ["embeddings", "lengths"], ["wave"]),
        "codes": (
            Codes(model), (0.1 * torch.randn(B, T, hop), whole * hop - 100), ({0: "B", 1: "T"}, rows), ["hops", "lengths"], ["codes"],
        ),
    }  # fmt: skip


def export_graphs(folder: Path, bits: int = 32, only: tuple[str, ...] = ()) -> Path:
    """`folder/onnx` of a checkpoint's folder, whole or not at all. LauraError without the packages, and for a codec that cannot be exported.

    bits: of the GPT's weights, 32 or 8. With 8 one sequence is written twice as fast, but the activations are rounded too, which makes
    another token of some that are nearly equally likely, depending on the order of sums: then answers are not torch's to the letter.
    only: the graphs wanted, all when empty.
    """
    if bits not in BITS:
        raise LauraError(f"{bits} bits: choose 8 or 32")
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise LauraError(f"export needs {error.name}: pip install 'lauragpt[train]'") from None
    try:
        model, stored = load_checkpoint(folder), load_file(folder / "model.safetensors")
        promised = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("codec_hash")
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({str(error).splitlines()[0][:120]}): fetch it again") from None
    if promised != model.codec.hash:
        raise LauraError(f"{folder} was trained on the tokens of codec {promised}, but holds codec {model.codec.hash}: nothing is exported")
    wanted = only or NAMES
    if {"sound", "codes"} & set(wanted) and any(isinstance(module, nn.LSTM) for module in model.codec.modules()):
        raise LauraError(f"{folder} has a SEANet codec, whose LSTM torch cannot export for any length: it runs with torch alone")
    halves = {"codes": model.codec.encoder, "sound": model.codec.decoder}
    contexts = {name: halves[name].context for name in halves if name in wanted}  # frames that a frame's result looks at
    about = {"format": FORMAT, "bits": bits, "weights": hash_of(folder / "model.safetensors"), "codec_hash": promised, "contexts": contexts, "graphs": {}}
    done, aside, old = folder / "onnx", folder / "onnx.part", folder / "onnx.old"
    known = Known(stored)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name, (module, inputs, shapes, into, out) in graphs(model, bits).items():
            if name not in wanted:
                continue
            proto = exported(module, inputs, shapes, into, out)
            initializers = known.take_out(proto)
            onnx.save(proto, aside / f"{name}.onnx")
            about["graphs"][name] = {"hash": hash_of(aside / f"{name}.onnx"), "initializers": initializers}
        (aside / "graphs.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(old, ignore_errors=True)
        if done.exists():
            os.replace(done, old)
        os.replace(aside, done)
    except OSError as error:
        raise LauraError(f"{done} cannot be written ({error.strerror}): copy the checkpoint to a folder of your own") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return done


def exported(module: nn.Module, inputs: tuple, shapes: tuple, into: list[str], out: list[str]):
    """A ModelProto."""
    logger, level = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(), inputs, dynamo=True, dynamic_shapes=shapes, input_names=into, output_names=out, opset_version=OPSET, verbose=False
            )
    finally:
        logger.setLevel(level)
    proto = program.model_proto
    for node in proto.graph.node:  # where in which source each comes from
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer, proto.graph):
        value.ClearField("metadata_props")
    proto.ClearField("metadata_props")
    return proto


class Known:
    """The tensors of a checkpoint by what they hold, to find those of a graph again."""

    def __init__(self, stored: dict[str, np.ndarray]):
        self.found: dict[tuple, tuple[str, str]] = {}
        for key, weight in stored.items():
            for how in ("", "t", "q", "s"):
                if how and weight.ndim != 2 or how in ("q", "s") and weight.shape[1] % BLOCK:
                    continue
                self.found.setdefault(_content(taken(weight, how)), (key, how))

    def take_out(self, proto) -> dict[str, tuple[str, str]]:
        """Initializer -> (tensor, how), for those that the checkpoint holds; their data leave the graph."""
        from onnx import TensorProto, numpy_helper

        taken_out = {}
        for tensor in proto.graph.initializer:
            data = numpy_helper.to_array(tensor)
            source = self.found.get(_content(data)) if data.size >= SMALL else None
            if source is None:
                continue
            taken_out[tensor.name] = source
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="model.safetensors")
            tensor.external_data.add(key="offset", value="0")
            tensor.external_data.add(key="length", value=str(data.nbytes))
        return taken_out


def _content(array: np.ndarray) -> tuple:
    array = np.ascontiguousarray(array)
    return array.shape, str(array.dtype), hash(array.tobytes())
