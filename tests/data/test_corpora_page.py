"""docs/corpora.md describes what the code reads: every corpus, every field, and its examples are valid."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from lauragpt.data import corpora, synth_texts
from lauragpt.data.licences import CORPORA, described_corpora
from lauragpt.data.manifest import Example, read_manifest
from lauragpt.data.synthesisers import PACKAGES, PROGRAMS
from lauragpt.tasks import EMOTIONS, TASKS

PAGE = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
ROWS = {line.split("|")[1].strip().strip("`"): line for line in PAGE.splitlines() if line.startswith("| `")}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_is_described_with_its_licence(name):
    licence = re.escape(CORPORA[name].licence)
    described = {"debug": "laura prepare debug", "nospeech": f"`nospeech` is not a corpus of its own.*{licence}"}.get(name)
    if described:
        assert re.search(described, PAGE, re.DOTALL)
    else:
        assert CORPORA[name].licence in ROWS[name]


def test_nothing_is_described_that_is_not_read():
    names = {name for name in ROWS if name in CORPORA}
    fields_named = {"id", "audio", "duration", "split", "lang", "speaker"} | {field.name for field in fields(Example)}
    assert set(ROWS) - names - fields_named == set()
    assert {name for name in CORPORA if name not in ROWS} == {"debug", "nospeech"}


def test_every_field_task_and_label_is_named():
    for field in fields(Example):
        assert f"| `{field.name}` |" in PAGE
    for word in (*TASKS, *EMOTIONS):
        assert re.search(rf"\b{word}\b", PAGE), word


def test_every_file_of_texts_is_named():
    files = {*corpora.PLAIN_TEXTS.values(), *corpora.TRANSLATED, *(file for several in synth_texts.TEXT_FILES.values() for file in several)}
    for file in files:
        assert f"`{file}.gz`" in PAGE
    for name, (_, how) in synth_texts.SETS.items():
        engines = set(how.get("engines", synth_texts.ENGLISH))
        parts = {part.strip().lower() for part in re.split(r"[|,]", ROWS[name].split("|")[4])}
        said = parts & {"all english", "all german", *PACKAGES, *PROGRAMS}
        together = {"all english": set(synth_texts.ENGLISH), "all german": set(synth_texts.GERMAN)}
        assert set().union(*(together.get(each, {each}) for each in said)) == engines, name


def test_the_fields_that_a_corpus_needs_are_those_that_are_read(data):
    """A line with the fields of the page, and no others, becomes examples of the tasks that the page names."""
    common = {"id", "audio", "duration", "split", "lang", "speaker"}
    for name, make in corpora.RECIPES.items():
        cells = [cell.strip() for cell in ROWS[name].split("|")]
        named = common | set(re.findall(r"`(\w+)`", cells[2]))
        rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
        found = list(make([{key: value for key, value in row.items() if key in named} for row in rows]))
        tasks = {example.task for example in found}
        assert tasks == {task for task in TASKS if re.search(rf"\b{task}\b", cells[3])}, name


def test_its_examples_are_valid(tmp_path):
    [lines], [own] = blocks("jsonl"), blocks("json")
    (tmp_path / "train.jsonl").write_text(lines)
    assert {example.corpus for example in read_manifest(tmp_path / "train.jsonl")} == {"my-calls", "my-texts"}
    (tmp_path / "corpora.json").write_text(own)
    assert described_corpora(tmp_path)["my-calls"].commercial is True
