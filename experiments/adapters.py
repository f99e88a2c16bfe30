"""How is a new task learnt best: all weights trained, adapters alone (LoRA), or all but the encoder?

The task tells to which of five groups a sound of ESC-50 belongs. Each way trains for as many steps on the same batches. The table has how
often the group is right, what the training did to transcripts, and what there is to be sent to whoever has the checkpoint already.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from lauragpt.data.manifest import read_manifest, write_manifest
from lauragpt.evaluate import metrics
from lauragpt.evaluate.run import evaluate
from lauragpt.evaluate.scorers import SCORERS
from lauragpt.tasks import Task, add_task
from lauragpt.train.run import train
from lauragpt.train.stages import STAGES, JointStage

GROUPS = {
    "animals": "dog,rooster,pig,cow,frog,cat,hen,insects,sheep,crow",
    "nature": "rain,sea waves,crackling fire,crickets,chirping birds,water drops,wind,pouring water,toilet flush,thunderstorm",
    "people": "crying baby,sneezing,clapping,breathing,coughing,footsteps,laughing,brushing teeth,snoring,drinking sipping",
    "home": "door wood knock,mouse click,keyboard typing,door wood creaks,can opening,washing machine,vacuum cleaner,clock alarm,"
            "clock tick,glass breaking",
}  # fmt: skip
WAYS = {
    "all weights": {"lr": 3e-4}, "LoRA, rank 8": {"lr": 2e-3, "lora": {"rank": 8}},
    "LoRA, rank 8, GPT alone": {"lr": 2e-3, "lora": {"rank": 8, "parts": ["gpt"]}}, "all but the encoder": {"lr": 3e-4},
}  # fmt: skip

add_task(Task("group", "tell the group of", "audio", "text", "accuracy"))


def score(bench, group):
    examples, answers = group.of()
    words = [example.targets[0] for example in examples]
    return [group.row("accuracy %", metrics.wa(words, [answer.text for answer in answers]), bench)]


SCORERS["group"] = score


class Watched(JointStage):
    """Joint training that keeps the encoder as it is, when asked, and remembers how much it trains."""

    keep_encoder, parameters = False, 0

    def __init__(self, model, *rest):
        model.encoder.requires_grad_(not self.keep_encoder)
        super().__init__(model, *rest)
        Watched.parameters = sum(p.numel() for group in self.optimizers["model"].param_groups for p in group["params"])


def group_of(sound: str) -> str:
    return next((name for name, sounds in GROUPS.items() if sound in sounds.split(",")), "city")


def make_data(data: Path, folder: Path) -> None:
    """The manifests of the new task, beside what transcripts are measured on."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev"):
        examples = read_manifest(data / f"{split}.jsonl")
        sounds = [e for e in examples if e.task == "aac"]
        new = [replace(e, id=f"group/{e.id}", task="group", targets=[group_of(str(e.extra.get("sound")))]) for e in sounds]
        write_manifest(folder / f"{split}.jsonl", new + [e for e in examples if e.task == "asr" and e.corpus == "kathleen"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default="mini")
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--out", type=Path, default=Path("runs/adapters"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-seconds", type=float, default=60.0)
    parser.add_argument("--limit", type=int, help="measure at most so many examples of a corpus")
    asked = parser.parse_args()
    make_data(asked.data, asked.out / "data")
    STAGES["joint"] = Watched

    def measured(checkpoint: str | Path) -> str:
        rows = evaluate(checkpoint, asked.out / "data", tasks=["group", "asr"], limit=asked.limit, show=False).rows
        found = {row.task: f"{row.score.value:.1f}" for row in rows if row.data.startswith(("esc50", "kathleen"))}
        return f"{found.get('group', '')} | {found.get('asr', '')}"

    print("| way | trained parameters | minutes | group right % | kathleen WER % | MB to send |\n| --- | --- | --- | --- | --- | --- |")
    print(f"| as it was | | | | {measured(asked.checkpoint).split('|')[1].strip()} | |", flush=True)
    for way, keys in WAYS.items():
        out = asked.out / way.replace(",", "").replace(" ", "-")
        stage = {"steps": asked.steps, "batch_seconds": asked.batch_seconds, "warmup": asked.steps // 10, "weights": {"group": 1}} | keys
        recipe = {"name": "group", "preset": asked.preset, "init": asked.checkpoint, "data": str(asked.out / "data"), "out": str(out)}
        path = asked.out / "recipe.yaml"
        path.write_text(json.dumps(recipe | {"stages": {"joint": stage}}))  # JSON is YAML
        Watched.keep_encoder, begun = way == "all but the encoder", time.monotonic()
        train(path)
        minutes, adapter = (time.monotonic() - begun) / 60, out / "adapter"
        sent = adapter if adapter.exists() else out / "export"
        megabytes = sum(file.stat().st_size for file in sent.glob("*.safetensors") if file.name != "codec.safetensors") / 1e6
        print(f"| {way} | {Watched.parameters} | {minutes:.1f} | {measured(out / 'export')} | {megabytes:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
