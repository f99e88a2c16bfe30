"""A trained model -> the folder that ships: weights, configuration, tokenizer, named voices, model card."""

import json
import shutil
from pathlib import Path

from lauragpt.audio import save_audio
from lauragpt.checkpoint import find_checkpoint, read_config
from lauragpt.data.licences import Provenance
from lauragpt.data.manifest import Example
from lauragpt.data.spans import load_span
from lauragpt.errors import LauraError
from lauragpt.files import replace_folder
from lauragpt.model.lauragpt import LauraModel, save_checkpoint
from lauragpt.tasks import BUILT_IN_LANGS, LANGS
from lauragpt.train.config import Recipe
from lauragpt.train.corpus import Corpus
from lauragpt.train.ctc_units import save_ctc_units


def export(model: LauraModel, recipe: Recipe, corpus: Corpus, provenance: Provenance) -> Path:
    """Writes `out/export`, whole or not at all: made aside, then renamed. corpus: what was trained on, with the voices' examples."""
    folder, aside = Path(recipe.out) / "export", Path(recipe.out) / "export.part"
    shutil.rmtree(aside, ignore_errors=True)
    save_checkpoint(
        model, aside, name=recipe.name, langs=languages(corpus, recipe.init), corpora=provenance.licences,
        commercial=provenance.commercial, ancestors=provenance.to_dict()["ancestors"], chunks=recipe.chunks, cascade=recipe.cascade,
    )  # fmt: skip
    corpus.tokenizer.save(aside / "tokenizer.json")
    save_ctc_units(corpus.units, aside)
    save_voices(aside / "voices", recipe, {example.id: example for example in corpus.train}, provenance)
    card = f"# {recipe.name}\n\n{provenance.use()}\n\n{provenance.table()}\n"
    (aside / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    replace_folder(aside, folder)
    return folder


def languages(corpus: Corpus, init: str = "") -> list[str]:
    """Those of the recordings and texts that were trained on, and of the checkpoint that training started from, in the order of LANGS."""
    spoken = [example for example in corpus.train if example.task in ("asr", "tts", "mt", "s2tt")]
    langs = {lang for example in spoken for lang in (example.lang, example.source_lang)} | {lang for lang, _ in corpus.lines}
    if init:
        langs |= set(read_config(find_checkpoint(init)).get("langs") or BUILT_IN_LANGS)
    return [lang for lang in LANGS if lang in (langs - {None} or {example.lang for example in corpus.train})]


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
        save_audio(folder / f"{name}.wav", load_span(example.audio))
        card = {
            "name": name, "lang": example.lang, "text": example.source, "licence": provenance.licences[example.corpus],
            "source": example.id, "default": example.lang not in langs,
        }  # fmt: skip
        langs.add(example.lang)
        (folder / f"{name}.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
