"""`laura demo`: every verb once or twice on real recordings that ship with the package, to look at and to listen to.

In: a loaded `Laura` and a folder. Out, in the folder: the sounds (WAV), results.jsonl, index.html (demo_page.py); on stdout a table.
The recordings (assets/demo, licences beside them) are of dev splits, so the model has not been trained on them, and they were
chosen before there was a model to try them on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lauragpt.audio import SAMPLE_RATE, load_audio, save_audio
from lauragpt.cli.demo_page import page
from lauragpt.data.augment import fit, mix_at_snr, unclip
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate.report.tables import write_whole
from lauragpt.result import Result

RECORDINGS = Path(__file__).parents[1] / "assets" / "demo"
SNR = 5.0  # dB of the noise in the enhancement example
SEED = 7
# Our own sentences, with our own translations.
SAY = {"en": "The night is calm, and the snow falls on the quiet town.", "de": "Die Nacht ist ruhig, und der Schnee fällt auf die stille Stadt."}
TRANSLATE = (
    ("en", "de", "A man is riding a bicycle through the snow.", "Ein Mann fährt mit dem Fahrrad durch den Schnee."),
    ("de", "en", "Zwei Kinder spielen am Strand mit einem Hund.", "Two children are playing with a dog on the beach."),
)
OF_SPEECH = {
    "kathleen": ("de", "Die Nacht war ruhig und verschneit."),
    "kerstin": ("en", "Großauheim was now its largest municipality."),
}
CHAIN = "enhance | transcribe | translate:de | speak"


@dataclass
class Clip:
    """A row of assets/demo/index.json and its sound."""

    file: str
    title: str
    task: str
    lang: str
    reference: str
    corpus: str
    licence: str
    wave: np.ndarray  # (N,)


@dataclass
class Shown:
    """One thing the model was asked, and what came of it."""

    verb: str
    title: str
    ask: Callable[[], Result]
    given: np.ndarray | str  # what went in
    reference: str
    lang: str
    source: str = ""  # corpus and licence of the recording
    clean: np.ndarray | None = None  # enhance: what the output should sound like
    result: Result | None = None
    error: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return "-".join("".join(c if c.isalnum() else " " for c in f"{self.verb} {self.title}".lower()).split())

    @property
    def output(self) -> str:
        if self.result is None:
            return self.error
        if self.result.audio is None:
            return self.result.text or "(nothing)"
        written = Path(self.result.audio_path).name if self.result.audio_path else "nothing was said"
        return f"{len(self.result.audio) / self.result.sample_rate:.1f} s of sound: {written}"


def run_demo(laura: Laura, out: Path) -> list[Shown]:
    """Asks, writes and prints. A verb that fails is shown as such and the others go on; then LauraError says how many failed."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LauraError(f"{out} cannot be made: {error.strerror}") from None
    began = time.perf_counter()
    shown = plan(laura, read_clips())
    for item in track(shown, "asking", console=Console(stderr=True), transient=True):
        answer(item, out)
    seconds = time.perf_counter() - began
    write_whole(out / "results.jsonl", "".join(json.dumps(row(item), ensure_ascii=False) + "\n" for item in shown))
    write_whole(out / "index.html", page(laura.runtime.info.name, shown, seconds))
    console = Console()
    console.print(table(shown))
    console.print(f"{len(shown)} answers in {seconds:.0f} s. Listen: {out / 'index.html'}", highlight=False, soft_wrap=True)
    if failed := [item for item in shown if item.error]:
        raise LauraError(f"{len(failed)} of {len(shown)} requests failed, the first: {failed[0].verb} {failed[0].title}: {failed[0].error}")
    return shown


def read_clips(folder: Path = RECORDINGS) -> list[Clip]:
    rows = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    keys = ("file", "title", "task", "lang", "reference", "corpus", "licence")
    return [Clip(**{key: entry[key] for key in keys}, wave=load_audio(folder / entry["file"])) for entry in rows]


def answer(item: Shown, out: Path) -> None:
    """Fills in result, seconds and the file of a sound."""
    began = time.perf_counter()
    try:
        item.result = item.ask()
        item.seconds = time.perf_counter() - began
        if isinstance(item.given, np.ndarray):
            save_audio(out / f"{item.name}-input.wav", item.given)
        if item.result.audio is not None and len(item.result.audio):
            item.result.audio_path = str(save_audio(out / f"{item.name}.wav", item.result.audio, item.result.sample_rate))
    except LauraError as error:
        item.result, item.error = None, str(error)


def plan(laura: Laura, clips: list[Clip]) -> list[Shown]:
    """What is asked, in the order of the page. `asr` recordings are transcribed without being told their language."""
    of = {task: [clip for clip in clips if clip.task == task] for task in ("asr", "ser", "aac", "slu", "noise")}
    speech = {clip.corpus: clip for clip in reversed(of["asr"])}  # the first of each corpus
    shown = [_on(clip, "transcribe", lambda c=clip: laura.transcribe(c.wave)) for clip in of["asr"]]
    for corpus, (to, reference) in OF_SPEECH.items():
        clip = speech[corpus]
        ask = lambda c=clip, to=to: laura.translate(c.wave, to=to)  # noqa: E731
        shown.append(Shown("translate", f"{clip.lang} speech to {to}", ask, clip.wave, reference, to, f"{corpus}, {clip.licence}"))
    for lang, to, text, reference in TRANSLATE:
        ask = lambda text=text, to=to: laura.translate(text=text, to=to)  # noqa: E731
        shown.append(Shown("translate", f"{lang} text to {to}", ask, text, reference, to))
    for lang, text in SAY.items():
        ask = lambda text=text, lang=lang: laura.speak(text, lang=lang, seed=SEED)  # noqa: E731
        shown.append(Shown("speak", f"{lang}, the default voice", ask, text, "", lang))
    voice = speech["librispeech"]
    ask = lambda: laura.speak(SAY["en"], lang="en", voice=voice.wave, voice_text=voice.reference, seed=SEED)  # noqa: E731
    shown.append(Shown("speak", "in the voice of a clip", ask, SAY["en"], "", "en", f"voice: {voice.corpus}, {voice.licence}"))
    shown += _noisy(laura, voice, of["noise"])
    shown += [_on(clip, "caption", lambda c=clip: laura.caption(c.wave)) for clip in of["aac"]]
    shown += [_on(clip, "emotion", lambda c=clip: laura.emotion(c.wave)) for clip in of["ser"]]
    shown += [_on(clip, "understand", lambda c=clip: laura.understand(c.wave)) for clip in of["slu"]]
    return shown


def _on(clip: Clip, verb: str, ask: Callable[[], Result]) -> Shown:
    return Shown(verb, clip.title, ask, clip.wave, clip.reference, clip.lang, f"{clip.corpus}, {clip.licence}")


def _noisy(laura: Laura, clip: Clip, noises: list[Clip]) -> list[Shown]:
    """Enhancement, and the chain, of a recording with a real noise mixed in."""
    if not noises:
        return []
    noise, source = noises[0], f"{clip.corpus}, {clip.licence}, with {noises[0].reference} of {noises[0].corpus}, {noises[0].licence}, at {SNR:.0f} dB"
    noisy = unclip(mix_at_snr(clip.wave, fit(noise.wave, len(clip.wave), np.random.default_rng(SEED)), SNR))
    return [
        Shown("enhance", f"speech in {noise.reference}", lambda: laura.enhance(noisy), noisy, clip.reference, clip.lang, source, clip.wave),
        Shown("chain", CHAIN, lambda: laura.chain(CHAIN, noisy, seed=SEED), noisy, clip.reference, "de", source),
    ]


def table(shown: list[Shown]) -> Table:
    table = Table(title="every verb on recordings the model was not trained on", header_style="bold", row_styles=["", "dim"])
    for name in ("verb", "input", "output", "reference", "seconds"):
        table.add_column(name, justify="right" if name == "seconds" else "left", overflow="fold")
    for item in shown:
        given = item.given if isinstance(item.given, str) else f"{item.title}, {len(item.given) / SAMPLE_RATE:.1f} s" + f" ({item.source})" * bool(item.source)
        table.add_row(item.verb, given, item.output, item.reference, f"{item.seconds:.1f}")
    return table


def row(item: Shown) -> dict:
    """A line of results.jsonl: the answer as `--format json` gives it, with what was asked."""
    own = item.result.to_row(item.title) if item.result else {"error": item.error}
    text = item.given if isinstance(item.given, str) else None
    return {"verb": item.verb, "input_text": text, "reference": item.reference, "source": item.source, "took": round(item.seconds, 3), **own}
