"""A checkpoint whose GPT was published: as graphs, with floats and with blocks of 8 bits, it computes and writes what PyTorch does."""

import shutil

import numpy as np
import pytest
import torch
from qwens import TEXTS, qwen_of, save_qwen
from transformers import AutoModelForCausalLM

from lauragpt.engine.api import Laura
from lauragpt.engine.onnx_export import export_graphs
from lauragpt.model.lauragpt import PRESETS, LauraModel, save_checkpoint, with_gpt
from lauragpt.model.qwen import qwen_config, qwen_gpt

pytestmark = pytest.mark.slow  # each exports a model of its own, which takes half a minute


@pytest.fixture(scope="module", params=[("qwen2", True), pytest.param(("qwen3", False), marks=pytest.mark.slow)], ids=str)
def folders(request, debug_checkpoint, tmp_path_factory):
    """The published folder, and checkpoints with its GPT: {bits of the graph's weights: folder}."""
    parent = tmp_path_factory.mktemp("qwen")
    published = save_qwen(parent / "published", qwen_of(*request.param).to(torch.bfloat16))  # what float16 holds exactly
    config = with_gpt(PRESETS["debug"], qwen_config(published))
    model, made = LauraModel(config, qwen_gpt(published, config.gpt)), {}
    for bits in (32, 8):
        made[bits] = shutil.copytree(debug_checkpoint, parent / f"bits-{bits}")
        save_checkpoint(model, made[bits])
        shutil.copy(published / "tokenizer.json", made[bits])
        export_graphs(made[bits], bits, only=("step",))
    return published, made


@pytest.mark.parametrize(("bits", "backend"), [(32, "torch"), (32, "onnx"), (8, "onnx")])
@torch.no_grad()
def test_logits_of_text_are_those_that_were_published(folders, bits, backend):
    """Prefill, then a few tokens at once, then one by one."""
    published, made = folders
    ids = torch.randint(320, (2, 30), generator=torch.Generator().manual_seed(0))
    wanted = AutoModelForCausalLM.from_pretrained(published, dtype=torch.float32).eval()(ids).logits[:, 8:].numpy()
    session = Laura.load(made[bits], backend=backend).runtime.backend.open(None, ids[:, :9].tolist())
    found = [session.logits[:, None], *(session.extend(part.numpy()) for part in ids[:, 9:].split([4, *[1] * 17], 1))]
    wrong = np.concatenate(found, axis=1)[..., :320] - wanted
    if bits == 32:
        assert np.abs(wrong).max() < 1e-4
    else:  # activations are rounded too
        assert wrong.std() < 0.05 * wanted.std()


def test_answers_are_the_same(folders):
    onnx, torch_ = (Laura.load(folders[1][32], backend=name).translate(text=TEXTS, to="de") for name in ("onnx", "torch"))
    assert [answer.text for answer in onnx] == [answer.text for answer in torch_]
