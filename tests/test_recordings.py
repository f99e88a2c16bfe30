"""Every verb reads every kind of recording in one way: the same answer however it is given, and a receipt that says if it was cut short."""

import io
import json
import warnings

import numpy as np
import pytest
import torch
from sounds import encoded, fails, noise
from typer.testing import CliRunner

from lauragpt.audio import load_audio, read_recording, stream_audio
from lauragpt.cli.app import app
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraWarning

VERBS = ["transcribe", "caption", "emotion", "understand", "translate", "enhance", "chain"]
SOUND = 0.4 * noise(1.2, 44100, 2)


@pytest.fixture(scope="module")
def laura(debug_checkpoint):
    return Laura.load(debug_checkpoint, device="cpu")


@pytest.fixture
def cut(tmp_path):
    """A file that ends after .9 of its 1.2 s."""
    data = encoded(SOUND, 44100, format="WAV")
    (tmp_path / "cut.wav").write_bytes(data[: 44 + int(0.9 * 44100) * 4])
    return tmp_path / "cut.wav"


def ask(laura: Laura, verb: str, audio: object, **more: object):
    return laura.chain("enhance | emotion", audio, **more) if verb == "chain" else getattr(laura, verb)(audio, **more)


@pytest.mark.parametrize("verb", VERBS)
def test_a_recording_is_answered_the_same_in_whatever_form_it_is_given(laura, verb, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(data := encoded(SOUND, 44100, format="WAV", subtype="FLOAT"))
    expected = ask(laura, verb, path)
    assert expected.receipt["truncated"] is False
    tensor = torch.from_numpy(np.ascontiguousarray(SOUND.T))
    wave = load_audio(path)
    forms = [str(path), bytearray(data), io.BytesIO(data), (SOUND, 44100), (44100, SOUND), (tensor, 44100), wave, wave.tolist()]
    for result in [*ask(laura, verb, forms), ask(laura, verb, (SOUND, 44100)), ask(laura, verb, SOUND, sample_rate=44100)]:
        assert (result.text, result.receipt) == (expected.text, expected.receipt)
        if expected.audio is not None:
            np.testing.assert_allclose(result.audio, expected.audio, atol=1e-4)
    fails(lambda: ask(laura, verb, (32768 * SOUND, 44100)), "[-1, 1]")


def test_codes_are_the_same_in_whatever_form_a_recording_is_given(laura, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(data := encoded(SOUND, 44100, format="WAV", subtype="FLOAT"))
    expected = laura.encode(path)
    forms = [data, (SOUND, 44100), stream_audio(path, 0.1)]
    for codes in [*map(laura.encode, forms), laura.encode(SOUND, sample_rate=44100)]:
        assert np.array_equal(codes.codes, expected.codes) and not codes.truncated


def test_a_voice_is_a_recording_too(laura, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(SOUND, 44100, format="WAV", subtype="FLOAT"))
    expected = laura.find_voice(path, text="hello there")
    for voice in ((SOUND, 44100), (44100, SOUND), io.BytesIO(path.read_bytes())):
        assert np.array_equal(laura.find_voice(voice, text="hello there").codes, expected.codes)


@pytest.mark.parametrize("verb", VERBS)
def test_receipts_say_which_recording_was_cut_short(laura, cut, tmp_path, verb):
    with pytest.warns(LauraWarning, match="cut.wav is cut short or damaged: the 0.90 s"):
        first, second = ask(laura, verb, [cut, (SOUND, 44100)])
    assert first.receipt["truncated"] is True and second.receipt["truncated"] is False
    assert json.loads(first.to_json())["receipt"]["truncated"] is True
    fails(lambda: read_recording(cut, strict=True), "leave strict out")


def test_a_stream_and_codes_say_so_too(laura, cut, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LauraWarning)
        assert [result.receipt["truncated"] for result in laura.transcribe_stream(stream_audio(cut, 0.25), every=None)] == [True]
        codes = laura.encode(cut)
        assert codes.truncated and codes.to_row()["truncated"]
    assert type(codes).load(codes.save(tmp_path / "a.safetensors")).truncated


@pytest.mark.parametrize(
    "verb",
    [
        ["transcribe"],
        ["transcribe", "--stream"],
        ["translate"],
        ["caption"],
        ["emotion"],
        ["understand"],
        ["chain", "enhance | emotion"],
        ["codec"],
    ],
)
def test_the_command_line_warns_and_strict_refuses(cut, debug_checkpoint, verb):
    command = [*verb, str(cut), "--format", "json", "--model", str(debug_checkpoint)]
    done = CliRunner().invoke(app, command)
    row = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 0 and (row if verb == ["codec"] else row["receipt"])["truncated"] is True
    assert "cut.wav is cut short or damaged: the 0.90 s that can be read are used" in done.stderr
    done = CliRunner().invoke(app, [*command, "--strict"])
    assert done.exit_code == 1 and not done.stdout and "cut.wav is cut short or damaged: leave strict out" in done.stderr


def test_enhance_warns_and_strict_refuses(cut, debug_checkpoint, tmp_path):
    command = ["enhance", str(cut), "-o", str(tmp_path / "clean.wav"), "--model", str(debug_checkpoint)]
    assert CliRunner().invoke(app, [*command, "--strict"]).exit_code == 1 and not (tmp_path / "clean.wav").exists()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "cut short" in done.stderr and len(load_audio(tmp_path / "clean.wav")) == 14400
