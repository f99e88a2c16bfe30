"""Writes a checkpoint's networks (engine/onnx_graphs.py) as ONNX graphs, for the engine that needs no torch (engine/onnx_backend.py).

The weights stay in the checkpoint's own files: graphs.json says which tensor each initializer is (engine/onnx_weights.py).
"""

import contextlib
import io
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from lauragpt.checkpoint import file_of, hash_of, hash_of_weights, read_config
from lauragpt.codec.seanet import SkipLSTM
from lauragpt.engine.onnx_graphs import NAMES, OnnxLSTM, graphs
from lauragpt.engine.onnx_weights import BLOCK, FORMAT, taken
from lauragpt.errors import LauraError, install_hint
from lauragpt.model.lauragpt import load_checkpoint
from lauragpt.stored_weights import all_tensors

OPSET = 20
SMALL = 128  # numbers: an initializer of fewer stays in the graph
ALL_BEFORE = 2**31  # frames: more than any recording has
BITS = (8, 32)


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
        model, stored = load_checkpoint(folder), all_tensors(folder)
        promised = read_config(folder).get("codec_hash")
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise LauraError(f"{folder} is not a whole LauraGPT checkpoint ({str(error).splitlines()[0][:120]}): fetch it again") from None
    if promised != model.codec.hash:
        raise LauraError(f"{folder} was trained on the tokens of codec {promised}, but holds codec {model.codec.hash}: nothing is exported")
    if model.config.discrete:
        raise LauraError(f"{folder} reads recordings as the codec's codes, which torch alone does: nothing is exported")
    if model.config.vocoder.steps > 1 or model.config.vocoder.flow:
        raise LauraError(f"{folder} has a vocoder of several steps, which runs on torch alone: nothing is exported")
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
    """How many frames before and after a frame its result depends on. An LSTM remembers all that came before: a stream runs it again from
    the beginning with each piece, which is exact, and takes the longer the more there is. (PyTorch's backend carries its state on
    instead.)"""
    return getattr(network, "context", (ALL_BEFORE, 0))


def exported(module: nn.Module, inputs: tuple, shapes: tuple, into: list[str], out: list[str]):
    """A ModelProto."""
    logger, level = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                inputs,
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=into,
                output_names=out,
                opset_version=OPSET,
                verbose=False,
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
                if (how and weights[0].ndim != 2) or (how in ("q", "s") and weights[0].shape[1] % BLOCK):
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
    keys = [key for key in keys if key.startswith("gpt.")]  # an encoder may have parts of these names too
    return [tuple(key.replace(names[0], name) for name in names) for key in keys for names in together if f".{names[0]}." in key]


def _content(array: np.ndarray) -> tuple:
    array = np.ascontiguousarray(array)
    return array.shape, str(array.dtype), hash(array.tobytes())
