"""How quickly the GPT learns, beside a plain transformers Trainer: tokens a second, waiting for batches, memory over many steps.

Both train the checkpoint's GPT, of the same sizes and from the same weights, on the same batches: pairs to be translated and sentences, of
words of the demo. Ours runs as in `laura train`, its loop with its batches, which a thread makes; the Trainer is handed the batches
ready made, padded to their longest row, and never waits for one. Precision, threads and optimizer (fused AdamW, clipped gradients) are the
same. They take turns, run by run; a ratio is of two runs beside each other. Then a GPT of the preset `debug` takes many steps, and the most
memory that the process has held is read on the way. Out: tables on stdout, train.json and train.md in a folder."""

import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import command
import torch
from accelerate import Accelerator
from speed import cell, machine

from lauragpt.checkpoint import find_checkpoint
from lauragpt.cli.demo import read_clips
from lauragpt.data.manifest import Example
from lauragpt.engine.api import Laura
from lauragpt.evaluate.metrics import need
from lauragpt.model.lauragpt import PRESETS, LauraModel, load_checkpoint
from lauragpt.text import Tokenizer
from lauragpt.train import loop
from lauragpt.train.corpus import Corpus
from lauragpt.train.precision import precision
from lauragpt.train.stages import STAGES
from lauragpt.train.text_batches import ReadBatch

PACKAGES = ("lauragpt", "torch", "transformers", "accelerate", "numpy")
WARM = 3  # steps of each run that are not counted
GOALS = {"times Trainer": 1.2, "waiting %": 3.0}
HEADS = ("trainer", "parameters M", "steps", "tokens a second", "times Trainer", "from", "to", "waiting %")
PRECISIONS = {"bf16": "bf16", "no": "float32"}
STAGE = {"weights": {"mt": 1.0}, "plain_sentences": 1.0, "save_minutes": 1e6}  # all that is read has tokens alone, and no posteriors


def words() -> dict[str, list[str]]:
    """Language -> the words of the demo's transcripts."""
    spoken = [clip for clip in read_clips() if clip.task == "asr"]
    return {lang: [word for clip in spoken if clip.lang == lang for word in clip.reference.split()] for lang in ("en", "de")}


def make_corpus(folder: Path, tokenizer: Tokenizer) -> Corpus:
    """Pairs of sentences, and sentences, of 4 to 30 words each."""
    rng, known = random.Random(0), words()

    def sentence(lang: str) -> str:
        return " ".join(rng.choices(known[lang], k=rng.randint(4, 30)))

    for lang in known:
        (folder / f"text.{lang}.txt").write_text("".join(f"{sentence(lang)}\n" for _ in range(2000)), encoding="utf-8")
    pairs = [
        Example(f"mt/demo/{n}", "mt", "train", "de", "demo", source=sentence("en"), source_lang="en", targets=[sentence("de")])
        for n in range(2000)
    ]
    return Corpus(pairs, [], folder, tokenizer)


def tokens_of(batch: ReadBatch) -> int:
    return sum(row.length for row in batch.layouts)


class Watch:
    """When each step began, how many tokens it had, and what was waited for between."""

    def __init__(self, seen: Callable[[int], None] = lambda step: None):
        """`seen`: is told the number of each step."""
        self.began: list[float] = []
        self.tokens: list[int] = []
        self.waits: list[float] = []  # seconds that the loop waited for the batch of each step
        self.seen = seen

    def step(self, tokens: int) -> None:
        self.seen(len(self.began))
        self.began.append(time.perf_counter())
        self.tokens.append(tokens)

    @contextmanager
    def batches_ahead(self, *given: object) -> Iterator[Iterator[ReadBatch]]:
        """In place of the loop's own: the same batches, and how long each was waited for."""
        with BATCHES_AHEAD(*given) as batches:
            yield self._timed(batches)

    def _timed(self, batches: Iterator[ReadBatch]) -> Iterator[ReadBatch]:
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self.waits.append(time.perf_counter() - asked)
            yield batch

    @property
    def rate(self) -> float:
        """Tokens a second, from the beginning of one step to the beginning of the last."""
        return sum(self.tokens[WARM:-1]) / (self.began[-1] - self.began[WARM])

    @property
    def waiting(self) -> float:
        """The share of the time, in per cent."""
        return 100 * sum(self.waits[WARM + 1 :]) / (self.began[-1] - self.began[WARM])


BATCHES_AHEAD = loop.batches_ahead


def ours(model: LauraModel, corpus: Corpus, steps: int, seconds: float, watch: Watch) -> None:
    """The GPT's stage in the only loop, as `laura train` runs it."""
    cuda = torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision=precision(cuda), cpu=not cuda)
    kind = STAGES["gpt"]
    stage = kind(model.to(accelerator.device), corpus, kind.Config(steps=steps, batch_seconds=seconds, warmup=1, **STAGE))
    step = stage.step

    def watched(batch: ReadBatch, number: int, update: Callable) -> dict:
        watch.step(tokens_of(batch))
        return step(batch, number, update)

    stage.step = watched
    with tempfile.TemporaryDirectory() as place, patch.object(loop, "batches_ahead", watch.batches_ahead):
        loop.run(stage, Path(place), accelerator)


def padded(batch: ReadBatch) -> dict[str, torch.Tensor]:
    """A batch as the Trainer takes it: ids, what is padding, and the labels that count."""
    longest = max(row.length for row in batch.layouts)
    fill = lambda values, padding: [*values, *[padding] * (longest - len(values))]  # noqa: E731
    labels = [[i if counts else -100 for i, counts in zip(row.ids, row.targets, strict=True)] for row in batch.layouts]
    return {
        "input_ids": torch.tensor([fill(row.ids, 0) for row in batch.layouts]),
        "attention_mask": torch.tensor([fill([1] * row.length, 0) for row in batch.layouts]),
        "labels": torch.tensor([fill(row, -100) for row in labels]),
    }


def theirs(model: LauraModel, batches: Sequence[ReadBatch], watch: Watch) -> None:
    """A plain Trainer on transformers' Qwen3 of the GPT's sizes and weights. MissingPackage without transformers."""
    transformers, cuda, config = need("transformers"), torch.cuda.is_available(), model.config.gpt
    qwen = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(
        vocab_size=config.vocabulary, hidden_size=config.width, intermediate_size=config.ffn, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, num_key_value_heads=config.kv_heads, head_dim=config.head_width, rms_norm_eps=config.norm_eps,
        rope_theta=config.rope_theta, tie_word_embeddings=config.tied, max_position_embeddings=4096, use_cache=False,
    ))  # fmt: skip
    qwen.load_state_dict({f"model.{name}": value for name, value in model.gpt.state_dict().items()}, strict=False)

    class Told(transformers.TrainerCallback):
        def on_step_begin(self, arguments, state, control, **given) -> None:
            watch.step(tokens[state.global_step])

    tokens: list[int] = []  # of each batch, in the order in which the Trainer draws them

    def collate(items: list[tuple[int, dict[str, torch.Tensor]]]) -> dict[str, torch.Tensor]:
        [(count, batch)] = items
        tokens.append(count)
        return batch

    with tempfile.TemporaryDirectory() as place:
        arguments = transformers.TrainingArguments(
            place, per_device_train_batch_size=1, num_train_epochs=1, learning_rate=1e-3, weight_decay=0.02, adam_beta2=0.98,
            max_grad_norm=1.0, optim="adamw_torch_fused", bf16=precision(cuda) == "bf16", use_cpu=not cuda, save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=cuda,
            train_sampling_strategy="sequential",
        )  # fmt: skip
        ready = [(tokens_of(batch), padded(batch)) for batch in batches]
        transformers.Trainer(qwen, arguments, collate, ready, callbacks=[Told()]).train()


def compare(folder: Path, steps: int, seconds: float, runs: int) -> list[dict]:
    rates: dict[str, list[float]] = {"laura train": [], "transformers Trainer": []}
    waits = []
    with tempfile.TemporaryDirectory() as place:
        corpus = make_corpus(Path(place), Tokenizer.load(folder / "tokenizer.json"))
        for _ in range(runs):
            model, kind, watches = load_checkpoint(folder), STAGES["gpt"], {who: Watch() for who in rates}
            stage = kind(model, corpus, kind.Config(steps=steps, batch_seconds=seconds, **STAGE))
            batches = [stage.batch(step) for step in range(steps)]
            theirs(model, batches, watches["transformers Trainer"])
            ours(model, corpus, steps, seconds, watches["laura train"])
            assert watches["laura train"].tokens == watches["transformers Trainer"].tokens, "the batches are not the same"
            waits.append(watches["laura train"].waiting)
            for who, watch in watches.items():
                rates[who].append(watch.rate)
    size, rows = sum(p.numel() for p in model.gpt.parameters()) / 1e6, []
    for who, own in rates.items():
        times = command.spread(own, rates["transformers Trainer"])
        rows.append({
            "trainer": who, "parameters M": size, "steps": steps, "tokens a second": statistics.median(own),
            "times Trainer": times["median"], "from": times["from"], "to": times["to"],
            "waiting %": statistics.median(waits) if who == "laura train" else None,
        })  # fmt: skip
    return rows


def grow(steps: int) -> list[dict]:
    """The most memory that this process has held, ten times on the way: a row each."""
    rows, every, config = [], steps // 10, PRESETS["debug"]

    def seen(step: int) -> None:
        if (step + 1) % every == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
            rows.append({"step": step + 1, "peak MiB": peak})

    with tempfile.TemporaryDirectory() as place:
        corpus = make_corpus(Path(place), Tokenizer.train([" ".join(own) for own in words().values()], config.text_size))
        ours(LauraModel(config), corpus, steps, 20.0, Watch(seen))
    return rows


def markdown(report: dict) -> str:
    lines = command.head("Speed of training", report, f"{report['machine']['threads']} threads")
    told = f"- GPT of {report['checkpoint']}, {report['precision']}, {report['seconds']:g} s of text a batch; {report['runs']} runs in turn"
    goals = f"goals: {GOALS['times Trainer']} times the Trainer, at most {GOALS['waiting %']:g} % waiting"
    lines += [told + ": the median, the least and the most", f"- {goals}", "", *command.table(HEADS, report["rows"], cell), ""]
    first, last = report["memory"][0], report["memory"][-1]
    lines += [
        f"Memory of a GPT of the preset `debug`: {last['peak MiB'] - first['peak MiB']:.1f} MiB more at step {last['step']} than at step "
        f"{first['step']}.", "", *command.table(("step", "peak MiB"), report["memory"], cell),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def benchmark(checkpoint: str, out: Path, quick: bool = False) -> dict:
    """Measures, writes the two files, and returns what is in train.json."""
    command.check_out(out)
    need("transformers")
    steps, seconds, runs, long = (6, 2.0, 1, 20) if quick else (60, 60.0, 5, 1000)
    folder = find_checkpoint(checkpoint)
    laura = Laura.load(folder)
    torch.set_num_threads(laura.runtime.backend.threads)  # the same for both
    report = {"checkpoint": folder.name, "quick": quick, "steps": steps, "seconds": seconds, "runs": runs}
    report |= {"machine": machine(laura, PACKAGES), "precision": PRECISIONS[precision(torch.cuda.is_available())]}
    del laura
    report["memory"] = grow(long)  # first, as a process's peak never falls
    report["rows"] = compare(folder, steps, seconds, runs)
    command.write(report, out, "train", markdown(report))
    return report


def main(arguments: list[str] | None = None) -> int:
    what = "Measure how quickly the GPT learns, beside a plain transformers Trainer."
    return command.run("train", what, "a few small steps, one run", benchmark, markdown, arguments)


if __name__ == "__main__":
    sys.exit(main())
