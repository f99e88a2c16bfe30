"""`laura train RECIPE`: data, tokenizer, the stages in order, the finished folder. Each is done once and found again on --resume."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from lauragpt.checkpoint import find_checkpoint, read_config
from lauragpt.codec import CodecConfig
from lauragpt.data.corpora import CORPORA, prepare
from lauragpt.data.manifest import Example, read_manifest
from lauragpt.data.synth import synthesize
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel, load_checkpoint, with_new_rows
from lauragpt.text import Tokenizer
from lauragpt.train import loop
from lauragpt.train.config import STAGES, Recipe, load_recipe
from lauragpt.train.corpus import Corpus
from lauragpt.train.export import export
from lauragpt.train.stages import STAGE_CLASSES

TOKENIZER_LINES = 120_000


def train(recipe: Path, stage: str | None = None, hours: float | None = None, resume: bool = False, overrides: list[str] = ()) -> None:
    """Runs a recipe, or one stage of it. Stops after `hours` with a valid checkpoint."""
    plan = load_recipe(recipe, overrides)
    if stage and stage not in plan.stages:
        raise LauraError(f"{recipe}: has no stage {stage!r}: it has {', '.join(plan.stages)}")
    cuda = torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision=loop.precision(cuda), cpu=not cuda)  # several processes on CPUs must be told
    until = time.monotonic() + 3600 * hours if hours else None
    say = lambda text: accelerator.is_main_process and print(text, file=sys.stderr)  # noqa: E731
    if accelerator.is_main_process:
        ensure_data(plan)
    accelerator.wait_for_everyone()
    train_examples, dev_examples = read_data(Path(plan.data))
    check_keep(plan)
    if plan.open_only:
        check_open(plan, train_examples)
    tokenizer = ensure_tokenizer(plan, train_examples)
    corpus = Corpus(train_examples, dev_examples, Path(plan.data), tokenizer)
    for name in [stage] if stage else [name for name in STAGES if name in plan.stages]:
        config, folder = plan.stages[name], Path(plan.out) / name
        if resume and (folder / "state.json").exists() and json.loads((folder / "state.json").read_text())["step"] >= config.steps:
            say(f"{name}: done before")
            continue
        model = assemble(plan, up_to=name).to(accelerator.device)
        check_order(name, model, plan)
        stage_object = STAGE_CLASSES[name](model, corpus, config, plan.seed, accelerator.process_index)
        stage_object.modules.to(accelerator.device)
        say(f"{name}: {config.steps} steps into {folder}")
        if not loop.run(stage_object, config, folder, accelerator, plan.seed, resume, until):
            say(f"{name}: stopped early; `--resume` goes on")
            return
        if name == "speaker" and accelerator.is_main_process:
            say(f"the speaker encoder is in {stage_object.export(Path(plan.out) / 'speaker.safetensors')}")
    if stage in (None, "laura") and set(plan.stages) != {"speaker"} and accelerator.is_main_process:
        folder = export(finished(plan), tokenizer, plan, {e.id: e for e in train_examples}, corpora_of(train_examples, plan))
        say(f"the checkpoint is in {folder}")


def check_open(recipe: Recipe, examples: list[Example]) -> None:
    """LauraError where a recipe that wants nothing that forbids commercial use would train on such, or on what was trained on such."""
    closed = sorted({e.corpus for e in examples if e.corpus not in CORPORA or not CORPORA[e.corpus].commercial})
    if closed:
        why = "open_only trains on nothing that forbids commercial use, or of which no licence is known"
        raise LauraError(f"{recipe.data} holds {', '.join(closed)}, and {why}: choose another `data`")
    if recipe.init and not read_config(find_checkpoint(recipe.init)).get("commercial"):
        raise LauraError(f"init: {recipe.init} was trained on sets that forbid commercial use, and open_only wants none: leave it out")


def check_order(stage: str, model: LauraModel, recipe: Recipe) -> None:
    """LauraError where a stage would learn from a part that nobody has trained."""
    if stage == "codec" and model.config.codec.quantizer.guide and not (recipe.init or (Path(recipe.out) / "encoder" / "model.safetensors").exists()):
        raise LauraError("codec: its first codes are guided by the encoder, which is untrained: run --stage encoder first, or give init")
    if stage in ("gpt", "vocoder", "laura") and not bool(model.codec.quantizer.initialised.all()):
        raise LauraError(f"{stage}: the codec, whose tokens it learns, is untrained: run --stage codec first, or give init")


def ensure_data(recipe: Recipe) -> None:
    data = Path(recipe.data)
    if not (data / "train.jsonl").exists():
        prepare(Path(recipe.corpora), data, recipe.open_only)
        if recipe.synth_hours > 0:
            synthesize(Path(recipe.corpora), data, hours=recipe.synth_hours, seed=recipe.seed, open_only=recipe.open_only)


def read_data(folder: Path) -> tuple[list[Example], list[Example]]:
    """(train, dev) of the prepared manifests and of the synthetic ones beside them. `test` is never read here."""
    examples = read_manifest(folder / "train.jsonl") + read_manifest(folder / "dev.jsonl")
    for path in sorted(folder.glob("synth*.jsonl")):
        examples += read_manifest(path)
    return [e for e in examples if e.split == "train"], [e for e in examples if e.split == "dev"]


def ensure_tokenizer(recipe: Recipe, examples: list[Example]) -> Tokenizer:
    path = Path(recipe.out) / "tokenizer.json"
    if not path.exists() and recipe.init:
        path.parent.mkdir(parents=True, exist_ok=True)
        Tokenizer.load(find_checkpoint(recipe.init) / "tokenizer.json").save(path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = [text for e in examples if e.task in ("ser", "slu", "aac") for text in e.targets]
        for lang in ("en", "de"):
            lines = (Path(recipe.data) / f"text.{lang}.txt").read_text(encoding="utf-8").splitlines()
            texts += lines[:: max(1, len(lines) // TOKENIZER_LINES)]
        Tokenizer.train(texts, sizes(recipe).text_size).save(path)
    return Tokenizer.load(path)


def assemble(recipe: Recipe, up_to: str | None = None) -> LauraModel:
    """The preset's model with what the stages before `up_to` (all, when None) have made."""
    config, start = sizes(recipe), load_checkpoint(find_checkpoint(recipe.init)) if recipe.init else None
    if start is not None and "codec" not in recipe.stages and not recipe.codec_sizes:
        config = replace(config, codec=start.config.codec)  # nothing trains another: its tokens are what the GPT knows
    if start is not None:
        config = replace(config, time_aligned=config.time_aligned and (start.config.time_aligned or recipe.time_aligned))
        if "gpt" not in recipe.stages:
            config = replace(config, posterior_temperature=start.config.posterior_temperature)  # nothing teaches it to read otherwise
    model = LauraModel(config)
    if start is not None:
        if replace(start.config, codec=model.config.codec, time_aligned=model.config.time_aligned, posterior_temperature=model.config.posterior_temperature) != model.config:
            raise LauraError(f"init: {recipe.init} is not of the sizes of preset {recipe.preset!r}: choose a checkpoint of that preset")
        for name, part in start.named_children():
            if name != "codec" or start.config.codec == model.config.codec:
                getattr(model, name).load_state_dict(part.state_dict())
    for name in STAGES[: STAGES.index(up_to)] if up_to else STAGES:
        path = Path(recipe.out) / name / "model.safetensors"
        if path.exists():
            state = load_file(path)
            for part in {key.partition(".")[0] for key in state} & {"codec", "encoder", "posterior_embedding", "gpt", "vocoder"}:
                own = {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{part}.")}
                try:
                    getattr(model, part).load_state_dict(with_new_rows(own, getattr(model, part)))
                except RuntimeError:
                    raise LauraError(f"{path} holds a {part} of other sizes than the recipe's: choose another `out`, or train that stage anew") from None
    return model


def finished(recipe: Recipe) -> LauraModel:
    """What the stages have made, averaged with what they started from as `keep` says."""
    model, start = assemble(recipe), load_checkpoint(find_checkpoint(recipe.init)) if recipe.interpolate else None
    for name, share in recipe.interpolate.items():
        made, before = getattr(model, name).state_dict(), getattr(start, name).state_dict()
        getattr(model, name).load_state_dict({k: v.lerp(before[k], share) if v.is_floating_point() else v for k, v in made.items()})
    return model


def check_keep(recipe: Recipe) -> None:
    """LauraError where `keep` names what cannot be averaged."""
    parts = ("encoder", "posterior_embedding", "gpt", "vocoder")
    if recipe.interpolate and not recipe.init:
        raise LauraError("interpolate: there is nothing to keep of without init: give a checkpoint there, or leave interpolate out")
    for name, share in recipe.interpolate.items():
        if name not in parts or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise LauraError(f"interpolate: {name}: {share}: give shares of 0 to 1 of {', '.join(parts)}")


def sizes(recipe: Recipe) -> LauraConfig:
    """The preset's, with the recipe's codec. LauraError names what is unknown, and what other parts are built on."""
    if recipe.preset not in PRESETS:
        raise LauraError(f"unknown preset {recipe.preset!r}: choose from {', '.join(PRESETS)}")
    config = PRESETS[recipe.preset]
    given = config.codec.to_dict()
    for key, value in recipe.codec_sizes.items():
        if isinstance(given.get(key), dict) != isinstance(value, dict):
            raise LauraError(f"codec_sizes: {key} must be {'a mapping' if isinstance(given.get(key), dict) else 'one value'}, not {value!r}")
        given[key] = given[key] | value if isinstance(value, dict) else value
    codec = CodecConfig.from_dict(given)
    if (codec.dim, codec.quantizer.codebook_size, codec.hop) != (config.codec.dim, config.codec.quantizer.codebook_size, config.codec.hop):
        raise LauraError("codec_sizes: quantizer.dim, quantizer.codebook_size and strides are the preset's, since the GPT and the vocoder are built on them")
    return replace(config, codec=codec)


def corpora_of(examples: list[Example], recipe: Recipe) -> dict[str, str]:
    """corpus -> licence of everything that a weighted task of the recipe read."""
    used = {key.partition("/")[0] for config in recipe.stages.values() for key in config.weights}
    names = {e.corpus for e in examples if e.task in used}
    return {name: CORPORA[name].licence for name in sorted(names) if name in CORPORA}

