"""Sound as Python programs hold it -> samples: arrays, lists, tensors, and pairs of samples and rate.

In: what NumPy, soundfile, librosa, torchaudio, Gradio or the standard library give. Out: `Samples`, float32 in [-1, 1]. One rule a kind:
integers are scaled by their type; floats must be in [-1, 1] already; the shorter of two axes holds the channels.
"""

from array import array
from dataclasses import dataclass
from numbers import Real

import numpy as np

from lauragpt.errors import LauraError

RATES = 1000, 768_000  # Hz, least and most: what lies beyond is no sound, but a damaged header
CHANNELS = 8  # at most: more are a batch of recordings
LOUDEST = 8.0  # of floats: what goes beyond was never divided by its full scale
ALLOWED = "give a path, the bytes of an audio file, an array of samples, or (samples, rate)"
FULL_SCALE = {"i1": 2**7, "i2": 2**15, "i4": 2**31, "u1": 2**7, "u2": 2**15}


@dataclass(frozen=True)
class Samples:
    wave: np.ndarray  # (N, C) float32
    rate: int | None = None  # Hz, where it was given


def is_pair(given: object) -> bool:
    """Whether this is (samples, rate), as soundfile and librosa give it, or (rate, samples), as Gradio does."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return False
    return [_is_rate(each) for each in given].count(True) == 1 and any(map(_holds_samples, given))


def is_numbers(given: object) -> bool:
    """Whether this is a list of samples and not of recordings."""
    return isinstance(given, (tuple, list)) and len(given) > 0 and isinstance(given[0], Real)


def to_samples(given: object, name: str) -> Samples:
    """LauraError for what holds no sound, with what it is and what is allowed."""
    if is_pair(given):
        rate, samples = given if _is_rate(given[0]) else given[::-1]
        return Samples(to_samples(samples, name).wave, check_rate(rate))
    if isinstance(given, Real) or given is None or isinstance(given, (str, dict, set)):
        raise LauraError(f"{name} is {type(given).__name__}: {ALLOWED}")
    values = _array(given, name)
    if values.ndim == 0:
        raise LauraError(f"{name} is a single number: {ALLOWED}")
    if not values.size:
        raise LauraError(f"{name} holds no samples (0 s)")
    return Samples(_channels(_scaled(values, name), name))


def check_rate(rate: object, name: str | None = None) -> int:
    """Samples a second as an int, or LauraError, which says that the file `name` has this rate in its header."""
    if not _is_rate(rate) or not RATES[0] <= rate <= RATES[1] or int(rate) != rate:
        rule = f"a sample rate is a whole number of Hz from {RATES[0]:,} to {RATES[1]:,}"
        raise LauraError(f"{rule}, not {rate!r}" if name is None else f"{name} is damaged: its header says {rate:,} Hz, but {rule}")
    return int(rate)


def _is_rate(given: object) -> bool:
    return isinstance(given, Real) and not isinstance(given, (bool, np.bool_))


def _holds_samples(given: object) -> bool:
    if isinstance(given, (list, tuple)):
        return is_numbers(given) or (len(given) > 0 and is_numbers(given[0]))
    return isinstance(given, (array, memoryview)) or (not isinstance(given, Real) and hasattr(given, "__array__"))


def _array(given: object, name: str) -> np.ndarray:
    if hasattr(given, "detach"):  # a tensor of torch, on any device, with or without a gradient
        given = given.detach().cpu()
        given = (given.float() if given.is_floating_point() else given).numpy()  # NumPy knows no bfloat16
    try:
        values = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise LauraError(f"{name} is no array of numbers ({str(error).splitlines()[0][:80]}): {ALLOWED}") from None
    if values.dtype.kind not in "fiu":
        kind = "complex numbers" if values.dtype.kind == "c" else f"{type(given).__name__} of {values.dtype}"
        raise LauraError(f"{name} is {kind}, not samples: {ALLOWED}")
    return values


def _scaled(values: np.ndarray, name: str) -> np.ndarray:
    """float32 in [-1, 1]. Integers of 64 bits, which lists of Python numbers become, are read as of 16 bits."""
    kind = values.dtype.str[1:]
    if values.dtype.kind == "f":
        peak = float(max(-values.min(), values.max()))  # NaN where there is one
        if np.isfinite(peak) and peak > LOUDEST:
            way = "divide them by their full scale (32768 for 16 bits), or give integers"
            raise LauraError(f"{name} goes up to {peak:.6g}: floats must be in [-1, 1]; {way}")
        return values.astype(np.float32, copy=False)
    if kind not in FULL_SCALE:
        if values.min() < -(2**15) or values.max() >= 2**15:
            given = f"{values.min()} to {values.max()} in {values.dtype}"
            raise LauraError(f"{name} goes from {given}, whose full scale is not known: give int16, int32, or floats in [-1, 1]")
        kind = "i2"
    full = np.float32(FULL_SCALE[kind])
    return (values.astype(np.float32) - (full if kind[0] == "u" else 0)) / full


def _channels(values: np.ndarray, name: str) -> np.ndarray:
    """(N,), (N, C) or (C, N) -> (N, C)."""
    if values.ndim == 1:
        return values[:, None]
    if values.ndim != 2 or min(values.shape) > CHANNELS or values.shape[0] == values.shape[1]:
        allowed = f"(N,), or (N, C) or (C, N) with up to {CHANNELS} channels; a batch is a list of recordings"
        raise LauraError(f"{name} has shape {values.shape}: give {allowed}")
    return values if values.shape[0] > values.shape[1] else values.T
