"""The speaker encoder: padding changes nothing, rates by brute force, and that training it tells two voices apart."""

import numpy as np
import pytest
import torch

from lauragpt.errors import LauraError
from lauragpt.evaluate import speaker
from lauragpt.evaluate.speaker import embed, equal_error_rate, pair_scores
from lauragpt.model.speaker import SpeakerConfig, SpeakerEncoder
from lauragpt.train.stages.speaker import with_margin

SMALL = SpeakerConfig(channels=24, dilations=(1, 2), embedding=16)


def voice(pitch: float, seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16000)) / 16000
    wave = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 12)) * (0.6 + 0.4 * np.sin(20 * time))
    return (0.1 * wave + 0.003 * rng.normal(size=len(time))).astype(np.float32)


@torch.no_grad()
def test_a_voice_is_the_same_alone_and_padded_in_a_batch():
    torch.manual_seed(0)
    encoder, waves = SpeakerEncoder(SMALL).eval(), [voice(100, 1.0), voice(200, 2.3), voice(150, 0.6)]
    samples = torch.tensor([len(wave) for wave in waves])
    padded = torch.zeros(3, int(samples.max()))
    for row, wave in zip(padded, waves):
        row[: len(wave)] = torch.from_numpy(wave)
    together = encoder(padded, samples)
    assert torch.allclose(together.norm(dim=1), torch.ones(3))
    for row, wave in zip(together, waves):
        torch.testing.assert_close(row, torch.from_numpy(embed(wave, encoder)), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_louder_recording_is_the_same_voice():
    torch.manual_seed(0)
    encoder, wave = SpeakerEncoder(SMALL).eval(), voice(120)
    assert embed(wave, encoder) @ embed(0.3 * wave, encoder) > 0.999


def test_too_little_sound_is_no_voice():
    assert embed(np.zeros(16000, np.float32), SpeakerEncoder(SMALL)) is None
    assert embed(voice(100, 0.3), SpeakerEncoder(SMALL)) is None


def test_equal_error_rates_by_hand_and_by_brute_force():
    assert equal_error_rate(np.array([0.8, 0.9]), np.array([0.1, 0.2])) == 0
    assert equal_error_rate(np.array([0.1, 0.2]), np.array([0.8, 0.9])) == 100
    assert equal_error_rate(np.array([0.1, 0.8]), np.array([0.2, 0.05])) == 50  # half of each on the wrong side of 0.15
    rng = np.random.default_rng(0)
    same, different = rng.normal(1, 1, 400), rng.normal(-1, 1, 3000)
    rates = [((same < t).mean(), (different >= t).mean()) for t in np.linspace(-4, 4, 4001)]
    refused, accepted = min(rates, key=lambda pair: abs(pair[0] - pair[1]))
    assert equal_error_rate(same, different) == pytest.approx(50 * (refused + accepted), abs=0.3)
    assert equal_error_rate(same, different) == pytest.approx(15.9, abs=2)  # two normal curves two deviations apart


def test_pairs_are_all_pairs_once():
    rows = np.eye(4)[[0, 0, 1, 2]]
    same, different = pair_scores(rows, ["a", "a", "a", "b"])
    assert sorted(same) == [0, 0, 1] and sorted(different) == [0, 0, 0]


def test_the_margin_is_added_to_the_angle_of_the_own_class():
    cosines = torch.tensor([[0.5, 0.1], [-0.2, 0.9]])
    found = with_margin(cosines, torch.tensor([0, 1]), 0.2)
    assert found[0, 0] == pytest.approx(np.cos(np.arccos(0.5) + 0.2)) and found[0, 1] == pytest.approx(0.1)
    assert found[1, 1] == pytest.approx(np.cos(np.arccos(0.9) + 0.2)) and found[1, 0] == pytest.approx(-0.2)


def test_an_installation_without_the_encoder_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(speaker, "SHIPPED", tmp_path / "none.safetensors")
    speaker.shipped.cache_clear()
    assert speaker.figures() == {}
    with pytest.raises(LauraError, match="no speaker encoder"):
        embed(voice(100))
    speaker.shipped.cache_clear()


def test_the_encoder_that_ships_says_what_it_reaches():
    found = speaker.figures()
    assert found.keys() == {"eer", "same", "different"} and 0 < found["eer"] < 50 and found["same"] > found["different"]
    assert not speaker.shipped().training
