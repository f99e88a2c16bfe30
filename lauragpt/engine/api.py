"""Class `Laura`: a checkpoint that is ready to be used, one method a verb.

In: a recording: a path, the bytes of a file, or samples (audio.py, `read_recording`); or text; or a list of these, run in batches.
Out: a `Result`, or a list of them in the order given. The same input gives the same answer alone and in any list.

What the verbs share: `sample_rate` of samples, 16 kHz where nothing says otherwise; `progress(done, total)`, called as chunks are
finished, in seconds of sound where a recording is answered and in sentences where a text is; `min_confidence` (0 to 1), under which
answers are left out and counted in the receipt (`rejected`): single words of a transcript, whole answers to a chunk of all other tasks.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np

from lauragpt.adapters import read_adapter
from lauragpt.audio import Audio, Recording, read_audio, read_recording
from lauragpt.checkpoint import find_checkpoint, read_config, read_info
from lauragpt.engine import chain as chains
from lauragpt.engine import codec_io, enhance, recognise, regenerate, stream, synthesise, translate
from lauragpt.engine.backend import Backend, open_backend
from lauragpt.engine.chunking import is_silent
from lauragpt.engine.codec_io import Codes
from lauragpt.engine.decoding import Options
from lauragpt.engine.progress import Progress
from lauragpt.engine.runtime import Runtime, check_texts, is_many
from lauragpt.engine.voices import Voice, Voices, make_voice, prompt_clip
from lauragpt.errors import LauraError
from lauragpt.result import AudioResult, Result, TextResult
from lauragpt.tasks import BEAMS, TASKS
from lauragpt.text import Tokenizer

# A list of any of them; lists of one kind stand here one by one, because a type checker takes no list[str] for a list[Audio].
Audios = list[str] | list[Path] | list[bytes] | list[np.ndarray] | list[Recording] | list[Audio]


class Laura:
    def __init__(self, runtime: Runtime, voices: Voices):
        self.runtime, self.voices = runtime, voices

    @property
    def name(self) -> str:
        return self.runtime.info.name

    @classmethod
    def load(
        cls, name_or_path: str | Path = "mini", device: str | None = None, backend: str | Backend | None = None, compile: bool = False,
        beams: int = BEAMS, threads: int | None = None, adapter: str | Path | None = None,
    ) -> "Laura":  # fmt: skip
        """A checkpoint by name ("mini" ships with the package) or by folder.

        `backend`: "onnx" (CPU, no torch), "torch", a backend that is open already, or None, which is onnx where the checkpoint was
        exported. `device`: "cpu", "cuda" (torch), or None, which is the GPU, if there is one, where torch is chosen. `compile`: the GPT's
        layers by torch.compile (it needs a C++ compiler); the first answers then take some tens of seconds longer. `beams`: hypotheses of
        beam search in transcripts and translations; 1 is greedy decoding, about twice as fast and with more errors. `threads`: of a
        computation on the CPU; None is OMP_NUM_THREADS or all cores. `adapter`: a folder of LoRA factors,
        which are added to the weights as they are read. LauraError for a folder that is neither, is damaged, or does not fit."""
        folder = find_checkpoint(name_or_path)
        config = read_config(folder)
        info = read_info(folder, config)
        added = read_adapter(adapter, info.weights) if adapter is not None else None
        info = replace(info, weights=added.hash) if added is not None else info
        if backend is None or isinstance(backend, str):
            backend = open_backend(folder, config, info, device, backend, compile, threads, added)
        elif added is not None:
            raise LauraError("an adapter is added to weights while they are read, and the backend is open: leave the backend out")
        elif backend.codec_hash != info.codec_hash:
            raise LauraError(f"{folder} was trained on codec {info.codec_hash}, but the backend holds codec {backend.codec_hash}")
        return cls(Runtime(backend, Tokenizer.load(folder / "tokenizer.json"), info, beams), Voices(folder / "voices", backend))

    def with_backend(self, backend: Backend) -> "Laura":
        """The same checkpoint computed by another backend, such as one that wraps `laura.runtime.backend` and records its calls."""
        return type(self)(replace(self.runtime, backend=backend), self.voices)

    def with_cascade(self, cascade: bool) -> "Laura":
        """The same checkpoint translating recordings by way of their transcripts (True) or directly (False), whichever its config.json
        chooses."""
        return type(self)(replace(self.runtime, info=replace(self.runtime.info, cascade=cascade)), self.voices)

    @overload
    def transcribe(
        self, audio: Audios, lang: str | None = ..., min_confidence: float = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> list[TextResult]: ...
    @overload
    def transcribe(
        self, audio: Audio, lang: str | None = ..., min_confidence: float = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> TextResult: ...
    def transcribe(self, audio, lang=None, min_confidence=0.0, sample_rate=None, progress=None):
        """The words that are spoken, in spoken form: lower case, no punctuation, numbers in words. Silence gives an empty text.
        `segments` hold each word's time. Words of less confidence than `min_confidence` are left out of text, segments and words."""
        return self._listen("asr", audio, lang, min_confidence, sample_rate, progress)

    def transcribe_stream(
        self,
        pieces: Iterable[np.ndarray],
        lang: str | None = None,
        min_confidence: float = 0.0,
        every: float | None = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[TextResult]:
        """Pieces (n,) at 16 kHz of what is being spoken -> a `Result` for each chunk of it, with the text that `transcribe` gives it. A
        chunk ends in a pause of a second after 5 s and more; where it is never quiet, within 20 s, and is then answered 8 s later.
        Between them come partial results, `final` False: the open chunk so far, after `every` seconds of new sound (None: never), more
        rarely where an answer takes longer than half of that by `clock`. Memory does not grow."""
        return stream.transcribe_stream(self.runtime, pieces, self.runtime.check_lang(lang), min_confidence, every, clock)

    @overload
    def translate(
        self, audio: Audios, text: None = ..., to: str = ..., lang: str | None = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> list[TextResult]: ...
    @overload
    def translate(
        self, audio: Audio, text: None = ..., to: str = ..., lang: str | None = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> TextResult: ...
    @overload
    def translate(self, *, text: str, to: str = ..., lang: str | None = ..., progress: Progress | None = ...) -> TextResult: ...
    @overload
    def translate(self, *, text: list[str], to: str = ..., lang: str | None = ..., progress: Progress | None = ...) -> list[TextResult]: ...
    def translate(self, audio=None, text=None, to="de", lang=None, sample_rate=None, progress=None):
        """A recording, or a text, in the language `to`. `lang`: of the recording or text; None: the GPT tells. What is in `to` already is
        not translated: the text as it is, or the recording's transcript, with a LauraWarning and the reason in the receipt
        (`untranslated`). A recording's receipt says whether it was translated by way of its transcript (`cascade`)."""
        if (audio is None) == (text is None):
            raise LauraError("translate takes either audio or text: give one of them")
        if audio is not None:
            return self._listen("s2tt", audio, to, 0.0, sample_rate, progress, lang)
        texts, target = check_texts(text), self.runtime.check_lang(to)
        results = translate.translate_texts(self.runtime, texts, target, [self.runtime.check_lang(lang)] * len(texts), progress)
        return results if is_many(text) else results[0]

    @overload
    def caption(
        self, audio: Audios, min_confidence: float = ..., sample_rate: int | None = ..., progress: Progress | None = ...
    ) -> list[TextResult]: ...
    @overload
    def caption(
        self, audio: Audio, min_confidence: float = ..., sample_rate: int | None = ..., progress: Progress | None = ...
    ) -> TextResult: ...
    def caption(self, audio, min_confidence=0.0, sample_rate=None, progress=None):
        """What sounds, in a sentence."""
        return self._listen("aac", audio, None, min_confidence, sample_rate, progress)

    @overload
    def emotion(
        self, audio: Audios, min_confidence: float = ..., sample_rate: int | None = ..., progress: Progress | None = ...
    ) -> list[TextResult]: ...
    @overload
    def emotion(
        self, audio: Audio, min_confidence: float = ..., sample_rate: int | None = ..., progress: Progress | None = ...
    ) -> TextResult: ...
    def emotion(self, audio, min_confidence=0.0, sample_rate=None, progress=None):
        """The emotion of a voice in `text`; `scores` holds the GPT's own probability of every label."""
        return self._listen("ser", audio, None, min_confidence, sample_rate, progress)

    @overload
    def understand(
        self, audio: Audios, lang: str | None = ..., min_confidence: float = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> list[TextResult]: ...
    @overload
    def understand(
        self, audio: Audio, lang: str | None = ..., min_confidence: float = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> TextResult: ...
    def understand(self, audio, lang=None, min_confidence=0.0, sample_rate=None, progress=None):
        """A spoken order as `intent` and `slots`; `text` is the line the GPT wrote."""
        return self._listen("slu", audio, lang, min_confidence, sample_rate, progress)

    @overload
    def ask(
        self, task: str, audio: Audios, lang: str | None = ..., min_confidence: float = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> list[TextResult]: ...
    @overload
    def ask(
        self, task: str, audio: Audio, lang: str | None = ..., min_confidence: float = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> TextResult: ...
    def ask(self, task, audio, lang=None, min_confidence=0.0, sample_rate=None, progress=None):
        """Any task that listens and writes, by its name: those above, and those added by `tasks.add_task`. `lang`: of the answer."""
        if task not in TASKS or (TASKS[task].input, TASKS[task].output) != ("audio", "text"):
            names = ", ".join(name for name, row in TASKS.items() if (row.input, row.output) == ("audio", "text"))
            raise LauraError(f"{task!r} is no task that listens and writes: choose from {names}")
        return self._listen(task, audio, lang, min_confidence, sample_rate, progress)

    @overload
    def enhance(
        self, audio: Audios, verify: bool = ..., sample_rate: int | None = ..., progress: Progress | None = ...
    ) -> list[AudioResult]: ...
    @overload
    def enhance(self, audio: Audio, verify: bool = ..., sample_rate: int | None = ..., progress: Progress | None = ...) -> AudioResult: ...
    def enhance(self, audio, verify=False, sample_rate=None, progress=None):
        """The recording without its noise, exactly as long as it was. `verify`: a chunk in which other words are recognised afterwards is
        left as it was; the receipt says how many (`verify.kept_input`)."""
        return self._answer(audio, sample_rate, lambda waves: enhance.enhance(self.runtime, waves, verify=verify, progress=progress))

    @overload
    def speak(
        self, text: str, lang: str | None = ..., voice: Audio | Voice | None = ..., voice_text: str | None = ...,
        seed: int = ..., temperature: float = ..., top_k: int = ..., verify: int = ..., progress: Progress | None = ...,
    ) -> AudioResult: ...
    @overload
    def speak(
        self, text: list[str], lang: str | None = ..., voice: Audio | Voice | Audios | list[Voice | None] | None = ...,
        voice_text: str | None = ...,
        seed: int = ..., temperature: float = ..., top_k: int = ..., verify: int = ..., progress: Progress | None = ...,
    ) -> list[AudioResult]: ...
    def speak(self, text, lang=None, voice=None, voice_text=None, seed=0, temperature=0.3, top_k=25, verify=0, progress=None):
        """The text as speech. `voice`: the name of one that ships, or any recording, of which `voice_text` is the transcript (None: it is
        made here); None is the language's default. A list of voices goes with a list of texts. `verify`: tries, of which the one is kept
        that the model itself recognises best. Where the sound cannot be the text, or a recording's voice gives no word that the model
        recognises, the receipt says so (`failed`)."""
        options = Options(temperature=temperature, top_k=top_k, seed=seed)
        texts = check_texts(text)
        langs, voices = self._voices(texts, voice, voice_text, lang)
        if verify:
            results = synthesise.speak_verified(self.runtime, texts, langs, voices, options, verify, progress)
        else:
            results = synthesise.speak(self.runtime, texts, langs, voices, options, progress)
            cloned = [result for result, each in zip(results, voices) if each is not None and each.name not in self.voices.cards]
            synthesise.check_words(self.runtime, cloned)  # a voice that the model never learned may lack them
        for result, written in zip(results, texts):
            result.receipt |= {"text": written, "voice_text": voice_text}
        return results if is_many(text) else results[0]

    def regenerate(
        self, speech: AudioResult, start: float, end: float, seed: int = 1, voice: Audio | Voice | None = None,
        temperature: float = 0.3, top_k: int = 25,
    ) -> AudioResult:  # fmt: skip
        """What `speak` made, with the audio tokens from `start` to `end` (seconds) drawn anew by another seed; all other tokens stay, and
        so does the length. `voice`: the one it was made with; None: the one that its receipt names. The receipt lists what was made anew
        (`regenerated`). LauraError where there is nothing to make anew, or the voice is not known."""
        if not (0 <= start < end and np.isfinite(end)):
            raise LauraError(f"from {start} to {end} s is no span: give a start of 0 or more and an end behind it")
        if any(len(segment.codes) != len(segment.probabilities) for segment in speech.segments):
            raise LauraError("the speech has not one probability for each audio token: give what speak returned")
        past, voice = speech.receipt, speech.receipt.get("voice") if voice is None else voice
        self.runtime.check_lang(speech.lang)
        found = self.find_voice(voice, past.get("voice_text"), speech.lang) if voice is not None else None
        drawn = {"seed": seed, "temperature": temperature, "top_k": top_k}
        result = regenerate.regenerate(self.runtime, speech, start, end, found, Options(**drawn))
        kept = {name: past[name] for name in ("text", "voice", "voice_text", "seed", "temperature", "top_k") if name in past}
        result.receipt |= kept | {"regenerated": [*past.get("regenerated", []), {"start": start, "end": end} | drawn]}
        return result

    def speak_stream(
        self,
        text: str,
        lang: str | None = None,
        voice: Audio | Voice | None = None,
        voice_text: str | None = None,
        seed: int = 0,
        temperature: float = 0.3,
        top_k: int = 25,
    ) -> Iterator[np.ndarray]:
        """As `speak`, in pieces (n,) at 16 kHz while the rest is still being written. With `mini` the first piece comes after 24 tokens
        (.96 s of sound): the vocoder sees 8 tokens ahead, the codec's decoder 9 frames. LauraWarning where the sound cannot be the text."""
        options = Options(temperature=temperature, top_k=top_k, seed=seed)
        [text_lang], [text_voice] = self._voices(check_texts([text]), voice, voice_text, lang)
        return synthesise.speak_stream(self.runtime, text, text_lang, text_voice, options)

    def _voices(
        self, texts: list[str], voice: Audio | Voice | Audios | list[Voice | None] | None, voice_text: str | None, lang: str | None
    ) -> tuple[list[str], list[Voice | None]]:
        """The language and the voice of each text. LauraError for a list of voices that does not go with the texts."""
        self.runtime.check_lang(lang)
        if voice_text is not None:
            check_texts([voice_text])
        if not is_many(voice):
            voices = [self.find_voice(voice, voice_text, lang) if voice is not None else None] * len(texts)
        elif len(voice) != len(texts):
            raise LauraError(f"{len(voice)} voices for {len(texts)} texts: give one voice for all, or a list with a voice for each text")
        elif voice_text is not None:
            raise LauraError("voice_text is the transcript of one recording: leave it out, or give one voice in place of a list")
        else:
            voices = [self.find_voice(each, lang=lang) if each is not None else None for each in voice]
        # A named voice speaks its own language; a recording is any.
        named = [each.lang if each is not None and each.name in self.voices.cards else None for each in voices]
        langs = synthesise.languages(self.runtime, texts, [lang or voice_lang for voice_lang in named])
        return langs, [each or self.voices.default(chosen) for each, chosen in zip(voices, langs)]

    @overload
    def chain(
        self, steps: str, *, text: str, seed: int = ..., temperature: float = ..., top_k: int = ..., progress: Progress | None = ...
    ) -> Result: ...
    @overload
    def chain(
        self, steps: str, *, text: list[str], seed: int = ..., temperature: float = ..., top_k: int = ..., progress: Progress | None = ...
    ) -> list[Result]: ...
    @overload
    def chain(
        self, steps: str, audio: Audios, seed: int = ..., temperature: float = ..., top_k: int = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> list[Result]: ...
    @overload
    def chain(
        self, steps: str, audio: Audio, seed: int = ..., temperature: float = ..., top_k: int = ..., sample_rate: int | None = ...,
        progress: Progress | None = ...,
    ) -> Result: ...
    def chain(self, steps, audio=None, seed=0, temperature=0.3, top_k=25, sample_rate=None, progress=None, text=None):
        """Verbs one after the other, as "enhance | transcribe | translate:de | speak"; `speak` goes on in the input's voice. A chain may
        also begin with a text, as "translate:de | speak". The receipt holds those of the steps before the last (`steps`)."""
        if (audio is None) == (text is None):
            raise LauraError("chain takes either audio or text: give one of them")
        kind = "text" if audio is None else "audio"
        parsed = chains.parse_chain(steps, kind)
        for step in parsed:
            self.runtime.check_lang(step.lang)

        def run(inputs: list[np.ndarray] | list[str]) -> list[Result]:
            return chains.run_chain(self, parsed, inputs, kind, seed, temperature, top_k, progress)

        if audio is not None:
            return self._answer(audio, sample_rate, run)
        results = run(texts := check_texts(text))
        for result, written in zip(results, texts):
            result.receipt["input"] = written
        return results if is_many(text) else results[0]

    def encode(self, audio: Audio, quantizers: int | None = None, sample_rate: int | None = None) -> Codes:
        """A recording as the codec's codes, by its first `quantizers` or by all."""
        return codec_io.encode(self.runtime.backend, audio, quantizers, sample_rate)

    def decode(self, codes: Codes) -> np.ndarray:
        """The sound of codes, (N,) at 16 kHz, as long as what was encoded. LauraError for the codes of another codec."""
        return np.concatenate(list(codec_io.decode(self.runtime.backend, codes)))

    def find_voice(self, voice: Audio | Voice, text: str | None = None, lang: str | None = None) -> Voice:
        """A named voice, or one made of a recording."""
        if isinstance(voice, Voice):
            return voice
        if isinstance(voice, str) and voice in self.voices.cards:
            return self.voices.get(voice)
        name = str(voice) if isinstance(voice, (str, os.PathLike)) else "given as sound"
        if isinstance(voice, str) and not Path(voice).exists():
            names = ", ".join(self.voices.names()) or "none ship with this checkpoint"
            raise LauraError(f"voice {voice!r} is neither a recording nor a named voice: names are {names}")
        wave = read_audio(voice)
        clip = wave if text is not None else prompt_clip(wave)
        if text is None:
            transcript = self.transcribe(clip)
            text, lang = transcript.text or "", transcript.lang
        return make_voice(self.runtime.backend, name, clip, text, lang)

    def voices_of(self, waves: list[np.ndarray], texts: list[str | None]) -> list[Voice | None]:
        """Each recording's own voice as a prompt; its text where that is known and the prompt is all of the recording. None for silence."""
        clips = [prompt_clip(wave) for wave in waves]
        loud = [index for index, clip in enumerate(clips) if not is_silent(clip)]
        unknown = [i for i in loud if texts[i] is None or len(clips[i]) < len(waves[i])]
        transcripts = dict(zip(unknown, self.transcribe([clips[i] for i in unknown])))
        voices: list[Voice | None] = [None] * len(waves)
        for i in loud:
            text, lang = (transcripts[i].text, transcripts[i].lang) if i in transcripts else (texts[i], None)
            voices[i] = make_voice(self.runtime.backend, "input", clips[i], text or "", lang)
        return voices

    def _listen(
        self,
        task: str,
        audio: Audio | Audios,
        lang: str | None,
        min_confidence: float,
        sample_rate: int | None,
        progress: Progress | None,
        source_lang: str | None = None,
    ) -> Result | list[Result]:
        """`lang`: of the answer; `source_lang`: of a recording that is to be translated."""
        self.runtime.check_lang(lang)
        self.runtime.check_lang(source_lang)

        def run(waves: list[np.ndarray]) -> list[Result]:
            if task == "s2tt" and lang:
                results = translate.translate_recordings(self.runtime, waves, lang, source_lang, min_confidence, progress)
            else:
                results = recognise.listen(self.runtime, task, waves, lang, min_confidence, progress)
            for result in results:
                result.receipt |= {"asked_lang": lang, "min_confidence": min_confidence}
                result.receipt |= {"source_lang": source_lang} if source_lang else {}
                result.receipt |= {"cascade": bool(lang) and self.runtime.info.cascade} if task == "s2tt" else {}
            return results

        return self._answer(audio, sample_rate, run)

    def _answer(
        self, audio: Audio | Audios, sample_rate: int | None, run: Callable[[list[np.ndarray]], list[Result]]
    ) -> Result | list[Result]:
        """Reads one recording or a list of them and answers them. Receipts say which were cut short or damaged."""
        recordings = [read_recording(each, sample_rate) for each in (audio if is_many(audio) else [audio])]
        results = run([recording.wave for recording in recordings])
        for result, recording in zip(results, recordings, strict=True):
            result.receipt["truncated"] = recording.truncated
        return results if is_many(audio) else results[0]
