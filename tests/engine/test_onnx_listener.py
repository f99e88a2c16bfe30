"""A codec with a listener on ONNX Runtime: its codes are PyTorch's, in a batch and in a stream, and its weights are kept in 8 bits."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from gliding import gliding
from safetensors import safe_open

from lauragpt.codec.lyra import LyraConfig
from lauragpt.engine.api import Laura
from lauragpt.engine.onnx_export import export_graphs
from lauragpt.model.lauragpt import PRESETS, LauraModel, load_checkpoint, save_checkpoint

pytestmark = pytest.mark.slow  # each exports a model of its own, which takes half a minute

LISTENER = {"kind": "whisper", "width": 32, "layers": 1, "heads": 2, "ffn": 64, "output": 5, "heard": ()}


@pytest.fixture(scope="module")
def folder(debug_checkpoint, tmp_path_factory):
    """The debug checkpoint with Lyra's networks and a listener, whose blocks are short."""
    folder = tmp_path_factory.mktemp("listener") / "debug"
    shutil.copytree(debug_checkpoint, folder)
    torch.manual_seed(0)
    config = PRESETS["debug"]
    quantizer = replace(config.codec.quantizer, guide=5, levels=(4, 4, 4, 4, 4))
    lyra = LyraConfig(channels=8, dim=64, stack=2)
    codec = replace(config.codec, architecture="lyra", quantizer=quantizer, lyra=lyra, listener=LISTENER, block=30, margin=15)
    model = LauraModel(replace(config, codec=codec))
    wave = torch.from_numpy(gliding(20 * 16000))[None]
    with torch.no_grad():
        model.codec.listener.encoder.output.weight *= 30  # untrained, it hears hardly any difference
        model.codec.listener.round_as_stored()
        model.codec.quantizer.initialise(model.codec.latents(wave)[0])
    save_checkpoint(model, folder)
    export_graphs(folder, only=("codes", "sound"))
    return folder


@pytest.fixture(scope="module")
def both(folder):
    return [Laura.load(folder, backend=name).runtime.backend for name in ("onnx", "torch")]


@pytest.mark.parametrize("samples", [100, 640, 16_000, 70_001])
def test_codes_are_those_of_pytorch_at_any_length(both, samples):
    waves = [gliding(samples), gliding(samples // 3 + 1)]
    got, wanted = (backend.codec_encode(waves) for backend in both)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == theirs.shape and (ours[0] == theirs[0]).mean() > 0.97  # a number that lies between two levels may be rounded
    for ours, theirs in zip(*(backend.codec_decode(wanted) for backend in both), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))
    assert samples < 10_000 or len(set(wanted[0][0].tolist())) > 5, "codes that are all alike would prove nothing"


@pytest.mark.parametrize("which", [0, 1])
def test_a_stream_gives_the_codes_of_the_whole(both, which):
    backend, wave = both[which], gliding(80_000)
    whole = backend.codec_encode([wave])[0]
    for sizes in ([9000, 100, 41_000], [80_000], [1] * 5 + [40_000]):
        pieces = np.split(wave, np.cumsum(sizes))
        assert np.array_equal(np.concatenate(list(backend.codec_encode_stream(pieces)), axis=1), whole)


def test_the_listener_is_stored_in_8_bits_and_the_codec_keeps_its_hash(folder):
    with safe_open(folder / "codec.safetensors", "np") as file:
        names = file.keys()
        kinds = {name: file.get_tensor(name).dtype for name in names}
    assert kinds["codec.listener.encoder.layers.0.fc1.weight"] == np.int8
    assert kinds["codec.listener.encoder.layers.0.fc1.bias"] == kinds["codec.encoder.input.weight"] == np.float16
    promised = json.loads((folder / "config.json").read_text())["codec_hash"]
    assert load_checkpoint(folder).codec.hash == promised
