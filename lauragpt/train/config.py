"""A recipe: one YAML file that says how a checkpoint comes about, read into dataclasses with errors that name the key."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from lauragpt.checkpoint import add_known
from lauragpt.errors import TYPE_NAMES, LauraError
from lauragpt.tasks import TASKS, add_lang, add_task, own_task
from lauragpt.train.stage import Phase, StageConfig
from lauragpt.train.stages import STAGES

PHASE_KEYS = tuple(f.name for f in fields(Phase))


@dataclass(frozen=True)
class Recipe:
    name: str = "mini"
    preset: str = "mini"  # the sizes of every part (model/lauragpt.py)
    model: dict = field(default_factory=dict)  # what is other than in the preset, by the names of LauraConfig and of its parts, as in
    # {time_aligned: false, encoder: {norm: batch}}
    corpora: str = "../shared/data"  # the published sets, for `laura prepare` and `laura synth`
    data: str = "runs/data"  # the prepared manifests
    out: str = "runs/mini"  # checkpoints of the stages, and the finished folder in out/export
    cache: str = ""  # folder of what is made of recordings once, frames of frozen layers and codec tokens, which runs with the same
    # frozen parts may share; none: out
    init: str = ""  # a checkpoint (a folder, or mini) with whose weights and tokenizer training starts. Where a codec is trained, one of
    # other sizes is left out
    init_parts: tuple[str, ...] = ()  # the parts of `init` that are taken; none named: all
    interpolate: dict[str, float] = field(default_factory=dict)  # part -> the share of `init`'s weights in the finished ones, the rest
    # being what was trained: their mean is better than either where training went on for long (arXiv 2109.01903)
    seed: int = 0
    open_only: bool = False  # without any set that forbids commercial use
    synth_hours: float = 1.0  # a multiplier on the synthetic sets; 0 makes none
    voices: tuple[dict, ...] = ()  # named voices: name, lang, id of the example that is the prompt
    chunks: dict[str, tuple[float, float]] = field(default_factory=dict)  # task -> seconds (shortest, longest) of the chunks in which a
    # long recording is read; none: 20 s at most
    cascade: bool = False  # speech is translated by way of its transcript, not directly
    tasks: dict[str, tuple[str, ...]] = field(default_factory=dict)  # tasks that are added -> their labels; none: they answer with a text
    langs: tuple[str, ...] = ()  # languages that are added, by their codes
    stages: dict[str, StageConfig] = field(default_factory=dict)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file. Overrides: `key=value` of the recipe, `stage.key=value` of a stage, or a stage's key alone, in every stage
    that has it. LauraError names the file, the stage and the key."""
    values = read_yaml(Path(path))
    given = values.pop("stages", None) or {}
    if not isinstance(given, dict):
        raise LauraError(f"{path}: stages must be a mapping of {', '.join(STAGES)}, not {given!r}")
    stages = {}
    for name, keys in given.items():
        if name not in STAGES:
            raise LauraError(f"{path}: stages.{name} is unknown: choose from {', '.join(STAGES)}")
        if keys is not None and not isinstance(keys, dict):
            raise LauraError(f"{path}: stages.{name} must be a mapping of keys, such as {{steps: 1000}}, not {keys!r}")
        stages[name] = dict(keys or {})
    for override in overrides:
        _override(override, values, stages)
    _add_rows(values, str(path))
    configs = {name: _stage(name, keys, f"{path}: stages.{name}") for name, keys in stages.items()}
    return build(Recipe, values | {"stages": configs}, str(path))


def read_yaml(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LauraError(f"{path}: cannot be read ({error.strerror}): give a recipe such as recipes/scratch.yaml") from None
    except UnicodeDecodeError:
        raise LauraError(f"{path}: not UTF-8 text: give a recipe such as recipes/scratch.yaml") from None
    except yaml.YAMLError as error:
        raise LauraError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise LauraError(f"{path}: a recipe is a mapping of keys, such as `name: mini`")
    return values


def _add_rows(values: dict, where: str) -> None:
    """Adds the tasks and languages that `init` knows, then those that the recipe adds: its weights may name them."""
    if isinstance(init := values.get("init"), str) and init:
        add_known(init)
    for lang in _value(tuple[str, ...], values.get("langs") or (), f"{where}: langs"):
        add_lang(lang)
    for name, labels in _value(dict[str, tuple[str, ...]], values.get("tasks") or {}, f"{where}: tasks").items():
        add_task(own_task(name, labels))


def _override(override: str, values: dict, stages: dict[str, dict]) -> None:
    key, _, text = override.partition("=")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise LauraError(f"{override}: {text!r} is not YAML: write key=value, as in lr=1e-4") from None
    stage, _, inner = key.partition(".")
    if inner and stage in stages:
        _set(stages[stage], inner, value)
    elif key in _keys(Recipe) and key != "stages":
        values[key] = value
    else:
        having = [name for name in stages if key in _keys(STAGES[name].Config)]
        if not having:
            what = f"no stage of the recipe ({', '.join(stages)}) has a key {key!r}"
            raise LauraError(f"{override}: {what}: write key=value or stage.key=value")
        for name in having:
            _set(stages[name], key, value)


def _set(stage: dict, key: str, value: Any) -> None:
    """Sets a key of a stage; of its schedule, where it has phases, in each of them."""
    phases = stage.get("phases")
    in_phases = isinstance(phases, list) and key in PHASE_KEYS and key != "weights"
    for target in [phase for phase in phases if isinstance(phase, dict)] if in_phases else [stage]:
        target[key] = value


def _stage(name: str, values: dict, where: str) -> StageConfig:
    """A stage's configuration. LauraError where a key is unknown or another stage's."""
    kind = STAGES[name].Config
    for key in values:
        if key not in _keys(kind):
            owners = [other for other, stage in STAGES.items() if key in _keys(stage.Config)]
            why = f"{key!r} is a key of {', '.join(owners)}, not of {name}" if owners else f"unknown key {key!r}"
            raise LauraError(f"{where}: {why}: allowed are {', '.join(_keys(kind))}")
    if phases := values.get("phases"):
        values = _with_phases(values, phases, where)
    config = build(kind, values, where)
    for weights in [getattr(config, "weights", {}), *(phase.weights for phase in config.schedule)]:
        for key in weights:
            if key.partition("/")[0] not in TASKS:
                raise LauraError(f"{where}: weights: unknown task {key!r}: give task or task/corpus of {', '.join(TASKS)}")
    return config


def _with_phases(values: dict, phases: Any, where: str) -> dict:
    """The stage's keys where it has phases: each phase takes from the stage what it leaves out, and the stage the sum of their steps."""
    if "steps" in values:
        raise LauraError(f"{where}: steps: its phases have steps of their own: leave it out")
    if not isinstance(phases, list) or not all(isinstance(phase, dict) and isinstance(phase.get("steps"), int) for phase in phases):
        raise LauraError(f"{where}: phases must be a list of mappings, each with its steps, of {', '.join(PHASE_KEYS)}")
    inherited = {key: values[key] for key in PHASE_KEYS if key in values}
    defaults = {key: getattr(STAGES["joint"].Config(), key) for key in PHASE_KEYS}
    weights = values.get("weights") or {key: weight for phase in phases for key, weight in (phase.get("weights") or {}).items()}
    phases = [build(Phase, defaults | inherited | phase, f"{where}: phases") for phase in phases]
    return values | {"weights": weights, "steps": sum(phase.steps for phase in phases), "phases": phases}


def _keys(kind: type) -> list[str]:
    return [f.name for f in fields(kind)]


def build(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """A dataclass from plain values, whose types are checked."""
    hints = get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise LauraError(f"{where}: unknown key {key!r}: allowed are {', '.join(_keys(kind))}")
    for each in fields(kind):
        if each.default is MISSING and each.default_factory is MISSING and each.name not in values:
            raise LauraError(f"{where}: {each.name} is missing")
    made = {key: _value(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    try:
        return kind(**made)
    except LauraError as error:
        raise LauraError(f"{where}: {error}") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    """The value as the type that the hint names. LauraError where it is of another."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is float and isinstance(value, str):  # YAML takes 1e-4 for a string
        try:
            return float(value)
        except ValueError:
            pass
    if hint is float and type(value) is int:
        return float(value)
    if origin is dict and isinstance(value, dict):
        return {str(key): _value(inner[1], item, f"{where}: {key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(value):
            raise LauraError(f"{where} must be {len(kinds)} values, not {value!r}")
        return tuple(_value(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, _value(dict, value, where), where)
    if type(value) is not (origin or hint):
        raise LauraError(f"{where} must be {TYPE_NAMES[origin or hint]}, not {value!r}")
    return value
