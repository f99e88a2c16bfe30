"""Degraded recordings: aligned to the sample, narrow where they should be, and as good as the codec's own standard says."""

import numpy as np
import pytest

from lauragpt.audio import SAMPLE_RATE, load_audio
from lauragpt.cli.demo import RECORDINGS
from lauragpt.data import channel
from lauragpt.data.channel import CODECS, ChannelConfig, apply_codec, available_codecs, band_limit, degrade, high_pass, telephone
from lauragpt.errors import LauraError


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return load_audio(RECORDINGS / "librispeech-2136-5147-0021.opus")


def lag(wave: np.ndarray, other: np.ndarray) -> int:
    """Samples by which `wave` is late, from the highest peak of the cross-correlation."""
    size = 2 * len(wave)
    peak = int(np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(other, size).conj()).argmax())
    return peak if peak < len(wave) else peak - size


def power(wave: np.ndarray, low: float, high: float) -> float:
    frequency = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    return float((np.abs(np.fft.rfft(wave)) ** 2)[(frequency >= low) & (frequency < high)].sum())


def test_every_codec_of_the_list_is_available_and_aligned(speech):
    assert available_codecs() == tuple(CODECS)
    for codec in CODECS.values():
        for rate in codec.rates:
            for level in codec.levels or (None,):
                for length in (len(speech), 12345):
                    decoded = apply_codec(speech[:length], codec, rate, level)
                    assert decoded.shape == (length,) and decoded.dtype == np.float32
                    assert abs(lag(decoded, speech[:length])) <= 1, (codec, rate, level)
                    assert not np.array_equal(decoded, speech[:length])


def mu_law(wave: np.ndarray) -> np.ndarray:
    """The continuous companding curve that G.711 follows, with 8 bits."""
    compressed = np.sign(wave) * np.log1p(255 * np.abs(wave)) / np.log(256)
    expanded = np.round(compressed * 127) / 127
    return np.sign(expanded) * (256 ** np.abs(expanded) - 1) / 255


def test_telephone_is_mu_law_at_8_khz(speech):
    narrow = band_limit(speech, 8000)
    heard = telephone(speech)
    assert power(heard, 4200, 8000) < 1e-3 * power(speech, 4200, 8000)
    noise, expected = np.mean((heard - narrow) ** 2), np.mean((mu_law(narrow) - narrow) ** 2)
    assert expected / 3 < noise < expected * 3  # quantization noise of the companding curve
    np.testing.assert_array_equal(heard, telephone(speech))


@pytest.mark.parametrize("rate", channel.RATES)
def test_a_band_ends_at_half_the_rate(speech, rate):
    narrow = band_limit(speech, rate)
    assert len(narrow) == len(speech) and lag(narrow, speech) == 0
    assert power(narrow, 0.52 * rate, 8000) < 1e-3 * power(speech, 0.52 * rate, 8000)
    assert power(narrow, 100, 0.4 * rate) == pytest.approx(power(speech, 100, 0.4 * rate), rel=0.02)


def test_a_high_pass_takes_the_low_end_alone(speech):
    filtered = high_pass(speech, 300)
    assert power(filtered, 0, 150) < 1e-6 * power(speech, 0, 150)
    assert power(filtered, 300, 8000) == pytest.approx(power(speech, 300, 8000), rel=1e-3)


def test_degrading_is_seeded_keeps_length_and_alignment_and_varies(speech):
    lags, versions = [], set()
    for seed in range(40):
        wave = degrade(speech, np.random.default_rng(seed))
        assert wave.shape == speech.shape and wave.dtype == np.float32 and np.abs(wave).max() <= 1
        versions.add(wave.tobytes())
        lags.append(abs(lag(wave, speech)))
        if seed < 6:
            np.testing.assert_array_equal(wave, degrade(speech, np.random.default_rng(seed)))
    assert len(versions) > 20 and max(lags) <= 1  # about a fifth of them are left as they are


@pytest.mark.parametrize("name", ["clipped", "high_pass", "band", "codec"])
def test_each_probability_governs_its_change(speech, name):
    nothing = ChannelConfig(0, 0, 0, 0)
    np.testing.assert_array_equal(degrade(speech, np.random.default_rng(0), nothing), speech)
    changed = degrade(speech, np.random.default_rng(0), ChannelConfig(**{**vars(nothing), name: 1.0}))
    assert not np.array_equal(changed, speech)


def test_short_and_silent_waves_pass():
    for length in (0, 1, 50):
        for seed in range(10):
            assert degrade(np.zeros(length, np.float32), np.random.default_rng(seed), ChannelConfig(1, 1, 1, 1)).shape == (length,)


def test_a_codec_that_libsndfile_lacks_is_refused_in_one_line():
    with pytest.raises(LauraError, match="cannot write WAV MPEG_9"):
        channel.encode_audio(np.zeros(100, np.float32), 8000, "WAV", "MPEG_9")
