"""The networks of a checkpoint in the form in which they are written as ONNX graphs (engine/onnx_export.py): few nodes, ONNX Runtime's
own where it has one for several of PyTorch's.

    listen   features (B, T, F) -> frames for the GPT (B, T, D), CTC log-probabilities (B, T, U)
    step     embeddings (B, n, D) behind a cache -> logits (B, m, V) at m of the n places, and their keys and values
    spell    tokens (B, T) -> log-probabilities of letters (B, T, N + 1), where the vocoder is told which letter a token says
    predict  tokens (B, T) and a condition -> the sum of the codec's embeddings (B, T, E)
    frames   tokens (B, T), text and prompt -> frames of a source and a filter (B, 4 T, 66), where speech is made of such
    sound    embeddings (B, T, E) -> wave (B, T * hop)
    codes    wave (B, T * hop) -> codes (B, K, T); with a listener, its features (B, T, F) as well
    vectors  wave (B, T * hop) -> the codec encoder's vectors (B, T, E), where the vocoder reads them
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lauragpt.engine.onnx_weights import BLOCK, onnx_gates, pack
from lauragpt.model.gpt import GPT, inverse_frequencies
from lauragpt.model.lauragpt import LauraModel

NAMES = ("listen", "step", "spell", "predict", "frames", "sound", "codes", "vectors")
IN_CODEC_SPACE = ("spell", "frames", "vectors")  # what only a vocoder whose condition is in codec space needs


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
        dtypes=[x.dtype] * 4, shapes=[x.shape, (*x.shape[:-1], 1), (*x.shape[:-1], 1), x.shape], version=1,
    )  # fmt: skip
    return total, outputs[0]


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions as one node: x (B, H, n, W); cos, sin (B * n, W / 2) of each place (`rotate` of model/gpt.py)."""
    B, _, n, _ = x.shape
    places = torch.arange(B * n).view(B, n)
    return torch.onnx.ops.symbolic("com.microsoft::RotaryEmbedding", (x, places, cos, sin), {}, dtype=x.dtype, shape=x.shape, version=1)


class Step(nn.Module):
    """The GPT over n new places of each row. What came before lies in the cache, keys and values (B, H, S, W) a layer, of whose S slots a
    row's first `lengths[b]` count. The new ones (2 * layers, B, H, n, W) are put there by whoever keeps the cache: a graph that gave back
    the whole of it would copy it at each token.

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
        self, tokens: Tensor, lengths: Tensor, text: Tensor, text_lengths: Tensor, places: Tensor, prompt: Tensor, prompt_lengths: Tensor,
        noisy: Tensor, noisy_lengths: Tensor,
    ) -> Tensor:  # fmt: skip
        """A condition that is not given has the length 0; `noisy` is as long as the tokens. places: the letters' paces (B,) or, in codec
        space, which of them each token says (B, T)."""
        given = {"text": (text, text_lengths, places), "prompt": (prompt, prompt_lengths), "noisy": (noisy, noisy_lengths)}
        return self.vocoder(tokens, self.codec.embed(tokens[:, None]), lengths, **given)


class Frames(nn.Module):
    def __init__(self, model: LauraModel):
        super().__init__()
        self.vocoder = model.vocoder

    def forward(
        self, tokens: Tensor, lengths: Tensor, text: Tensor, text_lengths: Tensor, said: Tensor, prompt: Tensor, prompt_lengths: Tensor
    ) -> Tensor:
        """A condition that is not given has the length 0."""
        return self.vocoder.speech(tokens, lengths, (text, text_lengths, said), (prompt, prompt_lengths))


class OnnxLSTM(nn.Module):
    """An `nn.LSTM` (batch first, one direction) as ONNX's own nodes, one a layer, which take any number of frames. torch.export would
    write out as many steps as the example has frames."""

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
            y = torch.onnx.ops.symbolic(
                "LSTM", given, {"hidden_size": self.width}, dtype=y.dtype, shape=(T, 1, B, self.width), version=14
            ).squeeze(1)
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

    def forward(self, hops: Tensor, lengths: Tensor, features: Tensor | None = None) -> Tensor:
        """hops (B, T, hop), lengths (B,) in samples, the listener's features (B, T, F) -> codes (B, K, T)."""
        frames = (lengths + hops.shape[2] - 1) // hops.shape[2]
        latents = self.codec.encoder(hops.flatten(1), frames)
        if features is not None:
            latents = torch.cat([latents, self.codec.listener.encoder(features, frames).embeddings], -1)
        return self.codec.quantizer.encode(latents)


class Vectors(nn.Module):
    def __init__(self, model: LauraModel):
        super().__init__()
        self.codec = model.codec

    def forward(self, hops: Tensor, lengths: Tensor) -> Tensor:
        """hops (B, T, hop), lengths (B,) in samples -> (B, T, E)"""
        vectors = self.codec.encoder(hops.flatten(1), (lengths + hops.shape[2] - 1) // hops.shape[2])
        return self.codec.quantizer.split(vectors)[0]


def graphs(model: LauraModel, bits: int) -> dict[str, tuple]:
    """name -> (module, example inputs, dynamic shapes, names of inputs, names of outputs)."""
    config, rows, D = model.config, {0: "B"}, model.config.gpt.width
    B, T, n, S, H, W, layers = 2, 24, 3, 16, config.gpt.kv_heads, config.gpt.head_width, config.gpt.layers
    cache, slots = [torch.zeros(B, H, S, W) for _ in range(2 * layers)], [{0: "B", 2: "S"}] * (2 * layers)
    parts = [f"{kind}{i}" for i in range(layers) for kind in ("keys", "values")]
    whole, half = torch.tensor([T, T // 2]), torch.tensor([8, 5])
    features, condition, noisy, hop = config.features.width, config.vocoder.features, config.vocoder.noisy_width, config.codec.hop
    in_codec_space = config.vocoder.in_codec_space
    places = (torch.randint(-1, 4, (B, T)), {0: "B", 1: "T"}, "said") if in_codec_space else (torch.rand(B) + 1, rows, "paces")
    heard = [torch.randn(B, T, model.codec.listener.features.config.width)] if model.codec.listener is not None else []
    made = {
        "listen": (
            Listen(model), (torch.randn(B, T, features), whole), ({0: "B", 1: "T"}, rows), ["features", "lengths"], ["frames", "ctc"],
        ),
        "step": (
            Step(model.gpt, bits),
            (torch.randn(B, n, D), torch.zeros(B, n), torch.tensor([9, 4]), torch.zeros(B, 2, dtype=torch.long), cache),
            ({0: "B", 1: "n"}, {0: "B", 1: "n"}, rows, {0: "B", 1: "m"}, slots),
            ["embeddings", "times", "lengths", "at", *parts], ["logits", "new"],
        ),
        "predict": (
            Predict(model),  # no tensor twice: torch.export would take both for one
            (torch.zeros(B, T, dtype=torch.long), whole, torch.zeros(B, 8, dtype=torch.long), half, places[0],
             torch.randn(B, 9, condition), half + 1, torch.randn(B, T, noisy), whole.clone()),
            ({0: "B", 1: "T"}, rows, {0: "B", 1: "L"}, rows, places[1], {0: "B", 1: "P"}, rows, {0: "B", 1: "T"}, rows),
            ["tokens", "lengths", "text", "text_lengths", places[2], "prompt", "prompt_lengths", "noisy", "noisy_lengths"], ["embeddings"],
        ),
        "frames": (
            Frames(model),
            (torch.zeros(B, T, dtype=torch.long), whole, torch.zeros(B, 8, dtype=torch.long), half, places[0], torch.randn(B, 9, condition),
             half + 1),
            ({0: "B", 1: "T"}, rows, {0: "B", 1: "L"}, rows, places[1], {0: "B", 1: "P"}, rows),
            ["tokens", "lengths", "text", "text_lengths", "said", "prompt", "prompt_lengths"], ["frames"],
        ),
        "sound": (
            Sound(model), (torch.randn(B, T, config.codec.dim), whole), ({0: "B", 1: "T"}, rows), ["embeddings", "lengths"], ["wave"],
        ),
        "codes": (
            Codes(model), (0.1 * torch.randn(B, T, hop), whole * hop - 100, *heard),
            ({0: "B", 1: "T"}, rows, *({0: "B", 1: "T"} for _ in heard)), ["hops", "lengths", "features"][: 2 + len(heard)], ["codes"],
        ),
        "vectors": (
            Vectors(model), (0.1 * torch.randn(B, T, hop), whole * hop - 100), ({0: "B", 1: "T"}, rows), ["hops", "lengths"], ["vectors"],
        ),
        "spell": (
            model.speller, (torch.zeros(B, T, dtype=torch.long), whole), ({0: "B", 1: "T"}, rows), ["tokens", "lengths"], ["letters"],
        ),
    }  # fmt: skip
    return {name: graph for name, graph in made.items() if in_codec_space or name not in IN_CODEC_SPACE}
