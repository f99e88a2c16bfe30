"""Audio in and out: rates, channels and containers agree with the samples written; every bad file gets one clear line."""

import os
import tracemalloc

import numpy as np
import pytest
from sounds import encoded, fails, tone

from lauragpt.audio import (
    SAMPLE_RATE,
    check_length,
    decode_audio,
    load_audio,
    read_audio,
    read_recording,
    resample,
    save_audio,
    save_stream,
    stream_audio,
)
from lauragpt.errors import LauraError, LauraWarning


@pytest.mark.parametrize("suffix, tolerance", [(".wav", 1e-4), (".flac", 1e-4), (".ogg", 0.08)])
def test_what_is_saved_is_what_is_loaded(tmp_path, suffix, tolerance):
    wave = tone()
    path = save_audio(tmp_path / f"a{suffix}", wave)
    back = load_audio(path)
    assert back.dtype == np.float32 and back.shape == wave.shape
    assert np.abs(back - wave).max() < tolerance
    assert sorted(os.listdir(tmp_path)) == [path.name]  # nothing is left beside it


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_become_16_khz_and_keep_their_pitch(rate):
    wave = decode_audio(encoded(tone(1.0, rate), rate, format="WAV"))
    assert abs(len(wave) - SAMPLE_RATE) <= 1
    spectrum = np.abs(np.fft.rfft(wave))
    assert spectrum.argmax() * SAMPLE_RATE / len(wave) == pytest.approx(440, abs=1.5)
    middle = slice(2000, -2000)
    assert np.abs(wave[:SAMPLE_RATE][middle] - tone(1.0)[: len(wave)][middle]).max() < 0.01


def test_stereo_is_mixed_down_to_the_mean():
    left, right = tone(), tone(hertz=1000)
    mixed = decode_audio(encoded(np.stack([left, right], axis=1), format="WAV", subtype="FLOAT"))
    np.testing.assert_allclose(mixed, (left + right) / 2, atol=1e-6)


def test_opus_and_mp3_are_read():
    for how in ({"format": "OGG", "subtype": "OPUS"}, {"format": "MP3"}):
        wave = decode_audio(encoded(tone(1.0), **how))
        assert len(wave) == pytest.approx(SAMPLE_RATE, abs=2500)
        assert 0.45 < np.abs(wave[2000:-4000]).max() < 0.55


def test_samples_beyond_one_are_clipped_not_wrapped(tmp_path):
    back = load_audio(save_audio(tmp_path / "loud.wav", 3 * tone()))
    assert back.max() > 0.99 and back.min() < -0.99
    assert np.abs(np.diff(back)).max() < 1.0  # wrapping would jump by 2


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "talk.txt").write_text("this is not sound")
    (tmp_path / "zeros.wav").write_bytes(encoded(np.zeros(0, np.float32), format="WAV"))
    fails(lambda: load_audio(tmp_path / "none.wav"), "none.wav", "no such file")
    fails(lambda: load_audio(tmp_path), str(tmp_path), "folder")
    fails(lambda: load_audio(tmp_path / "empty.wav"), "empty.wav", "empty")
    fails(lambda: load_audio(tmp_path / "talk.txt"), "talk.txt", "not audio")
    fails(lambda: load_audio(tmp_path / "zeros.wav"), "zeros.wav", "no samples")
    fails(lambda: load_audio(tmp_path / ("x" * 300)), "cannot be read")


def test_an_object_that_reads_but_cannot_seek_may_be_empty():
    class Stream:
        def read(self) -> bytes:
            return b""

    fails(lambda: read_audio(Stream()), "empty (0 bytes)")


def test_a_file_cut_short_is_read_with_a_warning_or_refused(tmp_path):
    path = tmp_path / "talk.wav"
    path.write_bytes(encoded(tone(2.0), format="WAV")[:-16000])
    with pytest.warns(LauraWarning, match="talk.wav is cut short or damaged: the 1.50 s that can be read are used"):
        recording = read_recording(path)
    assert recording.truncated and np.abs(recording.wave - tone(1.5)).max() < 1e-4
    for act in (read_recording, load_audio, lambda path, strict: list(stream_audio(path, strict=strict))):
        fails(lambda act=act: act(path, strict=True), "talk.wav is cut short or damaged", "strict")
    assert not read_recording(save_audio(path, tone())).truncated


def test_less_than_a_tenth_of_a_second_is_refused(tmp_path):
    fails(lambda: read_audio(save_audio(tmp_path / "a.wav", tone(0.0999))), "a.wav is 100 ms long: give at least 100 ms")
    assert len(read_audio(save_audio(tmp_path / "a.wav", tone(0.1)))) == 1600 == len(check_length(tone(0.1), "a"))


def test_an_hour_is_held_about_twice(tmp_path):
    path, minutes = tmp_path / "hour.wav", 5
    save_stream(path, (tone(60) for _ in range(minutes)))
    tracemalloc.start()
    try:
        wave = load_audio(path)
        _, whole = tracemalloc.get_traced_memory()
        del wave
        tracemalloc.reset_peak()
        for piece in stream_audio(path, 10):
            assert len(piece) == 10 * SAMPLE_RATE
        _, streamed = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = minutes * 60 * SAMPLE_RATE * 4
    assert whole < 2.2 * size and streamed < 0.4 * size


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_both_ways(tmp_path, bad):
    wave = tone()
    wave[100] = bad
    fails(lambda: decode_audio(encoded(wave, format="WAV", subtype="FLOAT"), "mic"), "mic", "NaN or infinite")
    fails(lambda: save_audio(tmp_path / "a.wav", wave), "NaN or infinite")
    assert os.listdir(tmp_path) == []


def test_files_that_cannot_be_written(tmp_path):
    fails(lambda: save_audio(tmp_path / "a.mp3", tone()), "a.mp3", ".wav, .flac, .ogg")
    fails(lambda: save_audio(tmp_path / "a", tone()), "without a suffix")
    fails(lambda: save_audio(tmp_path / "none" / "a.wav", tone()), "none does not exist")
    fails(lambda: save_audio(tmp_path / "a.wav", np.zeros((2, 5))), "(2, 5)", "one channel")
    (tmp_path / "folder.wav").mkdir()
    fails(lambda: save_audio(tmp_path / "folder.wav", tone()), "folder")


def test_a_folder_that_is_not_writable():
    # /proc refuses new files even from root, unlike a folder without the write bit
    fails(lambda: save_audio("/proc/a.wav", tone()), "/proc/a.wav cannot be written")


def test_saving_replaces_the_old_file_and_respects_the_umask(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    save_audio(path, tone())
    mask = os.umask(0)
    os.umask(mask)
    assert len(load_audio(path)) == len(tone())
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_resample_of_nothing_and_of_nonsense():
    assert len(resample(np.zeros(0), 8000)) == 0
    fails(lambda: resample(tone(), 0), "positive")


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 8000, 44100])
@pytest.mark.parametrize("how", [{"format": "WAV"}, {"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "MP3"}])
def test_a_recording_in_pieces_is_the_recording(tmp_path, rate, how):
    rng, path = np.random.default_rng(0), tmp_path / "talk"
    path.write_bytes(encoded(rng.uniform(-0.5, 0.5, (int(3.3 * rate), 2)).astype(np.float32), rate, **how))
    pieces, whole = list(stream_audio(path, 0.5)), load_audio(path)
    assert len(pieces) > 5 and max(map(len, pieces)) < SAMPLE_RATE
    together = np.concatenate(pieces)
    assert together.dtype == np.float32 and np.array_equal(together, whole)


def test_pieces_of_bad_files_fail_in_the_same_words(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "talk.txt").write_text("this is not sound")
    (tmp_path / "zeros.wav").write_bytes(encoded(np.zeros(0, np.float32), format="WAV"))
    (tmp_path / "cut.wav").write_bytes(encoded(tone(2.0), format="WAV")[:40])
    broken = tone()
    broken[-5] = np.nan
    (tmp_path / "nan.wav").write_bytes(encoded(broken, format="WAV", subtype="FLOAT"))
    for path in (tmp_path / "none.wav", tmp_path, *sorted(tmp_path.iterdir())):
        with pytest.raises(LauraError) as whole:
            load_audio(path)
        fails(lambda path=path: list(stream_audio(path, 0.1)), str(whole.value))


def test_a_file_written_in_pieces_appears_whole_or_not_at_all(tmp_path):
    wave = tone(1.0)
    assert np.abs(load_audio(save_stream(tmp_path / "a.flac", np.array_split(wave, 7))) - wave).max() < 1e-4

    def breaks():
        yield wave
        raise LauraError("the second piece cannot be made")

    fails(lambda: save_stream(tmp_path / "b.wav", breaks()), "second piece")
    assert os.listdir(tmp_path) == ["a.flac"]
