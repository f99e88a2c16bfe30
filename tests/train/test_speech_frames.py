"""WORLD's analysis as frames: what is said of a known sound, sound made of it again, and files that are kept."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lauragpt.audio import load_audio
from lauragpt.evaluate.metrics import stoi
from lauragpt.source_filter import CENTRES, F0, POINTS, WIDTH, speech
from lauragpt.train.speech_frames import SpeechFrames, analysed

RECORDING = Path(__file__).parents[2] / "lauragpt" / "assets" / "demo" / "kathleen-arctic_a0473_1592704836.opus"


def voice(seconds: float = 1.0, f0: float = 140.0) -> np.ndarray:
    """Pulses through a resonance."""
    n = np.arange(int(16000 * seconds))
    pulses = (np.floor((n + 1) * f0 / 16000) > np.floor(n * f0 / 16000)).astype(float)
    ringing = np.exp(-np.arange(400) / 60) * np.sin(2 * np.pi * 700 * np.arange(400) / 16000)
    return 0.3 * np.convolve(pulses, ringing)[: len(n)].astype(np.float32)


def test_a_known_voice():
    frames = analysed(voice())
    assert frames.shape == (100, WIDTH) and frames.dtype == np.float32
    middle = frames[20:80]
    np.testing.assert_allclose(middle[:, F0], 140, rtol=0.02)
    envelope = middle[:, :POINTS].mean(0)
    assert abs(CENTRES[envelope.argmax()] - 700) < 150


@pytest.mark.parametrize("samples, tokens", [(640, 1), (641, 2), (16000, 25), (100, 1)])
def test_a_token_has_four_frames(samples, tokens):
    frames = analysed(voice()[:samples])
    assert frames.shape == (4 * tokens, WIDTH) and np.isfinite(frames).all()


def test_silence_is_finite_and_has_hardly_a_voice():
    frames = analysed(np.zeros(8000, dtype=np.float32))
    assert np.isfinite(frames).all() and (frames[:, F0] > 0).mean() < 0.2  # chance


def test_sound_made_of_frames_again_is_understood():
    wave = load_audio(RECORDING)
    again = speech(analysed(wave))[: len(wave)]
    assert stoi(wave, again) > 0.8
    assert np.sqrt(np.mean(again**2)) == pytest.approx(np.sqrt(np.mean(wave**2)), rel=0.35)


def test_frames_are_kept_and_found_again(tmp_path):
    waves = {str(tmp_path / f"{n}.wav"): voice(0.3 + 0.1 * n, 90 + 30 * n) for n in range(6)}
    for path in waves:
        Path(path).touch()
    asked: list[str] = []

    def read(path: str) -> np.ndarray:
        asked.append(path)
        return waves[path]

    first = SpeechFrames(read, tmp_path / "frames")
    first.prepare(list(waves), 2)
    assert len(list((tmp_path / "frames").glob("*.safetensors"))) == 1
    again = SpeechFrames(read, tmp_path / "frames")
    asked.clear()
    again.prepare(list(waves), 2)
    for path, wave in waves.items():
        assert torch.equal(again(path), torch.from_numpy(analysed(wave)).half())
    assert not asked
    changed = next(iter(waves))  # another recording of the same name
    Path(changed).write_bytes(b"new")
    again.waves = lambda path: voice(0.2)
    again.prepare(list(waves), 2)
    assert len(list((tmp_path / "frames").glob("*.safetensors"))) == 2
    assert SpeechFrames(read, tmp_path / "frames")(changed).shape == (20, WIDTH)


def test_a_file_that_was_never_written_leaves_a_gap_that_is_not_filled_over_others(tmp_path):
    path, folder = tmp_path / "a.wav", tmp_path / "frames"
    path.touch()
    folder.mkdir()
    (folder / "00003.safetensors").write_bytes(safetensors.torch.save({"of another": torch.zeros(1)}))
    SpeechFrames(lambda path: voice(0.2), folder).prepare([str(path)], 1)
    assert sorted(file.name for file in folder.iterdir()) == ["00003.safetensors", "00004.safetensors"]


def test_without_a_folder_they_are_made_when_asked_for():
    frames = SpeechFrames(lambda path: voice(0.4))
    frames.prepare(["a"], 1)
    assert frames("a").dtype == torch.float16 and frames("a") is frames("a")
