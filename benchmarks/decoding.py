"""How quickly the GPT writes, beside transformers' `generate` with the same weights: tokens a second, at several batches.

Two GPTs: the checkpoint's, and one of the size of FunAudioLLM's LauraTTS (12 layers, 512 wide, 8 heads, 2048 in the feed-forward, whose
two matrices are as many weights as our three of 1376) with random weights, which cost the same time as trained ones. Ours run on ONNX
Runtime, with weights of 32 and of 8 bits, and on torch; greedy, every row to the same number of tokens. All take turns, run by run, so
that a busy moment falls on all; a ratio is of two runs beside each other. Out: a table on stdout, decoding.json and decoding.md in a
folder."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import command
import numpy as np
import torch
from speed import cell, machine

from lauragpt.checkpoint import find_checkpoint
from lauragpt.engine.api import Laura
from lauragpt.engine.decoding import Options, Row, decode
from lauragpt.engine.onnx_export import export_graphs
from lauragpt.evaluate.metrics import need
from lauragpt.model.gpt import GPTConfig
from lauragpt.model.lauragpt import LauraModel, load_checkpoint, save_checkpoint
from lauragpt.text import Tokenizer

PACKAGES = ("lauragpt", "onnxruntime", "torch", "transformers", "numpy")
PROMPT, LAURATTS = 24, {"width": 512, "layers": 12, "heads": 8, "kv_heads": 8, "head_width": 64, "ffn": 1376}
BYTES = {"ONNX Runtime, 8 bits": 1.125}  # a weight, with its share of a block's scale; 4 elsewhere
HEADS = ("GPT", "parameters M", "batch", "runs on", "tokens a second", "times generate", "from", "to", "weights GB/s", "GFLOP/s")


def folders(checkpoint: Path, place: Path, quick: bool = False) -> dict[str, Path]:
    """Folders of both GPTs, each exported with 32 and with 8 bits: "name/bits" -> folder. `quick`: the large one has 2 layers of its 12."""
    made = {}
    model = load_checkpoint(checkpoint)
    torch.manual_seed(0)
    sizes = LAURATTS | ({"layers": 2} if quick else {})
    large = LauraModel(
        replace(
            model.config, gpt=GPTConfig(vocabulary=model.config.gpt.vocabulary, **sizes), encoder=replace(model.config.encoder, output=512)
        )
    )
    for name, one in ((checkpoint.name, model), ("LauraTTS-sized", large)):
        for bits in (32, 8):
            folder = place / f"{name}-{bits}"
            save_checkpoint(one, folder, name=name)
            Tokenizer.load(checkpoint / "tokenizer.json").save(folder / "tokenizer.json")
            export_graphs(folder, bits, only=("step",))
            made[f"{name}/{bits}"] = folder
    return made


def ours(folder: Path, backend: str, new: int) -> Callable[[np.ndarray], None]:
    """ids (B, n) -> `new` tokens written behind each row."""
    runtime = Laura.load(folder, backend=backend).runtime

    def write(ids: np.ndarray) -> None:
        done = decode(
            runtime.backend.open(None, ids.tolist()),
            [Row(new, minimum=new)] * len(ids),
            runtime.text_mask,
            runtime.vocabulary.eos,
            Options(loop=None),
        )
        assert all(len(row.ids) == new for row in done)

    return write


def generate_of(folder: Path, new: int) -> tuple[Callable[[np.ndarray], None], int]:
    """transformers' Qwen3 with the folder's weights, and their number. MissingPackage without transformers."""
    transformers, gpt = need("transformers"), load_checkpoint(folder).gpt
    config = gpt.config
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(
        vocab_size=config.vocabulary, hidden_size=config.width, intermediate_size=config.ffn, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, num_key_value_heads=config.kv_heads, head_dim=config.head_width, rms_norm_eps=config.norm_eps,
        rope_theta=config.rope_theta, tie_word_embeddings=True, max_position_embeddings=4096,
    )).eval()  # fmt: skip
    model.load_state_dict({f"model.{name}": value for name, value in gpt.state_dict().items()}, strict=False)

    def write(ids: np.ndarray) -> None:
        given = torch.from_numpy(ids)
        with torch.inference_mode():
            model.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0
            )

    return write, sum(p.numel() for p in gpt.parameters())


def limits(quick: bool) -> dict[str, float]:
    """What the machine can do with the same threads: reading from memory, GB/s, and float32 products of 2048-cubes, GFLOP/s; the best
    of five."""
    size = 256 if quick else 2048
    large, cube = torch.ones(2 ** (22 if quick else 28)), torch.randn(size, size)

    def best(call: Callable) -> float:
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        return min(taken)

    return {"memory GB/s": 4 * len(large) / best(large.sum) / 1e9, "GFLOP/s": 2 * size**3 / best(lambda: cube @ cube) / 1e9}


def measure(made: dict[str, Path], batches: tuple[int, ...], new: int, runs: int) -> list[dict]:
    rows = []
    for name in dict.fromkeys(key.partition("/")[0] for key in made):
        generate, size = generate_of(made[f"{name}/32"], new)
        contenders = {
            "ONNX Runtime, 32 bits": ours(made[f"{name}/32"], "onnx", new), "ONNX Runtime, 8 bits": ours(made[f"{name}/8"], "onnx", new),
            "torch": ours(made[f"{name}/32"], "torch", new), "transformers generate": generate,
        }  # fmt: skip
        for batch in batches:
            ids = np.random.default_rng(0).integers(1000, size=(batch, PROMPT))
            taken = command.in_turn(contenders, ids, runs)
            for who, own in taken.items():
                rate, times = batch * new / statistics.median(own), command.spread(taken["transformers generate"], own)
                rows.append({
                    "GPT": name, "parameters M": size / 1e6, "batch": batch, "runs on": who, "tokens a second": rate,
                    "times generate": times["median"], "from": times["from"], "to": times["to"],
                    "weights GB/s": rate / batch * size * BYTES.get(who, 4) / 1e9, "GFLOP/s": 2 * size * rate / 1e9,
                })  # fmt: skip
    return rows


def markdown(report: dict) -> str:
    lines = command.head("Speed of the GPT", report, f"{report['machine']['threads']} threads")
    lines += [
        f"- {report['new']} tokens written behind {PROMPT}, greedy; {report['runs']} runs in turn, the median, and the least and the most"
    ]
    can = report["limits"]
    lines += [
        f"- what the machine can do with these threads: read {can['memory GB/s']:.1f} GB/s from memory, "
        f"{can['GFLOP/s']:.0f} GFLOP/s in float32 products. A step reads every weight once, whatever the batch"
    ]
    lines += ["", *command.table(HEADS, report["rows"], cell)]
    return "\n".join(lines) + "\n"


def benchmark(checkpoint: str, out: Path, quick: bool = False) -> dict:
    """Measures, writes the two files, and returns what is in decoding.json."""
    command.check_out(out)
    batches, new, runs = ((1, 2), 8, 1) if quick else ((1, 8, 32), 128, 5)
    folder = find_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory() as place:
        made = folders(folder, Path(place), quick)
        laura = Laura.load(next(iter(made.values())))
        torch.set_num_threads(laura.runtime.backend.threads)  # the same for all
        report = {
            "checkpoint": folder.name,
            "quick": quick,
            "new": new,
            "runs": runs,
            "machine": machine(laura, PACKAGES),
            "limits": limits(quick),
        }
        report["rows"] = measure(made, batches, new, runs)
    command.write(report, out, "decoding", markdown(report))
    return report


def main(arguments: list[str] | None = None) -> int:
    return command.run(
        "decoding",
        "Measure how quickly the GPT writes, beside transformers' generate.",
        "a few tokens, one run, 2 layers of the large GPT",
        benchmark,
        markdown,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
