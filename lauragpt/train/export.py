"""A trained model -> the folder that ships: weights (fp16), configuration, tokenizer, named voices, model card."""

import json
import shutil
from pathlib import Path

from lauragpt.audio import load_audio, save_audio
from lauragpt.ctc_units import FILE as CTC_UNITS
from lauragpt.data.licences import Provenance
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import LauraModel, save_checkpoint
from lauragpt.text import Tokenizer
from lauragpt.train.config import Recipe


def export(model: LauraModel, tokenizer: Tokenizer, recipe: Recipe, examples: dict[str, Example], provenance: Provenance) -> Path:
    """Writes `out/export`, whole or not at all: made aside, then renamed. examples: of train, by id, those of the voices among them."""
    folder, aside = Path(recipe.out) / "export", Path(recipe.out) / "export.part"
    shutil.rmtree(aside, ignore_errors=True)
    save_checkpoint(
        model, aside, name=recipe.name, langs=["en", "de"], corpora=provenance.licences, commercial=provenance.commercial,
        ancestors=provenance.to_dict()["ancestors"], chunks=recipe.chunks, cascade=recipe.cascade,
    )  # fmt: skip
    tokenizer.save(aside / "tokenizer.json")
    if (units := Path(recipe.out) / CTC_UNITS).exists():
        shutil.copy(units, aside / CTC_UNITS)
    save_voices(aside / "voices", recipe, examples, provenance)
    card = f"# {recipe.name}\n\n{provenance.use()}\n\n{provenance.table()}\n"
    (aside / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder


def check_voices(recipe: Recipe, examples: dict[str, Example]) -> None:
    """LauraError where a voice's example is not there."""
    for voice in recipe.voices:
        if voice["id"] not in examples:
            raise LauraError(f"voices: {voice['name']} names the example {voice['id']!r}, which train.jsonl does not hold")


def save_voices(folder: Path, recipe: Recipe, examples: dict[str, Example], provenance: Provenance) -> None:
    """A recording and its card for each voice of the recipe; the first of a language is its default."""
    check_voices(recipe, examples)
    folder.mkdir()
    langs: set[str] = set()
    for voice in recipe.voices:
        example, name = examples[voice["id"]], voice["name"]
        save_audio(folder / f"{name}.wav", load_audio(example.audio))
        card = {
            "name": name, "lang": example.lang, "text": example.source, "licence": provenance.licences[example.corpus],
            "source": example.id, "default": example.lang not in langs,
        }  # fmt: skip
        langs.add(example.lang)
        (folder / f"{name}.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
