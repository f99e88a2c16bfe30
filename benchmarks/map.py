"""`laura map` over many short files: files a second, with one worker and with all, and whether each input has exactly one answer.

In: a checkpoint and a number of files, which are the demo's shortest recordings under other names. Out: a table on stdout; nothing is
kept."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from lauragpt.cli.demo import RECORDINGS
from lauragpt.mapping.run import run_map
from lauragpt.mapping.shards import Job

CLIPS = sorted(RECORDINGS.glob("digits-*.opus"))


def run(data: Path, out: Path, files: int, verb: str, checkpoint: str, workers: int) -> float:
    """Seconds. SystemExit where an input has no answer, two, or one that is an error."""
    began = time.perf_counter()
    done = run_map(data, Job(verb, out, checkpoint), workers=workers)
    took = time.perf_counter() - began
    names = [json.loads(line)["file"] for path in sorted(out.glob("shard-*.jsonl")) for line in path.open(encoding="utf-8")]
    if done.failed or len(names) != files or len(set(names)) != files:
        sys.exit(f"{files} inputs have {len(names)} answers, {len(set(names))} different ones, {done.failed} of them errors")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--verb", choices=("transcribe", "codec", "enhance"), default="transcribe")
    parser.add_argument("--checkpoint", default="mini")
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    given = parser.parse_args()
    print("| workers | files | seconds, the cluster's start included | files a second |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        for number in range(given.files):
            (data / f"{number:06d}.opus").symlink_to(CLIPS[number % len(CLIPS)])
        for workers in given.workers:
            took = run(data, Path(folder) / f"out-{workers}", given.files, given.verb, given.checkpoint, workers)
            print(f"| {workers} | {given.files} | {took:.1f} | {given.files / took:.1f} |", flush=True)


if __name__ == "__main__":
    main()
