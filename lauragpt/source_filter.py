"""Speech from a source and a filter: frames (T, 66), one each 10 ms -> waveform (T * 160,) at 16 kHz, whole or piece by piece.

As WORLD has it (Morise et al., 2016): a voice is pulses at the fundamental frequency, breath and friction are noise, and both pass a
filter of minimum phase whose response is the spectral envelope. A frame holds the logarithm of the envelope's power at 64 frequencies that
lie evenly on the mel scale, the aperiodicity at 3 kHz (how much of the power is noise, in dB; it rises from -60 dB at 0 Hz to 0 at 8 kHz)
and the fundamental frequency in Hz, 0 where there is no voice. What a network predicts of it is smooth, where the phase of sound is not.

T frames, n frames of a piece, H samples from a frame to the next.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from lauragpt.audio import SAMPLE_RATE
from lauragpt.features import mel

HOP = 160
FRAMES = 4  # in an audio token of the GPT
POINTS = 64  # frequencies of the envelope
APERIODICITY, F0 = POINTS, POINTS + 1  # where they stand in a frame
WIDTH = POINTS + 2
LOWEST, HIGHEST = 60.0, 500.0  # Hz, of a voice

_FFT = 1024
_FREQUENCIES = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
_QUIETEST, _SURE = -60.0, 1e-3  # dB of noise at 0 Hz; a voice has at least this share of the power

_MEL_POINTS = np.linspace(0, mel(SAMPLE_RATE / 2), POINTS)
CENTRES = 700 * np.expm1(_MEL_POINTS / 1127)  # Hz
_PLACES = np.interp(mel(_FREQUENCIES), _MEL_POINTS, np.arange(POINTS))
_BELOW = np.minimum(_PLACES.astype(int), POINTS - 2)
_SHARES = _PLACES - _BELOW
_RISE = np.interp(_FREQUENCIES, [0, 3000, SAMPLE_RATE / 2], [0, 1, 2])  # 0 to 1 up to 3 kHz, then 1 to 2
_WINDOW = np.hanning(2 * HOP + 1)[:-1]  # two that overlap by half add up to 1


class SourceFilter:
    """A voice that speaks frames as they come. Pieces of any size give the same wave: it keeps the phase of the voice, the noise's
    generator and the sound that is still to ring out."""

    def __init__(self, seed: int = 0):
        self.noise = np.random.default_rng(seed)
        self.phase = 0.0  # of the voice, in periods
        self.begun_pulse = 0.0  # the share of a pulse that falls on the next sample
        self.last = np.zeros((0, WIDTH))  # the frame that waits for the next one
        self.before = np.zeros((1, 2, HOP))  # pulses and noise between the frame before and that one
        self.ringing = np.zeros(_FFT)
        self.begun = False

    def __call__(self, frames: np.ndarray, last: bool = False) -> np.ndarray:
        """The next frames (n, 66) -> samples (m,) that are now certain; a frame needs the next one. `last`: no more will come."""
        known = np.concatenate([self.last, np.asarray(frames, dtype=np.float64)])
        if last:
            known = np.concatenate([known, known[-1:]])
        if len(known) < 2:
            self.last = known
            return np.zeros(0, dtype=np.float32)
        ready, self.last = known[:-1], known[-1:]
        between = self._source(known)
        spans = np.concatenate([np.concatenate([self.before, between[:-1]]), between], axis=2) * _WINDOW  # (n, 2, 2 H)
        self.before = between[-1:]
        wave = np.zeros(len(ready) * HOP + _FFT)
        wave[:_FFT] = self.ringing
        for i, response in enumerate(_filtered(spans, ready)):
            wave[i * HOP : i * HOP + _FFT] += response
        sure, self.ringing = wave[: len(ready) * HOP], wave[len(ready) * HOP :]
        skipped, self.begun = 0 if self.begun else HOP, True  # half of the first frame's window lies before the wave
        return np.concatenate([sure[skipped:], self.ringing[:HOP] if last else sure[:0]]).astype(np.float32)

    def _source(self, frames: np.ndarray) -> np.ndarray:
        """(n + 1, 66) -> pulses and noise between them (n, 2, H)."""
        f0, count = frames[:, F0], (len(frames) - 1) * HOP
        voiced = f0 > 0
        # Beside a frame without a voice the pitch stays: it neither falls to 0 nor rises from there.
        left, right = np.where(voiced, f0, np.roll(f0, -1))[:-1], np.where(voiced, f0, np.roll(f0, 1))[1:]
        pitch = (left[:, None] + (right - left)[:, None] * np.arange(HOP) / HOP).reshape(-1)
        sounding = np.repeat(np.stack([voiced[:-1], voiced[1:]], 1), HOP // 2)  # each frame rules the half that is nearer to it
        phases = np.cumsum(np.concatenate([[self.phase], pitch / SAMPLE_RATE]))
        self.phase = float(phases[-1])
        begins = np.flatnonzero(np.floor(phases[1:]) > np.floor(phases[:-1]))
        begins = begins[sounding[begins]]
        # A period seldom begins on a sample: its pulse is shared by the two beside it, of which the later may be the next piece's first.
        late = (phases[begins + 1] - np.floor(phases[begins + 1])) * SAMPLE_RATE / pitch[begins]
        strengths, pulses = np.sqrt(SAMPLE_RATE / pitch[begins]), np.zeros(count + 1)
        pulses[0] = self.begun_pulse
        np.add.at(pulses, begins, strengths * late)
        np.add.at(pulses, begins + 1, strengths * (1 - late))
        pulses, self.begun_pulse = pulses[:-1], float(pulses[-1])
        return np.stack([pulses, self.noise.standard_normal(count)]).reshape(2, -1, HOP).transpose(1, 0, 2)


def speech(frames: np.ndarray, seed: int = 0) -> np.ndarray:
    """(T, 66) -> wave (T * 160,)."""
    return SourceFilter(seed)(frames, last=True) if len(frames) else np.zeros(0, dtype=np.float32)


def speech_stream(pieces: Iterable[np.ndarray], seed: int = 0) -> Iterator[np.ndarray]:
    """Pieces of frames (n, 66) -> pieces of the wave, which together are what `speech` gives."""
    speaking = SourceFilter(seed)
    for frames in pieces:
        yield speaking(frames)
    yield speaking(np.zeros((0, WIDTH)), last=True)


def _filtered(spans: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Pulses and noise (n, 2, 2 H) through the filters of the frames (n, 66) -> (n, FFT)."""
    envelope = frames[:, _BELOW] * (1 - _SHARES) + frames[:, _BELOW + 1] * _SHARES
    aperiodicity = frames[:, APERIODICITY, None].clip(_QUIETEST, 0)
    decibels = np.where(_RISE <= 1, _QUIETEST + _RISE * (aperiodicity - _QUIETEST), aperiodicity * (2 - _RISE))
    share = np.where(frames[:, F0, None] > 0, np.minimum(10 ** (decibels / 10), 1 - _SURE), 1.0)
    voice = np.fft.rfft(spans[:, 0], _FFT) * _minimum_phase(envelope + np.log(1 - np.minimum(share, 1 - _SURE)))
    noise = np.fft.rfft(spans[:, 1], _FFT) * _minimum_phase(envelope + np.log(share))
    return np.fft.irfft(voice + noise, _FFT)


def _minimum_phase(log_power: np.ndarray) -> np.ndarray:
    """(n, FFT / 2 + 1) -> the response of minimum phase, whose cepstrum is nothing before the time 0."""
    cepstrum = np.fft.irfft(log_power / 2, _FFT)
    cepstrum[:, 1 : _FFT // 2] *= 2
    cepstrum[:, _FFT // 2 + 1 :] = 0
    return np.exp(np.fft.rfft(cepstrum, _FFT))
