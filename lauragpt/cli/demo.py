"""`laura demo`: every verb on real recordings that ship with the package, to look at and to listen to.

In: a loaded `Laura` and a folder. Out, in the folder: the sounds (WAV), results.jsonl, index.html (demo_page.py); on stdout a table.
The recordings (assets/demo, with their licences) come from dev splits, so the model was not trained on them, and they were chosen before
there was a model to try them on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lauragpt.audio import SAMPLE_RATE, load_audio, save_audio
from lauragpt.cli.demo_page import page
from lauragpt.cli.demo_verdict import Recognition, recognise, summary, verdict
from lauragpt.data.augment import fit, mix_at_snr, unclip
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate.report.tables import write_whole
from lauragpt.result import Result

RECORDINGS = Path(__file__).parents[1] / "assets" / "demo"
SNR = 5.0  # dB of the noise in the enhancement example
SEED = 7
# Our own sentences and translations.
SENTENCES = {
    "en": "The night is calm, and the snow falls on the quiet town.",
    "de": "Die Nacht ist ruhig, und der Schnee fällt auf die stille Stadt.",
}
TEXT_TRANSLATIONS = (
    ("en", "de", "A man is riding a bicycle through the snow.", "Ein Mann fährt mit dem Fahrrad durch den Schnee."),
    ("de", "en", "Zwei Kinder spielen am Strand mit einem Hund.", "Two children are playing with a dog on the beach."),
)
SPEECH_TRANSLATIONS = {  # corpus -> (language, translation of its recording)
    "kathleen": ("de", "Die Nacht war ruhig und verschneit."),
    "kerstin": ("en", "Großauheim was now its largest municipality."),
}
CHAIN = "enhance | transcribe | translate:de | speak"
CHAIN_TRANSLATION = "Es war Byron, und ich blätterte, bis ich zu Don Juan kam. Ich las es ganz durch."


@dataclass
class Clip:
    """An entry of assets/demo/index.json and its sound."""

    file: str
    title: str
    task: str
    lang: str
    reference: str
    corpus: str
    licence: str
    wave: np.ndarray  # (N,)


@dataclass
class DemoCase:
    """One request to the model, and its answer."""

    verb: str
    title: str
    ask: Callable[[], Result]
    input: np.ndarray | str
    reference: str  # the right text; for speech, its words
    lang: str  # of the reference
    source: str = ""  # corpus and licence of the recording
    clean: np.ndarray | None = None  # enhance: the recording without noise
    result: Result | None = None
    error: str = ""
    seconds: float = 0.0
    recognition: Recognition | None = None  # of speech in the answer
    input_recognition: Recognition | None = None  # enhance: of the noisy input
    verdict: str = ""  # demo_verdict.RIGHT, PARTLY or FAILED

    @property
    def name(self) -> str:
        return "-".join("".join(c if c.isalnum() else " " for c in f"{self.verb} {self.title}".lower()).split())

    @property
    def output(self) -> str:
        if self.result is None:
            return self.error
        if self.result.audio is None:
            return self.result.text or "(nothing)"
        file = Path(self.result.audio_path).name if self.result.audio_path else "no sound"
        words = f", in which {self.recognition.recogniser} hears: {self.recognition.text or '(nothing)'}" if self.recognition else ""
        return f"{len(self.result.audio) / self.result.sample_rate:.1f} s of sound: {file}{words}"


def run_demo(laura: Laura, out: Path) -> list[DemoCase]:
    """Runs all requests, writes the files and prints the table. If a request raises an error, the others are still run; then LauraError
    says how many raised one."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LauraError(f"{out} cannot be made: {error.strerror}") from None
    requests = plan(laura, read_clips())
    for request in track(requests, "running", console=Console(stderr=True), transient=True):
        answer(request, out)
        judge(laura, request)
    seconds = sum(request.seconds for request in requests)
    write_whole(out / "results.jsonl", "".join(json.dumps(to_row(request), ensure_ascii=False) + "\n" for request in requests))
    write_whole(out / "index.html", page(laura.runtime.info.name, requests, seconds))
    console = Console()
    console.print(table(requests))
    console.print(summary(requests), highlight=False, soft_wrap=True)
    console.print(f"Answered in {seconds:.0f} s. Look and listen: {out / 'index.html'}", highlight=False, soft_wrap=True)
    if errors := [request for request in requests if request.error]:
        first = errors[0]
        raise LauraError(f"{len(errors)} of {len(requests)} requests raised an error, the first: {first.verb} {first.title}: {first.error}")
    return requests


def read_clips(folder: Path = RECORDINGS) -> list[Clip]:
    rows = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    keys = ("file", "title", "task", "lang", "reference", "corpus", "licence")
    return [Clip(**{key: entry[key] for key in keys}, wave=load_audio(folder / entry["file"])) for entry in rows]


def answer(request: DemoCase, out: Path) -> None:
    """Fills in result and seconds, and writes the sounds."""
    start = time.perf_counter()
    try:
        request.result = request.ask()
        request.seconds = time.perf_counter() - start
        if isinstance(request.input, np.ndarray):
            save_audio(out / f"{request.name}-input.wav", request.input)
        if request.result.audio is not None and len(request.result.audio):
            request.result.audio_path = str(save_audio(out / f"{request.name}.wav", request.result.audio, request.result.sample_rate))
    except LauraError as error:
        request.result, request.error = None, str(error)


def judge(laura: Laura, request: DemoCase) -> None:
    """Fills in what is recognised in speech, and the verdict."""
    if request.result is not None and request.result.audio is not None:
        request.recognition = recognise(laura, request.result.audio, request.lang)
        if request.verb == "enhance":
            request.input_recognition = recognise(laura, request.input, request.lang)
    request.verdict = verdict(request)


def plan(laura: Laura, clips: list[Clip]) -> list[DemoCase]:
    """The requests, in the order of the page. Recordings are transcribed without giving their language."""
    of = {task: [clip for clip in clips if clip.task == task] for task in ("asr", "ser", "aac", "slu", "noise")}
    speech = {clip.corpus: clip for clip in reversed(of["asr"])}  # the first of each corpus
    requests = [_on(clip, "transcribe", partial(laura.transcribe, clip.wave)) for clip in of["asr"]]
    for corpus, (to, reference) in SPEECH_TRANSLATIONS.items():
        clip = speech[corpus]
        ask = partial(laura.translate, clip.wave, to=to)
        requests.append(DemoCase("translate", f"{clip.lang} speech to {to}", ask, clip.wave, reference, to, f"{corpus}, {clip.licence}"))
    for lang, to, text, reference in TEXT_TRANSLATIONS:
        ask = partial(laura.translate, text=text, to=to)
        requests.append(DemoCase("translate", f"{lang} text to {to}", ask, text, reference, to))
    for lang, text in SENTENCES.items():
        ask = partial(laura.speak, text, lang=lang, seed=SEED)
        requests.append(DemoCase("speak", f"{lang}, the default voice", ask, text, text, lang))
    voice = speech["librispeech"]
    text, source = SENTENCES["en"], f"voice: {voice.corpus}, {voice.licence}"
    ask = partial(laura.speak, text, lang="en", voice=voice.wave, voice_text=voice.reference, seed=SEED)
    requests.append(DemoCase("speak", "in the voice of a clip", ask, text, text, "en", source))
    requests += _noisy(laura, voice, of["noise"])
    requests += [_on(clip, "caption", partial(laura.caption, clip.wave)) for clip in of["aac"]]
    requests += [_on(clip, "emotion", partial(laura.emotion, clip.wave)) for clip in of["ser"]]
    requests += [_on(clip, "understand", partial(laura.understand, clip.wave)) for clip in of["slu"]]
    return requests


def _on(clip: Clip, verb: str, ask: Callable[[], Result]) -> DemoCase:
    return DemoCase(verb, clip.title, ask, clip.wave, clip.reference, clip.lang, f"{clip.corpus}, {clip.licence}")


def _noisy(laura: Laura, clip: Clip, noises: list[Clip]) -> list[DemoCase]:
    """Enhancement, and the chain, of a recording with a real noise mixed in."""
    if not noises:
        return []
    noise = noises[0]
    source = f"{clip.corpus}, {clip.licence}, with {noise.reference} of {noise.corpus}, {noise.licence}, at {SNR:.0f} dB"
    noisy = unclip(mix_at_snr(clip.wave, fit(noise.wave, len(clip.wave), np.random.default_rng(SEED)), SNR))
    return [
        DemoCase(
            "enhance", f"speech in {noise.reference}", lambda: laura.enhance(noisy), noisy, clip.reference, clip.lang, source, clip.wave
        ),
        DemoCase("chain", CHAIN, lambda: laura.chain(CHAIN, noisy, seed=SEED), noisy, CHAIN_TRANSLATION, "de", source),
    ]


def table(requests: list[DemoCase]) -> Table:
    table = Table(title="every verb on recordings that the model was not trained on", header_style="bold", row_styles=["", "dim"])
    for name in ("verb", "input", "output", "reference", "verdict", "seconds"):
        table.add_column(name, justify="right" if name == "seconds" else "left", overflow="fold")
    for r in requests:
        asked = (
            r.input if isinstance(r.input, str) else f"{r.title}, {len(r.input) / SAMPLE_RATE:.1f} s" + f" ({r.source})" * bool(r.source)
        )
        reference = "" if isinstance(r.input, str) and r.input == r.reference else r.reference  # the text to speak is both
        table.add_row(r.verb, asked, r.output, reference, r.verdict, f"{r.seconds:.1f}")
    return table


def to_row(request: DemoCase) -> dict:
    """A line of results.jsonl: the answer as `--format json` gives it, with the request and the verdict."""
    result = request.result.to_row(request.title) if request.result else {"error": request.error}
    row = {"verb": request.verb, "input_text": request.input if isinstance(request.input, str) else None, "reference": request.reference}
    row |= {"source": request.source, "took": round(request.seconds, 3), "verdict": request.verdict}
    if request.recognition is not None:
        row |= {"recognised": request.recognition.text, "recogniser": request.recognition.recogniser}
    return row | result
