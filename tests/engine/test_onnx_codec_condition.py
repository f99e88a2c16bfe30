"""A vocoder whose condition is in codec space, on ONNX Runtime: PyTorch's sound, alone, in a batch and in a stream."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from gliding import gliding

from lauragpt.codec.lyra import LyraConfig
from lauragpt.engine.api import Laura
from lauragpt.engine.backend import TextCondition
from lauragpt.engine.onnx_export import export_graphs
from lauragpt.model.lauragpt import PRESETS, LauraModel, save_checkpoint
from lauragpt.model.vocoder import VOICED
from lauragpt.source_filter import F0, FRAMES

pytestmark = pytest.mark.slow  # each exports a model of its own, which takes half a minute

SIZES = (40, 3, 25)  # tokens of each row


@pytest.fixture(scope="module")
def both(debug_checkpoint, tmp_path_factory):
    """The debug checkpoint with Lyra's networks, small, and a vocoder in their space that has learnt something; by both backends."""
    folder = tmp_path_factory.mktemp("codec-condition") / "debug"
    shutil.copytree(debug_checkpoint, folder)
    torch.manual_seed(0)
    config = PRESETS["debug"]
    lyra = replace(config.codec, architecture="lyra", lyra=LyraConfig(channels=8, dim=64, stack=2))
    codec = replace(lyra, quantizer=replace(config.codec.quantizer, guide=0))
    vocoder = replace(config.vocoder, condition="codec", look_ahead=0, kernel=5)
    model = LauraModel(replace(config, codec=codec, vocoder=vocoder))
    with torch.no_grad():
        for name, parameter in model.codec.named_parameters():  # untrained, it would hardly hear more than its biases
            parameter.mul_(0 if "bias" in name else 1)
        vectors = model.codec.vectors(torch.from_numpy(gliding(20 * 16000))[None])[0]
        model.codec.quantizer.initialise(vectors)
        model.vocoder.measure(vectors)
        for layer in (model.vocoder.gate, model.vocoder.output, model.vocoder.frames):
            torch.nn.init.normal_(layer.weight, std=0.1)
        model.vocoder.frame_mean[F0], model.vocoder.frame_deviation[:] = 5.0, 0.2
        voicing = model.vocoder.frames.bias.unflatten(0, (FRAMES, -1))[:, VOICED]
        voicing.copy_(torch.tensor([20.0, 20.0, -20.0, 20.0]))  # which no rounding changes
        torch.nn.init.normal_(model.speller.output.weight, std=0.5)
    save_checkpoint(model, folder)
    export_graphs(folder, only=("spell", "predict", "frames", "sound", "vectors"))
    return [Laura.load(folder, backend=name).runtime.backend for name in ("onnx", "torch")]


def tokens(backend) -> list[np.ndarray]:
    return [np.random.default_rng(n).integers(backend.codebook_size, size=n) for n in SIZES]


CONDITIONS = {
    "noisy": {"noisy": [gliding(n * 640 - 100) for n in SIZES]},
    "noisy, longer or shorter": {"noisy": [gliding(45 * 640), gliding(3 * 640), gliding(20 * 640)]},
    "text and prompt": {"text": [TextCondition([5, 6, 7, 8, 8, 9, 20, 21, 22]), TextCondition([]), TextCondition([9] * 9)],
                        "prompt": [gliding(16_000), None, gliding(5_000)]},
    "none": {},
}  # fmt: skip


@pytest.mark.parametrize("name", CONDITIONS)
def test_sound_is_that_of_pytorch_alone_and_in_a_batch(both, name):
    given = CONDITIONS[name]
    got, wanted = (backend.vocode(tokens(backend), **given) for backend in both)
    # The phase of a voice is the sum of its pitch so far, and with it of all that was rounded otherwise.
    within = 5e-4 * max(np.abs(wave).max() for wave in wanted)
    for row, (ours, theirs) in enumerate(zip(got, wanted, strict=True)):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=within)
        for backend in both:
            [alone] = backend.vocode(tokens(backend)[row : row + 1], **{kind: rows[row : row + 1] for kind, rows in given.items()})
            np.testing.assert_allclose(alone, theirs, atol=within)


@pytest.mark.parametrize("which", [0, 1])
def test_speech_in_pieces_is_the_whole_and_hears_its_prompt(both, which):
    backend, (codes, *_) = both[which], tokens(both[which])
    text, prompts = TextCondition([5, 6, 7, 8, 8, 9, 20, 21, 22]), [gliding(16_000), gliding(9_000)]
    wholes = [backend.vocode([codes], text=[text], prompt=[prompt])[0] for prompt in prompts]
    pieces = list(backend.vocode_stream(np.split(codes, [1, 9, 30]), text, prompts[0]))
    assert len(pieces) > 1
    np.testing.assert_allclose(np.concatenate(pieces), wholes[0], atol=1e-4 * np.abs(wholes[0]).max())
    assert np.abs(wholes[0] - wholes[1]).max() > 1e-2 * np.abs(wholes[0]).max()
    [unsaid] = backend.vocode([codes], text=[TextCondition(text.letters[::-1])], prompt=[prompts[0]])
    assert np.abs(wholes[0] - unsaid).max() > 1e-2 * np.abs(wholes[0]).max()


def test_a_vocoder_of_features_needs_no_graph_of_its_own(debug_checkpoint, both, tmp_path):
    shutil.copytree(debug_checkpoint, tmp_path / "debug")
    export_graphs(tmp_path / "debug", only=("spell", "vectors"))
    assert not list((tmp_path / "debug" / "onnx").glob("*.onnx"))
    inputs = {each.name: each for each in onnx.load(both[0].graphs.folder / "onnx" / "predict.onnx", load_external_data=False).graph.input}
    assert [inputs[name].type.tensor_type.shape.dim[2].dim_value for name in ("prompt", "noisy")] == [560, 128]
