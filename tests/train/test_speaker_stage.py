"""The speaker encoder learns to tell the voices of its training set apart, and ships without the matrix of speakers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from lauragpt.audio import save_audio
from lauragpt.data.manifest import Example
from lauragpt.evaluate import speaker
from lauragpt.train import loop
from lauragpt.train.corpus import Corpus
from lauragpt.train.precision import precision
from lauragpt.train.stages.speaker import SpeakerStage, SpeakerStageConfig
from tests.train.conftest import no_update

CONFIG = SpeakerStageConfig(steps=30, batch_seconds=8, crop_seconds=0.6, lr=3e-3, warmup=3, noise=0.2)


def hum(pitch: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(16000 * rng.uniform(0.5, 1.4))) / 16000
    wave = sum(np.sin(2 * np.pi * pitch * rng.uniform(0.97, 1.03) * k * time) / k for k in range(1, 9))
    return (0.1 * wave + 0.01 * rng.normal(size=len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six speakers for training, by pitch, and three others for dev; one of whom too little is known is left out."""
    folder, rows = tmp_path_factory.mktemp("voices"), []
    for split, pitches in (("train", (90, 120, 160, 210, 260, 320)), ("dev", (105, 180, 290))):
        for pitch in pitches:
            for number in range(6):
                path = folder / f"{split}-{pitch}-{number}.wav"
                save_audio(path, hum(pitch, pitch * 10 + number))
                about = {"targets": ["a"], "speaker": f"set/{pitch}"}
                rows.append(Example(f"asr/set/{path.stem}", "asr", split, "en", "set", str(path), 1.0, **about))
    rows.append(replace(rows[0], id="asr/set/once", speaker="set/once"))
    return Corpus([e for e in rows if e.split == "train"], [e for e in rows if e.split == "dev"], folder, None)


def test_it_learns_to_tell_voices_apart_and_ships(corpus, tmp_path, monkeypatch):
    stage = SpeakerStage(torch.nn.Identity(), corpus, CONFIG)
    assert len(stage.recordings) == 6
    before = stage.step(stage.batch(0), 0, no_update)["loss"]
    assert loop.run(stage, tmp_path, Accelerator(mixed_precision=precision(), cpu=True))
    stage.modules.train()
    after = stage.step(stage.batch(0), 0, no_update)
    assert after["loss"] < 0.6 * before and after["right"] > 0.5
    found = stage.validate()
    assert found["eer"] < 40 and found["same"] > found["different"]
    path = stage.export(tmp_path / "export" / "speaker.safetensors")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    monkeypatch.setattr(speaker, "SHIPPED", path)
    assert speaker.figures() == pytest.approx(found, abs=1e-3)
    speaker.shipped.cache_clear()
    wave = hum(150, 1)
    assert speaker.embed(wave) == pytest.approx(speaker.embed(wave, stage.encoder), abs=2e-2)  # saved in half precision
    speaker.shipped.cache_clear()


def test_batches_depend_on_seed_and_number_alone(corpus):
    def made(**more):
        return SpeakerStage(torch.nn.Identity(), corpus, CONFIG, **more).batch(3)

    first = made()
    assert first.waves.shape == (13, 9600) and torch.equal(made().waves, first.waves)
    assert torch.equal(made(rank=1).waves, first.waves) and not torch.equal(made(seed=1).waves, first.waves)
