"""What several tests stand on: a whole checkpoint with random weights, small enough to be made in a second."""

import json

import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # sums in one order: a short training gives the same numbers on every machine's count of cores

LINES = [
    "the quick brown fox jumps over the lazy dog", "der schnelle braune fuchs springt über den faulen hund",
    "neutral calm happy sad angry fearful disgust surprised", "order | drink = coffee | size = big", "A dog barks while it rains.",
]  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def kept_answers(tmp_path_factory):
    """Evaluations keep their answers here, not in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAURA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@torch.no_grad()
def loud(codec):
    """An untrained decoder sounds its biases and hardly what it is given: without them, and louder, codes can be told by their sound."""
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
