"""What a finished folder says of itself."""

import json
from dataclasses import replace

import pytest

from lauragpt.checkpoint import read_config
from lauragpt.data.licences import Provenance
from lauragpt.data.manifest import Example
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train.config import Recipe
from lauragpt.train.corpus import Corpus
from lauragpt.train.export import export, languages


def example(task: str, lang: str, source_lang: str | None = None) -> Example:
    return Example(id=f"{task}/{lang}", task=task, split="train", lang=lang, corpus="own", source_lang=source_lang)


@pytest.mark.parametrize(
    ("examples", "texts", "langs"),
    [([example("asr", "de")], [], ["de"]), ([example("tts", "zh"), example("asr", "en")], [], ["en", "zh"]),
     ([example("s2tt", "de", "en")], [], ["en", "de"]), ([example("asr", "zh"), example("ser", "en")], ["de"], ["de", "zh"]),
     ([example("ser", "en")], [], ["en"])],
)  # fmt: skip
def test_the_languages_are_those_of_the_data(tmp_path, examples, texts, langs):
    for lang in texts:
        (tmp_path / f"text.{lang}.txt").write_text("ein Satz\n")
    corpus = Corpus(examples, [], tmp_path, None)
    assert languages(corpus) == langs
    assert languages(corpus, "mini") == [lang for lang in ("en", "de", "zh") if lang in ("en", "de", *langs)]


def test_an_export_that_fails_leaves_the_one_before(tmp_path, corpus):
    model, recipe = LauraModel(PRESETS["debug"]), Recipe(stages={}, preset="debug", out=str(tmp_path), name="first")
    folder = export(model, recipe, corpus, Provenance())
    assert read_config(folder)["langs"] == ["en", "de"]
    with pytest.raises(LauraError, match="nowhere"):
        export(model, replace(recipe, name="second", voices=({"name": "anna", "id": "nowhere"},)), corpus, Provenance())
    assert json.loads((folder / "config.json").read_text())["name"] == "first"
