"""A checkpoint's files: weights in 8 bits come back nearly as they were, and to the same bytes when they are stored again."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lauragpt.checkpoint import FILES
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.features import FeatureConfig
from lauragpt.model.lauragpt import PRESETS, LauraModel, load_checkpoint, save_checkpoint
from lauragpt.model.whisper import WhisperConfig
from lauragpt.stored_weights import BLOCK, SCALE, all_tensors, dequantize, quantize, read_tensor

NAME = "encoder.layers.1.fc1.weight"


def random_weight(shape: tuple[int, ...]) -> np.ndarray:
    """Rows of very different sizes, one of zeros, and some too small for float16's full precision."""
    random = np.random.default_rng(0)
    weight = random.normal(size=shape) * 10.0 ** random.uniform(-9, 2, (shape[0], *[1] * (len(shape) - 1)))
    weight[1] = 0
    return weight.astype(np.float32)


@pytest.mark.parametrize("shape", [(200, 512), (200, 80, 3), (200, 33), (200, 5)])
def test_a_block_is_within_its_largest_value_by_a_share(shape):
    weight = random_weight(shape)
    values, scales = quantize(weight)
    assert values.dtype == np.int8 and scales.dtype == np.float16 and scales.nbytes <= 2 * np.ceil(weight[0].size / BLOCK) * 200
    rows, back = weight.reshape(200, -1), dequantize(values, scales).reshape(200, -1)
    for start in range(0, rows.shape[1], BLOCK):
        block, error = rows[:, start : start + BLOCK], np.abs(rows - back)[:, start : start + BLOCK]
        largest = np.abs(block).max(1, keepdims=True)
        # Half a step of 1/127, and for a scale below float16's smallest normal number what its rounding by 2 ** -24 takes from 127 steps.
        assert (error <= largest / 253 + 127 * 2.0**-24 * (largest / 127 < 2.0**-14)).all()
        assert (error[block == 0] == 0).all()


@pytest.mark.parametrize("shape", [(200, 512), (200, 80, 3), (200, 33)])
def test_what_was_in_8_bits_is_the_same_in_8_bits_again(shape):
    first = quantize(random_weight(shape))
    again = quantize(dequantize(*first))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def model() -> LauraModel:
    torch.manual_seed(0)
    encoder = WhisperConfig(width=64, layers=3, heads=2, ffn=96, output=32, heard=(1, 3))
    model = LauraModel(replace(PRESETS["debug"], encoder=encoder, features=FeatureConfig(kind="whisper", stack=4, skip=4)))
    model.encoder.intermediate.measure(torch.randn(50, 2, 64))
    return model.eval()


@pytest.fixture
def folder(model, debug_checkpoint, tmp_path):
    shutil.copytree(debug_checkpoint, tmp_path / "stored")
    save_checkpoint(model, tmp_path / "stored", name="trial")
    return tmp_path / "stored"


def test_matrices_and_kernels_of_the_encoder_are_in_8_bits_and_all_else_in_16(model, folder):
    stored = load_file(folder / FILES[0]) | load_file(folder / FILES[1])
    bytes_of = {name: tensor.dtype for name, tensor in stored.items()}
    layers = [f"layers.{i}.{part}" for i in range(3) for part in ("fc1", "fc2", *(f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")))]
    wanted = {f"encoder.{part}.weight" for part in ("conv1", "conv2", "down", "second", "output", "ctc", "intermediate.linear", *layers)}
    assert {name for name, dtype in bytes_of.items() if dtype == torch.int8} == wanted
    assert set(bytes_of) == set(model.state_dict()) | {name + SCALE for name in wanted}
    assert not any(dtype == torch.float32 for dtype in bytes_of.values())
    state = load_checkpoint(folder).state_dict()
    for name, tensor in model.state_dict().items():
        if name in wanted:
            values, scales = (stored[key].float() for key in (name, name + SCALE))
            plain = values.flatten(1) * scales.repeat_interleave(BLOCK, 1)[:, : values.flatten(1).shape[1]]
            assert torch.equal(state[name].flatten(1), plain), name
            torch.testing.assert_close(state[name], tensor, rtol=0, atol=tensor.abs().max().item() / 253)
        else:
            assert torch.equal(state[name], tensor.half().float() if tensor.is_floating_point() else tensor), name


def test_a_checkpoint_saved_again_has_the_same_bytes(folder, tmp_path):
    save_checkpoint(load_checkpoint(folder), tmp_path / "again", name="trial")
    for name in (*FILES, "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


@torch.no_grad()
def test_its_frames_are_nearly_those_of_the_weights_before(model, folder):
    waves = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    wanted, got = (each.encode(waves, torch.tensor([16000, 16000])).embeddings for each in (model, load_checkpoint(folder)))
    assert 0 < (got - wanted).norm() < 0.02 * wanted.norm()


def test_a_file_of_fp16_alone_loads_as_before(model, folder):
    halves = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items() if not name.startswith("codec.")}
    save_file(halves, folder / FILES[0])
    state = load_checkpoint(folder).state_dict()
    assert all(torch.equal(state[name], t.float() if t.is_floating_point() else t) for name, t in halves.items())
    assert all_tensors(folder)[NAME].dtype == np.float16


@pytest.mark.parametrize("damage", ["missing", "short", "a row"])
def test_a_weight_without_its_scales_is_told(damage, folder):
    stored = load_file(folder / FILES[0])
    scales = stored.pop(NAME + SCALE)
    if damage != "missing":
        stored[NAME + SCALE] = scales[:, :1].clone() if damage == "short" else scales[:1].clone()
    save_file(stored, folder / FILES[0])
    for use in (load_checkpoint, all_tensors, lambda path: read_tensor(path, NAME), lambda path: Laura.load(path, backend="torch")):
        with pytest.raises(LauraError, match=f"the scales of {NAME} are missing or do not fit it: fetch the checkpoint again") as told:
            use(folder)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(("change", "words"), [
    (lambda stored: stored.pop("gpt.norm.weight"), r"gpt\.norm\.weight is missing"),
    (lambda stored: stored.update(more=torch.zeros(2)), "its configuration has no place for more"),
    (lambda stored: stored.update({"gpt.norm.weight": torch.ones(31)}), r"gpt\.norm\.weight has the shape \(31,\), and by its .* \(32,\)"),
    (lambda stored: stored.update({"gpt.embed_tokens.weight": torch.ones(9999, 32)}), r"gpt.* has the shape \(9999, 32\)"),
    (lambda stored: stored.update({"gpt.embed_tokens.weight": torch.tensor(1.0)}), r"gpt\.embed_tokens\.weight has the shape \(\)"),
])  # fmt: skip
def test_weights_of_another_configuration_are_told_before_any_is_read(change, words, folder, monkeypatch):
    stored = load_file(folder / FILES[0])
    change(stored)
    save_file(stored, folder / FILES[0])
    monkeypatch.setattr("lauragpt.model.lauragpt.read_tensor", lambda *given: pytest.fail("it read"))
    with pytest.raises(LauraError, match=f"is not a whole LauraGPT checkpoint .{words}") as told:
        load_checkpoint(folder)
    assert "\n" not in str(told.value)


def test_tokens_of_tasks_that_were_added_since_begin_as_in_a_new_gpt(folder):
    stored = load_file(folder / FILES[0])
    whole = stored["gpt.embed_tokens.weight"]
    save_file(stored | {"gpt.embed_tokens.weight": whole[:-2].clone()}, folder / FILES[0])
    loaded = load_checkpoint(folder).gpt.embed_tokens.weight
    assert loaded.shape == whole.shape and torch.equal(loaded[:-2], whole[:-2].float())
    assert 0.01 < loaded[-2:].std() < 0.04


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the most memory in use is told by Linux")
def test_loading_takes_the_memory_of_the_model_and_little_more(tmp_path):
    config = PRESETS["debug"]
    save_checkpoint(LauraModel(replace(config, gpt=replace(config.gpt, layers=12, ffn=20_000))), tmp_path)

    def memory(which: str) -> int:
        return int(Path("/proc/self/status").read_text().split(f"{which}:")[1].split()[0]) * 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    model = load_checkpoint(tmp_path)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert size > 80e6 and memory("VmHWM") - before < 1.4 * size
