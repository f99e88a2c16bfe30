"""The published weights of Lyra v2 -> ours. In: a folder with its two TFLite files. Out: both networks, or one safetensors file.

A TFLite file is a FlatBuffer: tables that find their fields through a list of offsets. Only its convolutions are read and the ranges of its
activations, in the order in which they run, because their names do not tell them apart. What is stored in integers becomes float32. A
transposed convolution in groups is several convolutions there and one here.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from lauragpt.codec.lyra import FAR, Limit, LyraConfig, LyraDecoder, LyraEncoder, LyraNetwork
from lauragpt.errors import LauraError
from lauragpt.files import replacing

PUBLISHED = LyraConfig()
ENCODER, DECODER = "soundstream_encoder.tflite", "lyragan.tflite"

# Numbers of TFLite's schema: the operators, with the places of kernel and bias among their inputs, and the types of tensors.
CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV = 3, 4, 67
KERNEL_AND_BIAS = {CONV_2D: (1, 2), DEPTHWISE_CONV_2D: (1, 2), TRANSPOSE_CONV: (1, 3)}
LEAKY_RELU, QUANTIZE = 98, 114
DTYPES = {0: "<f4", 2: "<i4", 9: "i1"}


def read_lyra(folder: str | Path, config: LyraConfig = PUBLISHED) -> tuple[LyraEncoder, LyraDecoder]:
    """The networks with the weights of the folder's TFLite files, in float32. LauraError where a file is missing, or has other layers."""
    encoder, decoder = LyraEncoder(config), LyraDecoder(config)
    for network, name in ((encoder, ENCODER), (decoder, DECODER)):
        path = Path(folder) / name
        if not path.is_file():
            raise LauraError(f"{path} is not there: give the folder of Lyra v2's weights, which holds {ENCODER} and {DECODER}")
        try:
            fill(network, path.read_bytes())
        except (struct.error, ValueError, LookupError, AttributeError):
            raise LauraError(f"{path} does not hold the layers of Lyra v2 or is damaged: fetch that of Lyra 1.3 again") from None
    return encoder, decoder


def convert(folder: str | Path, path: str | Path) -> None:
    """Writes what `read_lyra` reads as one safetensors file: encoder.* and decoder.*, float32. OSError where it cannot be written."""
    encoder, decoder = read_lyra(folder)
    data = save(nn.ModuleDict({"encoder": encoder, "decoder": decoder}).state_dict())
    with replacing(path) as file:
        file.write(data)


def fill(network: LyraNetwork, data: bytes) -> None:
    """Gives the network the weights of a TFLite file. What is not its own raises ValueError, what is no such file any of several errors."""
    file = File(data)
    taken = 0
    for layer in network.modules():
        if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            continue
        parts = file.convolutions[taken : taken + (layer.groups if isinstance(layer, nn.ConvTranspose1d) else 1)]
        taken += len(parts)
        kernel, bias = (torch.from_numpy(np.concatenate(part)).contiguous() for part in zip(*parts))
        if kernel.shape != layer.weight.shape or bias.shape != (layer.out_channels,) or (layer.bias is None and bias.any()):
            raise ValueError("another layer")
        layer.weight.data = kernel
        if layer.bias is not None:
            layer.bias.data = bias
    limits = [layer for layer in network.modules() if isinstance(layer, Limit)]
    if taken != len(file.convolutions) or len(limits) != len(file.ranges):
        raise ValueError("other layers")
    for limit, values in zip(limits, file.ranges):
        limit.range.data = torch.tensor(values)


class File:
    """What a TFLite file holds for us: its `convolutions`, kernels in PyTorch's layout and biases, and the `ranges` of its activations and
    of its result, each in the order in which they run."""

    def __init__(self, data: bytes):
        model = Table(data, *struct.unpack_from("<I", data))
        graph, self.buffers = model.tables(2)[0], model.tables(4)
        kinds = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]  # the older field ends at 127
        self.tensors = graph.tables(0)
        operators = [(kinds[o.number(0, "<I")], o.vector(1, "<i4"), o.vector(2, "<i4")) for o in graph.tables(3)]
        self.convolutions = [self.convolution(kind, inputs) for kind, inputs, _ in operators if kind in KERNEL_AND_BIAS]
        results = [outputs[0] for kind, _, outputs in operators if kind == LEAKY_RELU]
        results += [outputs[0] for kind, _, outputs in operators if kind in KERNEL_AND_BIAS][-1:]
        rounded = {inputs[0]: outputs[0] for kind, inputs, outputs in operators if kind == QUANTIZE}
        self.ranges = [self.range(self.tensors[rounded.get(result, result)]) for result in results]

    def convolution(self, kind: int, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kernel, bias = (self.values(self.tensors[inputs[place]]) for place in KERNEL_AND_BIAS[kind])
        kernel = kernel.squeeze(2)  # of height and width, the width is 1
        return kernel.transpose((0, 2, 1) if kind == CONV_2D else (2, 0, 1)), bias

    def values(self, tensor: "Table") -> np.ndarray:
        """A tensor in float32, of its own shape."""
        stored = self.buffers[tensor.number(2, "<I")].vector(0, "u1").view(DTYPES[tensor.number(1, "<b")])
        values = stored.reshape(tensor.vector(0, "<i4")).astype(np.float32)
        if stored.dtype.kind == "f":
            return values
        quantization = tensor.table(4)  # weights have no zero point, says TFLite's specification
        scales, shape = quantization.vector(2, "<f4"), [1] * values.ndim
        shape[quantization.number(6, "<i")] = len(scales)
        return values * scales.reshape(shape)

    def range(self, tensor: "Table") -> tuple[float, float]:
        """What a tensor can hold in 8 bits."""
        if DTYPES[tensor.number(1, "<b")] != "i1":
            return -FAR, FAR
        quantization = tensor.table(4)
        scale, zero = float(quantization.vector(2, "<f4")[0]), int(quantization.vector(3, "<i8")[0])
        return (-128 - zero) * scale, (127 - zero) * scale


@dataclass(frozen=True)
class Table:
    """A table of a FlatBuffer and where it begins. A field goes by its number in the schema; one that is not there is 0 or empty."""

    data: bytes
    at: int

    def place(self, field: int) -> int:
        """Where a field's value lies, or 0."""
        offsets = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        if 4 + 2 * field >= struct.unpack_from("<H", self.data, offsets)[0]:
            return 0
        offset = struct.unpack_from("<H", self.data, offsets + 4 + 2 * field)[0]
        return self.at + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        place = self.place(field)
        return struct.unpack_from(form, self.data, place)[0] if place else 0

    def target(self, field: int) -> int:
        """Where that begins which a field points at, or 0."""
        place = self.place(field)
        return place + self.number(field, "<I") if place else 0

    def table(self, field: int) -> "Table | None":
        target = self.target(field)
        return Table(self.data, target) if target else None

    def vector(self, field: int, dtype: str) -> np.ndarray:
        target = self.target(field)
        return np.frombuffer(self.data, dtype, *struct.unpack_from("<I", self.data, target), target + 4) if target else np.zeros(0, dtype)

    def tables(self, field: int) -> "list[Table]":
        first = self.target(field) + 4
        return [Table(self.data, first + 4 * i + int(offset)) for i, offset in enumerate(self.vector(field, "<u4"))]
