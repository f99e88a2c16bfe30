"""`laura claims`: trains the arms of a claim with each seed, asks their checkpoints on dev, judges, and writes what was found.

In: a `Claim`. Out, under OUT: NAME/ARM-SEED with the run's recipe, its stages and its finished folder; NAME/answers, from which scores are
counted again; NAME.json, the result. A run that is finished is found again, one that was stopped goes on, and of a claim that is not run to
its end the JSON says so. Runs of one claim share what is made once of recordings (`cache` of their recipes).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from lauragpt.checkpoint import find_checkpoint
from lauragpt.claims.claim import Claim, Comparison, write_recipe
from lauragpt.claims.judge import UNJUDGED, judge, summary, verdict_of
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate.answers import AnswerStore
from lauragpt.evaluate.groups import Bench
from lauragpt.evaluate.recognisers import open_recogniser
from lauragpt.evaluate.report.tables import Report, Row, finite, write_whole
from lauragpt.evaluate.run import choose, measure, open_checkpoint
from lauragpt.evaluate.sound_metrics import POCKETSPHINX
from lauragpt.evaluate.systems import checkpoint_key
from lauragpt.evaluate.tally import Tally, ratio
from lauragpt.train.config import load_recipe, read_yaml
from lauragpt.train.run import train

REAL_TIME = "x real time"  # seconds of computing for a second of sound: lower is better
PLACES = ("out", "cache", "data", "corpora")  # keys of a recipe that may be spelled otherwise when a run goes on
Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What is of this machine and not of a claim."""

    out: Path
    data: Path | None = None  # prepared manifests, in place of the recipes'
    overrides: Mapping = ()  # further keys of every recipe, as `corpora`
    seeds: int | None = None  # only the first ones
    limit: int | None = None  # examples a corpus, in place of the claim's
    judge: str = POCKETSPHINX
    device: str | None = None

    def recipe_keys(self, claim: Claim) -> dict:
        own = {} if self.data is None else {"data": str(self.data)}
        return {"cache": str(self.out / claim.name / "cache"), **own, **dict(self.overrides or {})}


class FirstCode:
    """A backend whose codec decodes the audio tokens alone, in place of the vocoder."""

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def vocode(self, codes: list[np.ndarray], text=None, prompt=None, noisy=None) -> list[np.ndarray]:
        return self.backend.codec_decode([row[None] for row in codes])


def folder_of(claim: Claim, arm: str, seed: int, out: Path) -> Path:
    return out / claim.name / f"{claim.arms[arm].of or arm}-{seed}"


def write_recipes(claim: Claim, settings: Settings) -> dict[tuple[str, int], Path]:
    """The recipe of every run that trains, in its folder. LauraError where one was begun by another recipe, or is no recipe."""
    paths = {}
    for arm, about in claim.arms.items():
        for seed in () if about.of or about.checkpoint else claim.seeds[: settings.seeds]:
            folder = folder_of(claim, arm, seed, settings.out)
            text, path = write_recipe(claim.recipe_of(arm, seed, folder, settings.recipe_keys(claim))), folder / "recipe.yaml"
            if path.exists() and (folder / "tokenizer.json").exists():
                before, now = read_yaml(path), yaml.safe_load(text)
                if other := [key for key in {**before, **now} if key not in PLACES and before.get(key) != now.get(key)]:
                    changed = f"another recipe than {claim.file} has now ({', '.join(other)} differ)"
                    raise LauraError(f"{folder} was begun by {changed}: delete the folder, or choose another -o")
            write_whole(path, text)
            load_recipe(path)
            paths[arm, seed] = path
    return paths


def run_claim(claim: Claim, settings: Settings, until: float | None, say: Say, clock: Callable[[], float] = time.monotonic) -> dict:
    """Makes all runs that are missing, until the time `until` by `clock` is over, and judges those that are there. Returns what
    OUT/NAME.json holds. LauraError as of training and measuring."""
    check_data(claim, settings, say)
    recipes, measured = write_recipes(claim, settings), {}
    for (arm, seed), path in sorted(recipes.items(), key=lambda each: each[0][1]):  # every arm with a seed, before the next seed
        if (path.parent / "export" / "config.json").exists():
            say(f"{claim.name}: {arm}, seed {seed}: done before")
        elif until is not None and clock() >= until:
            say(f"{claim.name}: {arm}, seed {seed}: not begun, since the time is over; the same command goes on")
        else:
            say(f"{claim.name}: {arm}, seed {seed}: {path}")
            train(path, hours=None if until is None else (until - clock()) / 3600, resume=True, clock=clock)
    for arm, about in claim.arms.items():
        for seed in claim.seeds_of(arm)[: settings.seeds]:
            checkpoint = claim.arms[about.of or arm].checkpoint or folder_of(claim, arm, seed, settings.out) / "export"
            if isinstance(checkpoint, str) or (checkpoint / "config.json").exists():
                measured[arm, seed] = rows_of(claim, arm, seed, checkpoint, settings, say)
    result = finite(judged(claim, measured, settings))
    write_whole(settings.out / f"{claim.name}.json", json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return result


def found_results(out: Path) -> dict[str, dict]:
    """The results that earlier runs left in a folder, by name; other JSON is passed over."""
    found = {}
    for path in sorted(out.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(result, dict) and {"title", "arms", "comparisons", "verdict", "sentence"} <= result.keys():
            found[path.stem] = result
    return found


def check_data(claim: Claim, settings: Settings, say: Say) -> None:
    """Before hours of training: says which comparisons have no dev examples. LauraError where none has any. Data that training is still to
    make are not looked at."""
    data = settings.data or data_of(claim, next(iter(claim.arms)))
    if not (data / "dev.jsonl").exists() and claim.base:
        return
    there = [example for example in choose(data, "dev", claim.tasks, 1)[0] if claim.measures(example)]
    for each in claim.comparisons:
        if not any(example.task == each.task and (not each.data or example.corpus in each.data) for example in there):
            where = f" of {', '.join(each.data)}" if each.data else ""
            say(f"{claim.name}: {data} holds no dev examples of {each.task}{where}, so that is not judged")
    if not there:
        raise LauraError(f"{data} holds no dev examples that {claim.name} compares: run `laura prepare`, or `laura synth`, first")


def rows_of(claim: Claim, arm: str, seed: int, checkpoint: str | Path, settings: Settings, say: Say) -> list[Row]:
    """The rows of an evaluation on dev, of the corpora that the claim compares."""
    decode, data = claim.arms[arm].decode, settings.data or data_of(claim, arm)
    examples, groups = choose(data, "dev", claim.tasks, settings.limit or claim.limit)
    groups = [group for group in groups if group.examples and claim.measures(group.examples[0])]
    system = open_checkpoint(find_checkpoint(checkpoint), examples, 0, settings.device)
    runtime = replace(system.laura.runtime, beams=decode.beams, drafts=decode.drafts)
    system = replace(system, laura=Laura(runtime, system.laura.voices))
    if not decode.vocoder:
        system.laura = system.laura.with_backend(FirstCode(runtime.backend))
    how = f"beams-{decode.beams}{'' if decode.drafts else '-no-drafts'}{'' if decode.vocoder else '-no-vocoder'}"
    store = AnswerStore(settings.out / claim.name / "answers" / f"{arm}-{seed}-{checkpoint_key(checkpoint, 0)}-{how}")
    report = Report(f"{claim.name} {arm}", "dev", 0)
    say(f"{claim.name}: measuring {arm}, seed {seed}")
    rows = measure(Bench([], 0, open_recogniser(settings.judge)), system, groups, report, store, show=False)
    for line in report.failure_lines():
        say(f"{claim.name}: {arm}, seed {seed}: not measured: {line}")
    return rows


def data_of(claim: Claim, arm: str) -> Path:
    """The data of the recipe that an arm trains by; of a checkpoint, those of the base, or of a recipe as it is by default."""
    if not claim.base:
        return Path("runs/data")
    return Path(str(claim.recipe_of(claim.arms[arm].of or arm, 0, Path(), {}).get("data", "runs/data")))


def judged(claim: Claim, measured: Mapping[tuple[str, int], Sequence[Row]], settings: Settings) -> dict:
    """The result: every comparison on the seeds with which both arms were measured."""
    rows = [compared(claim, each, measured) for each in claim.comparisons]
    wanted = [(arm, seed) for arm in claim.arms for seed in claim.seeds_of(arm)]
    return {
        "name": claim.name, "title": claim.title, "says": claim.says, "ours": claim.ours, "notes": list(claim.notes),
        "judge": settings.judge, "limit": settings.limit or claim.limit,
        "arms": {
            name: {"about": arm.about, "minutes": arm.minutes, "seeds": [seed for seed in claim.seeds if (name, seed) in measured]}
            for name, arm in claim.arms.items()
        },
        "missing": [f"{arm}-{seed}" for arm, seed in wanted if (arm, seed) not in measured],
        "comparisons": rows, "verdict": verdict_of([row["verdict"] for row in rows]), "sentence": summary(claim.title, rows),
    }  # fmt: skip


def compared(claim: Claim, each: Comparison, measured: Mapping[tuple[str, int], Sequence[Row]]) -> dict:
    """A comparison's row in the JSON."""
    trained = claim.trained(each.better) or claim.trained(each.worse)
    row = {
        "task": each.task, "data": list(each.data), "variant": each.variant, "metric": each.metric, "better": each.better,
        "worse": each.worse, "higher_is_better": each.higher_is_better, "paper": list(each.paper), "paper_data": each.paper_data,
        "better_value": None, "worse_value": None, "difference": None, "low": None, "high": None, "n": 0, "by_seed": [],
    }  # fmt: skip

    def tallies(arm: str) -> dict[int, tuple[Tally, list[str]]]:
        found = {seed: counts_of(rows, each, arm) for (name, seed), rows in measured.items() if name == arm}
        return {seed: counts for seed, counts in found.items() if counts is not None}

    first, second = tallies(each.better), tallies(each.worse)
    for one, other in ((first, second), (second, first)):  # what is not trained stands beside every seed of what is
        if len(one) == 1 and not claim.trained(each.better if one is first else each.worse):
            one |= dict.fromkeys(other, next(iter(one.values())))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return row | {"verdict": UNJUDGED, "why": "nothing was run" if not measured else "there are no answers of both arms"}
    answered = [ids for arm in (first, second) for ids in (arm[seed][1] for seed in seeds)]
    if any(ids != answered[0] for ids in answered):
        return row | {"verdict": UNJUDGED, "why": "the arms did not answer the same examples"}
    if any(len(tally) != len(ids) for arm in (first, second) for tally, ids in (arm[seed] for seed in seeds)):
        return row | {"verdict": UNJUDGED, "why": f"not every example has a value of {each.metric}"}
    found = judge([first[seed][0] for seed in seeds], [second[seed][0] for seed in seeds], each.higher_is_better, trained)
    row |= {"better_value": found.better, "worse_value": found.worse, "difference": found.difference, "n": found.n}
    row |= {"by_seed": list(found.by_seed)}
    if each.metric == REAL_TIME or each.report_only:
        why = "one timing tells nothing of its chance" if each.metric == REAL_TIME else "it is only told"
        return row | {"verdict": UNJUDGED, "why": why}
    return row | {"low": found.low, "high": found.high, "verdict": found.word, "why": found.why}


def counts_of(rows: Sequence[Row], each: Comparison, arm: str) -> tuple[Tally, list[str]] | None:
    """The counts of a comparison's metric, of all its corpora one behind the other, and the ids of the rows' examples; None where it was
    not measured."""
    variant, found, ids = each.only.get(arm, each.variant), [], []
    for row in rows:
        name, _, said = row.data.partition(": ")
        if row.task == each.task and said == variant and (not each.data or name.split(" ")[0].rstrip(",") in each.data):
            ids += [example.id for example in row.examples]
            if each.metric == REAL_TIME:
                found.append(ratio([a.seconds for a in row.answers], [a.audio_seconds for a in row.answers]))
            elif each.metric == row.metric or each.metric in row.tallies:
                found.append(row.tally if each.metric == row.metric else row.tallies[each.metric])
    found = [tally for tally in found if tally is not None and len(tally)]
    widths = {tally.counts.shape[1] for tally in found}
    if len(widths) != 1:  # counts by class are of other classes in other corpora
        return None
    return Tally(np.concatenate([tally.counts for tally in found]), found[0].value), ids
