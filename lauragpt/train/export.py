"""A trained model -> the folder that ships: weights (fp16), configuration, tokenizer, named voices, model card."""

import json
import shutil
from pathlib import Path

from lauragpt.audio import load_audio, save_audio
from lauragpt.data.corpora import CORPORA
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import LauraModel, save_checkpoint
from lauragpt.text import Tokenizer
from lauragpt.train.config import Recipe


def export(model: LauraModel, tokenizer: Tokenizer, recipe: Recipe, examples: dict[str, Example], corpora: dict[str, str]) -> Path:
    """Writes `out/export`, whole or not at all: it is made aside and then renamed."""
    folder, aside = Path(recipe.out) / "export", Path(recipe.out) / "export.part"
    shutil.rmtree(aside, ignore_errors=True)
    commercial = all(CORPORA[name].commercial for name in corpora)
    save_checkpoint(model, aside, name=recipe.name, langs=["en", "de"], corpora=corpora, commercial=commercial, chunks=recipe.chunks, cascade=["s2tt"] if recipe.cascade else [])
    tokenizer.save(aside / "tokenizer.json")
    (aside / "voices").mkdir()
    spoken: set[str] = set()  # languages that have their default voice: the first that the recipe names
    for voice in recipe.voices:
        if voice["id"] not in examples:
            raise LauraError(f"voices: {voice['name']} names the example {voice['id']!r}, which train.jsonl does not hold")
        example = examples[voice["id"]]
        save_audio(aside / "voices" / f"{voice['name']}.wav", load_audio(example.audio))
        card = {
            "name": voice["name"], "lang": example.lang, "text": example.source, "licence": CORPORA[example.corpus].licence, "source": example.id,
            "default": example.lang not in spoken,
        }  # fmt: skip
        spoken.add(example.lang)
        (aside / "voices" / f"{voice['name']}.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = "\n".join(f"| {name} | {licence} |" for name, licence in corpora.items())
    use = "may be used commercially" if commercial else "are for non-commercial use only, because of some of these sets"
    (aside / "MODEL_CARD.md").write_text(f"# {recipe.name}\n\nThe weights {use}.\n\n| corpus | licence |\n|---|---|\n{lines}\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return folder
