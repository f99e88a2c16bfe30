"""What is checked before `laura train` works for hours: all that can be known to fail later, each with what to do about it."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from lauragpt.checkpoint import find_checkpoint
from lauragpt.data.checks import check_folder, check_room
from lauragpt.data.corpora import check_corpora
from lauragpt.data.debug_corpus import NAME as DEBUG
from lauragpt.data.loader import weight_of
from lauragpt.data.manifest import Example
from lauragpt.data.synth import check_synth, chosen_sets
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import LauraConfig, LauraModel
from lauragpt.train.config import Recipe
from lauragpt.train.export import check_voices
from lauragpt.train.lora import LoraConfig, import_peft
from lauragpt.train.speech_frames import import_pyworld

CHECKPOINT, AVERAGE, BEST, FINISHED = 4 * 3, 4, 4, 2  # bytes a parameter: of a checkpoint, weights and both moments of Adam, all float32;
# of the averaged weights in it, if any; of the best weights; of the finished folder, float16

ENCODER_KEYS = ("frozen_layers", "spec_augment", "phrases", "text_injection", "slu_templates", "pseudo_labels", "posterior_bank")


def check_recipe(recipe: Recipe, stages: Sequence[str], sizes: LauraConfig) -> None:
    """LauraError, before anything is read or made, where data, `init`, disk, a package or a compiler are missing for these stages."""
    if recipe.init:
        find_checkpoint(recipe.init)
    if any(getattr(recipe.stages[name], "lora", LoraConfig()).rank for name in stages):
        import_peft()
    if "vocoder" in stages and sizes.vocoder.in_codec_space and any(key.startswith("tts") for key in recipe.stages["vocoder"].weights):
        import_pyworld()
    if sizes.discrete:
        check_discrete(recipe, stages)
    data = Path(recipe.data)
    if not (data / "train.jsonl").exists():
        check_sources(recipe)
    check_folder(Path(recipe.out))
    each = [
        (config.keep_last + 1) * (CHECKPOINT + (AVERAGE if config.ema else 0)) + (BEST if config.evaluate_every else 0)
        for config in (recipe.stages[name] for name in stages)
    ]  # one more than is kept, while it is written
    check_room(Path(recipe.out), (max(each) + FINISHED) * parameters(sizes), f"a checkpoint of preset {recipe.preset}")
    compiled = [name for name in stages if getattr(recipe.stages[name], "compile", False)]
    if compiled and not can_compile():
        raise LauraError(
            f"{compiled[0]}.compile: torch.compile needs a C++ compiler, and there is none: apt-get install g++ (Debian, Ubuntu), or "
            "name one in the environment variable CXX, or override it with compile=false, which takes half as long again"
        )


def check_discrete(recipe: Recipe, stages: Sequence[str]) -> None:
    """LauraError where stages of a model that reads codes ask for what only an encoder has."""
    for name in stages:
        if name in ("encoder", "listener", "codec"):
            raise LauraError(f"stages.{name}: encoder.kind codes has no encoder, and reads the codec of init: leave the stage out")
        config = recipe.stages[name]
        keys = {"joint": ENCODER_KEYS, "gpt": ("text_injection", "posterior_bank")}.get(name, ())
        if given := [key for key in keys if getattr(config, key)]:
            advice = "leave it out" if given[0] == "posterior_bank" else "set it to 0 or false"
            raise LauraError(f"{name}.{given[0]}: encoder.kind codes has no layers and no CTC head, as this needs: {advice}")
        if name == "gpt" and config.phrases and config.plain_sentences < 1:
            raise LauraError("gpt.phrases: without a CTC head none can be read: set phrases to 0, or plain_sentences to 1")
        read = [key for key in getattr(config, "weights", {}) if name == "gpt" and key.partition("/")[0] not in ("mt", "tts")]
        if read:
            raise LauraError(f"gpt.weights: without a CTC head the GPT's stage learns mt and tts alone: leave {read[0]} out")


def check_sources(recipe: Recipe) -> None:
    """LauraError where data are still to be made and their sources are missing."""
    corpora = Path(recipe.corpora)
    if recipe.corpora == DEBUG and not corpora.is_dir():
        return
    try:
        check_corpora(corpora.absolute())
    except LauraError as error:
        raise LauraError(
            f"{recipe.data} holds no train.jsonl, and there is nothing to make it from: {error}; name your folder with corpora=FOLDER"
        ) from None
    if recipe.synth_hours > 0:
        try:
            check_synth(corpora, Path(recipe.data), chosen_sets(None, recipe.open_only))
        except LauraError as error:
            raise LauraError(
                f"synthetic speech for {recipe.data}: {error} (laura synth), or train without any with synth_hours=0"
            ) from None


def parameters(sizes: LauraConfig) -> int:
    """Of the whole model; it is not made."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in LauraModel(sizes).parameters())


def can_compile() -> bool:
    """Whether torch.compile finds what it compiles with on this machine."""
    if torch.cuda.is_available():
        return True  # Triton brings its own
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "", "g++", "clang++", "c++"))


def check_examples(recipe: Recipe, stages: Sequence[str], examples: Sequence[Example], sentences: bool) -> None:
    """LauraError where a stage would find nothing to learn from, or the finished folder no voice. examples: of train; `sentences`:
    whether there are texts to pre-train on."""
    if "joint" in stages:
        check_voices(recipe, {example.id: example for example in examples})
    for name in stages:
        config = recipe.stages[name]
        for phase in config.schedule:
            if phase.weights and not any(weight_of(example, phase.weights) > 0 for example in examples):
                raise LauraError(
                    f"{name}: {recipe.data} holds no example of {', '.join(phase.weights)}: prepare some, or change the stage's weights"
                )
        banks = getattr(config, "posterior_bank", None)
        if banks and not any(example.task == "asr" and example.corpus in banks for example in examples):
            raise LauraError(
                f"{name}: posterior_bank: {recipe.data} holds no recording of {', '.join(banks)}: prepare one, or leave posterior_bank out"
            )
        if name == "gpt" and not sentences:
            raise LauraError(
                f"gpt: {recipe.data} holds no text.en.txt or text.de.txt to learn from: write one, a sentence a line, or leave gpt out"
            )
