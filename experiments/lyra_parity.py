"""Do our networks compute what Lyra's own files compute? Runs both on recordings.

    python experiments/lyra_parity.py FOLDER CLIP...

FOLDER holds soundstream_encoder.tflite and lyragan.tflite of Lyra v2. Needs `pip install ai-edge-litert`.

The files compute partly in 8 bits and ours in floats, so the two cannot be equal. Hence two tables, as Markdown on stdout:
1. Each convolution by itself, given what the file's own convolution was given: how far off is ours? Where the file rounds to 8 bits, in
   steps of this rounding (half a step is what rounding alone gives), elsewhere as a share of the largest value.
2. Whole recordings: signal-to-noise ratio of ours against the file's, and beside it ("its own") that of the file run with the runtime's
   reference kernels, which round a little otherwise than its fast ones; PESQ and STOI against the recording.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import nn

from lauragpt.audio import load_audio
from lauragpt.codec.lyra import LyraConfig, LyraNetwork
from lauragpt.codec.lyra_tflite import DECODER, ENCODER, read_lyra
from lauragpt.errors import LauraError
from lauragpt.evaluate.metrics import pesq, stoi

FAST, REFERENCE = OpResolverType.AUTO, OpResolverType.BUILTIN_REF
HOP = LyraConfig().hop
FRAMES = 50  # for the first table


class File:
    """A TFLite file, run frame by frame."""

    def __init__(self, path: Path, kernels: OpResolverType, every_tensor: bool = False):
        how = {"experimental_op_resolver_type": kernels, "experimental_preserve_all_tensors": every_tensor}
        self.open = lambda: Interpreter(str(path), num_threads=1, **how)

    def frames(self, frames: list[np.ndarray]) -> Iterator[tuple[Interpreter, np.ndarray]]:
        """The runtime after each frame, and its result. It is opened anew: `reset_all_variables` leaves the state as it is."""
        runtime = self.open()
        runtime.allocate_tensors()
        (given,), (result,) = runtime.get_input_details(), runtime.get_output_details()
        for frame in frames:
            runtime.set_tensor(given["index"], frame)
            runtime.invoke()
            yield runtime, runtime.get_tensor(result["index"])

    def __call__(self, frames: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([result for _, result in self.frames(frames)], axis=1)


def snr(reference: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(np.square(reference).sum() / np.square(reference - other).sum())


def cut(wave: np.ndarray) -> list[np.ndarray]:
    return list(wave.reshape(-1, 1, HOP))


def cut_vectors(vectors: np.ndarray) -> list[np.ndarray]:
    return np.split(vectors, vectors.shape[1], axis=1)


def layers(network: LyraNetwork) -> Iterator[tuple[str, nn.Module]]:
    """Those that the file has, in its order: one for each group of a transposed convolution."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.ConvTranspose1d):
            for group, (weight, bias) in enumerate(zip(layer.weight.chunk(layer.groups), layer.bias.chunk(layer.groups))):
                yield f"{name}, group {group + 1}", lambda x, layer=layer, w=weight, b=bias: F.conv_transpose1d(x, w, b, layer.stride)
        elif isinstance(layer, nn.Conv1d):
            yield name, lambda x, layer=layer: F.conv1d(x, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)


@torch.no_grad()
def each_layer(path: Path, network: LyraNetwork, frames: list[np.ndarray]) -> Iterator[tuple[str, str]]:
    """(layer, its largest error) for each of them."""
    kinds = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "TRANSPOSE_CONV": 2}  # where the sound stands among the inputs
    ours, worst = list(layers(network)), {}
    for runtime, _ in File(path, REFERENCE, every_tensor=True).frames(frames):
        tensors = {tensor["index"]: tensor for tensor in runtime.get_tensor_details()}
        operators = [operator for operator in runtime._get_ops_details() if operator["op_name"] in kinds]
        for (name, layer), operator in zip(ours, operators, strict=True):
            given, result = (tensors[i] for i in (operator["inputs"][kinds[operator["op_name"]]], operator["outputs"][0]))
            y, expected, (scale, zero) = layer(values(runtime, given)), values(runtime, result), result["quantization"]
            if scale:
                y = y.clamp((-128 - zero) * scale, (127 - zero) * scale)
            error, largest, _ = worst.get(name, (0, 0, 0))
            worst[name] = max(error, float((y - expected).abs().max())), max(largest, float(expected.abs().max())), scale
    for name, (error, largest, scale) in worst.items():
        yield name, f"{error / scale:.3f} steps" if scale else f"{error / largest:.1e}"


def values(runtime: Interpreter, tensor: dict) -> torch.Tensor:
    """A tensor of the file in floats, (1, C, n)."""
    scale, zero = tensor["quantization"]
    stored = runtime.get_tensor(tensor["index"])[:, :, 0].astype(np.float32)
    return torch.from_numpy((stored - zero) * scale if scale else stored).transpose(1, 2)


def main() -> int:
    parser = argparse.ArgumentParser(description="Our networks against Lyra's own files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    try:
        encoder, decoder = read_lyra(asked.folder)
        waves = [load_audio(clip) for clip in asked.clips]
    except LauraError as error:
        sys.exit(str(error))
    waves = [wave[: len(wave) // HOP * HOP] for wave in waves]
    encoders, decoders = ([File(asked.folder / name, kernels) for kernels in (FAST, REFERENCE)] for name in (ENCODER, DECODER))

    print("| convolution | largest error |\n| --- | --- |")
    frames = cut(waves[0])[:FRAMES]
    for name, network, given in ((ENCODER, encoder, frames), (DECODER, decoder, cut_vectors(encoders[0](frames)))):
        for layer, error in each_layer(asked.folder / name, network, given):
            print(f"| {type(network).__name__}, {layer} | {error} |")

    print()
    rows = []
    for clip, wave in zip(asked.clips, waves):
        rows.append(whole_recording(wave, encoders, decoders, encoder, decoder))
        if len(rows) == 1:
            print(f"| clip | {' | '.join(rows[0])} |\n|{' --- |' * (1 + len(rows[0]))}")
        print_row(clip.stem, rows[-1])
    print_row("mean", {name: float(np.mean([row[name] for row in rows])) for name in rows[0]})
    return 0


@torch.no_grad()
def whole_recording(wave: np.ndarray, encoders: list[File], decoders: list[File], encoder: LyraNetwork, decoder: LyraNetwork) -> dict:
    """The row of a recording. Files: with fast kernels, with the reference's."""
    vectors, other_vectors = (file(cut(wave)) for file in encoders)
    sound, other_sound = (file(cut_vectors(vectors))[0] for file in decoders)
    our_vectors = encoder(torch.from_numpy(wave)[None])
    our_sound, ours = decoder(torch.from_numpy(vectors))[0].numpy(), decoder(our_vectors)[0].numpy()
    other = decoders[1](cut_vectors(other_vectors))[0]
    return {
        "vectors dB": snr(vectors, our_vectors.numpy()), "its own dB": snr(vectors, other_vectors),
        "wave of its vectors dB": snr(sound, our_sound), "its own wave dB": snr(sound, other_sound),
        "PESQ its": pesq(wave, sound), "PESQ its own": pesq(wave, other), "PESQ ours": pesq(wave, ours),
        "STOI its": stoi(wave, sound), "STOI ours": stoi(wave, ours),
    }  # fmt: skip


def print_row(name: str, row: dict[str, float]) -> None:
    cells = [f"{value:.1f}" if column.endswith("dB") else f"{value:.3f}" for column, value in row.items()]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
