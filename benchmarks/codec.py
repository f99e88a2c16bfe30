"""How quick the codec is, beside transformers' EncodecModel of the same size, on one thread.

In: a checkpoint, whose codec is measured as it is; its SEANet counterpart and transformers' EnCodec have random weights, which cost the
same time as trained ones. All read the demo's English recordings. Out: a table on stdout, codec.json and codec.md in a folder. The
codecs take turns, run by run, so that a busy moment falls on all; a ratio is of two runs beside each other, its median counts.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import command
import torch
from speed import cell, machine, material
from torch import Tensor, nn

from lauragpt.codec import Codec, CodecConfig
from lauragpt.codec.seanet import SEANetConfig
from lauragpt.engine.api import Laura
from lauragpt.evaluate.metrics import MissingPackage, need

PACKAGES = ("lauragpt", "torch", "numpy", "transformers")
HEADS = (
    "codec",
    "parameters M",
    "encode real time factor",
    "decode real time factor",
    "encode to EnCodec's",
    "decode to EnCodec's",
    "from",
    "to",
)


@dataclass
class Contender:
    """A codec under the names of the table. encode: (1, N) -> codes; decode: codes -> (1, N')."""

    name: str
    parameters: int
    encode: Callable[[Tensor], object]
    decode: Callable[[object], Tensor]


def ours(name: str, codec: Codec) -> Contender:
    return Contender(name, count(codec.encoder, codec.decoder), codec.encode, codec.decode)


def count(*parts: nn.Module) -> int:
    """Parameters without codebooks, which are alike in all."""
    return sum(p.numel() for part in parts for p in part.parameters())


def seanet_of(config: CodecConfig, size: int) -> Codec:
    """The SEANet codec with the number of filters whose size comes nearest."""
    made = {}
    for filters in range(2, 33, 2):
        plain = replace(config, architecture="seanet", seanet=SEANetConfig(filters=filters))
        with torch.device("meta"):
            codec = Codec.from_config(plain)
        made[filters] = abs(count(codec.encoder, codec.decoder) - size)
    return Codec.from_config(replace(config, architecture="seanet", seanet=SEANetConfig(filters=min(made, key=made.get)))).eval()


def encodec_of(codec: Codec) -> Contender:
    """transformers' EnCodec at the same hop, quantizers and filters. MissingPackage without transformers."""
    transformers, config = need("transformers"), codec.config
    bandwidth = (
        config.quantizer.n_quantizers * math.log2(config.quantizer.codebook_size) * config.sample_rate / config.hop / 1000
    )  # kbit/s at which it uses all of them
    model = transformers.EncodecModel(transformers.EncodecConfig(
        sampling_rate=config.sample_rate, upsampling_ratios=list(config.strides), num_filters=config.seanet.filters, hidden_size=config.dim,
        codebook_dim=config.dim, codebook_size=config.quantizer.codebook_size, target_bandwidths=[bandwidth], normalize=False,
    )).eval()  # fmt: skip
    return Contender(
        "EncodecModel (transformers)", count(model.encoder, model.decoder), lambda wave: model.encode(wave[None], bandwidth=bandwidth),
        lambda made: model.decode(made.audio_codes, made.audio_scales).audio_values[0],
    )  # fmt: skip


@torch.inference_mode()
def measure(contenders: list[Contender], seconds: float, runs: int) -> list[dict]:
    """A row a codec; the last is what the others are compared with."""
    wave = torch.from_numpy(material("speech", seconds, 1)[0])[None]
    taken: dict[str, list[tuple[float, float]]] = {c.name: [] for c in contenders}
    for run in range(runs + 1):
        for contender in contenders:
            began = time.perf_counter()
            codes = contender.encode(wave)
            between = time.perf_counter()
            contender.decode(codes)
            if run:  # the first is a warm-up
                taken[contender.name].append((between - began, time.perf_counter() - between))
    last = taken[contenders[-1].name]
    rows = []
    for contender in contenders:
        mine = taken[contender.name]
        row = {"codec": contender.name, "parameters M": contender.parameters / 1e6}
        for side, name in enumerate(("encode", "decode")):
            ratios = sorted(theirs[side] / own[side] for theirs, own in zip(last, mine, strict=True))
            row[f"{name} real time factor"] = statistics.median(pair[side] for pair in mine) / seconds
            row[f"{name} to EnCodec's"] = statistics.median(ratios)
        row |= {"from": ratios[0], "to": ratios[-1]}
        rows.append(row)
    return rows


def markdown(report: dict) -> str:
    rows, lines = report["rows"], command.head(f"Speed of the codec of {report['checkpoint']}", report, "one thread")
    lines += [
        f"- {report['seconds']:g} s of speech, {report['runs']} runs in turn, all {report['quantizers']} quantizers; "
        "parameters without codebooks"
    ]
    lines += ["- real time factor: seconds of computing a second of sound, under 1 is quicker than real time"]
    lines += [
        f"- to EnCodec's: how many times as fast as {rows[-1]['codec']}; the last two columns are the least and the most when decoding"
    ]
    lines += [*(f"- {note}" for note in report["notes"]), "", *command.table(HEADS, rows, cell)]
    return "\n".join(lines) + "\n"


def benchmark(checkpoint: str, out: Path, quick: bool = False) -> dict:
    """Measures, writes the two files, and returns what is in codec.json."""
    command.check_out(out)
    laura, seconds, runs = Laura.load(checkpoint, device="cpu", backend="torch"), 2.0 if quick else 10.0, 1 if quick else 15
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        codec, notes = laura.runtime.backend.model.codec, []
        seanet = seanet_of(codec.config, count(codec.encoder, codec.decoder))
        contenders = [ours(f"{laura.name}, {codec.config.architecture}", codec), ours("SEANet of ours", seanet)]
        try:
            contenders.append(encodec_of(seanet))
        except MissingPackage as error:
            notes.append(f"EncodecModel: {error}; the ratios are to the SEANet of ours instead")
        report = {
            "checkpoint": laura.name,
            "quick": quick,
            "seconds": seconds,
            "runs": runs,
            "quantizers": codec.config.quantizer.n_quantizers,
        }
        report |= {"machine": machine(laura, PACKAGES), "notes": notes, "rows": measure(contenders, seconds, runs)}
    finally:
        torch.set_num_threads(threads)
    command.write(report, out, "codec", markdown(report))
    return report


def main(arguments: list[str] | None = None) -> int:
    return command.run(
        "codec",
        "Measure the codec's speed beside transformers' EncodecModel, on one thread.",
        "a short recording, one run",
        benchmark,
        markdown,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
