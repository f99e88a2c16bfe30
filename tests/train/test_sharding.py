"""Weights divided among processes: what they learn, their checkpoints, and processes that are killed."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from torch.distributed import fsdp
from torch.distributed.tensor import DTensor

from lauragpt.errors import LauraError, LauraWarning
from lauragpt.model.gpt import GPT, GPTConfig
from lauragpt.train import state
from lauragpt.train.average import Average
from lauragpt.train.lora import LoraConfig
from lauragpt.train.precision import precision
from lauragpt.train.sharding import Sharding
from lauragpt.train.stage import StageConfig, adamw
from lauragpt.train.stages.gpt import GPTStageConfig
from lauragpt.train.stages.joint import JointStageConfig

BATCHES = 4  # of a step, of all processes together
TEXT = {"weights": {"mt": 1, "tts": 1}}
TASKS = {"weights": {"asr": 2, "mt": 1, "tts": 1, "se": 1, "ser": 1}, "noise": 0.0, "degraded": 0.0, "spec_augment": False}

SCRIPT = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
from accelerate import Accelerator
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.text import Tokenizer
from lauragpt.train import loop, sharding, state
from lauragpt.train.batches import CodecBatch
from lauragpt.train.corpus import Corpus
from lauragpt.train.run import read_data
from lauragpt.train.stages import STAGES

asked = json.loads(Path(sys.argv[1]).read_text())
data, out, batches = Path(asked["data"]), Path(asked["out"]), asked["batches"]
torch.set_num_threads(1)
accelerator = Accelerator(mixed_precision="no", cpu=True)
rank, each = accelerator.process_index, batches // accelerator.num_processes
lines = [line for lang in ("en", "de") for line in (data / f"text.{lang}.txt").read_text(encoding="utf-8").splitlines()]
corpus = Corpus(*read_data(data), data, Tokenizer.train(lines, PRESETS["debug"].text_size))
deaths = asked.get("deaths", {})  # of each start: (rank, step, whether in the middle of a save)
victim, last, saving = deaths.get(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), (-1, -1, False))

def die():
    os.kill(os.getpid(), signal.SIGKILL)

seal = state.seal
state.seal = lambda folder, about: die() if saving and rank == victim and about["step"] >= last else seal(folder, about)

for name, keys in asked["stages"].items():
    torch.manual_seed(0)
    model, kind = LauraModel(PRESETS["debug"]), STAGES[name]
    quantizer = model.codec.quantizer
    quantizer.initialised.fill_(True)
    quantizer.config = replace(quantizer.config, dead_threshold=0.0, first_only=0.0, dropout_levels=(4,))
    codec = name == "codec"
    config = kind.Config(warmup=2, lr=3e-3, **({} if codec else {"accumulate": each, "dev_batches": 1}), **keys)
    stage = kind(model, corpus, config, rank=rank)
    make, compute, told, folder = stage.batch, stage.step, (out / f"{name}.{rank}.jsonl").open("a"), out / name

    def batch(number, step):  # of as many batches as the others have of smaller ones
        parts = [make(number * each + part, step) for part in range(each)]  # of like size
        return CodecBatch(torch.cat([part.waves for part in parts]), torch.cat([part.guide for part in parts]))

    def step(batch, number, update):
        if not stage.modules.training:  # but validated
            return compute(batch, number, update)
        if rank == victim and number == last and not saving:
            die()
        sizes = getattr(stage, "sizes", lambda batch: {})(batch)

        def tell(name, losses):
            losses = losses if isinstance(losses, dict) else {name: losses}
            told.write(json.dumps([number, {part: [loss.item(), sizes.get(part, 1)] for part, loss in losses.items()}]) + "\\n")
            told.flush()
            update(name, losses if len(sizes) else losses[name])

        return compute(batch, number, tell)

    stage.batch, stage.step = batch if codec else make, step
    assert loop.run(stage, folder, accelerator, resume=True)
"""


def start(folder, data, processes: int, stages: dict, restarts: int = 0, **more) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    script, asked = folder / "train.py", folder / "asked.json"
    script.write_text(SCRIPT)
    asked.write_text(json.dumps({"data": str(data), "out": str(folder), "batches": BATCHES, "stages": stages} | more))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "--max-restarts", str(restarts)]
    command = [sys.executable, *launch, str(script), str(asked)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # else they look for those who died
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=env)
    assert done.returncode == 0, done.stderr
    return done


def losses_of(folder, name: str) -> list[float]:
    """Of each step the sum of all losses, each a mean over all that its batches hold."""
    steps: dict[int, dict[str, list]] = {}
    for path in folder.glob(f"{name}.*.jsonl"):
        seen: dict[tuple, list] = {}
        for line in path.read_text().splitlines():
            number, parts = json.loads(line)
            for part, each in parts.items():
                seen.setdefault((number, part), []).append(each)
        for (number, part), each in seen.items():
            steps.setdefault(number, {}).setdefault(part, []).extend(each)
    means = [[sum(a * n for a, n in each) / sum(n for _, n in each) for each in steps[number].values()] for number in sorted(steps)]
    return [sum(parts) for parts in means]


def same_weights(one, other, keep_best: bool = False, atol: float = 1e-3) -> None:
    ours, theirs = (state.load_weights(state.weights_of(folder, keep_best)) for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        torch.testing.assert_close(theirs[key], tensor, rtol=0, atol=atol, msg=key)


@pytest.mark.slow
def test_those_that_divide_the_weights_learn_what_one_learns(prepared, tmp_path):
    chosen = {"ema": 0.9, "keep_best": True, "evaluate_every": 10}
    stages = {"gpt": {"steps": 50, "batch_seconds": 3} | chosen | TEXT, "joint": {"steps": 50, "batch_seconds": 4} | TASKS}
    start(tmp_path / "1", prepared, 1, stages)
    for processes in (2, 4):
        divided = {name: keys | {"shard": True} for name, keys in stages.items()}
        start(tmp_path / str(processes), prepared, processes, divided)
        for name in stages:
            alone, together = (losses_of(tmp_path / str(each), name) for each in (1, processes))
            assert len(alone) == len(together) == 50 and alone[-1] < alone[0] - 0.1, "nothing was learnt that could differ"
            assert together == pytest.approx(alone, abs=1e-4)
            sizes = [path.stat().st_size for path in state.newest(tmp_path / str(processes) / name).glob("*.safetensors")]
            assert len(sizes) == processes and max(sizes) < 1.2 * min(sizes), "each process writes what it holds"
            others = state.newest(tmp_path / str(processes) / name).glob("shard-0000[2-9]*.safetensors")
            assert not any(key.endswith(".step") for path in others for key in load_file(path)), "what is not divided the main one writes"
        one, other = (tmp_path / each / "gpt" for each in ("1", str(processes)))
        assert state.best(other) == pytest.approx(state.best(one), abs=1e-4)
        same_weights(one, other)  # averages
        same_weights(one, other, keep_best=True)


@pytest.mark.slow
def test_two_processes_learn_codec_and_vocoder_as_one_does(prepared, tmp_path):
    """Codebooks and discriminator too. What would differ is off: chances of a row (gain, levels), codes that nobody chooses, which come to
    life again at points of one process, and feature matching, which is relative to the size of a process's own features."""
    stages = {
        "codec": {"steps": 3, "batch_seconds": 2.6, "quantize_from": 0, "adversarial_from": 0, "gain_db": [-3, -3], "matching_weight": 0.0},
        "vocoder": {"steps": 3, "batch_seconds": 6, "weights": {"tts": 1, "se": 1}},
    }
    for processes in (1, 2):
        start(tmp_path / str(processes), prepared, processes, stages)
    for name in stages:
        assert losses_of(tmp_path / "2", name) == pytest.approx(losses_of(tmp_path / "1", name), abs=1e-4)
    one, other = (state.load_weights(state.weights_of(tmp_path / each / "codec", False)) for each in ("1", "2"))
    for key in ("codec.quantizer.codebooks", "codec.quantizer.counts"):
        assert one[key].any()
        torch.testing.assert_close(other[key], one[key], rtol=1e-3, atol=1e-3, msg=key)


@pytest.mark.slow
def test_killed_processes_go_on_as_if_they_had_not_been(prepared, tmp_path):
    """By torchrun: one of four is killed in the middle of a step, then the main one while it saves. What was written by four is then read
    by two, and what they wrote by one that divides nothing."""
    keys = {"batch_seconds": 3, "save_minutes": 0.0, "ema": 0.9, "decay": 0.0} | TEXT
    start(tmp_path / "1", prepared, 1, {"gpt": keys | {"steps": 12}})
    deaths = {"0": (2, 3, False), "1": (0, 5, True)}
    told = start(tmp_path / "4", prepared, 4, {"gpt": keys | {"steps": 8, "shard": True}}, restarts=2, deaths=deaths).stderr
    assert told.count("exitcode: -9") >= 2, told
    start(tmp_path / "4", prepared, 2, {"gpt": keys | {"steps": 10, "shard": True}})
    start(tmp_path / "4", prepared, 1, {"gpt": keys | {"steps": 12}})
    assert losses_of(tmp_path / "4", "gpt") == pytest.approx(losses_of(tmp_path / "1", "gpt"), abs=1e-4)
    same_weights(tmp_path / "1" / "gpt", tmp_path / "4" / "gpt")


class Little:
    """A stage with a GPT of three layers, a linear layer that not every batch needs, and a normalisation."""

    name = "little"

    def __init__(self):
        torch.manual_seed(0)
        self.config = StageConfig(steps=4)
        gpt = GPT(GPTConfig(vocabulary=20, width=8, layers=3, heads=2, kv_heads=1, head_width=4, ffn=12))
        self.modules = nn.ModuleDict({"gpt": gpt, "extra": nn.Linear(8, 8), "norm": nn.BatchNorm1d(8)})
        self.optimizers = {"model": adamw(self.modules.parameters(), self.config)}

    def learn(self, gathered, step: int) -> float:
        gpt, ids = self.modules["gpt"], [torch.arange(5 + step).view(1, -1), torch.arange(12).view(3, 4)]
        with gathered():
            read = [gpt.embed(each) for each in ids]
            read = [self.modules["extra"](each) for each in read] if step % 2 else read
            hidden = gpt.hidden_of(read, [torch.arange(each.shape[1]).expand(each.shape).float() for each in ids])
            loss = nn.functional.cross_entropy(gpt.logits(self.modules["norm"](hidden)), torch.cat([each.flatten() for each in ids]))
            loss.backward()
        for parameter in self.modules.parameters():  # what no batch needs has a gradient of zeros in several processes
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        self.optimizers["model"].step()
        self.optimizers["model"].zero_grad()
        return loss.item()


@pytest.fixture
def sharding(tmp_path):
    """(a stage, its sharding) in a group of this one process."""
    accelerator = Accelerator(mixed_precision=precision(), cpu=True)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    stage = Little()
    yield stage, Sharding(stage, tmp_path, accelerator)
    dist.destroy_process_group()


def test_checkpoints_in_pieces_are_those_of_whole_tensors(sharding, tmp_path):
    (stage, divided), plain = sharding, Little()
    whole = type("", (), {"__enter__": lambda self: None, "__exit__": lambda self, *error: None})
    average = Average(stage.modules, 0.5)
    for step in range(2):
        assert stage.learn(divided.gathered, step) == pytest.approx(plain.learn(whole, step), abs=1e-6)
        average.update(step)
    assert all(isinstance(parameter, DTensor) for parameter in stage.modules.parameters()), "they are in pieces again"
    divided.save(2, {"validated": True}, average.tensors, keep=2, anew=True)
    stage.learn(divided.gathered, 2)  # while it is written
    divided.finish()
    divided.save(3, {"validated": False}, None, keep=2, anew=False)
    divided.finish()
    divided.save_best({"step": 2, "loss": 1.0})
    best = {name: tensor.full_tensor().clone() for name, tensor in stage.modules.named_parameters()}
    assert state.steps_done(tmp_path) == 3 and state.best(tmp_path) == {"step": 2, "loss": 1.0}
    (pieces,) = (tmp_path / "steps" / "00000003").glob("*.safetensors")
    pieces.write_bytes(pieces.read_bytes()[:-1] + b"?")
    with pytest.warns(LauraWarning, match="is damaged"):
        assert state.steps_done(tmp_path) == 2

    read = Little()
    state.load(tmp_path, read.modules, read.optimizers)
    for one, other in zip(read.modules.state_dict().values(), plain.modules.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)
    saved, moments = state.load_weights(state.weights_of(tmp_path, False)), state.moments(plain.optimizers)
    assert not saved["extra.weight"].equal(read.modules["extra"].weight) and saved["norm.num_batches_tracked"] == 2, "the average"
    for name, moment in state.moments(read.optimizers).items():
        torch.testing.assert_close(moment, moments[name], rtol=0, atol=1e-6)
    assert read.learn(whole, 2) == pytest.approx(plain.learn(whole, 2), abs=1e-6)

    averages = {name: tensor.clone().zero_() for name, tensor in average.tensors.items()}
    state.load_average(tmp_path, averages)
    assert averages["extra.weight"].full_tensor().equal(saved["extra.weight"]), "each process reads what it holds"
    for parameter in stage.modules.parameters():
        parameter.detach().zero_()
    state.load_best(tmp_path, stage.modules)
    assert all(parameter.full_tensor().equal(best[name]) for name, parameter in stage.modules.named_parameters())

    plain.modules["extra"].bias.data.fill_(7)
    state.save(tmp_path / "plain", plain, 3, {})
    state.load(tmp_path / "plain", stage.modules, stage.optimizers)
    assert stage.learn(divided.gathered, 3) == pytest.approx(plain.learn(whole, 3), abs=1e-6), "pieces are read from whole tensors"


def test_a_checkpoint_is_kept_where_training_ends_by_an_error(sharding, tmp_path):
    stage, divided = sharding
    with pytest.raises(LauraError, match="the gradient"), divided:
        stage.learn(divided.gathered, 0)
        divided.save(1, {}, None, keep=2, anew=True)
        raise LauraError("the gradient is not finite")
    assert state.steps_done(tmp_path) == 1
    (tmp_path / "full").write_text("no folder can be made in it")
    divided.folder = tmp_path / "full"
    with pytest.raises(LauraError, match=r"full: a checkpoint could not be written: .*ot a directory.*: make room there"):
        divided.save(2, {}, None, keep=2, anew=False)
        divided.finish()


def test_moments_of_parameters_that_are_trained_no_more_are_refused(tmp_path):
    stage = Little()
    for parameter in stage.modules.parameters():
        parameter.grad = torch.ones_like(parameter)
    stage.optimizers["model"].step()
    state.save(tmp_path, stage, 1, {})
    fewer = {"model": adamw(list(stage.modules.parameters())[:-1], stage.config)}
    with pytest.raises(LauraError, match="more parameters were trained there"):
        state.load(tmp_path, stage.modules, fewer)


@pytest.mark.parametrize("config", [GPTStageConfig, JointStageConfig])
def test_what_cannot_be_divided_is_refused_before_training(config, monkeypatch):
    with pytest.raises(LauraError, match="lora .*: leave one of them out"):
        config(shard=True, lora=LoraConfig(4))
    assert config(shard=True).shard
    monkeypatch.delattr(fsdp, "FSDPModule")  # as in PyTorch of 2024
    with pytest.raises(LauraError, match="install 2.13 or a later one"):
        config(shard=True)
    assert config(lora=LoraConfig(4)).lora.rank == 4
