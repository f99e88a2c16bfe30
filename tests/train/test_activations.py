"""Layers that are computed again: the same losses, gradients and weights as without, of fewer bytes, in training alone."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn

from lauragpt.model.lauragpt import PRESETS, LauraModel, with_changes
from lauragpt.train import loop, state
from lauragpt.train.activations import checkpoint_layers, layers_of
from lauragpt.train.config import load_recipe
from lauragpt.train.counting import count
from lauragpt.train.gpus import find_gpu
from lauragpt.train.lora import LoraConfig
from lauragpt.train.plan import plan_recipe
from lauragpt.train.precision import precision

AGAIN = {"checkpoint_activations": True}
TASKS = {"asr": 1, "mt": 1, "tts": 1, "se": 1}


class Held:
    """The bytes that stand between a forward pass and its backward pass."""

    def __init__(self):
        self.tensors: dict[int, Tensor] = {}

    def add(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            self.tensors[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def read(self, layer: nn.Module, inputs: tuple) -> None:
        self.add(inputs[0])

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self.tensors.values())

    @contextmanager
    def counting(self, modules: nn.Module) -> Iterator[None]:
        """Saved tensors, and what layers read: those that are computed again hold it in no node of the graph."""
        hooks = [layer.register_forward_pre_hook(self.read) for layer in layers_of(modules)]
        with torch.autograd.graph.saved_tensors_hooks(self.add, lambda tensor: tensor):
            yield
        for hook in hooks:
            hook.remove()


def computed(stage, autocast: bool = False, number: int = 0) -> tuple[float, dict[str, Tensor], int]:
    """(loss, gradients, bytes held) of a first step, on batch `number`."""
    held, losses = Held(), []

    def backward(name: str, parts: dict[str, Tensor]) -> None:
        losses.append(sum(parts.values()))

    stage.modules.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    with held.counting(stage.modules), torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if autocast else nullcontext():
        stage.step(stage.batch(number), 0, backward)
    size = held.bytes
    losses[0].backward()
    return float(losses[0].detach()), {name: p.grad for name, p in stage.modules.named_parameters() if p.grad is not None}, size


@pytest.fixture
def pair(make_stage):
    """(stage, changes of the debug preset, keys) -> the stage as it is, and with layers that are computed again."""

    def make(name: str, changes: dict, **keys):
        stages = []
        for more in ({}, AGAIN):
            torch.manual_seed(0)
            stages.append(make_stage(name, LauraModel(with_changes(PRESETS["debug"], changes)), batch_seconds=3, **keys | more))
            stages[-1].modules.train()
        return stages

    return make


@pytest.mark.parametrize("name, changes, keys, autocast", [
    ("gpt", {"gpt": {"layers": 4}}, {"weights": {"mt": 1, "tts": 1}}, False),
    ("gpt", {"gpt": {"layers": 4}}, {"weights": {"mt": 1, "tts": 1}}, True),
    ("joint", {}, {"weights": TASKS}, False),
    ("joint", {"encoder": {"layers": 6, "drop_layer": 0.9}}, {"weights": TASKS}, True),
    ("joint", {}, {"weights": TASKS, "lora": LoraConfig(rank=3)}, False),
    ("joint", {}, {"weights": TASKS, "lora": LoraConfig(rank=3, parts=("gpt",))}, False),
    ("encoder", {"encoder": {"norm": "batch"}}, {}, False),
])  # fmt: skip
def test_losses_and_gradients_are_the_same_and_fewer_bytes_are_held(pair, name, changes, keys, autocast):
    plain, again = pair(name, changes, **keys)
    for module in [m for stage in (plain, again) for m in stage.modules.modules() if hasattr(m, "lora_B")]:
        nn.init.constant_(module.lora_B["default"].weight, 0.02)  # at first they are 0, and most gradients as well
    (loss, gradients, size), (loss_again, gradients_again, size_again) = computed(plain, autocast), computed(again, autocast)
    assert loss_again == loss and gradients_again.keys() == gradients.keys()
    assert sum(bool(gradient.any()) for gradient in gradients.values()) > 10
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradients_again[key], gradient, rtol=0, atol=0, msg=key)
    assert size_again < (2 / 3 if name == "gpt" else 1) * size
    for key, tensor in plain.modules.state_dict().items():
        assert again.modules.state_dict()[key].equal(tensor), f"{key}: BatchNorm has counted the batch twice"


def test_what_is_dropped_by_chance_is_dropped_again():
    def gradient(again: bool) -> Tensor:
        torch.manual_seed(0)
        model = nn.ModuleDict({"layers": nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Tanh()) for _ in range(3))})
        if again:
            checkpoint_layers(layers_of(model))
        x = torch.randn(5, 8)
        for layer in model["layers"]:
            x = layer(x)
        torch.rand(7)  # other chance between the passes
        x.sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    assert gradient(True).equal(gradient(False)) and gradient(True).any()


def test_nothing_is_computed_again_outside_training(pair):
    plain, again = pair("gpt", {"gpt": {"layers": 4}})
    trained = computed(again)[2]
    for stage in (plain, again):
        stage.modules.eval()
    assert computed(again)[2] == computed(plain)[2] > trained
    assert again.validate() == plain.validate()


@pytest.mark.slow
def test_compiled_layers_are_computed_again(pair):
    plain, again = pair("gpt", {"gpt": {"layers": 4}}, weights={"mt": 1, "tts": 1})
    compiled = pair("gpt", {"gpt": {"layers": 4}}, weights={"mt": 1, "tts": 1}, compile=True)
    for number in range(3):  # of other shapes
        (loss, gradients, size), (_, _, size_again) = computed(plain, number=number), computed(again, number=number)
        sizes = []
        for stage in compiled:
            own_loss, own_gradients, own_size = computed(stage, number=number)
            assert own_loss == pytest.approx(loss, abs=1e-5) and own_gradients.keys() == gradients.keys()
            for key, gradient in gradients.items():
                torch.testing.assert_close(own_gradients[key], gradient, rtol=1e-3, atol=1e-6, msg=key)
            sizes.append(own_size)
        assert sizes[1] == size_again < sizes[0] < size


def test_training_goes_on_from_a_checkpoint_that_was_written_without(make_stage, tmp_path):
    accelerator, keys = Accelerator(mixed_precision=precision(), cpu=True), {"weights": TASKS, "batch_seconds": 2}
    for folder, stages in (("plain", [{}, {}]), ("mixed", [{}, AGAIN])):
        for steps, more in zip((1, 2), stages, strict=True):
            stage = make_stage("joint", steps=steps, lr_floor=1.0, decay=0.0, dev_batches=1, **keys | more)
            assert loop.run(stage, tmp_path / folder, accelerator, resume=steps == 2)
    plain, mixed = (load_file(state.newest(tmp_path / folder) / state.MODEL) for folder in ("plain", "mixed"))
    begun = make_stage("joint", **keys).modules.state_dict()
    assert plain.keys() == begun.keys() and any(not tensor.equal(begun[key]) for key, tensor in plain.items())
    assert mixed.keys() == plain.keys() and all(mixed[key].equal(tensor) for key, tensor in plain.items())


def test_a_plan_counts_what_is_held_and_computed(make_stage):
    """Bytes and operations as they were counted on layers that keep all, and as they are with layers that are computed again."""
    stage = make_stage("gpt", LauraModel(with_changes(PRESETS["debug"], {"gpt": {"layers": 4}})), batch_seconds=6)
    stage.modules.train()
    batch, held = stage.batch(0), Held()

    def loss() -> Tensor:
        losses = []
        stage.step(batch, 0, lambda name, parts: losses.append(sum(parts.values())))
        return losses[0]

    before = count(stage.modules, loss, bf16=False, fused=False)
    planned = before.with_layers_checkpointed()
    checkpoint_layers(layers_of(stage.modules))
    flops = count(stage.modules, loss, bf16=False, fused=False).flops
    assert before.flops < flops <= planned.flops == pytest.approx(flops, rel=0.05)  # the last product of a layer is not needed again
    with held.counting(stage.modules):
        loss()
    assert held.bytes + max(before.layers) == pytest.approx(planned.kept, rel=0.05)


def test_the_key_of_a_recipe_lowers_the_memory_that_is_planned(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("preset: debug\nmodel: {gpt: {layers: 4}}\nstages: {gpt: {steps: 9, batch_seconds: 8, weights: {mt: 1}}}\n")
    plain, again = (plan_recipe(load_recipe(path, keys), find_gpu("h100")).stages[0] for keys in ([], ["checkpoint_activations=true"]))
    assert plain.flops < again.flops < 4 / 3 * plain.flops
    for row, other in zip(plain.memory, again.memory, strict=True):
        assert other.activations == other.checkpointed == row.checkpointed < row.activations
        assert (other.weights, other.gradients, other.optimizer) == (row.weights, row.gradients, row.optimizer)
