"""Frozen layers: they are not trained, and their frames, made once and kept, give the loss of those that are made anew."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from lauragpt.errors import LauraError
from lauragpt.features import FeatureConfig
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.model.whisper import WhisperConfig
from lauragpt.train import loop
from lauragpt.train.frozen_frames import FrozenFrames
from lauragpt.train.precision import precision
from lauragpt.train.spec_augment import mask_frames

FROZEN = {"frozen_layers": 2, "variants": 1, "spec_augment": False, "batch_seconds": 6, "warmup": 0}


@pytest.fixture
def listener():
    torch.manual_seed(0)
    encoder = WhisperConfig(width=32, layers=3, heads=2, ffn=64, output=32, heard=(1, 3))
    features = FeatureConfig(kind="whisper", stack=4, skip=4)
    return LauraModel(replace(PRESETS["debug"], encoder=encoder, features=features))


@pytest.fixture
def kept(corpus, tmp_path):
    """The corpus of a run that has a folder."""
    corpus.out = tmp_path / "out"
    yield corpus
    corpus.out = None


def losses(stage) -> list[float]:
    stage.modules.train()
    return [float(stage.step(stage.batch(step), step, lambda name, loss: None)["ctc"]) for step in (0, 1, 0, 1)]


@torch.no_grad()
@pytest.mark.parametrize("name", ["encoder", "joint"])
def test_kept_frames_give_the_loss_of_those_made_anew(name, listener, kept, make_stage, monkeypatch):
    more = {"weights": {"asr": 1.0}} if name == "encoder" else {"weights": {"asr": 1.0, "ser": 1.0, "aac": 1.0}, "phrases": 0.1}
    anew = losses(make_stage(name, listener, kept, **FROZEN, **more))
    monkeypatch.setattr("lauragpt.train.frozen_frames.FILE_BYTES", 20_000)
    stage = make_stage(name, listener, kept, frames_gigabytes=1.0, **FROZEN, **more)
    made, make = [], stage.frozen._make
    monkeypatch.setattr(stage.frozen, "_make", lambda waves, samples: made.append(len(waves)) or make(waves, samples))
    assert losses(stage) == pytest.approx(anew, rel=2e-3)
    assert sum(made) == len(stage.frozen.places) + len(stage.frozen.new)  # each once, of the second round none
    again = make_stage(name, listener, kept, frames_gigabytes=1.0, **FROZEN, **more)
    assert again.frozen.places.keys() == stage.frozen.places.keys() and len(again.frozen.places) > 0
    assert losses(again) == pytest.approx(anew, rel=2e-3)
    whole = make_stage(name, listener, kept, **(FROZEN | {"frozen_layers": 0}), **more)
    assert losses(whole) == pytest.approx(anew, rel=2e-2)  # all but the rounding to float16


def test_frozen_layers_are_not_trained(listener, corpus, make_stage, tmp_path):
    stage = make_stage("encoder", listener, corpus, **FROZEN, steps=2)
    before = {key: value.clone() for key, value in listener.encoder.state_dict().items()}
    assert loop.run(stage, tmp_path / "encoder", Accelerator(mixed_precision=precision(), cpu=True))
    moved = {key for key, value in listener.encoder.state_dict().items() if not torch.equal(value, before[key])}
    assert {key.split(".")[1] for key in moved if key.startswith("layers.")} == {"2"}
    assert not any(key.startswith("conv") for key in moved) and any(key.startswith("ctc") for key in moved)


@torch.no_grad()
def test_frames_of_other_weights_are_not_taken(listener, tmp_path):
    wave, samples = torch.randn(1, 16000), torch.tensor([16000])

    def frozen(gigabytes: float = 1.0) -> FrozenFrames:
        return FrozenFrames(listener, 2, tmp_path, gigabytes)

    first = frozen()
    first.new = {"x": torch.zeros(2)}
    assert frozen().folder == first.folder
    listener.encoder.layers[2].fc1.weight.add_(1)  # not frozen
    assert frozen().folder == first.folder
    listener.encoder.layers[1].fc1.weight.add_(1)
    other = frozen()
    assert other.folder != first.folder and not first.folder.exists() and other.folder.exists()
    full = frozen(gigabytes=1e-9)
    full.encode(wave, samples, ["key"], False)
    assert not full.new and not full.places  # no room: nothing is kept


@torch.no_grad()
def test_spans_of_frames_become_the_recordings_mean():
    torch.manual_seed(0)
    frames, lengths = torch.randn(4, 80, 2, 8), torch.tensor([40, 40, 30, 5])
    masked = mask_frames(frames, lengths)
    hidden = (masked != frames).any(-1).any(-1)
    assert 0 < hidden.float().mean() < 0.5 and torch.equal(hidden[:, ::2], hidden[:, 1::2])
    for row, length in enumerate(lengths.tolist()):
        mean = frames[row, : 2 * length].mean(0)
        torch.testing.assert_close(masked[row][hidden[row]], mean.expand(int(hidden[row].sum()), -1, -1))


def test_what_cannot_be_frozen_is_told(listener, corpus, make_stage):
    with pytest.raises(LauraError, match=r"frozen_layers is 4, and the encoder has 3 layers"):
        make_stage("encoder", listener, corpus, frozen_layers=4)
    with pytest.raises(LauraError, match=r"the preset's encoder has no published layers"):
        make_stage("encoder", LauraModel(PRESETS["debug"]), corpus, frozen_layers=1)
    with pytest.raises(LauraError, match=r"set frozen_layers and variants as well"):
        make_stage("encoder", listener, corpus, frames_gigabytes=1.0)


def test_variants_are_heard_again(listener, corpus, make_stage):
    def heard(variants: int) -> int:
        stage = make_stage("encoder", listener, corpus, variants=variants, batch_seconds=6)
        batches = [stage.batch(step).recordings for step in range(12)]
        return len({wave.numpy().tobytes() for batch in batches for wave in batch.split(torch.device("cpu"))})

    examples = sum(example.task == "asr" for example in corpus.train)
    assert heard(1) <= examples < heard(2) <= 2 * examples < heard(0)
