"""The options that several verbs of the command line take, each said once."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lauragpt.tasks import LANGS


class Format(str, Enum):
    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"


class Plain(str, Enum):
    text = "text"
    json = "json"


Files = Annotated[list[Path], typer.Argument(
    help="Recordings: WAV, FLAC, Ogg, Opus, MP3; with the package av also m4a, mp4, webm, AMR; any rate, any number of channels.", show_default=False
)]  # fmt: skip
Model = Annotated[str, typer.Option(help="A checkpoint folder, or the name of one that ships.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; left out, the CPU, and for a checkpoint without onnx/ the GPU if there is one.", show_default=False)]
Lang = Annotated[str | None, typer.Option(help=f"Language: {', '.join(LANGS)}. Left out, the model tells it.", show_default=False)]
To = Annotated[str, typer.Option(help=f"Language to translate into: {', '.join(LANGS)}.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Write the answer to this file instead of stdout.", show_default=False)]
SpokenOut = Annotated[Path | None, typer.Option(
    "-o", "--out", show_default=False,
    help="A .wav, .flac or .ogg file; with several texts a folder; - writes raw 16-bit samples at 16 kHz to stdout while they are made.",
)]  # fmt: skip
AudioOut = Annotated[Path | None, typer.Option("-o", "--out", help="A .wav, .flac or .ogg file; with several inputs a folder.", show_default=False)]
Seed = Annotated[int, typer.Option(help="The same seed speaks the same way again.", min=0)]
Temperature = Annotated[float, typer.Option(help="0 is always the likeliest token; 1 is the model's own spread.", min=0)]
TopK = Annotated[int, typer.Option(help="Draw among the k likeliest tokens; 0 among all.", min=0)]
Sure = Annotated[float, typer.Option("--min-confidence", help="Leave out what is less sure than this; 0 leaves out nothing.", min=0, max=1)]
Strict = Annotated[bool, typer.Option(
    "--strict", help="Refuse files that are cut short or damaged. Left out, they are read as far as they go, with a warning."
)]  # fmt: skip
Beams = Annotated[int, typer.Option(help="Texts followed at once, of which the likeliest is the answer; 1 is about twice as fast and errs more.", min=1, max=64)]
Formats = Annotated[Format, typer.Option("--format", "-f", help="text; json: one object a line, with each word's time; srt, vtt, tsv: subtitles.")]
Plains = Annotated[Plain, typer.Option("--format", "-f", help="text; json: one object a line.")]
