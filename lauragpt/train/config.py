"""A recipe: one YAML file that says how a checkpoint comes about, read into dataclasses with errors that name the key."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from lauragpt.checkpoint import checked_cascade
from lauragpt.errors import LauraError

STAGES = ("encoder", "codec", "gpt", "vocoder", "laura", "speaker")


@dataclass(frozen=True)
class StageConfig:
    """One stage's data, steps and schedule. The rate warms up, holds, and falls to a hundredth over the last `decay` of the steps."""

    steps: int = 1000
    batch_seconds: float = 40.0  # of a batch, about: its last example goes over
    lr: float = 1e-3
    warmup: int = 100  # steps
    decay: float = 0.3  # share of the steps
    weights: dict[str, float] = field(default_factory=dict)  # of tasks, or of task/corpus
    loss_weight: dict[str, float] = field(default_factory=dict)  # laura: how many times as much a task's tokens count in the loss
    noise: float = 0.3  # chance that a recording is made noisy
    mask: bool = True  # SpecAugment (arXiv 1904.08779) and other mouths, on what the encoder hears
    crop_seconds: float = 2.0  # speaker: of each recording that is heard
    ctc: float = 0.3  # weight of the CTC term beside the cross-entropy
    text_seconds: float = 0.0  # laura: of text that is translated, beside each batch of what is listened to or spoken; 0 mixes all by weight
    phrases: float = 1.0  # gpt, laura: phrases of the texts beside each example, most of them read from what the CTC head might spell
    phrase_words: int = 16  # gpt, laura: of a phrase at most
    posterior_bank: dict[str, float] = field(default_factory=dict)  # gpt, laura: corpus -> hours of it, at most, of which what the CTC head says of a text is put together
    # (data/posteriors.py); where a language has none, letters are confused by chance (data/posteriors.py)
    text_injection: float = 0.0  # gpt, laura: chance that a pair to be translated is read from what the CTC head might spell of its source, as if it were spoken
    asr_noise: float = 0.0  # laura: chance that a text to be translated is read as a transcript has it: in spoken form, with errors
    slu_templates: float = 0.0  # laura: orders made of slots beside each example, understood from what the CTC head might spell
    sound_seconds: float = 0.0  # laura: the cut of each sound that is captioned; 0 cuts nothing
    captions: int = 0  # laura: of the wordings of a sound, learn so many, the first ones; 0 learns all
    pseudo_labels: int = 0  # laura: wordings tried for each order recorded without its words, of which CTC learns the likeliest; 0 learns none
    compile: bool = False  # gpt, laura: the GPT's layers fused (torch.compile): half as fast again, a minute to begin, needs a C++ compiler
    adversarial_from: int = 1_000_000  # codec: the step at which the discriminator joins
    quantize_from: int = 300  # codec: the step at which codebooks start
    save_minutes: float = 3.0
    small_from: float = 1.0  # laura: share of the steps at which the stage of the small tasks begins (paper, three stages)
    small_until: float = 1.0  # and ends


@dataclass(frozen=True)
class Recipe:
    name: str = "mini"
    preset: str = "mini"
    codec_sizes: dict = field(default_factory=dict)  # of its codec, that are not the preset's: {head: seanet, spectral: {channels: 512}}
    corpora: str = "../shared/data"  # the published sets, for `laura prepare` and `laura synth`
    data: str = "runs/data"  # the prepared manifests
    out: str = "runs/mini"  # checkpoints of the stages, and the finished folder in out/export
    init: str = ""  # a checkpoint (a folder, or mini) whose weights and tokenizer training starts from, instead of from nothing. Where a
    # codec is trained, one of other sizes stays behind
    interpolate: dict[str, float] = field(default_factory=dict)  # part -> the share of `init`'s weights in those of the finished folder, the rest being what
    # was trained: their mean does better than either where training went on for long (arXiv 2109.01903)
    seed: int = 0
    time_aligned: bool = False  # with init: teaches it that the letters of a transcript stand when they are said, where it did not know (ctc.py)
    open_only: bool = False  # without any set that forbids commercial use
    synth_hours: float = 1.0  # a multiplier on the synthetic sets; 0 makes none
    voices: tuple[dict, ...] = ()  # named voices: name, lang, id of the example that is the prompt
    chunks: dict = field(default_factory=dict)  # task -> seconds (shortest, longest) in which it reads what has words; none: 20 s at most
    cascade: tuple[str, ...] = ()  # tasks that it does by way of what it writes down of a recording: [s2tt]; none: straight from what it hears
    stages: dict[str, StageConfig] = field(default_factory=dict)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file; `key=value` or `stage.key=value` override it; a bare stage key overrides it in every stage."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LauraError(f"{path}: cannot be read ({error.strerror}): give a recipe such as recipes/mini.yaml") from None
    except yaml.YAMLError as error:
        raise LauraError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise LauraError(f"{path}: a recipe is a mapping of keys, such as `name: mini`")
    stages = {name: dict(value or {}) for name, value in (values.pop("stages", None) or {}).items()}
    for override in overrides:
        key, _, text = override.partition("=")
        value, (stage, _, inner) = yaml.safe_load(text), key.partition(".")
        if inner and stage in stages:
            stages[stage][inner] = value
        elif key in {f.name for f in fields(Recipe)}:
            values[key] = value
        else:
            for config in stages.values():
                config[key] = value
    for name in stages:
        if name not in STAGES:
            raise LauraError(f"{path}: stages.{name} is unknown: choose from {', '.join(STAGES)}")
    cascade = checked_cascade(values.get("cascade") or [], str(path))
    made = {name: _build(StageConfig, value, f"{path}: stages.{name}") for name, value in stages.items()}
    return _build(Recipe, values | {"stages": made, "voices": tuple(values.get("voices") or ()), "cascade": cascade}, str(path))


def _build(kind: type, values: dict, where: str):
    allowed = {f.name: f for f in fields(kind)}
    for key, value in values.items():
        if key not in allowed:
            raise LauraError(f"{where}: unknown key {key!r}: allowed are {', '.join(allowed)}")
        wanted = allowed[key].type
        if wanted in (int, float, str, bool) and not (isinstance(value, wanted) or (wanted is float and isinstance(value, int))):
            raise LauraError(f"{where}: {key} must be of type {wanted.__name__}, not {value!r}")
    return kind(**values)
