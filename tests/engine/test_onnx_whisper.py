"""The encoder of Whisper's kind as a graph: what PyTorch hears, alone and in a batch, from weights that are stored once."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from lauragpt.engine.api import Laura
from lauragpt.engine.onnx_export import export_graphs
from lauragpt.features import FeatureConfig
from lauragpt.model.lauragpt import PRESETS, LauraModel, save_checkpoint
from lauragpt.model.whisper import WhisperConfig

pytestmark = pytest.mark.slow  # each exports a model of its own, which takes half a minute


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(samples).normal(size=samples)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(debug_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper") / "debug"
    shutil.copytree(debug_checkpoint, folder)
    torch.manual_seed(0)
    encoder = WhisperConfig(width=32, layers=3, heads=2, ffn=64, output=32, heard=(1, 3))
    features = FeatureConfig(kind="whisper", stack=4, skip=4)
    model = LauraModel(replace(PRESETS["debug"], encoder=encoder, features=features))
    model.encoder.intermediate.measure(torch.randn(50, 2, 32))
    save_checkpoint(model, folder)
    export_graphs(folder, only=("listen", "step"))
    return folder


def test_both_backends_hear_the_same(folder):
    onnx, torch_backend = (Laura.load(folder, backend=name).runtime.backend for name in ("onnx", "torch"))
    waves = [noise(n) for n in (16_000, 100, 640, 41_111)]
    together, wanted = onnx.encode(waves), torch_backend.encode(waves)
    assert together.lengths.tolist() == wanted.lengths.tolist() == [25, 1, 1, 65]
    for row, (wave, length) in enumerate(zip(waves, wanted.lengths, strict=True)):
        alone = onnx.encode([wave])
        for name in ("embeddings", "ctc_log_probs"):
            here, there, single = (getattr(heard, name) for heard in (together, wanted, alone))
            np.testing.assert_allclose(here[row, :length], there[row, :length], atol=1e-4)
            np.testing.assert_allclose(single[0], here[row, :length], atol=1e-4)


def test_a_transcript_is_the_same(folder):
    waves = [noise(n) for n in (30_000, 9_000)]
    texts = [[result.text for result in Laura.load(folder, backend=name).transcribe(waves, lang="en")] for name in ("onnx", "torch")]
    assert texts[0] == texts[1]


def test_its_weights_are_stored_once(folder):
    about = json.loads((folder / "onnx" / "graphs.json").read_text())
    taken = {key for keys, _ in about["graphs"]["listen"]["initializers"].values() for key in keys}
    assert "encoder.layers.0.fc1.weight" in taken and "encoder.intermediate.linear.weight" in taken
    assert (folder / "onnx" / "listen.onnx").stat().st_size < 200_000
