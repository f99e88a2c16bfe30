"""Batches of recordings for encoder, codec and vocoder."""

import copy

import numpy as np
import pytest
import torch

from lauragpt.errors import LauraError


def test_a_batch_depends_on_seed_and_number_alone(make_stage):
    def waves(number: int, **more) -> torch.Tensor:
        return make_stage("encoder", noise=1.0, **more).batch(number).recordings.samples

    assert torch.equal(waves(3), waves(3)) and torch.equal(waves(3, rank=1), waves(3))
    for other in (waves(4), waves(3, seed=1)):
        assert other.shape != waves(3).shape or not torch.equal(other, waves(3))


def test_as_many_recordings_as_asked_arrive_through_a_channel(make_stage, corpus):
    [example] = corpus.train[:1]
    assert np.array_equal(*(corpus.augmented(example, np.random.default_rng(1), 0.0, degraded) for degraded in (0.0, 1e-9)))
    pairs = [[corpus.augmented(example, np.random.default_rng(seed), 0.0, degraded) for degraded in (0.0, 1.0)] for seed in range(30)]
    assert all(clean.shape == heard.shape for clean, heard in pairs)
    assert sum(not np.array_equal(clean, heard) for clean, heard in pairs) > 15  # degrade itself leaves about a fifth as they are

    def waves(**more) -> torch.Tensor:
        return make_stage("encoder", noise=0.0, **more).batch(3).recordings.samples

    assert not torch.equal(waves(degraded=1.0), waves(degraded=0.0)) and torch.equal(waves(degraded=1.0), waves(degraded=1.0))


def test_the_guide_of_a_crop_is_that_of_its_place_in_the_recording(make_stage, corpus):
    stage = make_stage("codec", batch_seconds=4)
    batch, hop, teacher = stage.batch(1), stage.codec.config.hop, stage.batch.teacher
    assert batch.waves.shape == (3, 20480) and batch.guide.shape == (3, 32, stage.codec.config.quantizer.guide)
    recordings = {e.audio: corpus.waves(e.audio) for e in corpus.train if e.task == "tts"}
    for crop, guide in zip(batch.waves.numpy(), batch.guide, strict=True):
        places = [(path, start) for path, wave in recordings.items() for start in range(0, len(wave) - len(crop) + 1, hop)
                  if np.array_equal(wave[start : start + len(crop)], crop)]  # fmt: skip
        assert places and torch.equal(teacher(places[0][0], places[0][1] // hop, 32), guide)


def test_noisy_speech_is_now_and_then_anothers_however_few_are_of_like_length(corpus, make_stage):
    stage = make_stage("vocoder", weights={"se": 1}, condition_mismatch=0.3)
    batches, clips = stage.batch, [e for e in corpus.train if e.task == "se"][:3]
    waves = {e.audio: np.full(n, n / 1e5, np.float32) for e, n in zip(clips, (9_000, 40_000, 90_000), strict=True)}
    batches.corpus = copy.copy(corpus)
    batches.corpus.waves = waves.__getitem__
    batches.corpus.noisy = lambda clean, rng: clean + 1.0  # shows whose noisy speech stands beside whose clean
    batches.draw = lambda number, step: clips
    mismatched = []
    for step in range(60):
        groups = batches(step).groups
        assert len(groups) > 1
        mismatched.append(all(float(g.noisy.waves[0, 0]) != pytest.approx(1 + float(g.clean.waves[0, 0])) for g in groups))
    assert 0.15 < np.mean(mismatched) < 0.5


def test_a_batch_of_the_vocoder_has_one_task_and_its_condition(make_stage):
    batches = make_stage("vocoder", weights={"tts": 1, "se/kathleen": 1}).batch
    tasks = []
    for step in range(12):
        batch = batches(step)
        tasks.append(batch.task)
        for group in batch.groups:
            assert (group.noisy is None) == (batch.task == "tts") == (group.text is not None) == (group.prompt is not None)
    assert set(tasks) == {"tts", "se"} and batches.enhancement == 0.5
    hotter = make_stage("vocoder", weights={"tts": 1, "se/kathleen": 2}, temperature=1e6).batch
    assert hotter.enhancement == pytest.approx(2 / 3, abs=1e-4)  # the hours hardly count


def test_data_without_what_a_stage_learns_is_refused(make_stage, corpus):
    bare = copy.copy(corpus)
    bare.train = [e for e in corpus.train if e.task == "mt"]
    for name, words in (
        ("codec", "no recording of tts has 1.28 s"), ("speaker", "no speaker has two"), ("vocoder", "no example of tts, se fits"),
    ):  # fmt: skip
        with pytest.raises(LauraError, match=words):
            make_stage(name, corpus=bare)


def test_dev_is_measured_where_it_has_examples_of_the_stage(make_stage, corpus):
    bare = copy.copy(corpus)
    bare.dev = [e for e in corpus.dev if e.task == "mt"]
    assert make_stage("encoder", corpus=bare).validate() == {} and make_stage("vocoder", corpus=bare).validate() == {}
    with pytest.raises(LauraError, match="evaluate_every: dev has no example of asr"):
        make_stage("encoder", corpus=bare, evaluate_every=2)
