"""Is a training that is killed again and again the same as one that never stopped?

A recipe is trained once without a break, and once with SIGKILL at random moments, each time gone on with by --resume. All weights, moments
and the finished folder must be equal, bit by bit; a table says how often each stage was hit and what a kill lost.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import time
from pathlib import Path

from lauragpt.checkpoint import hash_of
from lauragpt.train import loop, state
from lauragpt.train.config import load_recipe
from lauragpt.train.run import train
from lauragpt.train.stages import STAGES

FILES = ("*/steps/*/*.safetensors", "*/best/*.safetensors", "export/*.safetensors", "export/config.json", "tokenizer.json")


def files_of(out: Path) -> dict[str, str]:
    """What training left, by name: the hash."""
    return {str(path.relative_to(out)): hash_of(path) for pattern in FILES for path in sorted(out.glob(pattern))}


def steps_of(out: Path) -> dict[str, int]:
    return {path.parent.name: state.steps_done(path.parent) for path in sorted(out.glob("*/steps"))}


def go_on(recipe: Path, overrides: list[str], begun) -> None:
    """Trains on. The event `begun` is set when the first stage begins, since until then nothing can be lost."""
    run = loop.run
    loop.run = lambda *arguments, **more: begun.set() or run(*arguments, **more)
    train(recipe, resume=True, overrides=overrides)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=Path("recipes/debug.yaml"))
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seconds", type=float, help="a training is killed so long after its first stage begins, at most; by default so "
                        "that it is about done when it was killed so often")  # fmt: skip
    parser.add_argument("--save-minutes", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", help="key=value, as of laura train")
    asked = parser.parse_args()
    given = [*asked.overrides, f"save_minutes={asked.save_minutes}", f"data={asked.out / 'data'}"]
    straight, killed, rng = asked.out / "straight", asked.out / "killed", random.Random(asked.seed)
    shutil.rmtree(asked.out, ignore_errors=True)
    spent, run = [], loop.run

    def timed(*arguments, **more) -> bool:
        begun = time.monotonic()
        done = run(*arguments, **more)
        spent.append(time.monotonic() - begun)
        return done

    loop.run = timed
    train(asked.recipe, overrides=[*given, f"out={straight}"])
    loop.run = run
    seconds = asked.seconds or 2 * sum(spent) / asked.kills
    kills, hit, gained, fork = 0, {}, 0, multiprocessing.get_context("fork")
    while True:
        before = sum(steps_of(killed).values())
        begun = fork.Event()
        training = fork.Process(target=go_on, args=(asked.recipe, [*given, f"out={killed}"], begun))
        training.start()
        while training.is_alive() and not begun.wait(0.1):
            pass
        training.join(rng.uniform(0, seconds) if kills < asked.kills else None)
        if training.is_alive():
            training.kill()
            training.join()
            kills += 1
            steps = steps_of(killed)
            gained += sum(steps.values()) > before
            stage = next(reversed([name for name in STAGES if name in steps]), "none")
            hit[stage] = hit.get(stage, 0) + 1
            print(f"kill {kills}: {steps}", file=sys.stderr)
        elif training.exitcode:
            return 1
        else:
            break
    plan = load_recipe(asked.recipe, given)
    one, other = files_of(straight), files_of(killed)
    wrong = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    print("| last stage with a checkpoint | its steps | kills |\n| --- | --- | --- |")
    for name, steps in {"none": 0, **{name: config.steps for name, config in plan.stages.items()}}.items():
        print(f"| {name} | {steps} | {hit.get(name, 0)} |")
    print(f"\n{kills} kills, {gained} of them behind a new checkpoint; {len(one)} files compared, "
          f"{len(wrong)} differ{': ' + ', '.join(wrong) if wrong else ''}")  # fmt: skip
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
