"""The codec by itself: any length in bounded memory, files of codes, and every way in which codes can be wrong."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from lauragpt import Laura
from lauragpt.audio import load_audio, save_audio
from lauragpt.engine.codec_io import PIECE, Codes, decode_to
from lauragpt.errors import LauraError
from tests.engine.test_api import sound


@pytest.fixture(scope="module")
def laura(debug_checkpoint):
    return Laura.load(debug_checkpoint, device="cpu")


def test_a_recording_is_coded_as_in_a_batch_and_comes_back_as_long(laura, tmp_path):
    wave = sound(2.3)
    path = save_audio(tmp_path / "talk.wav", wave)
    read = load_audio(path)
    codes = laura.encode(read)
    [batched] = laura.runtime.backend.codec_encode([read])
    assert codes.codes.shape == batched.shape == (4, -(-len(wave) // 640)) and (codes.codes == batched).mean() > 0.9
    assert np.array_equal(laura.encode(path).codes, codes.codes) and codes.seconds == pytest.approx(2.3, abs=1e-4)
    back = laura.decode(codes)
    assert back.shape == wave.shape
    [whole] = laura.runtime.backend.codec_decode([codes.codes.astype(np.int64)])
    np.testing.assert_allclose(back, whole[: len(wave)], atol=1e-5)
    assert laura.encode(read, 1).codes.shape[0] == 1 and np.array_equal(codes.first(2).codes, codes.codes[:2])


def test_bit_rate_and_usage_by_hand():
    rows = np.array([[3, 3, 3, 3], [0, 1, 2, 3]], np.int16)
    codes = Codes(rows, 4 * 640, "0" * 16, 1024)
    assert codes.bits_a_second == 2 * 10 * 25 and codes.seconds == 0.16
    assert [(u.codes, round(u.perplexity, 6)) for u in codes.usage] == [(1, 1.0), (4, 4.0)]
    assert codes.to_text("a.wav").splitlines()[:2] == ["a.wav: 0.16 s, 2 quantizers, 0.50 kbit/s", "  tokens 3 3 3 3"]


def test_codes_are_kept_in_a_file(laura, tmp_path):
    codes = laura.encode(sound(0.7))
    kept = Codes.load(codes.save(tmp_path / "a.safetensors"))
    assert np.array_equal(kept.codes, codes.codes) and replace(kept, codes=0) == replace(codes, codes=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    first, second = (decode_to(laura.runtime.backend, each, tmp_path / f"{n}.wav") for n, each in enumerate((kept, codes)))
    assert np.array_equal(load_audio(first), load_audio(second))


def test_five_milliseconds_silence_and_clipping_are_sound_too(laura):
    for wave in (sound(0.005), np.zeros(3000, np.float32), np.sign(sound(0.5)).astype(np.float32)):
        back = laura.decode(laura.encode(wave))
        assert back.shape == wave.shape and np.isfinite(back).all()


PEAK = """
import resource, sys
import numpy as np
from lauragpt import Laura
from lauragpt.audio import save_stream
from lauragpt.engine.codec_io import decode

checkpoint, path, minutes = sys.argv[1], sys.argv[2], int(sys.argv[3])
save_stream(path, [0.1 * np.random.default_rng(0).normal(size=60 * 16000).astype(np.float32)] * minutes)
laura = Laura.load(checkpoint, device="cpu")
codes = laura.encode(path, 1)
assert codes.codes.shape == (1, minutes * 1500)
assert sum(len(piece) for piece in decode(laura.runtime.backend, codes)) == codes.samples
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_half_an_hour_takes_no_more_memory_than_two_minutes(debug_checkpoint, tmp_path):
    """What a longer recording adds to the peak of a process is its codes, and no wave."""

    def peak(minutes: int) -> int:
        command = [sys.executable, "-c", PEAK, str(debug_checkpoint), str(tmp_path / "long.wav"), str(minutes)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)

    assert peak(30) - peak(2) < 40_000, "kilobytes; the wave alone is 115 MB"


@pytest.mark.parametrize("number", [0, 5, -1])
def test_a_number_of_quantizers_that_the_codec_has_not(laura, number):
    with pytest.raises(LauraError, match="quantizers: .* give 1 to 4"):
        laura.encode(sound(0.3), number)
    with pytest.raises(LauraError, match="quantizers: .* give 1 to 4"):
        laura.encode(sound(0.3)).first(number)


def test_codes_that_are_wrong_are_refused_before_a_sound_is_made(laura, tmp_path):
    codes = laura.encode(sound(0.5))

    def fails(other: Codes, words: str) -> None:
        with pytest.raises(LauraError, match=words):
            decode_to(laura.runtime.backend, other, tmp_path / "out.wav")
        assert not list(tmp_path.iterdir())

    fails(replace(codes, codec_hash="f" * 16), "codes of codec ffff.*this checkpoint holds codec")
    fails(replace(codes, codes=codes.codes + 1024), "go from .* to .*this codec's go from 0 to 1023")
    fails(replace(codes, codes=codes.codes - 2000), "go from -")
    fails(replace(codes, codes=codes.codes[:, :-1]), r"shape .*T = ceil\(samples / 640\)")
    fails(replace(codes, codes=np.concatenate([codes.codes, codes.codes])), "K = 1 to 4")
    fails(replace(codes, codes=codes.codes[0]), "shape")


def test_sound_that_is_none(laura, tmp_path):
    broken = sound(0.5)
    broken[7] = np.nan
    with pytest.raises(LauraError, match="NaN"):
        laura.encode(broken)
    with pytest.raises(LauraError, match="no samples"):
        laura.encode(np.zeros(0, np.float32))
    with pytest.raises(LauraError, match="no such file"):
        laura.encode(tmp_path / "none.wav")


def test_files_that_hold_no_codes(tmp_path):
    save_file({"codes": np.zeros((1, 3), np.int16)}, tmp_path / "foreign.safetensors")
    about = {"format": "lauragpt-codes-1", "codec_hash": "0" * 16, "samples": "1920", "codebook_size": "1024"}
    save_file({"codes": np.zeros(3, np.int16)}, tmp_path / "flat.safetensors", about)
    save_file({"codes": np.full((1, 3), 1024, np.int16)}, tmp_path / "large.safetensors", about)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "foreign.safetensors").read_bytes()[:40])
    (tmp_path / "letter.safetensors").write_text("Dear reader")
    for name, words in (
        ("foreign", "holds no codes"), ("flat", "do not fit 1920 samples"), ("large", "a codebook of 1024"),
        ("cut", "can be read"), ("letter", "can be read"), ("none", "no such file"),
    ):  # fmt: skip
        with pytest.raises(LauraError, match=words):
            Codes.load(tmp_path / f"{name}.safetensors")


def test_pieces_are_whole_frames():
    assert PIECE % 640 == 0
