"""Class `Laura`: a checkpoint that is ready to be used, one method a verb.

In: a recording: a path, the bytes of a file, or samples (audio.py, `read_recording`); or text; or a list of these, run in batches.
Out: a `Result`, or a list of them in the order given. The same input gives the same answer alone and in any list.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lauragpt.audio import Audio, Recording, read_audio, read_recording
from lauragpt.checkpoint import find_checkpoint
from lauragpt.engine import chain as chains
from lauragpt.engine import codec_io, recognise, stream, synthesise, translate
from lauragpt.engine.checkpoint import open_checkpoint
from lauragpt.engine.chunking import is_silent
from lauragpt.engine.codec_io import Codes
from lauragpt.engine.decoding import Options
from lauragpt.engine.runtime import Runtime, is_many
from lauragpt.engine.transcripts import translate_transcripts
from lauragpt.engine.voices import Voice, Voices, make_voice, prompt_clip
from lauragpt.errors import LauraError
from lauragpt.result import Result
from lauragpt.tasks import BEAMS, TASKS


class Laura:
    def __init__(self, runtime: Runtime, voices: Voices):
        self.runtime, self.voices = runtime, voices

    @property
    def name(self) -> str:
        return self.runtime.info.name

    @classmethod
    def load(
        cls, name_or_path: str | Path = "mini", device: str | None = None, backend: str | None = None, compile: bool = False, beams: int = BEAMS
    ) -> "Laura":
        """A checkpoint by name ("mini" ships with the package) or by folder. `backend`: "onnx" (CPU, no torch) or "torch"; None takes
        onnx where the checkpoint was exported. `device`: "cpu", "cuda" (torch), or None, which is the GPU, if there is one, where torch is chosen.
        `compile`: the GPT's layers by torch.compile, with torch (it needs a C++ compiler); the first answers then take some tens of seconds longer.
        `beams`: texts that are followed at once in transcripts and translations, of which the likeliest is the answer; 1 takes the likeliest token each time, which is
        about twice as fast and errs more. LauraError says what is wrong with a folder that is none, is damaged, or does not fit its codec."""
        folder = find_checkpoint(name_or_path)
        opened, tokenizer, info = open_checkpoint(folder, device, backend, compile)
        runtime = Runtime(opened, tokenizer, info, beams)
        return cls(runtime, Voices(folder / "voices", opened))

    def transcribe(
        self, audio: Audio | list[Audio], lang: str | None = None, min_confidence: float = 0.0, sample_rate: int | None = None
    ) -> Result | list[Result]:
        """What is said, in spoken form: lower case, no punctuation, numbers in words. Silence gives an empty text. `segments` hold each
        word's time. Segments less sure than `min_confidence` (0 to 1) are left empty; so it is with `caption`, `emotion`, `understand`
        and `ask`."""
        return self._listen("asr", audio, lang, min_confidence, sample_rate)

    def transcribe_stream(
        self, pieces: Iterable[np.ndarray], lang: str | None = None, min_confidence: float = 0.0, every: float | None = 1.0
    ) -> Iterator[Result]:
        """Pieces (n,) at 16 kHz of what is being spoken -> a `Result` for each stretch of it, ended by a pause of a second after 5 s and more, or within 20 s, told
        8 s later, where it is never quiet, with the text that `transcribe` gives it. Between them come results whose `final` is False: the stretch so far, after
        `every` seconds of new sound (None: never). Memory does not grow."""
        return stream.transcribe_stream(self.runtime, pieces, self.runtime.check_lang(lang), min_confidence, every)

    def translate(
        self, audio: Audio | list[Audio] | None = None, text: str | list[str] | None = None, to: str = "de", sample_rate: int | None = None
    ) -> Result | list[Result]:
        """A recording, or a text, in the language `to`."""
        if (audio is None) == (text is None):
            raise LauraError("translate takes either audio or text: give one of them")
        if audio is not None:
            return self._listen("s2tt", audio, to, 0.0, sample_rate)
        results = translate.translate_texts(self.runtime, text if is_many(text) else [text], self.runtime.check_lang(to))
        return results if is_many(text) else results[0]

    def caption(
        self, audio: Audio | list[Audio], min_confidence: float = 0.0, sample_rate: int | None = None
    ) -> Result | list[Result]:
        """What sounds, in a sentence."""
        return self._listen("aac", audio, None, min_confidence, sample_rate)

    def emotion(
        self, audio: Audio | list[Audio], min_confidence: float = 0.0, sample_rate: int | None = None
    ) -> Result | list[Result]:
        """The emotion of a voice in `text`; `scores` holds the GPT's own probability of every label."""
        return self._listen("ser", audio, None, min_confidence, sample_rate)

    def understand(
        self, audio: Audio | list[Audio], lang: str | None = None, min_confidence: float = 0.0, sample_rate: int | None = None
    ) -> Result | list[Result]:
        """A spoken order as `intent` and `slots`; `text` is the line the GPT wrote."""
        return self._listen("slu", audio, lang, min_confidence, sample_rate)

    def ask(
        self, task: str, audio: Audio | list[Audio], lang: str | None = None, min_confidence: float = 0.0, sample_rate: int | None = None
    ) -> Result | list[Result]:
        """Any task that listens and writes, by its name: those above, and those that were added (`tasks.add_task`)."""
        if task not in TASKS or (TASKS[task].input, TASKS[task].output) != ("audio", "text"):
            names = ", ".join(name for name, row in TASKS.items() if (row.input, row.output) == ("audio", "text"))
            raise LauraError(f"{task!r} is no task that listens and writes: choose from {names}")
        return self._listen(task, audio, lang, min_confidence, sample_rate)

    def enhance(
        self, audio: Audio | list[Audio], verify: bool = False, sample_rate: int | None = None
    ) -> Result | list[Result]:
        """The recording without its noise, exactly as long as it was. `verify`: where other words are heard afterwards, it is left as it was."""
        recordings = self._recordings(audio, sample_rate)
        results = _marked(synthesise.enhance(self.runtime, [each.wave for each in recordings], verify=verify), recordings)
        return results if is_many(audio) else results[0]

    def speak(
        self,
        text: str | list[str],
        lang: str | None = None,
        voice: Audio | Voice | None | list[Voice | None] = None,
        voice_text: str | None = None,
        seed: int = 0,
        temperature: float = 0.3,
        top_k: int = 25,
        verify: int = 0,
    ) -> Result | list[Result]:
        """The text said aloud. `voice`: the name of one that ships, or any recording, which `voice_text` transcribes (left out,
        it is transcribed here); None is the language's default. A list of voices goes with a list of texts. `verify`: tries, of which the one is kept that the
        model itself hears best."""
        options = Options(temperature=temperature, top_k=top_k, seed=seed)
        texts = list(text) if is_many(text) else [text]
        langs, voices = self._voices(texts, voice, voice_text, lang)
        if verify:
            results = synthesise.speak_verified(self.runtime, texts, langs, voices, options, verify)
        else:
            results = synthesise.speak(self.runtime, texts, langs, voices, options)
        for result, written in zip(results, texts):
            result.receipt |= {"text": written, "voice_text": voice_text}
        return results if is_many(text) else results[0]

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
        """As `speak`, in pieces (n,) at 16 kHz while the rest is still being written. Of `mini` the first piece comes after 24 tokens (.96 s
        of sound): the vocoder sees 8 tokens ahead, the codec's decoder 9 frames."""
        options = Options(temperature=temperature, top_k=top_k, seed=seed)
        (chosen,), (own,) = self._voices([text], voice, voice_text, lang)
        return synthesise.speak_stream(self.runtime, text, chosen, own, options)

    def _voices(
        self, texts: list[str], voice: Audio | Voice | None | list[Voice | None], voice_text: str | None, lang: str | None
    ) -> tuple[list[str], list[Voice | None]]:
        """The language and the voice of each text."""
        self.runtime.check_lang(lang)
        if is_many(voice):
            voices = list(voice)
        else:
            voices = [self.find_voice(voice, voice_text, lang)] * len(texts) if voice is not None else [None] * len(texts)
        # A named voice speaks its own language; a recording is any.
        named = [each.lang if each is not None and each.name in self.voices.cards else None for each in voices]
        langs = synthesise.languages(self.runtime, texts, [lang or own for own in named])
        return langs, [each or self.voices.default(chosen) for each, chosen in zip(voices, langs)]

    def chain(
        self, steps: str, audio: Audio | list[Audio], seed: int = 0, temperature: float = 0.3, top_k: int = 25, sample_rate: int | None = None
    ) -> Result | list[Result]:
        """Verbs one after the other, as "enhance | transcribe | translate:de | speak"; `speak` goes on in the input's voice."""
        parsed = chains.parse_chain(steps)
        for step in parsed:
            self.runtime.check_lang(step.lang)
        recordings = self._recordings(audio, sample_rate)
        results = _marked(chains.run_chain(self, parsed, [each.wave for each in recordings], seed, temperature, top_k), recordings)
        return results if is_many(audio) else results[0]

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
        name = str(voice) if isinstance(voice, (str, Path)) else "given as sound"
        if isinstance(voice, str) and not Path(voice).exists():
            names = ", ".join(self.voices.names()) or "none ship with this checkpoint"
            raise LauraError(f"voice {voice!r} is neither a recording nor a named voice: names are {names}")
        wave = read_audio(voice)
        clip = wave if text is not None else prompt_clip(wave)
        if text is None:
            heard = self.transcribe(clip)
            text, lang = heard.text, heard.lang
        return make_voice(self.runtime.backend, name, clip, text, lang)

    def voices_of(self, waves: list[np.ndarray], texts: list[str | None]) -> list[Voice | None]:
        """Each recording's own voice as a prompt; its text where that is known and the whole of it is the prompt. None for silence."""
        clips = [prompt_clip(wave) for wave in waves]
        loud = [index for index, clip in enumerate(clips) if not is_silent(clip)]
        unheard = [i for i in loud if texts[i] is None or len(clips[i]) < len(waves[i])]
        heard = dict(zip(unheard, self.transcribe([clips[i] for i in unheard])))
        voices: list[Voice | None] = [None] * len(waves)
        for i in loud:
            said = heard[i].text if i in heard else texts[i]
            voices[i] = make_voice(self.runtime.backend, "input", clips[i], said, heard[i].lang if i in heard else None)
        return voices

    def _recordings(self, audio: Audio | list[Audio], sample_rate: int | None) -> list[Recording]:
        return [read_recording(each, sample_rate) for each in (audio if is_many(audio) else [audio])]

    def _listen(
        self, task: str, audio: Audio | list[Audio], lang: str | None, min_confidence: float, sample_rate: int | None
    ) -> Result | list[Result]:
        self.runtime.check_lang(lang)
        recordings = self._recordings(audio, sample_rate)
        waves = [each.wave for each in recordings]
        if task == "s2tt" and lang and task in self.runtime.info.cascade:
            results = translate_transcripts(self.runtime, waves, lang, min_confidence)
        else:
            results = recognise.listen(self.runtime, task, waves, lang, min_confidence)
        for result in _marked(results, recordings):
            result.receipt |= {"asked_lang": lang, "min_confidence": min_confidence}
        return results if is_many(audio) else results[0]


def _marked(results: list[Result], recordings: list[Recording]) -> list[Result]:
    """The results, whose receipts say which of the recordings were cut short or damaged."""
    for result, recording in zip(results, recordings, strict=True):
        result.receipt["truncated"] = recording.truncated
    return results
