"""Opus beside the codec: its packets take about the bits that were asked for, and more of them sound better."""

import io

import numpy as np
import pytest
import soundfile

from lauragpt.audio import load_audio
from lauragpt.evaluate.metrics import stoi
from lauragpt.evaluate.opus import RATES, opus, packet_bits
from tests.evaluate.test_run import RECORDINGS


def test_rates_are_about_kept_and_more_bits_sound_better():
    wave = load_audio(RECORDINGS / "librispeech-2136-5147-0021.opus")
    made = [opus(wave, rate) for rate in RATES]
    assert all(sound.shape == wave.shape for sound, _ in made)
    assert [took for _, took in made] == pytest.approx(RATES, rel=0.15)
    heard = [stoi(wave, sound) for sound, _ in made]
    assert heard == sorted(heard) and heard[0] > 0.8


def test_packets_are_counted_without_their_container():
    file = io.BytesIO()
    soundfile.write(file, np.zeros(32000, np.float32), 16000, format="OGG", subtype="OPUS")
    data = file.getvalue()
    assert 0 < packet_bits(data) < 8 * len(data) - 8 * 3 * 27  # three pages or more, each with a header of 27 bytes and more
