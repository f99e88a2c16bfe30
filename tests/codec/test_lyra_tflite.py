"""Lyra's weights out of TFLite files, which are written here by the library of FlatBuffers."""

from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lauragpt.codec.lyra import FAR, Activation, Limit, LyraConfig, LyraDecoder, LyraEncoder, LyraNetwork
from lauragpt.codec.lyra_tflite import DECODER, ENCODER, convert, fill, read_lyra
from lauragpt.errors import LauraError

CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, LEAKY_RELU, QUANTIZE = 3, 4, 67, 98, 114  # as TFLite numbers them
TINY = LyraConfig(channels=4, strides=(4, 3, 2), dilations=(1, 3), dim=6)


class Writer:
    """A TFLite file: its tensors and operators in the order in which they are given."""

    def __init__(self):
        self.builder = flatbuffers.Builder()
        self.tensors, self.operators, self.buffers, self.codes = [], [], [self.table({})], []  # buffer 0 is the empty one

    def table(self, fields: dict[int, tuple[str, int]]) -> int:
        """field -> (kind, value), where a kind is Int8, Int32, Uint32 or UOffsetTRelative."""
        self.builder.StartObject(max(fields, default=-1) + 1)
        for field, (kind, value) in fields.items():
            getattr(self.builder, f"Prepend{kind}Slot")(field, value, 0)
        return self.builder.EndObject()

    def tables(self, places: list[int]) -> tuple[str, int]:
        self.builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.builder.PrependUOffsetTRelative(place)
        return "UOffsetTRelative", self.builder.EndVector()

    def vector(self, values: object, dtype: str) -> tuple[str, int]:
        return "UOffsetTRelative", self.builder.CreateNumpyVector(np.asarray(values, dtype).ravel())

    def tensor(self, values: np.ndarray, kind: int = 0, scales: np.ndarray | None = None, axis: int = 0, zero: int = 0) -> int:
        """Floats; or integers in 8 (kind 9) or 32 bits (kind 2) with the scales along an axis and the zero point."""
        fields = {0: self.vector(values.shape, "i4"), 1: ("Int8", kind), 2: ("Uint32", len(self.buffers))}
        if scales is not None:
            zeros = self.vector(np.full(len(scales), zero), "i8")
            fields[4] = ("UOffsetTRelative", self.table({2: self.vector(scales, "f4"), 3: zeros, 6: ("Int32", axis)}))
        self.tensors.append(self.table(fields))
        self.buffers.append(self.table({0: self.vector(np.frombuffer(values.tobytes(), "u1"), "u1")}))
        return len(self.tensors) - 1

    def operator(self, code: int, inputs: list[int], outputs: list[int]) -> None:
        if code not in self.codes:
            self.codes.append(code)
        self.operators.append(
            self.table({0: ("Uint32", self.codes.index(code)), 1: self.vector(inputs, "i4"), 2: self.vector(outputs, "i4")})
        )

    def bytes(self) -> bytes:
        graph = self.table({0: self.tables(self.tensors), 3: self.tables(self.operators)})
        codes = [self.table({0: ("Int8", code), 3: ("Int32", code)}) for code in self.codes]
        fields = {1: self.tables(codes), 2: self.tables([graph]), 4: self.tables(self.buffers)}
        self.builder.Finish(self.table({0: ("Uint32", 3), **fields}), b"TFL3")
        return bytes(self.builder.Output())


def written(network: LyraNetwork, integers: bool = False, depthwise_bias: float = 0.0) -> bytes:
    """The network as TensorFlow's converter leaves it: a transposed convolution in groups is one for each group, with one scale."""
    writer, rng = Writer(), np.random.default_rng(0)

    def tensor(weight: torch.Tensor, order: tuple[int, ...], axis: int | None) -> int:
        """`weight` in the file's layout; in integers it becomes what these hold."""
        stored = weight.detach().numpy().transpose(order)
        stored = np.expand_dims(stored, 2) if stored.ndim == 3 else stored
        if not integers:
            return writer.tensor(np.ascontiguousarray(stored))
        count = 1 if axis is None else stored.shape[axis]
        scales = rng.uniform(0.01, 0.02, count).astype(np.float32)
        shape = [1] * stored.ndim
        shape[axis or 0] = count
        steps = np.rint(stored / scales.reshape(shape)).astype(np.int32 if stored.ndim == 1 else np.int8)
        values = torch.from_numpy(steps * scales.reshape(shape))
        weight.data.copy_((values if stored.ndim == 1 else values.squeeze(2)).permute(*np.argsort(order)))
        return writer.tensor(steps, 2 if stored.ndim == 1 else 9, scales, axis or 0)

    def limited(limit: Limit) -> int:
        """What an activation gives, with a range where these are integers; the limit becomes this range."""
        if not integers:
            return writer.tensor(np.zeros(0, np.float32))
        scale, zero = np.float32(rng.uniform(0.01, 0.02)), int(rng.integers(-99, 99))
        limit.range.data = torch.tensor([(-128 - zero) * float(scale), (127 - zero) * float(scale)])
        return writer.tensor(np.zeros(0, np.int8), 9, np.array([scale]), zero=zero)

    plain = writer.tensor(np.zeros(0, np.float32))
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)]
    for layer in network.modules():
        result = limited(network.limit) if layer is convolutions[-1] else plain
        if isinstance(layer, Activation):
            if integers and rng.random() < 0.5:
                unrounded = writer.tensor(np.zeros(0, np.float32))
                writer.operator(LEAKY_RELU, [plain], [unrounded])
                writer.operator(QUANTIZE, [unrounded], [limited(layer)])
            else:
                writer.operator(LEAKY_RELU, [plain], [limited(layer)])
        elif isinstance(layer, nn.ConvTranspose1d):
            for weight, bias in zip(layer.weight.chunk(layer.groups), layer.bias.chunk(layer.groups)):
                kernel = tensor(weight, (1, 2, 0), None)
                writer.operator(TRANSPOSE_CONV, [plain, kernel, plain, tensor(bias, (0,), 0)], [result])
        elif isinstance(layer, nn.Conv1d):
            depthwise = layer.bias is None
            kernel = tensor(layer.weight, (1, 2, 0) if depthwise else (0, 2, 1), 3 if depthwise else 0)
            bias = tensor(torch.full((layer.out_channels,), depthwise_bias) if depthwise else layer.bias, (0,), 0)
            writer.operator(DEPTHWISE_CONV_2D if depthwise else CONV_2D, [plain, kernel, bias], [result])
    return writer.bytes()


def same(left: LyraNetwork, right: LyraNetwork) -> bool:
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


def folder_of(path: Path, encoder: bytes, decoder: bytes) -> Path:
    (path / ENCODER).write_bytes(encoder)
    (path / DECODER).write_bytes(decoder)
    return path


@pytest.mark.parametrize("kind", [LyraEncoder, LyraDecoder])
@pytest.mark.parametrize("integers", [False, True])
def test_a_network_is_read_as_it_was_written(kind, integers):
    network, read = kind(TINY), kind(TINY)
    data = written(network, integers)
    assert not same(network, read)
    fill(read, data)
    limits = torch.stack([layer.range for layer in read.modules() if isinstance(layer, Limit)])
    assert (limits.abs().max() < 5) if integers else (limits.abs() == FAR).all()
    assert same(network, read) and {value.dtype for value in read.state_dict().values()} == {torch.float32}


def test_both_become_one_file(tmp_path):
    encoder, decoder = LyraEncoder(), LyraDecoder()
    folder_of(tmp_path, written(encoder, integers=True), written(decoder))
    read = read_lyra(tmp_path)
    assert same(read[0], encoder) and same(read[1], decoder)
    convert(tmp_path, tmp_path / "lyra.safetensors")
    both = nn.ModuleDict({"encoder": LyraEncoder(), "decoder": LyraDecoder()})
    both.load_state_dict(load_file(tmp_path / "lyra.safetensors"))
    assert same(both["encoder"], encoder) and same(both["decoder"], decoder)
    wave = torch.randn(1, 3200)
    assert torch.equal(both["encoder"](wave), read[0](wave)), "also in memory the weights lie as those of the file do"


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(LauraError, match=rf"{ENCODER} is not there: give the folder of Lyra v2's weights"):
        read_lyra(tmp_path)
    (tmp_path / ENCODER).write_bytes(written(LyraEncoder()))
    with pytest.raises(LauraError, match=f"{DECODER} is not there"):
        convert(tmp_path, tmp_path / "lyra.safetensors")
    assert not (tmp_path / "lyra.safetensors").exists()


def test_files_of_something_else(tmp_path):
    encoder, decoder = written(LyraEncoder()), written(LyraDecoder())
    wider, deeper = LyraEncoder(), LyraEncoder()
    wider.more, deeper.more = nn.Conv1d(1, 1, 1), Activation()
    others = [b"", b"TFL3", b"A text file.", bytes(4096), encoder[:5000], encoder[: len(encoder) // 2], decoder]
    others += [written(other) for other in (LyraEncoder(TINY), wider, deeper)] + [written(LyraEncoder(), depthwise_bias=0.1)]
    for other in others:
        folder_of(tmp_path, other, decoder)
        with pytest.raises(LauraError, match=f"{ENCODER} does not hold the layers of Lyra v2 or is damaged: fetch"):
            read_lyra(tmp_path)


def test_no_damage_gives_anything_but_one_line(tmp_path):
    whole, rng = written(LyraEncoder(TINY)), np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 40):
            data[at] = rng.integers(256)
        folder_of(tmp_path, bytes(data), b"")
        with pytest.raises(LauraError):
            read_lyra(tmp_path)
