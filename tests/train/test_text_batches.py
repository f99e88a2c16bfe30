"""Batches of sequences: which tasks they hold, what text stands for speech, what is cropped."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train.corpus import Corpus
from lauragpt.train.stage import Phase
from tests.train.conftest import no_update

WEIGHTS = {"asr": 1, "mt": 1, "tts": 1, "se": 1, "aac": 1}
SMALL = {"tts", "se", "aac"}


def tasks_of(batch) -> set[str]:
    return {example.task for example in batch.examples}


def with_waves(corpus: Corpus, waves: dict, **changes) -> Corpus:
    other = copy.copy(corpus)
    other.waves = waves.__getitem__
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def test_each_phase_has_its_tasks(make_stage):
    """The paper's three: all tasks, those with little data, all tasks."""
    phases = tuple(Phase(4, 1e-3, 1, 0.0, weights) for weights in (WEIGHTS, dict.fromkeys(SMALL, 1.0), WEIGHTS))
    stage = make_stage("joint", steps=12, weights=WEIGHTS, phases=phases, batch_seconds=16)
    drawn = [[{example.task for example in stage.batch.draw(step, step)} for step in range(first, first + 4)] for first in (0, 4, 8)]
    assert all(tasks <= SMALL for tasks in drawn[1]) and set.union(*drawn[1]) == SMALL
    assert set.union(*drawn[0]) == set.union(*drawn[2]) == set(WEIGHTS)
    assert tasks_of(stage.batch(5, 5)) <= SMALL and set.union(*(tasks_of(stage.dev_batch(step)) for step in range(4))) == set(WEIGHTS)


def test_text_comes_beside_what_has_sound(make_stage):
    """With text_seconds each batch has its share of translation, drawn by itself, and none among the others."""
    batches = make_stage("joint", weights=WEIGHTS, text_seconds=3).batch
    for step in range(6):
        sound, text = ({batches.examples[i].task for i in plan[step]} for plan in batches.plans[0])
        assert text == {"mt"} and "mt" not in sound and sound <= set(WEIGHTS)
        assert sound | text == {example.task for example in batches.draw(step)}


def test_recordings_come_first_and_stand_in_the_order_of_their_examples(make_stage):
    batches = make_stage("joint", weights=WEIGHTS, batch_seconds=16).batch
    batch, frames = batches(0), [example.layout.frames for example in batches(0).examples]
    heard = [count for count in frames if count]
    assert frames[: len(heard)] == heard and len(heard) < len(frames)
    assert heard == [batches.features.length(count) for count in batch.recordings.lengths.tolist()]
    assert len(batch.recordings.samples) == batch.recordings.lengths.sum()


@pytest.mark.parametrize("name, others", [("gpt", {}), ("joint", {"asr": 0.1}), ("joint", {"tts": 0.1})])
def test_pairs_are_translated_as_if_their_source_were_spoken(corpus, make_stage, name, others):
    cased = copy.copy(corpus)
    cased.train = [replace(e, targets=[t.capitalize() for t in e.targets]) if e.corpus == "multi30k" else e for e in corpus.train]

    def count(text_injection: float) -> tuple[int, int]:
        """How many sequences of a batch translate what is spoken, and what is written."""
        stage = make_stage(name, corpus=cased, phrases=0.1, text_injection=text_injection, weights={"mt/multi30k": 1} | others)
        batch, vocabulary = stage.batch(0), stage.model.vocabulary
        assert stage.step(batch, 0, no_update)["loss"] > 0
        layouts = batch.layouts if name == "gpt" else [*batch.read.layouts, *(example.layout for example in batch.examples)]
        assert all(row.frames for row in layouts if vocabulary.task("s2tt") in row.ids)
        return tuple(sum(vocabulary.task(task) in row.ids for row in layouts) for task in ("s2tt", "mt"))

    never, always = count(0.0), count(1.0)
    assert never[0] == 0 < never[1] and always == (never[1], 0)


def test_a_target_in_lower_case_is_no_answer_to_speech(make_stage, corpus):
    batches = make_stage("gpt", text_injection=1.0).batch
    pair = next(e for e in corpus.train if e.task == "mt")
    assert batches.inject_text(pair, pair.targets[0], batches.rng(0)) is None
    assert batches.inject_text(pair, pair.targets[0].capitalize(), batches.rng(0)) is not None


@pytest.mark.parametrize("asr_noise", [0.0, 1.0])
def test_a_text_to_be_translated_is_read_as_a_transcript_has_it(corpus, make_stage, asr_noise):
    pair = next(e for e in corpus.train if e.task == "mt")
    pair = replace(pair, source="The 2nd night, quiet and long, was over before anybody had seen it.", source_lang="en")
    spoken = "the second night quiet and long was over before anybody had seen it"
    batches = make_stage("joint", asr_noise=asr_noise, weights={"mt": 1}).batch
    rows = [batches.example(pair, batches.rng(seed))[0].layout.ids for seed in range(24)]
    texts = [corpus.tokenizer.decode(ids[: ids.index(batches.vocabulary.task("mt"))]) for ids in rows]
    if not asr_noise:
        assert set(texts) == {pair.source}
    else:
        assert spoken in texts and len(set(texts)) > 8
        assert all(text == text.lower() and 0.4 < len(text) / len(spoken) < 1.5 for text in texts)


def test_a_crop_of_a_sound_is_seldom_the_silence_around_it(corpus, make_stage):
    wave = np.zeros(5 * 16000, np.float32)
    wave[:16000] = 0.5  # crops of a second anywhere meet it four times in ten, the louder of two six times
    example = replace(next(e for e in corpus.train if e.task == "aac"), audio="drip", targets=["a drip", "water drips", "dripping"])
    batches = make_stage("joint", weights=WEIGHTS, sound_seconds=1.0, captions=2).batch
    batches.corpus, rng = with_waves(corpus, {"drip": wave}), np.random.default_rng(0)
    crops = [batches.sound(example, rng) for _ in range(200)]
    assert {len(crop) for crop in crops} == {16000} and np.mean([crop.any() for crop in crops]) > 0.5
    assert {batches.caption(example, rng) for _ in range(50)} == {"a drip", "water drips"}


def test_now_and_then_speech_follows_an_utterance_of_the_same_speaker(corpus, make_stage):
    spoken = next(e for e in corpus.train if e.task == "tts")
    model = LauraModel(PRESETS["debug"])
    lengths = {}
    for chance in (0.0, 1.0):
        batches = make_stage("gpt", model, voice_prompt=chance).batch
        lengths[chance] = [batches.speech(spoken, batches.rng(step)).length for step in range(12)]
    assert len(set(lengths[0.0])) == 1 and max(lengths[1.0]) > 1.5 * lengths[0.0][0]
