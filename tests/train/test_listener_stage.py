"""The stage of the codec's listener: it begins as the encoder, learns to spell through rounded numbers, and leaves all else as it is."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from lauragpt.codec import CodecConfig
from lauragpt.codec.lyra import LyraConfig
from lauragpt.codec.quantizer import QuantizerConfig
from lauragpt.errors import LauraError
from lauragpt.features import LISTENER_FEATURES
from lauragpt.model.lauragpt import PRESETS, LauraModel
from lauragpt.model.whisper import WhisperConfig
from lauragpt.train import loop, state
from lauragpt.train.encoding import Recordings, encode_recordings
from lauragpt.train.precision import precision

SIZES = {"width": 32, "layers": 2, "heads": 2, "ffn": 64}


def model_with(listener: dict) -> LauraModel:
    torch.manual_seed(0)
    quantizer = QuantizerConfig(n_quantizers=2, codebook_size=16, dim=16, guide=2, levels=(4, 4))
    codec = CodecConfig(architecture="lyra", quantizer=quantizer, lyra=LyraConfig(channels=8, dim=8, stack=2), listener=listener)
    encoder = WhisperConfig(**SIZES, output=32, heard=(1,))
    return LauraModel(replace(PRESETS["debug"], encoder=encoder, features=LISTENER_FEATURES, codec=codec, audio_size=16))


@pytest.fixture
def model() -> LauraModel:
    return model_with({"kind": "whisper", **SIZES, "output": 2, "heard": ()})


@pytest.fixture
def kept(corpus, tmp_path):
    """The corpus of a run that has a folder."""
    corpus.out = tmp_path / "out"
    yield corpus
    corpus.out = None


def test_it_begins_as_the_encoder(model, corpus, make_stage):
    make_stage("listener", model, corpus)
    wave, samples = torch.randn(1, 16000), torch.tensor([16000])
    features, lengths = model.features(wave, samples)
    ours, theirs = model.codec.listener.encoder, model.encoder
    torch.testing.assert_close(ours.frames(features, lengths, 2), theirs.frames(features, lengths, 2), atol=0, rtol=0)
    assert torch.equal(ours.second.weight, theirs.second.weight)


def test_the_codes_learn_to_hold_the_words_and_nothing_else_moves(model, corpus, make_stage, tmp_path):
    stage = make_stage("listener", model, corpus, steps=30, lr=3e-3, warmup=0, batch_seconds=6, reader_width=64, noise=0.0, degraded=0.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = float(stage.step(stage.batch(0), 0, lambda name, losses: losses["ctc"].backward())["ctc"])
    assert float(model.codec.listener.encoder.layers[0].fc1.weight.grad.abs().max()) > 0  # it passes the rounding
    assert loop.run(stage, tmp_path / "listener", Accelerator(mixed_precision=precision(), cpu=True))
    assert float(stage.step(stage.batch(0), 0, lambda name, loss: None)["ctc"]) < 0.8 * first
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved and all(key.startswith("codec.listener.encoder.") for key in moved)
    assert any(key.startswith("codec.listener.encoder.layers.0.") for key in moved)
    again = model_with({"kind": "whisper", **SIZES, "output": 2, "heard": ()})
    resumed = make_stage("listener", again, corpus, reader_width=64)
    assert state.load(tmp_path / "listener", resumed.modules, resumed.optimizers)["step"] == 30
    assert torch.equal(again.codec.listener.encoder.output.weight, model.codec.listener.encoder.output.weight)


def test_it_may_have_fewer_layers_than_the_encoder(corpus, make_stage):
    model = model_with({"kind": "whisper", **SIZES, "layers": 1, "output": 2, "heard": ()})
    make_stage("listener", model, corpus)
    wave, samples = torch.randn(1, 16000), torch.tensor([16000])
    features, lengths = model.features(wave, samples)
    ours, theirs = model.codec.listener.encoder, model.encoder
    torch.testing.assert_close(ours.frames(features, lengths, 1), theirs.frames(features, lengths, 1), atol=0, rtol=0)


def test_with_sound_weight_the_codes_learn_to_hold_the_spectrum_as_well(model, corpus, make_stage, tmp_path):
    stage = make_stage(
        "listener", model, corpus, steps=40, lr=3e-3, warmup=0, batch_seconds=6, reader_width=64, noise=0.0, degraded=0.0, sound_weight=2.0
    )
    batch = stage.batch(0)
    first = float(stage.step(batch, 0, lambda name, loss: None)["sound"])
    assert loop.run(stage, tmp_path / "listener", Accelerator(mixed_precision=precision(), cpu=True))
    assert float(stage.step(batch, 0, lambda name, loss: None)["sound"]) < 0.9 * first


@torch.no_grad()
def test_the_spectrums_loss_neither_hears_the_level_nor_the_padding(model, corpus, make_stage):
    stage = make_stage("listener", model, corpus, batch_seconds=6, sound_weight=1.0)
    rng = np.random.default_rng(0)
    long, short = 0.3 * rng.standard_normal(9600).astype(np.float32), 0.2 * rng.standard_normal(3200).astype(np.float32)
    predicted = torch.randn(2, 15, 80)

    def loss(*waves: np.ndarray, first: int = 0) -> float:
        lengths = torch.tensor([len(wave) // 640 for wave in waves])
        rows = predicted[first : first + len(waves), : int(lengths.max())]
        return float(stage.sound_loss(rows, SimpleNamespace(recordings=Recordings.of(waves)), lengths))

    alone = loss(long), loss(short, first=1)
    assert loss(long, short) == pytest.approx((15 * alone[0] + 5 * alone[1]) / 20, rel=0.05)
    assert loss(0.5 * long) == pytest.approx(alone[0], rel=1e-2)
    assert loss(long[::-1].copy()) != pytest.approx(alone[0], rel=1e-3)


@torch.no_grad()
def test_frozen_layers_frames_are_kept_and_give_the_same_numbers(model, kept, make_stage):
    def heard(**more) -> list[torch.Tensor]:
        stage = make_stage("listener", model, kept, variants=1, spec_augment=False, batch_seconds=6, **more)
        model.eval()
        return [encode_recordings(model.listener, stage.batch(step).recordings, False, stage.frozen).embeddings for step in (0, 1, 0)]

    def error(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
        return max(float((a - b).norm() / a.norm()) for a, b in zip(one, other, strict=True))

    anew = heard()
    assert error(anew, heard(frozen_layers=1, frames_gigabytes=1.0)) < 5e-3
    assert error(anew, heard(frozen_layers=2, frames_gigabytes=1.0)) < 5e-3
    assert error([row[:, 1:] for row in anew], [row[:, :-1] for row in anew]) > 5e-2  # another frame's numbers are others
    assert (kept.out / "listener_frames").exists() and not (kept.out / "frames").exists()


def test_published_weights_may_be_trained_more_slowly(model, corpus, make_stage):
    groups = make_stage("listener", model, corpus, published_lr=0.1).optimizers["model"].param_groups
    slow = {id(p) for group in groups if group["share"] == 0.1 for p in group["params"]}
    assert slow == {id(p) for p in model.codec.listener.encoder.published}


def test_a_codec_without_a_listener_is_refused(corpus, make_stage):
    with pytest.raises(LauraError, match="codec has none"):
        make_stage("listener", LauraModel(PRESETS["debug"]), corpus)
    for other in ({"width": 16}, {"layers": 3}):
        with pytest.raises(LauraError, match="the encoder's bins, width, heads, ffn, and no more layers"):
            make_stage("listener", model_with({"kind": "whisper", **SIZES, **other, "output": 2, "heard": ()}), corpus)
