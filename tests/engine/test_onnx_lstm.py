"""The paper's codec on ONNX Runtime: its LSTM takes any number of frames, alone, in a batch and in a stream, as PyTorch's does."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from lauragpt.engine.api import Laura
from lauragpt.engine.onnx_export import export_graphs, exported
from lauragpt.engine.onnx_graphs import OnnxLSTM
from lauragpt.model.lauragpt import PRESETS, LauraModel, save_checkpoint

pytestmark = pytest.mark.slow  # each exports a model of its own, which takes half a minute


def noise(samples: int) -> np.ndarray:
    return (0.3 * np.random.default_rng(samples).normal(size=samples)).astype(np.float32)


@pytest.fixture(scope="module")
def both(debug_checkpoint, tmp_path_factory):
    """A checkpoint with a SEANet codec, whose LSTM says something, by ONNX Runtime and by PyTorch."""
    folder = tmp_path_factory.mktemp("lstm") / "debug"
    shutil.copytree(debug_checkpoint, folder)
    torch.manual_seed(0)
    model = LauraModel(PRESETS["debug"])
    model.codec.quantizer.initialised.fill_(True)
    for name, parameter in model.codec.named_parameters():
        if ".lstm." in name:
            nn.init.normal_(parameter, std=0.3)
    save_checkpoint(model, folder)
    export_graphs(folder, only=("codes", "sound"))
    return [Laura.load(folder, backend=name).runtime.backend for name in ("onnx", "torch")], folder


def test_the_node_is_an_lstm_of_any_length_and_depth():
    import onnxruntime

    torch.manual_seed(1)
    lstm = nn.LSTM(6, 6, 3, batch_first=True)
    proto = exported(OnnxLSTM(lstm), (torch.randn(2, 5, 6),), ({0: "B", 1: "T"},), ["x"], ["y"])
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for B, T in ((1, 1), (3, 2), (2, 200)):
        x = torch.randn(B, T, 6)
        with torch.no_grad():
            wanted = lstm(x)[0].numpy()
        np.testing.assert_allclose(session.run(["y"], {"x": x.numpy()})[0], wanted, atol=1e-5)


@pytest.mark.parametrize("samples", [100, 640, 16_000, 70_001])
def test_codes_and_sound_are_those_of_pytorch_at_any_length(both, samples):
    (onnx, torch_backend), _ = both
    waves = [noise(samples), noise(samples // 3 + 1)]
    got, wanted = (backend.codec_encode(waves) for backend in (onnx, torch_backend))
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.shape == theirs.shape and (ours == theirs).mean() > 0.99  # rounding may choose between two codes that lie equally near
    for ours, theirs in zip(onnx.codec_decode(wanted), torch_backend.codec_decode(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_a_stream_remembers_what_came_long_before(both):
    (onnx, _), _ = both
    wave = noise(80_000)
    pieces = [wave[:9000], wave[9000:9100], wave[9100:50_000], wave[50_000:]]
    whole = onnx.codec_encode([wave])[0]
    assert (np.concatenate(list(onnx.codec_encode_stream(pieces)), axis=1) == whole).all()
    streamed = np.concatenate(list(onnx.codec_decode_stream([whole[:, :7], whole[:, 7:60], whole[:, 60:]])))
    np.testing.assert_allclose(streamed, onnx.codec_decode([whole])[0], atol=1e-6)


def test_the_weights_stay_in_the_checkpoint(both):
    _, folder = both
    for name in ("codes", "sound"):
        graph = json.loads((folder / "onnx" / "graphs.json").read_text())["graphs"][name]
        assert sum(how == "g" for _, how in graph["initializers"].values()) == 2, "both matrices of the LSTM"
