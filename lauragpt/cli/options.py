"""The options that several verbs of the command line take, each defined once."""

import functools
import inspect
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lauragpt.checkpoint import find_checkpoint, read_config
from lauragpt.errors import LauraError
from lauragpt.tasks import BUILT_IN_LANGS

DEFAULT_MODEL = "mini"


class Format(str, Enum):
    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"


def languages(model: str) -> tuple[str, ...]:
    """Those that a checkpoint was trained on; all that there are tokens for where it cannot be read, which is told when it is loaded."""
    try:
        return tuple(read_config(find_checkpoint(model)).get("langs") or BUILT_IN_LANGS)
    except LauraError:
        return BUILT_IN_LANGS


def voices(model: str) -> list[str]:
    """The voices that a checkpoint ships, as in "slt (en)", from their cards alone; none where they cannot be read."""
    try:
        cards = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((find_checkpoint(model) / "voices").glob("*.json"))]
        return [f"{card['name']} ({card['lang']})" for card in cards]
    except (LauraError, OSError, ValueError, KeyError, TypeError):
        return []


_LANGUAGES = " or ".join(languages(DEFAULT_MODEL))
_VOICES = ", ".join(voices(DEFAULT_MODEL))

Files = Annotated[list[Path], typer.Argument(
    show_default=False,
    help="Recordings: WAV, FLAC, Ogg, Opus, MP3; with the package av also m4a, mp4, webm, AMR; any rate, any number of channels.",
)]  # fmt: skip
Model = Annotated[str, typer.Option(help="A checkpoint folder, or the name of a checkpoint that ships.")]
Device = Annotated[
    str | None, typer.Option(help="cpu or cuda. Default: the CPU, or the GPU for a checkpoint without onnx/.", show_default=False)
]
Threads = Annotated[int | None, typer.Option(help="CPU threads. Default: one for each core.", min=1, show_default=False)]
Adapter = Annotated[Path | None, typer.Option(help="A folder of LoRA factors that are added to the weights.", show_default=False)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show timings, chunks and progress on stderr.")]
Lang = Annotated[
    str | None, typer.Option("--lang", "--language", help=f"Language: {_LANGUAGES}. Default: the model detects it.", show_default=False)
]
SourceLang = Annotated[
    str | None, typer.Option("--lang", "--language", help="Language of the input. Default: the model detects it.", show_default=False)
]
To = Annotated[str, typer.Option(help=f"Target language: {_LANGUAGES}.")]
Out = Annotated[str | None, typer.Option(
    "-o", "--out", show_default=False,
    help="Write to this file instead of stdout; its suffix (.txt, .json, .jsonl, .srt, .vtt, .tsv) chooses the format. "
        "A folder gets a file for each input.",
)]  # fmt: skip
OutputDir = Annotated[str | None, typer.Option(help="Write a file for each input into this folder.", show_default=False)]
SpokenOut = Annotated[str | None, typer.Option(
    "-o", "--out", show_default=False,
    help="A .wav, .flac or .ogg file, or a folder; - writes raw 16-bit samples at 16 kHz to stdout while they are generated.",
)]  # fmt: skip
AudioOut = Annotated[str | None, typer.Option("-o", "--out", help="A .wav, .flac or .ogg file, or a folder.", show_default=False)]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse files that are cut short or damaged. Default: a warning, and what can be read.")
]
ChainOut = Annotated[
    str | None, typer.Option("-o", "--out", help="A sound file (.wav, .flac, .ogg), a text (.txt, .json), or a folder.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Allow the output to overwrite an input.")]
Seed = Annotated[int, typer.Option(help="Seed of the random draws. The same seed gives the same speech.", min=0)]
Temperature = Annotated[float, typer.Option(help="0 always takes the most likely token; 1 draws from the model's own distribution.", min=0)]
TopK = Annotated[int, typer.Option(help="Draw from the k most likely tokens; 0 draws from all.", min=0)]
WordConfidence = Annotated[float, typer.Option("--min-confidence", help="Leave out words with a lower confidence.", min=0, max=1)]
MinConfidence = Annotated[float, typer.Option(help="Leave the answer empty where its confidence is lower.", min=0, max=1)]
Beams = Annotated[
    int,
    typer.Option(
        "--beams", "--beam-size", help="Beam size of the search. 1 is about twice as fast and makes more mistakes.", min=1, max=64
    ),
]
Formats = Annotated[Format | None, typer.Option(
    "--format", "-f", "--output-format", show_default=False,
    help="text; json: an object a line, with word times; srt, vtt: subtitles; tsv: times and text. Default: the suffix of -o, else text.",
)]  # fmt: skip
PlainFormats = Annotated[Format | None, typer.Option(  # the others are refused in a line that says why
    "--format", "-f", "--output-format", metavar="[text|json]", help="text (the default), or json: an object a line.", show_default=False,
)]  # fmt: skip
LineWidth = Annotated[int | None, typer.Option(help="Subtitles: characters a line. Default: 42.", min=8, show_default=False)]
LineCount = Annotated[int | None, typer.Option(help="Subtitles: lines on the screen. Default: 2.", min=1, show_default=False)]
WordsPerLine = Annotated[int | None, typer.Option(help="Subtitles: words a line.", min=1, show_default=False)]

# Of one verb each.
Stream = Annotated[
    bool, typer.Option("--stream", help="Answer while the sound comes in: a recording, or - for raw 16-bit mono samples on stdin.")
]
Rate = Annotated[int, typer.Option(help="Sample rate in Hz of the raw samples that --stream - reads.", min=1000, max=768_000)]
SomeFiles = Annotated[list[Path] | None, typer.Argument(help="Recordings to translate.", show_default=False)]
SomeTexts = Annotated[
    list[str] | None,
    typer.Option(help="Translate this text instead of a recording; - reads stdin. May be given again.", show_default=False),
]
ChainFiles = Annotated[list[Path] | None, typer.Argument(help="Recordings that the first step takes.", show_default=False)]
ChainTexts = Annotated[
    list[str] | None,
    typer.Option("--text", help="Begin with this text instead of a recording; - reads stdin. May be given again.", show_default=False),
]
Texts = Annotated[list[str], typer.Argument(help="What to say; - reads stdin.", show_default=False)]
VoiceName = Annotated[
    str | None,
    typer.Option(help=f"A voice by name, or any recording to imitate. {DEFAULT_MODEL} has {_VOICES or 'no voices'}.", show_default=False),
]
VoiceText = Annotated[str | None, typer.Option(help="What the --voice recording says. Default: it is transcribed.", show_default=False)]
Tries = Annotated[
    int, typer.Option(help="Transcribe the speech and try again, up to this often, while words are missing. The best try is kept.", min=0)
]
Verify = Annotated[bool, typer.Option("--verify", help="Transcribe before and after, and keep the input where the words changed.")]
TaskName = Annotated[str, typer.Argument(help="A task's name, as asr, or one that was added.", show_default=False)]
Steps = Annotated[str, typer.Argument(help='Verbs joined by |, as in "enhance | transcribe | translate:de | speak".', show_default=False)]
FilesOrCodes = Annotated[list[Path], typer.Argument(help="Recordings, or codes (.safetensors) that --codes wrote.", show_default=False)]
Quantizers = Annotated[
    int | None, typer.Option("-n", "--quantizers", help="Use the first n quantizers only. Default: all.", min=1, show_default=False)
]
Codes = Annotated[str | None, typer.Option(help="Write the codes: a .safetensors file, or a folder.", show_default=False)]
Answers = Annotated[Path, typer.Argument(help="Lines of JSON that --format json wrote.", show_default=False)]

# What every verb that asks the model takes, with its default.
SETTINGS = {
    "model": (Model, DEFAULT_MODEL), "adapter": (Adapter, None), "device": (Device, None), "threads": (Threads, None),
    "verbose": (Verbose, False),
}  # fmt: skip


def with_settings(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb with `**settings` as one whose signature, which typer reads, lists SETTINGS in their place."""
    signature = inspect.signature(verb)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in SETTINGS.items()
    ]

    @functools.wraps(verb)
    def command(**given: object) -> None:
        verb(**given)

    command.__signature__ = signature.replace(parameters=[*own, *more])
    command.__annotations__ = {each.name: each.annotation for each in (*own, *more)}
    return command
