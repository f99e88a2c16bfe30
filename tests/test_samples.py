"""Sound as Python programs hold it: every kind gives the wave that its file would, or one clear sentence."""

import array
import io

import numpy as np
import pytest
import soundfile
import torch
from sounds import encoded, fails, noise, tone

from lauragpt.audio import Recording, check_piece, read_audio, read_recording, resample, stream_audio
from lauragpt.engine.runtime import is_many
from lauragpt.samples import to_samples

WAVE = noise(1.5)
WORDS = np.round(WAVE * 32767).astype(np.int16)
AS_FLOAT = WORDS.astype(np.float32) / 32768


@pytest.mark.parametrize(
    "given, tolerance",
    [
        (WORDS, 0),
        (WORDS.astype(">i2"), 0),
        (WORDS.astype(np.int32) << 16, 0),
        (WORDS.astype(np.int64), 0),
        (WORDS.tolist(), 0),
        ((WORDS.astype(np.int32) + 32768).astype(np.uint16), 0),
        ((WORDS // 256 + 128).astype(np.uint8), 1 / 128),
        ((WORDS // 256).astype(np.int8), 1 / 128),
        (AS_FLOAT, 0),
        (AS_FLOAT.astype(np.float64), 0),
        (AS_FLOAT.astype(np.float16), 1e-3),
        (AS_FLOAT.tolist(), 0),
        (tuple(AS_FLOAT.tolist()), 0),
        (array.array("h", WORDS.tolist()), 0),
        (array.array("f", AS_FLOAT.tolist()), 0),
        (memoryview(AS_FLOAT), 0),
        (AS_FLOAT[::-1][::-1], 0),
        (torch.from_numpy(AS_FLOAT), 0),
        (torch.from_numpy(WORDS), 0),
        (torch.from_numpy(AS_FLOAT).requires_grad_(), 0),
        (torch.from_numpy(AS_FLOAT).bfloat16(), 5e-3),
        (torch.from_numpy(AS_FLOAT)[None], 0),
        (AS_FLOAT[:, None], 0),
        (AS_FLOAT[None], 0),
        (np.stack([AS_FLOAT, AS_FLOAT]), 0),
        (np.stack([WORDS, WORDS], axis=1), 0),
        ((AS_FLOAT, 16000), 0),
        ((16000, WORDS), 0),
        ([16000.0, AS_FLOAT], 0),
        ((AS_FLOAT.tolist(), np.int64(16000)), 0),
        ((np.stack([WORDS, WORDS], axis=1), 16000), 0),
        (Recording(AS_FLOAT), 0),
    ],
)
def test_samples_of_every_type_are_the_same_sound(given, tolerance):
    assert not is_many(given)
    wave = read_audio(given)
    assert wave.dtype == np.float32 and wave.shape == AS_FLOAT.shape and wave.flags.c_contiguous
    np.testing.assert_allclose(wave, AS_FLOAT, atol=tolerance, rtol=0)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_samples_with_their_rate_are_what_their_file_gives(tmp_path, rate):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(noise(2.3, rate, 2), rate, format="WAV", subtype="FLOAT"))
    reference = read_audio(path)
    samples, given = soundfile.read(path, dtype="float32")
    left = np.ascontiguousarray(samples.T)
    for audio in ((samples, given), (given, samples), (torch.from_numpy(left), given), (left.astype(np.float64), float(given))):
        assert np.array_equal(read_audio(audio), reference)
    assert np.array_equal(read_audio(samples, sample_rate=given), reference)
    assert np.array_equal(read_audio((samples, given), sample_rate=given), reference)
    assert np.array_equal(read_audio(samples[:, 0].copy(), sample_rate=rate), resample(samples[:, 0], rate))


def test_bytes_and_open_files_are_files(tmp_path):
    data = encoded(WAVE, format="FLAC")
    path = tmp_path / "a.flac"
    path.write_bytes(data)
    written = io.BytesIO()
    written.write(data)  # and left at its end
    reference = read_audio(path)
    with open(path, "rb") as file:
        for audio in (data, bytearray(data), memoryview(data), io.BytesIO(data), written, file, str(path), stream_audio(path)):
            assert np.array_equal(read_audio(audio), reference) and not is_many(audio)
    with open(path, "rb", buffering=0) as raw:
        assert np.array_equal(read_audio(raw), reference)
    fails(lambda: read_audio(data, sample_rate=8000), "a file says its own")
    fails(lambda: read_audio(io.StringIO("text")), "gives str", "'rb'")
    fails(lambda: read_audio(io.BytesIO()), "empty (0 bytes)")
    with open(path, encoding="latin-1") as text:
        fails(lambda: read_audio(text), "'rb'")


@pytest.mark.parametrize(
    "given, words",
    [
        (AS_FLOAT * 32768, ["goes up to", "[-1, 1]", "32768"]),
        (torch.from_numpy(AS_FLOAT * 2.0**31), ["[-1, 1]"]),
        (WORDS.astype(np.int64) * 65536, ["int64"]),
        (np.float32(0.5), ["float32"]),
        (np.array(0.5), ["single number"]),
        (torch.tensor(0.5), ["single number"]),
        (np.zeros(0), ["no samples"]),
        (np.zeros((0, 2)), ["no samples"]),
        ([], ["no samples"]),
        (np.zeros((2, 3, 16000)), ["(2, 3, 16000)"]),
        (np.zeros((20, 16000)), ["a batch is a list"]),
        (np.zeros((5, 5)), ["(5, 5)"]),
        (np.array(["a", "b"]), ["not samples"]),
        (np.array([None, 1]), ["object"]),
        (np.zeros(9000, complex), ["complex"]),
        (np.zeros(9000, bool), ["bool"]),
        ([[0.0, 0.1], [0.2]], ["no array of numbers"]),
        (None, ["NoneType"]),
        (7, ["int"]),
        ({"array": AS_FLOAT}, ["dict"]),
        (np.full(9000, np.nan), ["NaN"]),
        (np.full((9000, 2), np.inf), ["infinite"]),
        (np.zeros(1000), ["62 ms", "at least 100 ms"]),
        ((AS_FLOAT, 0), ["whole number of Hz", "0"]),
        ((AS_FLOAT, -8000), ["-8000"]),
        ((AS_FLOAT, 8000.5), ["8000.5"]),
        ((AS_FLOAT, float("nan")), ["nan"]),
        (object(), ["object"]),
        (iter([0.1]), ["not samples"]),
    ],
)
def test_what_is_no_recording_is_refused_in_a_sentence(given, words):
    fails(lambda: read_audio(given), *words)


def test_a_rate_that_contradicts_another_is_refused():
    fails(lambda: read_audio((AS_FLOAT, 8000), sample_rate=16000), "8000 Hz and sample_rate 16000")
    for rate in (0, -1, 1.5, True, "8000", 999, 768_001):
        fails(lambda rate=rate: read_audio(AS_FLOAT, sample_rate=rate), "sample rate")


def test_what_is_one_recording_and_what_is_a_list_of_them():
    one = [(AS_FLOAT, 16000), (16000, AS_FLOAT), [0.1, 0.2], [1, 2, 3], "a.wav", AS_FLOAT, (torch.zeros(5), 8000), ([[0.1, 0.2]], 8000)]
    many = [
        [AS_FLOAT],
        (AS_FLOAT, AS_FLOAT),
        [],
        ["a.wav", "b.wav"],
        [(AS_FLOAT, 16000), AS_FLOAT],
        [[0.1], [0.2]],
        ["a.wav", 16000],
        [b"a", b"b"],
    ]
    assert not any(map(is_many, one)) and all(map(is_many, many))


def test_pieces_of_a_stream_are_one_channel_at_16_khz():
    assert np.array_equal(check_piece(WORDS, "a piece"), AS_FLOAT) and np.array_equal(
        check_piece(torch.from_numpy(AS_FLOAT), "a piece"), AS_FLOAT
    )
    for bad in ((AS_FLOAT, 8000), np.stack([AS_FLOAT, AS_FLOAT]), AS_FLOAT * 32768, "text", np.full(100, np.nan)):
        fails(lambda bad=bad: check_piece(bad, "a piece"), "a piece")


def test_a_whole_recording_at_16_khz_is_not_copied():
    assert np.shares_memory(read_recording(AS_FLOAT).wave, AS_FLOAT)
    assert to_samples(tone(), "a").wave.base is not None
