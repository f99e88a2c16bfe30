"""Fixtures of several test files: a complete checkpoint with random weights, small enough to be made in a second."""

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also for the processes that tests start

import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # sums in one order: a short training gives the same numbers on any number of cores
WORKER = os.environ.get("PYTEST_XDIST_WORKER")  # "gw0" ... under `pytest -n 2 --dist loadfile`
if WORKER and hasattr(os, "sched_setaffinity"):  # one core a worker, or ONNX Runtime's threads of one worker wait for the other's
    CORES = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {CORES[int(WORKER.removeprefix("gw")) % len(CORES)]})

LINES = [
    "the quick brown fox jumps over the lazy dog", "der schnelle braune fuchs springt über den faulen hund",
    "neutral calm happy sad angry fearful disgust surprised", "order | drink = coffee | size = big", "A dog barks while it rains.",
]  # fmt: skip


# Few tests that take long: begun first, so that at the end no worker waits for the other.
LONG = ("train/test_debug_recipe", "test_readme", "test_docs", "serve/test_browser", "engine/test_onnx", "evaluate/test_report", "serve/")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: next((at for at, name in enumerate(LONG) if name in item.nodeid), len(LONG)))  # else as they were


@pytest.fixture(scope="session", autouse=True)
def answer_cache(tmp_path_factory):
    """A cache folder for the answers of evaluations, in place of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAURA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def table():
    """The tasks and languages that a test adds, or a checkpoint that it loads, are not there for the next."""
    from lauragpt.tasks import ADDED, LANGS, TASKS

    tasks, langs, added = dict(TASKS), list(LANGS), list(ADDED)
    yield
    TASKS.clear()
    TASKS.update(tasks)
    LANGS[:], ADDED[:] = langs, added


@torch.no_grad()
def loud(codec):
    """Makes an untrained decoder depend on its codes: without biases, which would outweigh them, and louder."""
    for name, parameter in codec.decoder.named_parameters():
        if "bias" in name:
            parameter.zero_()
    sound = codec.decode(torch.arange(200).view(1, 4, 50))
    list(codec.decoder.parameters())[-2].mul_(0.3 / sound.abs().max())  # the size of the last convolution's weights


@pytest.fixture(scope="session")
def debug_checkpoint(tmp_path_factory):
    """The folder of a checkpoint of the `debug` preset, with one named voice."""
    from lauragpt.audio import save_audio
    from lauragpt.model.lauragpt import PRESETS, LauraModel, save_checkpoint
    from lauragpt.text import Tokenizer

    folder = tmp_path_factory.mktemp("checkpoints") / "debug"
    torch.manual_seed(0)
    model = LauraModel(PRESETS["debug"])
    model.codec.quantizer.initialised.fill_(True)  # its codebooks are what they are: nothing is to begin them anew
    loud(model.codec)
    save_checkpoint(model, folder)
    Tokenizer.train(LINES, PRESETS["debug"].text_size).save(folder / "tokenizer.json")
    voices = folder / "voices"
    voices.mkdir()
    card = {"name": "anna", "lang": "en", "text": "the quick brown fox", "licence": "CC0-1.0", "source": "made by a formula"}
    (voices / "anna.json").write_text(json.dumps(card))
    time = np.arange(24000) / 16000
    save_audio(voices / "anna.wav", (0.1 * np.sin(2 * np.pi * (200 * time + 30 * np.sin(4 * time)))).astype(np.float32))
    return folder
