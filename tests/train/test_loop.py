"""The loop: schedule, stopping, and that going on equals never having stopped."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.sequence import Layout
from lauragpt.text import Tokenizer
from lauragpt.train import loop
from lauragpt.train.config import StageConfig
from lauragpt.train.corpus import Corpus
from lauragpt.train.model_stage import pad, shares_of
from lauragpt.train.run import read_data
from lauragpt.train.stages import STAGE_CLASSES
from tests.conftest import loud

CONFIG = StageConfig(
    steps=4, batch_seconds=8, warmup=2, noise=0.5, weights={"asr": 1, "mt": 1, "tts": 1, "se": 1, "aac": 1}, small_from=0.5
)


@pytest.fixture(scope="module")
def corpus(prepared):
    train, dev = read_data(prepared)
    lines = (prepared / "text.en.txt").read_text().splitlines() + (prepared / "text.de.txt").read_text().splitlines()
    return Corpus(train, dev, prepared, Tokenizer.train(lines, PRESETS["debug"].text_size))


def make(name: str, corpus: Corpus, weights=None):
    torch.manual_seed(0)
    config = CONFIG if name == "laura" else StageConfig(steps=4, batch_seconds=8, warmup=2, weights=weights or {}, quantize_from=2)
    return STAGE_CLASSES[name](LauraModel(PRESETS["debug"]), corpus, config), config


def stop_at(stage, last: int) -> None:
    """From here on the stage's step number `last` is interrupted as a scheduler would interrupt it."""
    step = stage.step

    def interrupted(batch, update):
        losses = step(batch, update)
        if batch["step"] == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    stage.step = interrupted


def test_the_rate_warms_up_holds_and_falls():
    config = StageConfig(steps=100, lr=1.0, warmup=10, decay=0.3)
    rates = [loop.rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:70] == [1.0] * 61
    assert all(a > b for a, b in pairwise(rates[70:99])) and 0.01 <= rates[99] < 0.05


@pytest.mark.parametrize("name, weights", [("laura", None), ("codec", None), ("encoder", {"asr": 1}), ("vocoder", {"tts": 1, "se": 1})])
def test_going_on_equals_never_having_stopped(corpus, tmp_path, name, weights):
    accelerator = Accelerator(mixed_precision=loop.precision())
    stage, config = make(name, corpus, weights)
    assert loop.run(stage, config, tmp_path / "straight", accelerator)
    stage, config = make(name, corpus, weights)
    stop_at(stage, 1)
    assert not loop.run(stage, config, tmp_path / "halves", accelerator)
    assert json.loads((tmp_path / "halves" / "state.json").read_text())["step"] == 2
    torch.manual_seed(7)
    stage, config = make(name, corpus, weights)
    for parameter in stage.modules.parameters():
        parameter.data.zero_()  # all must come from the checkpoint
    assert loop.run(stage, config, tmp_path / "halves", accelerator, resume=True)
    for file in ("model.safetensors", "optimizer.safetensors"):
        straight, halves = load_file(tmp_path / "straight" / file), load_file(tmp_path / "halves" / file)
        assert straight.keys() == halves.keys()
        assert all(torch.equal(straight[key], halves[key]) for key in straight)


def test_until_leaves_a_checkpoint_that_can_go_on(corpus, tmp_path):
    accelerator, before = Accelerator(mixed_precision=loop.precision()), signal.getsignal(signal.SIGTERM)
    stage, config = make("gpt", corpus, {"mt": 1})
    validated, validate = [], stage.validate
    stage.validate = lambda: validated.append(1) or validate()
    assert not loop.run(stage, config, tmp_path, accelerator, until=time.monotonic())
    assert json.loads((tmp_path / "state.json").read_text()) == {"step": 0, "stage": "gpt"}
    assert not list(tmp_path.glob("*.part")) and validated == [1]
    assert loop.run(stage, config, tmp_path, accelerator, resume=True) and validated == [1, 1]
    stop_at(stage, 0)
    assert not loop.run(stage, config, tmp_path / "again", accelerator) and validated == [1, 1]  # interrupted: the machine is wanted back
    assert json.loads((tmp_path / "state.json").read_text())["step"] == 4
    assert signal.getsignal(signal.SIGTERM) is before


TWO = """
import sys, json, torch
from pathlib import Path
from accelerate import Accelerator
from lauragpt.train import loop
from lauragpt.train.corpus import Corpus
from lauragpt.train.config import StageConfig

class Slope(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.unused = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))

class Stage:
    name = "slope"
    def __init__(self, rank):
        self.rank, self.modules = rank, torch.nn.ModuleDict({"slope": Slope()})
        self.optimizers = {"model": torch.optim.SGD(self.modules.parameters(), lr=1.0)}
    def batch(self, step):
        return {"slope": torch.tensor([1.0, 10.0, 0.0]) if self.rank == 0 else torch.tensor([3.0, 0.0, 0.0])}
    def step(self, batch, update):
        update("model", 0.01 * (batch["slope"] * self.modules["slope"].weight).sum())
        if self.rank == 1 and batch["step"] == 1:
            import os, signal
            os.kill(os.getpid(), signal.SIGTERM)  # one process alone is told
        return {"loss": 0.0}
    def validate(self):
        return {"asked": float(self.rank)}

accelerator = Accelerator(mixed_precision="no", cpu=True)
stage = Stage(accelerator.process_index)
config = StageConfig(steps=50, lr=1.0, warmup=1, decay=0.0)
done = loop.run(stage, config, Path(sys.argv[1]), accelerator)
Path(sys.argv[1], f"rank{stage.rank}.json").write_text(json.dumps([done, stage.modules["slope"].weight.tolist()]))
"""


def test_two_processes_share_their_gradients_and_stop_together(tmp_path):
    script, out = tmp_path / "two.py", tmp_path / "out"
    script.write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    state = json.loads((out / "state.json").read_text())
    assert state["step"] == 2
    for rank in (0, 1):  # two steps down the mean of the two slopes
        finished, weight = json.loads((out / f"rank{rank}.json").read_text())
        assert not finished and weight == pytest.approx([-0.04, -0.1, 0.0])
    assert "dev asked" not in done.stderr  # who interrupts does not wait for a validation


def test_texts_come_beside_what_sounds(corpus):
    """With text_seconds each batch has its share of translation, drawn by itself, and none among the others."""
    torch.manual_seed(0)
    config = replace(CONFIG, text_seconds=3, small_until=0.5)
    stage = STAGE_CLASSES["laura"](LauraModel(PRESETS["debug"]), corpus, config)
    tasks = [[row["task"] for row in stage.batch(step)["rows"]] for step in range(6)]
    assert all("mt" in names and len(set(names)) > 1 for names in tasks)
    drawn = [corpus.train[i].task for step in range(6) for i in stage.plan[step]]
    assert "mt" not in drawn and {"asr", "tts", "se", "aac"} >= set(drawn)
    assert {corpus.train[i].task for step in range(6) for i in stage.text_plan[step]} == {"mt"}


def test_a_long_answer_does_not_drown_a_short_one():
    rows = [Layout(0, (0,) * 5, (True,) * n + (False,) * (5 - n)) for n in (1, 4, 4)]
    shares = shares_of(rows)
    assert len(shares) == 9 and sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(1 / 5) and sum(shares[1:5]) == pytest.approx(2 / 5)
    shares = shares_of(rows, [5, 1, 2])
    assert shares[0] == pytest.approx(5 / 11) and sum(shares[5:]) == pytest.approx(4 / 11) and sum(shares) == pytest.approx(1)


def test_joint_training_begins_by_measuring_what_it_taps_and_never_again(corpus):
    torch.manual_seed(0)
    model = LauraModel(PRESETS["debug"])
    STAGE_CLASSES["laura"](model, corpus, CONFIG)
    tapped, taken = model.encoder.intermediate, []
    assert (tapped.deviation > 0).all()
    model.encoder.layers[0].register_forward_hook(lambda module, given, x: taken.append(x[0]))
    sounds = [e for e in corpus.train if e.audio][:20]
    with torch.no_grad():
        for example in sounds:
            wave = torch.from_numpy(corpus.waves(example.audio))[None]
            model.eval().encode(wave, torch.tensor([wave.shape[1]]))
    frames = (torch.cat(taken) - tapped.mean) / tapped.deviation
    assert frames.mean(0).abs().mean() < 0.5 and 0.5 < frames.std(0).mean() < 1.5
    before = tapped.mean.clone()
    STAGE_CLASSES["laura"](model, corpus, CONFIG, seed=5)
    assert torch.equal(tapped.mean, before)


def test_the_vocoder_now_and_then_hears_anothers_noise_however_few_are_of_like_length(corpus):
    stage, _ = make("vocoder", corpus, {"se": 1})
    stage.corpus = copy.copy(corpus)
    stage.corpus.noisy = lambda clean, rng: clean + 1.0  # so that it shows whose noisy speech stands beside whose clean
    clips = [e for e in corpus.train if e.task == "se"]
    waves = {e.audio: np.full(n, n / 1e5, np.float32) for e, n in zip(clips, (9_000, 40_000, 90_000))}
    stage.corpus.waves, stage.corpus.train = waves.__getitem__, [e for e in clips if e.audio in waves]
    stage.plan = [[0, 1, 2]] * 60
    strange = []
    for step in range(60):
        groups = stage.batch(step)["groups"]
        assert len(groups) > 1
        strange.append(all(float(g["noisy"][0][0, 0]) != pytest.approx(1 + float(g["clean"][0][0, 0])) for g in groups))
    assert 0.15 < np.mean(strange) < 0.5


def test_the_vocoder_is_taught_by_the_sound_of_what_it_predicts_and_the_codec_stays(corpus):
    stage, _ = make("vocoder", corpus, {"tts": 1})
    codec, generator, lengths = stage.model.codec.eval(), torch.Generator().manual_seed(0), torch.tensor([70, 33])
    loud(codec)
    stage.piece, right = 70, torch.randn(2, 70, codec.config.dim)
    clean = codec.decode_embeddings(right, lengths).detach() * (torch.arange(70 * codec.config.hop) < lengths[:, None] * codec.config.hop)
    clean = clean[:, :-10]  # the last frame is seldom whole
    right.requires_grad_(True)
    padded = torch.cat([right[:1], right[1:].where(torch.arange(70)[:, None] < 33, 9.0)])
    loss = {name: stage.sound_loss(given, clean, lengths, generator) for name, given in (("right", right), ("wrong", right.roll(1, 2)), ("padded", padded))}
    assert loss["right"] < 0.05 * loss["wrong"] and loss["padded"] == loss["right"]
    loss["wrong"].backward()
    assert right.grad.abs().sum() > 0 and all(parameter.grad is None for parameter in codec.parameters())


@torch.no_grad()
def test_recordings_of_any_length_are_heard_in_groups_as_together(corpus):
    stage, _ = make("encoder", corpus, {"asr": 1})
    rng = np.random.default_rng(0)
    waves, samples = pad([0.1 * rng.normal(size=n).astype(np.float32) for n in (90_000, 4_000, 30_000, 5_000, 88_000, 700)])
    stage.model.eval()
    heard, whole = stage.hear(waves, samples), stage.model.encode(waves, samples)
    assert torch.equal(heard.lengths, whole.lengths) and heard.middle_log_probs is None
    for row, count in enumerate(heard.lengths.tolist()):
        for name in ("embeddings", "ctc_log_probs"):
            torch.testing.assert_close(getattr(heard, name)[row, :count], getattr(whole, name)[row, :count], atol=1e-5, rtol=1e-4)
    stage.model.train()
    assert stage.hear(waves, samples).middle_log_probs.shape == heard.ctc_log_probs.shape


def test_a_cut_of_a_sound_is_seldom_the_silence_around_it(corpus):
    config = replace(CONFIG, sound_seconds=1.0, captions=2)
    stage = STAGE_CLASSES["laura"](LauraModel(PRESETS["debug"]), corpus, config)
    wave = np.zeros(5 * 16000, np.float32)
    wave[:16000] = 0.5  # cuts of a second anywhere meet it four times in ten, the louder of two six times
    example = replace(next(e for e in corpus.train if e.task == "aac"), audio="drip", targets=["a drip", "water drips", "dripping"])
    stage.corpus = replace_waves(corpus, {"drip": wave})
    rng = np.random.default_rng(0)
    cuts = [stage.sound(example, rng) for _ in range(200)]
    assert {len(cut) for cut in cuts} == {16000}
    assert np.mean([cut.any() for cut in cuts]) > 0.5
    assert {stage.wording(example, rng) for _ in range(50)} == {"a drip", "water drips"}


def replace_waves(corpus: Corpus, waves: dict) -> Corpus:
    other = copy.copy(corpus)
    other.waves = waves.__getitem__
    return other


@pytest.mark.parametrize(("able", "wanted"), [({"avx2": True, "avx512_bf16": False}, "no"), ({"avx512_bf16": True}, "bf16"), ({"bf16": True}, "bf16")])
def test_bf16_is_for_processors_that_multiply_in_it(monkeypatch, able, wanted):
    assert torch.cpu.get_capabilities()["architecture"] != "x86_64" or {"avx512_bf16", "amx_bf16"} <= set(torch.cpu.get_capabilities())
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert loop.precision() == wanted
