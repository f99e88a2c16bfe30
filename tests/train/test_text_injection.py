"""Pairs to be translated that are read from what the CTC head might spell of their source, as if they were spoken."""

from dataclasses import replace

import pytest
import torch

from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.text import Tokenizer
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages import STAGE_CLASSES


@pytest.mark.parametrize("kind, others", [("gpt", {}), ("laura", {"asr": 0.1}), ("laura", {"tts": 0.1})])
def test_pairs_are_read_as_if_spoken(prepared, kind, others):
    torch.manual_seed(0)
    train, dev = read_data(prepared)
    cased = [replace(e, source=e.source.capitalize(), targets=[t.capitalize() for t in e.targets]) if e.corpus == "multi30k" else e for e in train]
    corpus = Corpus(cased, dev, prepared, Tokenizer.train(["die nacht war ruhig"], PRESETS["debug"].text_size))
    model = LauraModel(PRESETS["debug"])
    spoken, written = model.vocabulary.task("s2tt"), model.vocabulary.task("mt")

    def tasks(text_injection: float) -> tuple[int, int]:
        """How many rows of a batch translate what is spoken, and what is written."""
        config = StageConfig(batch_seconds=8, text_seconds=4, phrases=0.1, text_injection=text_injection, weights={"mt/multi30k": 1, "mt/synth": 0} | others)
        stage = STAGE_CLASSES[kind](model, corpus, config)
        batch = stage.batch(0)
        assert stage.step(batch, lambda name, loss: loss.backward())["loss"] > 0
        rows = [*batch["layouts"], *(row["layout"] for row in batch.get("rows", ()))]
        assert all(row.frames for row in rows if spoken in row.ids)
        return sum(spoken in row.ids for row in rows), sum(written in row.ids for row in rows)

    assert tasks(0.0)[0] == 0 < tasks(0.0)[1]
    assert tasks(1.0)[0] == tasks(0.0)[1] and tasks(1.0)[1] == 0


def test_what_is_in_lower_case_is_no_answer_to_speech(prepared):
    train, dev = read_data(prepared)
    corpus = Corpus(train, dev, prepared, Tokenizer.train(["die nacht war ruhig"], PRESETS["debug"].text_size))
    stage = STAGE_CLASSES["gpt"](LauraModel(PRESETS["debug"]), corpus, StageConfig(text_injection=1.0, weights={"mt": 1}))
    pair = next(e for e in train if e.task == "mt")
    assert stage.text_injection(pair, pair.targets[0], stage.rng(0)) is None
    assert stage.text_injection(pair, pair.targets[0].capitalize(), stage.rng(0)) is not None


def test_what_is_translated_is_read_as_a_transcript_has_it(prepared):
    train, dev = read_data(prepared)
    tokenizer = Tokenizer.train(["die nacht war ruhig"], PRESETS["debug"].text_size)
    pair = next(e for e in train if e.task == "mt")
    pair = replace(pair, source="The 2nd night, quiet and long, was over before anybody had seen it.", source_lang="en")
    corpus, model, said = Corpus([pair], dev, prepared, tokenizer), LauraModel(PRESETS["debug"]), "the second night quiet and long was over before anybody had seen it"
    for transcribed in (0.0, 1.0):
        stage = STAGE_CLASSES["laura"](model, corpus, StageConfig(asr_noise=transcribed, weights={"mt": 1}))
        rows = [stage.row(pair, stage.rng(seed))["layout"].ids for seed in range(24)]
        read = [tokenizer.decode(ids[: ids.index(model.vocabulary.task("mt"))]) for ids in rows]
        if not transcribed:
            assert set(read) == {pair.source}
            continue
        assert said in read and len(set(read)) > 8
        assert all(text == text.lower() and 0.4 < len(text) / len(said) < 1.5 for text in read)
        stage.step(stage.batch(0), lambda name, loss: loss.backward())
