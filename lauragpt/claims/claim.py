"""A claim's file: the arms that it compares, what is measured on dev, the paper's numbers, and which arm is said to be better.

In: recipes/claims/NAME.yaml. Out: a `Claim`, and the recipe of each of its runs (one arm with one seed) as plain values. An arm is a
recipe that differs from the base in a few keys; or a checkpoint that is there already; or another arm, decoded otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.evaluate.groups import measurable
from lauragpt.train.config import build, read_yaml

FOLDER = Path("recipes/claims")


@dataclass(frozen=True)
class Decoding:
    """How an arm's checkpoint answers. LauraError for a number of beams under 1."""

    beams: int = 4  # hypotheses of beam search
    drafts: bool = True  # greedy decoding checks the CTC head's draft, which saves steps
    vocoder: bool = True  # false: the codec decodes the audio tokens alone

    def __post_init__(self):
        if self.beams < 1:
            raise LauraError(f"decode.beams is {self.beams}: give 1 or more")


@dataclass(frozen=True)
class Arm:
    about: str  # in a few words, for the table
    recipe: dict = field(default_factory=dict)  # what is other than in the base; a stage that is null is left out
    checkpoint: str = ""  # measured as it is; nothing is trained
    of: str = ""  # the arm whose checkpoint is measured
    decode: Decoding = field(default_factory=Decoding)
    minutes: float = 0.0  # that a run is estimated to take on two cores; 0 where nothing is trained


@dataclass(frozen=True)
class Comparison:
    task: str
    metric: str  # a column of `laura eval`, or "x real time"
    better: str  # the arm that the claim says is better
    worse: str
    data: tuple[str, ...] = ()  # corpora; none: all of the task's, together
    variant: str = ""  # of the answers: "direct", "the GPT's tokens", "the true tokens", "voice kathleen"
    higher_is_better: bool = True
    only: dict[str, str] = field(default_factory=dict)  # arm -> the comparison's variant there, where it is another
    paper: tuple[float, ...] = ()  # (better, worse) as the paper has them
    paper_data: str = ""  # the set and the metric of the paper's numbers
    report_only: bool = False  # both values are told and nothing is judged, as where two things are said to be equal


@dataclass(frozen=True)
class Claim:
    name: str
    title: str
    says: str  # the claim, in a sentence
    arms: dict[str, Arm]
    comparisons: tuple[Comparison, ...]
    ours: bool = False  # beyond the paper
    base: str = ""  # a recipe, beside this file
    recipe: dict = field(default_factory=dict)  # what all arms have other than the base
    seeds: tuple[int, ...] = (0, 1, 2)
    limit: int = 60  # examples a corpus, as of `laura eval`
    notes: tuple[str, ...] = ()  # what differs from the paper
    file: Path = Path()

    @cached_property
    def tasks(self) -> list[str]:
        return [task for task in measurable() if any(each.task == task for each in self.comparisons)]

    def measures(self, example: Example) -> bool:
        """Whether a comparison is about the example."""
        return any(each.task == example.task and (not each.data or example.corpus in each.data) for each in self.comparisons)

    def trained(self, arm: str) -> bool:
        return not (self.arms[self.arms[arm].of or arm].checkpoint)

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Those with which an arm is run: one, where nothing is trained."""
        return self.seeds if self.trained(arm) else self.seeds[:1]

    def effort(self) -> str:
        """How many runs, and how long they take."""
        runs = [(arm, len(self.seeds_of(name))) for name, arm in self.arms.items() if not arm.of and not arm.checkpoint]
        if not runs:
            return "nothing is trained"
        hours = sum(arm.minutes * count for arm, count in runs) / 60
        count = sum(count for _, count in runs)
        return f"{count} runs, {hours:.1f} hours of two cores by estimate" if hours else f"{count} runs"

    def recipe_of(self, arm: str, seed: int, out: Path, overrides: Mapping) -> dict:
        """A run's whole recipe. `overrides`: keys of the recipe that are other on this machine, such as `data`."""
        values = changed(changed(read_yaml(self.file.parent / self.base), self.recipe), self.arms[arm].recipe)
        return {**values, **overrides, "name": f"{self.name}-{arm}", "seed": seed, "out": str(out)}


def changed(recipe: Mapping, changes: Mapping) -> dict:
    """A recipe with other values: `stages` by stage and key, of which null leaves the stage out, and `model` by name; all others whole."""
    made = dict(recipe) | {key: value for key, value in changes.items() if key not in ("stages", "model")}
    if "model" in changes:
        made["model"] = _nested(recipe.get("model") or {}, changes["model"])
    stages = dict(recipe.get("stages") or {})
    for name, keys in (changes.get("stages") or {}).items():
        stages[name] = None if keys is None else {**(stages.get(name) or {}), **keys}
    return made | {"stages": {name: keys for name, keys in stages.items() if keys is not None}}


def _nested(values: Mapping, changes: Mapping) -> dict:
    made = dict(values)
    for key, new in changes.items():
        made[key] = _nested(made[key], new) if isinstance(new, Mapping) and isinstance(made.get(key), Mapping) else new
    return made


def load_claim(path: Path) -> Claim:
    """LauraError names the file and what is wrong in it."""
    values = read_yaml(path)
    claim = build(Claim, {**values, "name": path.stem}, str(path))
    claim = Claim(**{**vars(claim), "file": path})
    for name, arm in claim.arms.items():
        if arm.of and (arm.of not in claim.arms or claim.arms[arm.of].of):
            raise LauraError(f"{path}: arms.{name}: of is {arm.of!r}: name an arm that has a checkpoint or a recipe of its own")
        if (arm.recipe and (arm.of or arm.checkpoint)) or (arm.of and arm.checkpoint):
            raise LauraError(f"{path}: arms.{name}: give one of recipe, checkpoint and of")
    if not claim.seeds or not claim.comparisons or len(claim.arms) < 2:
        raise LauraError(f"{path}: a claim has two arms at least, seeds, and comparisons")
    if not claim.base and any(claim.trained(arm) for arm in claim.arms):
        raise LauraError(f"{path}: base: name the recipe, beside this file, that the arms train by")
    for each in claim.comparisons:
        if unknown := [arm for arm in (each.better, each.worse, *each.only) if arm not in claim.arms]:
            raise LauraError(f"{path}: comparisons: unknown arm {unknown[0]!r}: choose from {', '.join(claim.arms)}")
        if each.task not in measurable():
            raise LauraError(f"{path}: comparisons: unknown task {each.task!r}: choose from {', '.join(measurable())}")
        if each.paper and len(each.paper) != 2:
            raise LauraError(f"{path}: comparisons: paper: give two numbers, of the better arm and of the worse")
    return claim


def find_claims(names: list[str], folder: Path = FOLDER) -> list[Claim]:
    """The claims of a folder, or those that are named, by name or by file. LauraError where there is none."""
    paths = [Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml" for name in names] or sorted(folder.glob("*.yaml"))
    for path in paths:
        if not path.exists():
            known = ", ".join(sorted(each.stem for each in folder.glob("*.yaml"))) or f"none is in {folder}"
            raise LauraError(f"no claim {path}: choose from {known}; or give a file")
    if not paths:
        raise LauraError(f"{folder} holds no claims: run this where recipes/claims is, or name a folder with --claims")
    return [load_claim(path) for path in paths]


def write_recipe(recipe: Mapping) -> str:
    """As a file that `laura train` and `laura plan` read."""
    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=120)
