"""Batches ahead: the same from any number of worker processes, in order; what goes wrong is told; and no process is left behind."""

import copy
import multiprocessing
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor

from lauragpt.data.loader import Waves
from lauragpt.errors import LauraError
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.train import loop, state
from lauragpt.train.encoding import CodecTokens
from lauragpt.train.precision import precision
from lauragpt.train.prefetch import batches_ahead, fork


class Made(NamedTuple):
    number: int
    tensors: list[Tensor]
    array: np.ndarray


def make(number: int) -> Made:
    rng = np.random.default_rng(number)
    sizes = rng.integers(0, 3000, 4)
    return Made(number, [torch.from_numpy(rng.random((size, 2))).t() for size in sizes], rng.integers(0, 9, 10_000).astype(np.int8))


@pytest.mark.parametrize("workers", [0, 1, 3, 20])
def test_batches_come_in_order_whoever_makes_them(workers):
    with batches_ahead(make, range(5, 16), workers) as batches:
        got = list(batches)
        assert len(multiprocessing.active_children()) <= workers
    assert [batch.number for batch in got] == list(range(5, 16))
    for batch in got:
        wanted = make(batch.number)
        assert all(torch.equal(*pair) for pair in zip(batch.tensors, wanted.tensors, strict=True))
        assert np.array_equal(batch.array, wanted.array)
    assert not multiprocessing.active_children()


def test_many_large_batches_that_nobody_takes_hold_nobody_up():
    with batches_ahead(lambda number: torch.zeros(3_000_000), range(100), 2) as batches:
        next(batches)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_where_the_batch_is_taken(workers):
    def fails(number: int) -> int:
        if number == 3:
            raise LauraError("no such recording")
        return number

    with batches_ahead(fails, range(9), workers) as batches:
        assert [next(batches) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(LauraError, match="no such recording"):
            next(batches)
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_is_told():
    with batches_ahead(lambda _: os.kill(os.getpid(), 9), range(3), 1) as batches, pytest.raises(LauraError, match="set workers lower"):
        next(batches)


ALL = {"asr": 1, "mt": 1, "tts": 1, "se": 1, "aac": 1}


@pytest.mark.parametrize("name, keys", [
    ("joint", {"noise": 0.5, "batch_seconds": 4, "dev_batches": 1, "weights": ALL}), ("encoder", {"dev_batches": 1}),
    ("codec", {"quantize_from": 1, "kmeans_batches": 2, "batch_seconds": 3}), ("speaker", {"batch_seconds": 8}),
    ("gpt", {"weights": {"tts": 1, "mt": 1}, "dev_batches": 1}), ("vocoder", {"dev_batches": 1, "weights": {"tts": 1, "se": 1}}),
])  # fmt: skip
def test_a_stage_is_the_same_with_workers_and_goes_on_after_an_interruption(make_stage, corpus, tmp_path, name, keys):
    accelerator = Accelerator(mixed_precision=precision(), cpu=True)
    assert loop.run(make_stage(name, **keys), tmp_path / "thread", accelerator)
    anew = copy.copy(corpus)
    anew.waves, anew.out = Waves(), tmp_path
    stage = make_stage(name, corpus=anew, workers=2, **keys)
    step_of_stage = stage.step

    def interrupted(batch, step, update):
        if step == 1 and stage.modules.training:
            os.kill(os.getpid(), 15)
        return step_of_stage(batch, step, update)

    stage.step = interrupted
    assert not loop.run(stage, tmp_path / "workers", accelerator) and state.steps_done(tmp_path / "workers") == 2
    assert not multiprocessing.active_children()
    assert loop.run(make_stage(name, corpus=anew, workers=2, **keys), tmp_path / "workers", accelerator, resume=True)
    assert not multiprocessing.active_children()
    one, other = (load_file(state.weights_of(tmp_path / folder, False)) for folder in ("thread", "workers"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


TERMINAL = """
import os, signal, sys
from pathlib import Path
from lauragpt.train import run
from lauragpt.train.stages import STAGES

encoder = STAGES["encoder"]
step_of_stage = encoder.step

def interrupted(self, batch, step, update):
    if step == 1:
        os.killpg(0, getattr(signal, sys.argv[2]))  # as a terminal or a scheduler does: to every process
    return step_of_stage(self, batch, step, update)

encoder.step = interrupted
here = Path(sys.argv[1])
run.train(Path(sys.argv[3]), overrides=[f"data={here}/data", f"out={here}/out", "encoder.steps=50", "workers=2"])
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_all_processes_ends_in_a_checkpoint_and_leaves_none_behind(tmp_path, name):
    recipe = os.path.abspath("recipes/debug.yaml")
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, str(tmp_path), name, recipe], start_new_session=True, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0 and "stopped early" in said, said
    assert state.steps_done(tmp_path / "out" / "encoder") == 2
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_recordings_are_decoded_once_for_all_up_to_the_limit(corpus):
    seconds = {e.audio: e.duration for e in corpus.train if e.audio}
    alone, shared, little = Waves(), Waves(), Waves()
    shared.share(seconds | {"missing.wav": 1.0}, 2, fork)
    assert set(shared.cache) == set(seconds)
    assert all(np.array_equal(alone(path), shared(path)) for path in seconds)
    least = min(seconds.values())
    little.limit(2 * 16000 * (least + 0.2) / 1e9)
    little.share(dict(sorted(seconds.items(), key=lambda item: item[1])), 1, fork)
    assert len(little.cache) == 1 and all(np.array_equal(alone(path), little(path)) for path in seconds)
    wrong = Waves()
    wrong.share(dict.fromkeys(seconds, 0.5), 2, fork)  # shorter than they are
    assert not wrong.cache


def test_only_what_can_be_drawn_is_decoded(make_stage, corpus):
    some = copy.copy(corpus)
    some.train = [e for e in corpus.train if e.task == "mt" or e.task == ("aac" if e.extra["sound"] in "23" else "asr")]
    some.noises = [e.audio for e in some.train if e.task == "aac"]
    speech = {e.audio for e in some.train if e.task == "asr"}

    def decoded(name: str, **keys) -> set[str]:
        stage = make_stage(name, corpus=some, evaluate_every=0, **keys)
        some.waves = Waves()
        stage.batch.prepare(1)
        return set(some.waves.cache)

    assert len(speech) == 2 and decoded("encoder", noise=0.0) == speech
    assert decoded("encoder", noise=0.1) == speech | set(some.noises)
    assert decoded("joint", noise=0.0, weights={"aac": 1, "mt": 1}) == set(some.noises)
    assert decoded("gpt", weights={"mt": 1}) == set()


def test_tokens_are_made_together_and_found_again(corpus, tmp_path):
    torch.manual_seed(1)
    model = LauraModel(PRESETS["debug"])
    paths = [e.audio for e in corpus.train if e.task == "tts"]
    alone, together = CodecTokens(model, corpus.waves), CodecTokens(model, corpus.waves, tmp_path)
    together.prepare(paths)
    assert [alone(path) for path in paths] == [together(path) for path in paths]
    again = CodecTokens(model, corpus.waves, tmp_path)
    assert again.missing(paths) == [] and [again(path) for path in paths] == [alone(path) for path in paths]
    torch.nn.init.normal_(model.codec.quantizer.codebooks)  # tokens of another codec
    assert CodecTokens(model, corpus.waves, tmp_path).missing(paths) == paths
