"""The paper's model: all of it through one step without memory, whole and in eight parts, and a fiftieth of it through the stages and
phases of its recipe."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from lauragpt.model.lauragpt import PRESETS, LauraConfig, LauraModel, load_checkpoint
from lauragpt.sequence import Layout, layout
from lauragpt.train.checks import parameters
from lauragpt.train.config import load_recipe
from lauragpt.train.run import train
from lauragpt.train.sharding import shard

RECIPE = Path(__file__).parents[2] / "recipes" / "paper-2b.yaml"


def fiftieth(config: LauraConfig) -> LauraConfig:
    """As many layers and heads, a seventh of the widths, a fiftieth of the texts' vocabulary."""
    text_size, gpt = config.text_size // 50, replace(config.gpt, vocabulary=0, width=288, head_width=18, ffn=784)
    codec = replace(config.codec, seanet=replace(config.codec.seanet, filters=4))
    return replace(
        config, text_size=text_size, gpt=gpt, codec=codec,
        encoder=replace(config.encoder, width=80, ffn=216, output=gpt.width),
        vocoder=replace(config.vocoder, width=80, ffn=288, text_size=text_size),
    )  # fmt: skip


def rows_of(model: LauraModel) -> list[Layout]:
    """Something heard in 40 frames, something read, and something to speak."""
    vocabulary, codes = model.vocabulary, list(range(30))
    return [
        layout(vocabulary, "asr", "en", [5, 6, 151_935], frames=40), layout(vocabulary, "mt", "de", [8, 9], source=[4, 5]),
        layout(vocabulary, "tts", "en", vocabulary.audio(codes), source=[5, 6, 7]),
    ]  # fmt: skip


def test_all_of_it_takes_a_step():
    """On torch's device "meta", where tensors have shapes alone: all that listening and writing train has a gradient and is updated."""
    config = PRESETS["paper-2b"]
    with torch.device("meta"):
        model = LauraModel(config)
    rows = rows_of(model)
    heard = model.listen(torch.empty(1, 40, config.features.width, device="meta"), torch.tensor([40], device="meta"))
    losses = model.loss(rows, heard.embeddings)
    assert losses.shape == (sum(sum(row.targets) for row in rows),)
    trained = torch.nn.ModuleList([model.encoder, model.posterior_embedding, model.gpt])
    optimizer = torch.optim.AdamW(trained.parameters())
    (losses.mean() + heard.ctc_log_probs.mean()).backward()
    assert all(parameter.grad.shape == parameter.shape for parameter in trained.parameters())
    optimizer.step()
    assert len(optimizer.state) == len(list(trained.parameters()))
    assert 2.0e9 < sum(parameter.numel() for parameter in trained.parameters()) < 2.2e9


@pytest.fixture
def eight_processes():
    """A process group of eight whose messages go nowhere: this is the first of them."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    yield init_device_mesh("cpu", (8,))
    dist.destroy_process_group()


@pytest.mark.slow
def test_all_of_it_takes_a_step_in_eight_parts(eight_processes):
    """Encoder and GPT under FSDP2, as joint training divides them. It refuses the device "meta": here tensors say that they are on the CPU,
    and have shapes alone all the same. Of weights, gradients and moments a process holds an eighth."""
    config = PRESETS["paper-2b"]
    with FakeTensorMode():
        model = LauraModel(config)
        model.encoder.eval()  # it would leave out layers by chance, and no number is there to decide by
        parts = {"encoder": model.encoder, "posterior_embedding": model.posterior_embedding, "gpt": model.gpt}
        trained = torch.nn.ModuleDict(parts)
        root = shard(trained, {}, eight_processes)
        parameters, optimizer = list(trained.parameters()), torch.optim.AdamW(trained.parameters())
        whole = sum(parameter.nbytes for parameter in parameters)
        assert 8.0e9 < whole < 8.8e9, "2 B numbers of four bytes"
        root.unshard()
        heard = model.listen(torch.empty(1, 40, config.features.width), torch.tensor([40]))
        losses = model.loss(rows_of(model), heard.embeddings)
        assert losses.shape == (sum(sum(row.targets) for row in rows_of(model)),)
        (losses.mean() + heard.ctc_log_probs.mean()).backward()
        optimizer.step()
        assert [id(p) for p in trained.parameters()] == [id(p) for p in parameters], "they are in parts again"
        moments = [[optimizer.state[p][name] for p in parameters] for name in ("exp_avg", "exp_avg_sq")]
        for tensors in (parameters, [p.grad for p in parameters], *moments):
            assert sum(tensor.to_local().nbytes for tensor in tensors) == pytest.approx(whole / 8, rel=1e-3)


@pytest.mark.slow
def test_a_fiftieth_of_it_trains_by_its_recipe(prepared, tmp_path, monkeypatch):
    config = fiftieth(PRESETS["paper-2b"])
    assert 0.015 < parameters(config) / parameters(PRESETS["paper-2b"]) < 0.025
    monkeypatch.setitem(PRESETS, "paper-2b", config)
    small = ["steps=2", "warmup=1", "batch_seconds=4", "dev_batches=1", "crop_seconds=1", "quantize_from=1", "compile=false"]
    train(RECIPE, overrides=[f"data={prepared}", f"out={tmp_path}", *small])
    steps = {path.parents[2].name: json.loads(path.read_text())["step"] for path in sorted(tmp_path.glob("*/steps/*/state.json"))}
    assert steps == {"encoder": 2, "codec": 2, "gpt": 2, "vocoder": 2, "joint": 3 * 2}, "joint training has the paper's three phases"
    model = load_checkpoint(tmp_path / "export")
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values() if tensor.is_floating_point())


@pytest.mark.parametrize(("step", "rate"), [(0, 5e-8), (9_999, 5e-4), (139_999, 5e-4), (210_000, 2e-4), (260_000, 1e-4)])
def test_its_joint_training_has_the_papers_schedule(step, rate):
    """A rate for each of three phases, with a warm-up of 10,000 steps (section 4.2)."""
    assert load_recipe(RECIPE).stages["joint"].learning_rate(step) == pytest.approx(rate)
