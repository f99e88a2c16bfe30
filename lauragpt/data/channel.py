"""Recordings as they arrive by telephone or over the internet: a narrow band, a lossy codec, clipped peaks.

In: a wave (N,) float32 at 16 kHz and, for training, a `np.random.Generator`. Out: (N,) float32 of the same length, aligned to the sample.
Codecs are libsndfile's, run in memory. `degrade` is for training; `telephone` is deterministic, for the evaluation.
"""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile
import soxr

from lauragpt.audio import SAMPLE_RATE
from lauragpt.data.augment import Wave, clip_peaks
from lauragpt.errors import LauraError

BLOCK = 16000  # samples a write: some versions of libsndfile overflow their stack on a long Ogg stream written at once
RATES = (6000, 8000, 11025, 12000)  # Hz; a wave at such a rate holds nothing above half of it


@dataclass(frozen=True)
class Codec:
    """A lossy format of libsndfile. Opus and MP3 take a compression level, 0 (best) to 1 (smallest), drawn uniformly from `levels`."""

    format: str
    subtype: str
    rates: tuple[int, ...]  # Hz that it may be run at
    levels: tuple[float, float] | None = None


CODECS = {
    "mu-law": Codec("WAV", "ULAW", (8000,)),
    "A-law": Codec("WAV", "ALAW", (8000,)),
    "GSM 6.10": Codec("WAV", "GSM610", (8000,)),
    "Opus": Codec("OGG", "OPUS", (8000, 12000, 16000), (0.94, 1.0)),  # 21 to 6 kbit/s
    # Variable bit rate, about 40 to 20 kbit/s. At low constant rates libsndfile writes no LAME header, and the decoder's delay stays in.
    "MP3": Codec("MP3", "MPEG_LAYER_III", (16000,), (0.5, 0.98)),
}


@dataclass(frozen=True)
class ChannelConfig:
    """Probabilities of each change; they are drawn independently."""

    clipped: float = 0.15
    high_pass: float = 0.25
    band: float = 0.4  # a rate of RATES
    codec: float = 0.5


def degrade(wave: Wave, rng: np.random.Generator, config: ChannelConfig = ChannelConfig()) -> Wave:
    """(N,) -> (N,): clipping as in a microphone, then a high pass and a narrower band, then a codec; each with its probability, so that
    now and then nothing happens. The peak is at most 1."""
    if not len(wave):
        return wave
    if rng.random() < config.clipped:
        wave = clip_peaks(wave, rng.uniform(0.2, 0.8))
    if rng.random() < config.high_pass:
        wave = high_pass(wave, rng.uniform(80, 400))
    if rng.random() < config.band:
        wave = band_limit(wave, int(rng.choice(RATES)))
    if rng.random() < config.codec:
        names = available_codecs()
        codec = CODECS[names[int(rng.integers(len(names)))]]
        level = None if codec.levels is None else float(rng.uniform(*codec.levels))
        wave = apply_codec(wave, codec, int(rng.choice(codec.rates)), level)
    return np.clip(wave, -1, 1).astype(np.float32)


def telephone(wave: Wave) -> Wave:
    """(N,) -> (N,): 8 kHz mu-law (ITU-T G.711), as a call on the fixed network arrives."""
    return apply_codec(wave, CODECS["mu-law"], 8000)


def high_pass(wave: Wave, hertz: float) -> Wave:
    """The wave without what lies below `hertz`: gain rises from 0 at half of it to 1, along half a cosine. Zero phase, so nothing is
    delayed."""
    spectrum = np.fft.rfft(wave)
    frequency = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    ramp = np.clip((frequency - hertz / 2) / (hertz / 2), 0, 1)
    return np.fft.irfft(spectrum * (0.5 - 0.5 * np.cos(np.pi * ramp)), len(wave)).astype(np.float32)


def band_limit(wave: Wave, rate: int) -> Wave:
    """The wave without what lies above half of `rate` (Hz): resampled to that rate and back."""
    return _fitted(_resampled(_resampled(wave, SAMPLE_RATE, rate), rate, SAMPLE_RATE), len(wave))


def apply_codec(wave: Wave, codec: Codec, rate: int, level: float | None = None) -> Wave:
    """The wave after encoding at `rate` (Hz) and decoding. LauraError where this libsndfile lacks the codec."""
    if not len(wave):
        return wave
    options = {} if level is None else {"compression_level": level}
    if codec.format == "MP3":
        options["bitrate_mode"] = "VARIABLE"
    data = encode_audio(_resampled(wave, SAMPLE_RATE, rate), rate, codec.format, codec.subtype, **options)
    decoded, decoded_rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return _fitted(_resampled(decoded, decoded_rate, SAMPLE_RATE), len(wave))


def encode_audio(wave: Wave, rate: int, format: str, subtype: str, **options: object) -> bytes:
    """A sound file in memory. `format` and `subtype` as libsndfile calls them. LauraError where it cannot write them."""
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(file, "w", rate, 1, subtype, format=format, **options) as sink:
            for start in range(0, len(wave), BLOCK):
                sink.write(np.clip(wave[start : start + BLOCK], -1, 1))
    except (soundfile.SoundFileError, TypeError, ValueError) as error:  # TypeError: soundfile is older than the option
        raise LauraError(f"this libsndfile cannot write {format} {subtype} at {rate} Hz: {error}") from None
    return file.getvalue()


@cache
def available_codecs() -> tuple[str, ...]:
    """Names in CODECS that the installed libsndfile can run: an older one lacks MP3."""
    silence = np.zeros(SAMPLE_RATE // 10, np.float32)

    def works(codec: Codec) -> bool:
        try:
            return len(apply_codec(silence, codec, codec.rates[0], codec.levels[0] if codec.levels else None)) > 0
        except LauraError:
            return False

    return tuple(name for name, codec in CODECS.items() if works(codec))


def _resampled(wave: Wave, rate: int, new_rate: int) -> Wave:
    return wave if rate == new_rate else soxr.resample(np.asarray(wave, dtype=np.float32), rate, new_rate)


def _fitted(wave: Wave, length: int) -> Wave:
    """Codecs work in whole frames and resampling rounds: cut or padded at the end."""
    return np.pad(wave[:length], (0, max(0, length - len(wave)))).astype(np.float32)
