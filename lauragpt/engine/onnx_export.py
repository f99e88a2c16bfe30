"""A checkpoint's networks as ONNX graphs, for the engine that needs no torch (engine/onnx_backend.py).

    listen   features (B, T, F) -> frames for the GPT (B, T, D), CTC log-probabilities (B, T, U)
    step     embeddings (B, n, D) behind a cache -> logits (B, m, V) at m of the n places, and their keys and values
    predict  tokens (B, T) and a condition -> the sum of the codec's embeddings (B, T, E)
    sound    embeddings (B, T, E) -> wave (B, T * hop)
    codes    wave (B, T * hop) -> codes (B, K, T)

The weights stay in the checkpoint's own files: graphs.json says which tensor each initializer is (engine/onnx_weights.py).
"""

import contextlib
import io
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from lauragpt.checkpoint import all_tensors, file_of, hash_of, hash_of_weights, read_config
from lauragpt.codec.seanet import SkipLSTM
from lauragpt.engine.onnx_weights import BLOCK, FORMAT, onnx_gates, pack, taken
from lauragpt.errors import LauraError, install_hint
from lauragpt.model.gpt import GPT, inverse_frequencies
from lauragpt.model.lauragpt import LauraModel, load_checkpoint

OPSET = 20
SMALL = 128  # numbers: an initializer of fewer stays in the graph
ALL_BEFORE = 2**31  # frames: more than any recording has
BITS = (8, 32)
NAMES = ("listen", "step", "predict", "sound", "codes")


class Listen(nn.Module):
    def __init__(self, model: LauraModel):
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        heard = self.model.listen(features, lengths)
        return heard.embeddings, heard.ctc_log_probs


class Product(nn.Module):
    """x -> x W^T + b for several linear layers that read the same x: their weights (N, K) one below the other, one product."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor] = ()):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.cat(list(weights))), nn.Parameter(torch.cat(list(biases))) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class PackedProduct(Product):
    """The same with weights in 8-bit blocks: MatMulNBits of ONNX Runtime, whose rows never depend on their batch."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor] = ()):
        super().__init__(weights, biases)
        packed, scales = pack(self.weight.detach().numpy())
        self.register_buffer("packed", torch.from_numpy(packed))
        self.register_buffer("scales", torch.from_numpy(scales))

    def forward(self, x: Tensor) -> Tensor:
        N, K = self.weight.shape
        attributes = {"K": K, "N": N, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
        y = torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits", (x, self.packed, self.scales), attributes, dtype=x.dtype, shape=(*x.shape[:-1], N), version=1
        )
        return y if self.bias is None else y + self.bias


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm as one node."""
    attributes = {"axis": -1, "epsilon": eps, "stash_type": 1}
    return torch.onnx.ops.symbolic("SimplifiedLayerNormalization", (x, weight), attributes, dtype=x.dtype, shape=x.shape, version=1)


def added_norm(x: Tensor, more: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + more, and RMSNorm of it, as one node."""
    *_, total = outputs = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::SkipSimplifiedLayerNormalization", (x, more, weight), {"epsilon": eps},
        dtypes=[x.dtype] * 4, shapes=[x.shape, x.shape[:-1] + (1,), x.shape[:-1] + (1,), x.shape], version=1,
    )  # fmt: skip
    return total, outputs[0]


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions as one node: x (B, H, n, W); cos, sin (B * n, W / 2) of each place (`rotate` of model/gpt.py)."""
    B, _, n, _ = x.shape
    places = torch.arange(B * n).view(B, n)
    return torch.onnx.ops.symbolic("com.microsoft::RotaryEmbedding", (x, places, cos, sin), {}, dtype=x.dtype, shape=x.shape, version=1)


class Step(nn.Module):
    """The GPT over n new places of each row. What came before lies in the cache, keys and values (B, H, S, W) a layer, of whose S slots a
    row's first `lengths[b]` count. The new ones (2 * layers, B, H, n, W) are put there by whoever keeps the cache: a graph that gave back the
    whole of it would copy it at each token.

    A step of one token is little arithmetic in many nodes, so there are as few as ONNX Runtime's own allow.
    """

    def __init__(self, gpt: GPT, bits: int):
        super().__init__()
        self.gpt, self.layers = gpt, nn.ModuleList()

        def product(*layers: nn.Linear | nn.Embedding) -> Product:
            kind = PackedProduct if bits == 8 and layers[0].weight.shape[1] % BLOCK == 0 else Product
            return kind([layer.weight for layer in layers], [layer.bias for layer in layers if getattr(layer, "bias", None) is not None])

        for layer in gpt.layers:
            attention, mlp = layer.self_attn, layer.mlp
            self.layers.append(nn.ModuleDict({
                "qkv": product(attention.q_proj, attention.k_proj, attention.v_proj), "out": product(attention.o_proj),
                "gate_up": product(mlp.gate_proj, mlp.up_proj), "down": product(mlp.down_proj),
            }))  # fmt: skip
        self.head = product(gpt.embed_tokens if gpt.lm_head is None else gpt.lm_head)

    def forward(self, embeddings: Tensor, times: Tensor, lengths: Tensor, at: Tensor, cache: list[Tensor]) -> tuple[Tensor, Tensor]:
        """embeddings (B, n, D), times (B, n), lengths (B,), at (B, m): the places whose logits are wanted."""
        config, x, made = self.gpt.config, embeddings, []
        (B, n, _), S, W, H, eps = x.shape, cache[0].shape[2], config.head_width, config.kv_heads, config.norm_eps
        Q, groups = config.heads, config.heads // H
        before = (torch.arange(S) < lengths[:, None])[:, None, None].expand(B, 1, n, S)
        earlier = torch.ones(n, n, dtype=torch.bool).tril()[None, None].expand(B, 1, n, n)
        unseen = torch.where(torch.cat([before, earlier], -1), 0.0, float("-inf")).repeat(1, 1, groups, 1)
        angle = times.reshape(-1, 1) * inverse_frequencies(W // 2, config.rope_theta)
        cos, sin = angle.cos(), angle.sin()
        h = norm(x, self.gpt.layers[0].input_layernorm.weight, eps)
        for depth, (layer, product) in enumerate(zip(self.gpt.layers, self.layers, strict=True)):
            attention = layer.self_attn
            qk, v = product["qkv"](h).view(B, n, Q + 2 * H, W).transpose(1, 2).split([Q + H, H], 1)
            if config.qk_norm:
                gains = torch.cat([attention.q_norm.weight.expand(Q, 1, W) * W**-0.5, attention.k_norm.weight.expand(H, 1, W)])
                qk = norm(qk, torch.ones(W), eps) * gains
            q, k = turned(qk, cos, sin).split([Q, H], 1)
            q = (q if config.qk_norm else q * W**-0.5).reshape(B, H, groups * n, W)  # the heads that share keys, one below the other
            weights = torch.cat([q @ cache[2 * depth].transpose(2, 3), q @ k.transpose(2, 3)], -1)
            weights = (weights + unseen).softmax(-1)
            mixed = weights[..., :S] @ cache[2 * depth + 1] + weights[..., S:] @ v
            mixed = mixed.view(B, Q, n, W).transpose(1, 2).reshape(B, n, -1)
            x, h = added_norm(x, product["out"](mixed), layer.post_attention_layernorm.weight, eps)
            gate, up = product["gate_up"](h).chunk(2, -1)
            after = self.gpt.norm if depth + 1 == len(self.layers) else self.gpt.layers[depth + 1].input_layernorm
            x, h = added_norm(x, product["down"](nn.functional.silu(gate) * up), after.weight, eps)
            made += [k, v]
        return self.head(h.gather(1, at[..., None].expand(-1, -1, h.shape[-1]))), torch.stack(made)


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


class OnnxLSTM(nn.Module):
    """An `nn.LSTM` (batch first, one direction) as ONNX's own nodes, one a layer, which take any number of frames. torch.export would write out as many
    steps as the example has frames."""

    def __init__(self, lstm: nn.LSTM):
        super().__init__()
        self.layers, self.width = lstm.num_layers, lstm.hidden_size
        for layer in range(lstm.num_layers):
            for kind in ("weight_ih", "weight_hh"):
                self.register_buffer(f"{kind}{layer}", torch.from_numpy(onnx_gates(getattr(lstm, f"{kind}_l{layer}").detach().numpy())))
            biases = [onnx_gates(getattr(lstm, f"{kind}_l{layer}").detach().numpy()) for kind in ("bias_ih", "bias_hh")]
            self.register_buffer(f"bias{layer}", torch.from_numpy(np.concatenate(biases, axis=1)))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """x (B, T, C) -> (B, T, C), and no state: the graph reads from the beginning."""
        y = x.transpose(0, 1)
        T, B, _ = y.shape
        for layer in range(self.layers):
            given = (y, getattr(self, f"weight_ih{layer}"), getattr(self, f"weight_hh{layer}"), getattr(self, f"bias{layer}"))
            y = torch.onnx.ops.symbolic("LSTM", given, {"hidden_size": self.width}, dtype=y.dtype, shape=(T, 1, B, self.width), version=14).squeeze(1)
        return y.transpose(0, 1), None


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
    cache, slots = [torch.zeros(B, H, S, W) for _ in range(2 * layers)], [{0: "B", 2: "S"}] * (2 * layers)
    parts = [f"{kind}{i}" for i in range(layers) for kind in ("keys", "values")]
    whole, half = torch.tensor([T, T // 2]), torch.tensor([8, 5])
    features, condition, hop = config.features.width, config.vocoder.features, config.codec.hop
    return {
        "listen": (Listen(model), (torch.randn(B, T, features), whole), ({0: "B", 1: "T"}, rows), ["features", "lengths"], ["frames", "ctc"]),
        "step": (
            Step(model.gpt, bits), (torch.randn(B, n, D), torch.zeros(B, n), torch.tensor([9, 4]), torch.zeros(B, 2, dtype=torch.long), cache),
            ({0: "B", 1: "n"}, {0: "B", 1: "n"}, rows, {0: "B", 1: "m"}, slots),
            ["embeddings", "times", "lengths", "at", *parts], ["logits", "new"],
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
    """`folder/onnx` of a checkpoint's folder, whole or not at all. LauraError without the packages.

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
        raise LauraError(f"export needs {error.name}: {install_hint('train')}") from None
    try:
        model, stored = load_checkpoint(folder), all_tensors(folder, load_file)
        promised = read_config(folder).get("codec_hash")
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({str(error).splitlines()[0][:120]}): fetch it again") from None
    if promised != model.codec.hash:
        raise LauraError(f"{folder} was trained on the tokens of codec {promised}, but holds codec {model.codec.hash}: nothing is exported")
    wanted = only or NAMES
    halves = {"codes": model.codec.encoder, "sound": model.codec.decoder}
    contexts = {name: context_of(halves[name]) for name in halves if name in wanted}
    for module in [module for module in model.codec.modules() if isinstance(module, SkipLSTM)]:
        module.lstm = OnnxLSTM(module.lstm)
    about = {"format": FORMAT, "bits": bits, "weights": hash_of_weights(folder), "codec_hash": promised, "contexts": contexts, "graphs": {}}
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


def context_of(network: nn.Module) -> tuple[int, int]:
    """How many frames before and after a frame its result depends on. An LSTM remembers all that came before: a stream runs it again from the
    beginning with each piece, which is exact, and takes the longer the more there is. (PyTorch's backend carries its state on instead.)"""
    return getattr(network, "context", (ALL_BEFORE, 0))


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
    """The tensors of a checkpoint by what they hold, and those that `Step` joins, to find those of a graph again."""

    def __init__(self, stored: dict[str, np.ndarray]):
        self.found: dict[tuple, tuple[tuple[str, ...], str]] = {}
        for keys in [(key,) for key in stored] + joined(stored):
            weights = [stored[key] for key in keys]
            for how in ("", "t", "q", "s", "g"):
                if how == "g" and not (".lstm." in keys[0] and weights[0].ndim == 2):
                    continue
                if how and weights[0].ndim != 2 or how in ("q", "s") and weights[0].shape[1] % BLOCK:
                    continue
                self.found.setdefault(_content(taken(weights, how)), (keys, how))

    def take_out(self, proto) -> dict[str, tuple[tuple[str, ...], str]]:
        """Initializer -> (tensors, how), for those that the checkpoint holds; their data leave the graph."""
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
            tensor.external_data.add(key="location", value=file_of(source[0][0]))
            tensor.external_data.add(key="offset", value="0")
            tensor.external_data.add(key="length", value=str(data.nbytes))
        return taken_out


def joined(keys: Iterable[str]) -> list[tuple[str, ...]]:
    """Of a checkpoint's keys, those whose tensors the graphs read as one product."""
    together = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
    return [
        tuple(key.replace(names[0], name) for name in names) for key in keys for names in together if f".{names[0]}." in key
    ]


def _content(array: np.ndarray) -> tuple:
    array = np.ascontiguousarray(array)
    return array.shape, str(array.dtype), hash(array.tobytes())
