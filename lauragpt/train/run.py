"""`laura train RECIPE`: data, tokenizer, the stages in order, the finished folder. Each is done once and found again on --resume."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from lauragpt.checkpoint import find_checkpoint, read_config
from lauragpt.codec import CodecConfig
from lauragpt.codec.lyra_tflite import read_lyra
from lauragpt.data.corpora import prepare
from lauragpt.data.licences import Provenance, described_corpora, record, text_corpora
from lauragpt.data.loader import weight_of
from lauragpt.data.manifest import Example, read_manifest
from lauragpt.data.shards import local_data, read_shards
from lauragpt.data.synth import synthesize
from lauragpt.errors import LauraError
from lauragpt.features import LISTENER_FEATURES
from lauragpt.model.attention import attend_without_plans
from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel, load_checkpoint, with_changes, with_encoder, with_gpt, with_new_rows
from lauragpt.model.qwen import qwen_config, qwen_gpt
from lauragpt.model.whisper import begin_with_whisper, whisper_sizes
from lauragpt.tasks import LANGS
from lauragpt.text import Tokenizer
from lauragpt.train import loop, state
from lauragpt.train.checks import check_examples, check_recipe
from lauragpt.train.config import Recipe, load_recipe
from lauragpt.train.corpus import Corpus
from lauragpt.train.ctc_units import check_ctc_lengths, choose_ctc_units, save_ctc_units
from lauragpt.train.export import export
from lauragpt.train.lora import LoraConfig, merged, save_adapter
from lauragpt.train.precision import precision
from lauragpt.train.stages import STAGES

TOKENIZER_LINES = 120_000  # of each language's texts
MODEL_PARTS = ("codec", "encoder", "posterior_embedding", "gpt", "vocoder", "speller")


def train(
    recipe: Path, stage: str | None = None, hours: float | None = None, resume: bool = False, overrides: list[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    """Runs a recipe, or one stage of it. LauraError for what is wrong with recipe or data.

    `hours`: how long this run may take by `clock` (seconds), everything counted, data preparation too. Then no step and no stage is
    begun; the stage in progress is saved and measured on dev, and `resume` goes on from there.
    """
    plan = load_recipe(recipe, overrides)
    plan = replace(plan, data=str(local_data(plan.data)))
    if stage and stage not in plan.stages:
        raise LauraError(f"{recipe}: has no stage {stage!r}: it has {', '.join(plan.stages)}")
    if hours is not None and not hours > 0:
        raise LauraError(f"--hours {hours:g}: give a time above 0, such as 0.5, or leave it out to train to the end")
    names = [stage] if stage else [name for name in STAGES if name in plan.stages]
    until = None if hours is None else clock() + 3600 * hours
    check_parts(plan)
    cuda = torch.cuda.is_available()
    if cuda:
        attend_without_plans()
    accelerator = Accelerator(mixed_precision=precision(cuda), cpu=not cuda)  # several processes on CPUs must be told
    say = lambda text: accelerator.is_main_process and print(text, file=sys.stderr)  # noqa: E731
    train_examples, dev_examples = prepare_run(plan, names, accelerator)
    corpus = None
    for name in names:
        config, folder = plan.stages[name], Path(plan.out) / name
        if resume and state.finished(folder, config):
            say(f"{name}: done before")
            continue
        if loop.Interruption(accelerator, until, clock).stops():
            say(f"{name}: not begun, since the time is over; `--resume` goes on")
            return
        if cuda:
            torch.backends.cudnn.enabled = hasattr(config, "crop_seconds")  # it plans each new shape of a convolution: crops repeat theirs
        model = assemble(plan, up_to=name).to(accelerator.device)
        check_order(name, model, plan)
        if corpus is None:
            corpus = begin_run(plan, names[names.index(name) :], train_examples, dev_examples, accelerator)
        torch.manual_seed(plan.seed)
        trainer = STAGES[name](model, corpus, config, plan.seed, accelerator.process_index)
        trainer.modules.to(accelerator.device)
        done = state.steps_done(folder) if resume else 0
        say(f"{name}: {config.steps} steps into {folder}" + (f", from {done} on" if done else ""))
        if not loop.run(trainer, folder, accelerator, plan.seed, resume, until, clock=clock):
            say(f"{name}: stopped early; `--resume` goes on")
            return
        if name == "speaker" and accelerator.is_main_process:
            say(f"the speaker encoder is in {trainer.export(Path(plan.out) / 'speaker.safetensors')}")
    if stage in (None, "joint") and set(plan.stages) != {"speaker"} and accelerator.is_main_process:
        say(f"the checkpoint is in {export_run(plan, corpus or make_corpus(plan, train_examples, dev_examples))}")


def prepare_run(recipe: Recipe, stages: list[str], accelerator: Accelerator) -> tuple[list[Example], list[Example]]:
    """(train, dev), made by the main process where they are missing, and checked against the recipe. Nothing is written into `out`."""
    if accelerator.is_main_process:
        check_recipe(recipe, stages, preset_config(recipe))
        ensure_data(recipe)
    accelerator.wait_for_everyone()
    train_examples, dev_examples = read_data(Path(recipe.data))
    if recipe.open_only:
        check_open(recipe, train_examples)
    check_examples(recipe, stages, train_examples, sentences=any(Path(recipe.data).glob("text.*.txt")))
    return train_examples, dev_examples


def make_corpus(recipe: Recipe, train_examples: list[Example], dev_examples: list[Example]) -> Corpus:
    """The data with the tokenizer and the CTC units, which `out` or `init` holds or which are trained here. Nothing is written."""
    corpus = Corpus(train_examples, dev_examples, Path(recipe.data), choose_tokenizer(recipe, train_examples))
    corpus.units = choose_ctc_units(Path(recipe.out), recipe.init, preset_config(recipe).encoder.units, train_examples, corpus.lines)
    corpus.out = Path(recipe.cache or recipe.out)
    return corpus


def begin_run(
    recipe: Recipe, stages: list[str], train_examples: list[Example], dev_examples: list[Example], accelerator: Accelerator
) -> Corpus:
    """What the stages train on. The main process writes provenance, tokenizer and CTC units into `out`, once everything is checked, so
    that a run that is refused leaves nothing there; the other processes wait for it, then read them. LauraError as of the checks."""
    with accelerator.main_process_first():
        corpus = make_corpus(recipe, train_examples, dev_examples)
        sizes = preset_config(recipe)
        for name in [name for name in stages if name in ("encoder", "listener", "joint") and not sizes.discrete]:  # codes have no CTC head
            weighted = [e for e in train_examples if any(weight_of(e, phase.weights) > 0 for phase in recipe.stages[name].schedule)]
            check_ctc_lengths(name, weighted, corpus.units, LISTENER_FEATURES if name == "listener" else sizes.features)
        if accelerator.is_main_process:
            out = Path(recipe.out)
            record(out, provenance_of(recipe, train_examples))
            corpus.tokenizer.save(out / "tokenizer.json")
            save_ctc_units(corpus.units, out)
    return corpus


def export_run(recipe: Recipe, corpus: Corpus) -> Path:
    """Writes the folder that ships, with the provenance of every run into `out`; and `adapter`, where nothing else was trained."""
    provenance = record(Path(recipe.out), provenance_of(recipe, corpus.train))
    folder, (stage, *more) = export(final_model(recipe), recipe, corpus, provenance), recipe.stages.items()
    if recipe.init and not more and not recipe.interpolate and getattr(stage[1], "lora", LoraConfig()).rank:
        start, path = find_checkpoint(recipe.init), state.weights_of(Path(recipe.out) / stage[0], stage[1].keep_best)
        tensors, card = state.load_weights(path), (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        save_adapter(Path(recipe.out) / "adapter", tensors, start, card)
    return folder


def provenance_of(recipe: Recipe, examples: list[Example]) -> Provenance:
    """What a run learns from: every corpus of its examples and texts, and what its `init` learned from."""
    names = {example.corpus for example in examples}.union(text_corpora(Path(recipe.data)))
    provenance = Provenance.of(names, described_corpora(Path(recipe.data)), recipe.init)
    for stage in ("encoder", "codec", "gpt"):
        if published := published_folder(recipe, stage):
            provenance = provenance.with_published(published)
    return provenance


def check_open(recipe: Recipe, examples: list[Example]) -> None:
    """LauraError where a recipe that wants nothing that forbids commercial use would train on such, or on what was trained on such."""
    provenance = provenance_of(recipe, examples)
    closed = [name for name, corpus in provenance.corpora.items() if not corpus.commercial]
    if closed:
        why = "open_only trains on nothing that forbids commercial use, or of which no licence is known"
        advice = "choose another `data`, describe your own corpora in its corpora.json, or run `laura prepare` again"
        raise LauraError(f"{recipe.data} holds {', '.join(closed)}, and {why}: {advice}")
    ancestors = Provenance(ancestors=provenance.ancestors)
    if not ancestors.commercial:
        licence = "whose licences are not known" if ancestors.commercial is None else "that forbid commercial use"
        raise LauraError(f"init: {recipe.init} was trained on sets {licence}, and open_only wants none: leave it out")


def check_order(stage: str, model: LauraModel, recipe: Recipe) -> None:
    """LauraError where a stage would learn from a part that nobody has trained."""
    encoder, listener = (state.weights_of(Path(recipe.out) / name, keep_best=False) for name in ("encoder", "listener"))
    if stage == "listener" and not (encoder or recipe.init):
        raise LauraError("listener: it begins as the encoder, which is untrained: run --stage encoder first, or give init")
    if stage == "listener" and recipe.init and "codec" not in recipe.stages:
        raise LauraError("listener: the codec of init has codebooks for its own: name a stage codec as well, or leave listener out")
    if stage == "codec" and model.listener is not None and not (listener or _goes_on(model, recipe)):
        raise LauraError("codec: its first codes are chosen by the listener, which is untrained: run --stage listener first")
    if stage == "codec" and model.listener is None and model.config.codec.quantizer.guide and not (encoder or recipe.init):
        raise LauraError("codec: its first codes are guided by the encoder, which is untrained: run --stage encoder first, or give init")
    if stage == "vocoder" and model.speller is not None and model.speller.untrained:
        raise LauraError("vocoder: its letters stand where the speller finds them, which is untrained: run --stage speller first")
    if stage in ("speller", "gpt", "vocoder", "joint") and not bool(model.codec.quantizer.initialised.all()):
        raise LauraError(f"{stage}: the codec, whose tokens it learns, is untrained: run --stage codec first, or give init")


def _goes_on(model: LauraModel, recipe: Recipe) -> bool:
    """Whether the codec, with its listener, is that of `init`."""
    if not recipe.init or "codec" not in (recipe.init_parts or MODEL_PARTS):
        return False
    return CodecConfig.from_dict(read_config(find_checkpoint(recipe.init))["model"]["codec"]) == model.config.codec


def ensure_data(recipe: Recipe) -> None:
    data = Path(recipe.data)
    if not (data / "train.jsonl").exists():
        prepare(Path(recipe.corpora), data, recipe.open_only)
        if recipe.synth_hours > 0:
            synthesize(Path(recipe.corpora), data, hours=recipe.synth_hours, seed=recipe.seed, open_only=recipe.open_only)


def read_data(folder: Path) -> tuple[list[Example], list[Example]]:
    """(train, dev) of the prepared manifests, of the shards and of the synthetic manifests beside them. `test` is never read here."""
    examples = read_manifest(folder / "train.jsonl") + read_manifest(folder / "dev.jsonl") + read_shards(folder, ("train", "dev"))
    for path in sorted(folder.glob("synth*.jsonl")):
        examples += read_manifest(path)
    return [e for e in examples if e.split == "train"], [e for e in examples if e.split == "dev"]


def choose_tokenizer(recipe: Recipe, examples: list[Example]) -> Tokenizer:
    """That of a published GPT, or else of `out`, or else of `init`, or else a new one, trained on the data's texts. LauraError where it has
    more units than the preset."""
    folders = [Path(recipe.out), *([find_checkpoint(recipe.init)] if recipe.init else [])]
    path = next((folder / "tokenizer.json" for folder in folders if (folder / "tokenizer.json").exists()), None)
    if published := published_folder(recipe, "gpt"):
        path = published / "tokenizer.json"
    size = preset_config(recipe).text_size
    if path is None:
        return train_tokenizer(Path(recipe.data), examples, size)
    tokenizer = Tokenizer.load(path)
    if tokenizer.size > size:  # fewer are right: few texts do not fill a tokenizer
        raise LauraError(f"{path} has {tokenizer.size} units, and preset {recipe.preset!r} at most {size}: choose another `out`")
    return tokenizer


def train_tokenizer(data: Path, examples: list[Example], size: int) -> Tokenizer:
    """A tokenizer of at most `size` units, learnt from the examples' labels and captions and from the texts of `data`."""
    texts = [text for e in examples if e.task in ("ser", "slu", "aac") for text in e.targets]
    for lang in LANGS:
        sentences = data / f"text.{lang}.txt"
        lines = sentences.read_text(encoding="utf-8").splitlines() if sentences.exists() else []
        texts += lines[:: max(1, len(lines) // TOKENIZER_LINES)]
    return Tokenizer.train(texts, size)


def assemble(recipe: Recipe, up_to: str | None = None) -> LauraModel:
    """The preset's model with the weights of `init`, of published parts, and of the stages before `up_to` (of all, when None). LauraError
    where sizes differ."""
    config, start = preset_config(recipe), load_checkpoint(find_checkpoint(recipe.init)) if recipe.init else None
    parts = recipe.init_parts or MODEL_PARTS
    if start is not None:
        kept = {}
        if "codec" in parts and "codec" not in recipe.stages:
            kept["codec"] = start.config.codec  # nothing trains another: the GPT has learnt its tokens
        if "gpt" in parts:
            kept["time_aligned"] = config.time_aligned and start.config.time_aligned
            if "gpt" not in recipe.stages:
                kept["posterior_temperature"] = start.config.posterior_temperature  # nothing teaches the GPT to read otherwise
        config = replace(config, **kept)
    backbone = published_folder(recipe, "gpt") if start is None or "gpt" not in parts else None  # else it has the sizes alone from there
    torch.manual_seed(recipe.seed)  # the first weights of a part are the same whether the stages before it were trained now or earlier
    model = LauraModel(config, qwen_gpt(backbone, config.gpt) if backbone else None)
    if start is not None:
        for name in parts:
            _begin_with(name, model, start, recipe)
    if (published := published_folder(recipe, "encoder")) and (start is None or "encoder" not in parts):
        begin_with_whisper(model.encoder, published)
    names = list(STAGES)
    before = names[: names.index(up_to)] if up_to else names
    if published := published_folder(recipe, "codec"):
        if model.config.codec.architecture != "lyra":
            raise LauraError(f"codec.init: preset {recipe.preset!r} has no codec of Lyra's kind: leave it out")
        # Its stage begins with them. Behind it the codec is what it has saved or, where it was not run, that of `init`, if there is one.
        if "codec" not in before or not _goes_on(model, recipe):
            networks = model.codec.encoder, model.codec.decoder
            for network, weights in zip(networks, read_lyra(published, model.config.codec.lyra), strict=True):
                network.load_state_dict(weights.state_dict())
    for name in before:
        path = state.weights_of(Path(recipe.out) / name, name in recipe.stages and recipe.stages[name].keep_best)
        if path is not None:
            _load_parts(model, path)
    return model


def _begin_with(name: str, model: LauraModel, start: LauraModel, recipe: Recipe) -> None:
    """Fills a part of the model with that of the checkpoint that training starts from. LauraError where its size is another, but a GPT
    may have fewer layers there."""
    if name == "codec" and start.config.codec != model.config.codec:
        return  # another is trained
    if name == "speller" and None in (start.speller, model.speller):
        return  # one of them needs none
    sizes = {"encoder": ("encoder", "features")}.get(name, (name,))  # equal shapes are not enough: heads may differ
    try:
        if name == "gpt":
            return model.gpt.begin_as(start.gpt)
        if any(getattr(start.config, size, None) != getattr(model.config, size, None) for size in sizes):
            raise RuntimeError
        getattr(model, name).load_state_dict(getattr(start, name).state_dict())
    except RuntimeError:
        what = f"init: {name} of {recipe.init} is not of the size of preset {recipe.preset!r}"
        raise LauraError(f"{what}: choose a checkpoint of that preset, or name in init_parts the parts that fit") from None


def _load_parts(model: LauraModel, path: Path) -> None:
    """Fills the model's parts that a stage has saved."""
    tensors = merged(state.load_weights(path))
    for name in {key.partition(".")[0] for key in tensors} & {*MODEL_PARTS, "listener"}:
        part, own = getattr(model, name), {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        try:
            part.load_state_dict(with_new_rows(own, part))
        except RuntimeError:
            what = f"{path} holds a {name} of other sizes than the recipe's"
            raise LauraError(f"{what}: choose another `out`, or train that stage anew") from None


def final_model(recipe: Recipe) -> LauraModel:
    """What the stages have made, averaged with what they started from as `interpolate` says."""
    model, start = assemble(recipe), load_checkpoint(find_checkpoint(recipe.init)) if recipe.interpolate else None
    for name, share in recipe.interpolate.items():
        after, before = getattr(model, name).state_dict(), getattr(start, name).state_dict()
        getattr(model, name).load_state_dict({k: v.lerp(before[k], share) if v.is_floating_point() else v for k, v in after.items()})
    return model


def check_parts(recipe: Recipe) -> None:
    """LauraError where `init_parts` or `interpolate` name what there is not, or what cannot be averaged."""
    if unknown := [part for part in recipe.init_parts if part not in MODEL_PARTS]:
        raise LauraError(f"init_parts: unknown part {unknown[0]!r}: choose from {', '.join(MODEL_PARTS)}")
    parts = tuple(part for part in MODEL_PARTS if part != "codec")
    if recipe.interpolate and not recipe.init:
        raise LauraError("interpolate: without init there is nothing to average with: give a checkpoint there, or leave interpolate out")
    for name, share in recipe.interpolate.items():
        if name not in parts or not 0 <= share <= 1:
            raise LauraError(f"interpolate: {name}: {share}: give shares of 0 to 1 of {', '.join(parts)}")


def preset_config(recipe: Recipe) -> LauraConfig:
    """The preset's sizes, but those of a published encoder and GPT are their own. LauraError where there is no such preset, or it has no
    room for these."""
    if recipe.preset not in PRESETS:
        raise LauraError(f"unknown preset {recipe.preset!r}: choose from {', '.join(PRESETS)}")
    config = with_changes(PRESETS[recipe.preset], recipe.model)
    if published := published_folder(recipe, "encoder"):
        if config.encoder.kind != "whisper":
            raise LauraError(f"encoder.init: preset {recipe.preset!r} has no encoder of Whisper's kind: leave it out, or choose mini")
        config = with_encoder(config, whisper_sizes(published, config.encoder))
    if published := published_folder(recipe, "gpt"):
        config = with_gpt(config, qwen_config(published))
    return config


def published_folder(recipe: Recipe, stage: str) -> Path | None:
    """The folder of published weights with which the part of a stage begins, if it does."""
    folder = getattr(recipe.stages.get(stage), "init", "")
    return Path(folder) if folder else None
