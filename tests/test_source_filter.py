"""Frames of a source and a filter as sound: pitch, noise, envelope, level; and pieces of any size, which give the same wave."""

import numpy as np
import pytest

from lauragpt.source_filter import APERIODICITY, CENTRES, F0, HOP, POINTS, WIDTH, SourceFilter, speech, speech_stream

SR = 16000


def frames(count: int = 100, f0: float = 125.0, level: float = -12.0, aperiodicity: float = -40.0) -> np.ndarray:
    """A voice, or noise where f0 is 0, with a flat envelope."""
    made = np.full((count, WIDTH), level)
    made[:, APERIODICITY], made[:, F0] = aperiodicity, f0
    return made


def power(wave: np.ndarray) -> np.ndarray:
    """Of the middle, at each multiple of 1 Hz."""
    middle = wave[len(wave) // 2 - 4000 : len(wave) // 2 + 4000] * np.hanning(8000)
    return np.abs(np.fft.rfft(middle, SR)) ** 2


@pytest.mark.parametrize("f0", [80.0, 125.0, 310.0])
def test_a_voice_sounds_at_its_pitch_and_at_its_multiples_alone(f0):
    spectrum = power(speech(frames(f0=f0)))
    around = spectrum[int(0.5 * f0) : int(1.5 * f0)]
    assert abs(int(0.5 * f0) + around.argmax() - f0) <= 1
    for multiple in (2, 5):
        assert spectrum[round(multiple * f0)] > 1000 * spectrum[round((multiple + 0.5) * f0)]


def test_without_a_voice_it_is_noise_of_the_envelopes_power():
    wave = speech(frames(400, f0=0.0, level=np.log(1e-4)))
    assert np.mean(wave[1600:-1600] ** 2) == pytest.approx(1e-4, rel=0.1)
    spectrum = power(wave)[100:7900].reshape(-1, 100).mean(1)
    assert spectrum.max() < 12 * spectrum.min()  # flat but for chance


def test_a_voice_has_the_power_of_the_envelope_at_every_pitch():
    low, high = (np.mean(speech(frames(400, f0=f0, level=np.log(1e-4)))[1600:-1600] ** 2) for f0 in (100.0, 200.0))
    assert low == pytest.approx(1e-4, rel=0.1) and high == pytest.approx(1e-4, rel=0.1)


def test_the_envelope_shapes_the_sound():
    made = frames(200, f0=100.0)
    made[:, :POINTS] = np.where(np.abs(CENTRES - 1000) < 300, -8.0, -14.0)
    spectrum = power(speech(made))
    assert np.log(spectrum[1000] / spectrum[3000]) == pytest.approx(6.0, abs=0.5)


def test_more_aperiodic_is_more_noise_between_the_harmonics():
    clear, breathy = (power(speech(frames(200, aperiodicity=decibels)))[3062] for decibels in (-50.0, -3.0))
    assert breathy > 100 * clear


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_a_frame_is_ten_milliseconds(count):
    assert speech(frames(count)).shape == (count * HOP,)


def test_no_frames_are_no_sound():
    assert speech(np.zeros((0, WIDTH))).shape == (0,)
    assert sum(map(len, speech_stream(iter([])))) == 0


def test_pieces_of_any_size_give_the_same_wave():
    rng = np.random.default_rng(0)
    made = frames(83)
    made[:, F0] = np.where(rng.random(83) < 0.3, 0, 100 + 60 * rng.random(83))
    made[:, :POINTS] += rng.standard_normal((83, POINTS))
    whole = speech(made, seed=3)
    for cuts in ([], [1, 2, 3], [40], list(range(1, 83)), [10, 10, 50]):
        together = np.concatenate(list(speech_stream(np.split(made, cuts), seed=3)))
        np.testing.assert_allclose(together, whole, atol=1e-6)
    assert not np.array_equal(whole, speech(made, seed=4))


def test_sound_comes_one_frame_late():
    speaking = SourceFilter()
    assert len(speaking(frames(1))) == 0
    assert len(speaking(frames(1))) == 0  # half of the first frame's window lies before the wave
    assert len(speaking(frames(1))) == HOP
    assert len(speaking(frames(5))) == 5 * HOP
    assert len(speaking(np.zeros((0, WIDTH)), last=True)) == 2 * HOP


def test_the_voice_goes_on_in_its_period_after_a_pause_and_nothing_is_infinite():
    made = frames(60)
    made[20:40, F0] = 0
    made[25:30, :POINTS] = -60  # silence
    made[30:35, :POINTS] = 3.0
    wave = speech(made)
    assert np.isfinite(wave).all() and np.abs(wave[26 * HOP : 28 * HOP]).max() < 1e-3
