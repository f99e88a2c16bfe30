"""The command line: `laura VERB`. Answers go to stdout, everything else to stderr.

Exit status: 0 all done; 1 some inputs failed (one line each; the others are done); 2 wrong usage, told before the model is loaded.
Each verb fills one `Request` (request.py), which one runner answers (run.py). Nothing heavy is imported before a verb needs it, so
that `laura --help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from lauragpt import __version__
from lauragpt.cli import training
from lauragpt.cli.commands import CONTEXT, Command, Group
from lauragpt.cli.options import (
    DEFAULT_MODEL,
    AudioOut,
    Beams,
    Device,
    Files,
    Force,
    Format,
    Formats,
    Lang,
    LineCount,
    LineWidth,
    MinConfidence,
    Model,
    Out,
    OutputDir,
    PlainFormat,
    PlainFormats,
    Seed,
    SpokenOut,
    Strict,
    Temperature,
    To,
    TopK,
    WordConfidence,
    WordsPerLine,
    voices,
    with_settings,
)
from lauragpt.errors import LauraError
from lauragpt.tasks import BEAMS

app = typer.Typer(
    name="laura",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    context_settings=CONTEXT,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="One model that listens, understands, translates, speaks and cleans sound. Offline, no GPU needed.\n\n"
    "Start with: laura demo",
)

SUBTITLE_FORMATS = tuple(each.value for each in Format)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"laura {__version__}")
        raise typer.Exit


@app.callback()
def laura(version: Annotated[bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)] = False):
    from lauragpt.cli.io import prepare_process

    prepare_process()


def _request(verb: str, inputs: list, out: str | None = None, format: Format | PlainFormat | None = None, **more: object) -> None:
    """Hands a request to the runner."""
    from lauragpt.cli.request import Request
    from lauragpt.cli.run import run

    run(Request(verb, tuple(map(str, inputs)), out=out, format=format.value if format else None, **more))


def _written(out: str | None, output_dir: Path | None) -> dict[str, object]:
    """Where text goes: into a file, or into a folder by either of two names."""
    if out is not None and output_dir is not None:
        _usage("-o and --output-dir both say where to write: leave one of them out")
    return {"out": out if output_dir is None else str(output_dir), "folder": output_dir is not None}


def _layout(width: int | None, count: int | None, words: int | None) -> dict[str, object]:
    """Of subtitles, where a person asked for one."""
    from lauragpt.subtitles import CueLayout

    given = {"max_line_width": width, "max_line_count": count, "max_words_per_line": words}
    given = {name: value for name, value in given.items() if value is not None}
    return {"layout": CueLayout(**given) if given else None}


def _usage(message: str) -> None:
    from lauragpt.cli.io import usage

    usage(message)


@app.command(cls=Command)
@with_settings
def transcribe(
    files: Files,
    lang: Lang = None,
    min_confidence: WordConfidence = 0.0,
    beams: Beams = BEAMS,
    stream: Annotated[bool, typer.Option("--stream", help="Answer while the sound comes in: a recording, or - for raw 16-bit mono samples on stdin.")] = False,
    rate: Annotated[int, typer.Option(help="Sample rate in Hz of the raw samples that --stream - reads.", min=1000, max=768_000)] = 16_000,
    format: Formats = None,
    out: Out = None,
    output_dir: OutputDir = None,
    max_line_width: LineWidth = None,
    max_line_count: LineCount = None,
    max_words_per_line: WordsPerLine = None,
    strict: Strict = False,
    **settings,
):
    """Transcribe speech.

    The text is in lower case, without punctuation, with numbers in words.

    laura transcribe talk.flac

    laura transcribe *.wav --format json > answers.jsonl

    laura transcribe lecture.mp3 --lang de -o lecture.srt

    arecord -q -f S16_LE -r 16000 | laura transcribe --stream -
    """
    options = {"lang": lang, "min_confidence": min_confidence}
    written, layout = _written(out, output_dir), _layout(max_line_width, max_line_count, max_words_per_line)
    if rate != 16_000 and not (stream and str(files[0]) == "-"):
        _usage("--rate is for the raw samples that --stream - reads: a file has its own")
    if stream:
        if len(files) != 1 or written["out"] is not None or format not in (None, Format.text, Format.json) or layout["layout"]:
            _usage("--stream takes one recording, or -, and writes text or json to stdout as it comes: leave -o and other formats out")
        options["rate"] = rate
    elif Path("-") in files:
        _usage("- is read as raw samples with --stream: laura transcribe --stream -")
    _request("transcribe", files, format=format, formats=SUBTITLE_FORMATS, options=options, stream=stream, beams=beams, **written, **layout, strict=strict, **settings)


@app.command(cls=Command)
@with_settings
def translate(
    files: Annotated[list[Path] | None, typer.Argument(help="Recordings to translate.", show_default=False)] = None,
    to: To = "de",
    text: Annotated[list[str] | None, typer.Option(help="Translate this text instead of a recording; - reads stdin. May be given again.", show_default=False)] = None,
    beams: Beams = BEAMS,
    format: Formats = None,
    out: Out = None,
    output_dir: OutputDir = None,
    max_line_width: LineWidth = None,
    max_line_count: LineCount = None,
    max_words_per_line: WordsPerLine = None,
    strict: Strict = False,
    **settings,
):
    """Translate a recording or a text, as text.

    laura translate talk.flac --to de

    laura translate --text "A man rides a horse." --to de
    """
    if bool(files) == bool(text):
        _usage('give either recordings or --text, as in: laura translate --text "Good morning." --to de')
    formats = ("text", "json") if text else SUBTITLE_FORMATS
    more = _written(out, output_dir) | _layout(max_line_width, max_line_count, max_words_per_line)
    _request("translate", text or files, text_input=bool(text), format=format, formats=formats, options={"to": to}, beams=beams, **more, strict=strict, **settings)


VOICES = ", ".join(voices(DEFAULT_MODEL))


@app.command(cls=Command)
@with_settings
def speak(
    text: Annotated[list[str], typer.Argument(help="What to say; - reads stdin.", show_default=False)],
    out: SpokenOut = None,
    lang: Lang = None,
    voice: Annotated[str | None, typer.Option(help=f"A voice by name, or any recording to imitate. {DEFAULT_MODEL} has {VOICES or 'no voices'}.", show_default=False)] = None,
    voice_text: Annotated[str | None, typer.Option(help="What the --voice recording says. Default: it is transcribed.", show_default=False)] = None,
    seed: Seed = 0,
    temperature: Temperature = 0.3,
    top_k: TopK = 25,
    verify: Annotated[int, typer.Option(help="Transcribe the speech and try again, up to this often, while words are missing. The best try is kept.", min=0)] = 0,
    format: PlainFormats = None,
    force: Force = False,
    **settings,
):
    """Say a text.

    laura speak "Good morning, everyone." -o morning.wav

    laura speak "Guten Morgen." --lang de -o morgen.wav --seed 3

    laura speak "I sound like you." --voice you.wav --voice-text "what you say in it" -o me.wav

    laura speak "Played while it is generated." -o - | aplay -q -f S16_LE -r 16000
    """
    if out is None:
        _usage('say where to write the sound, as in: laura speak "Hello." -o hello.wav')
    if voice_text and not voice:
        _usage("--voice-text is what the --voice recording says: give --voice too")
    options = {"lang": lang, "voice": voice, "voice_text": voice_text, "seed": seed, "temperature": temperature, "top_k": top_k}
    if out == "-":
        if verify or format not in (None, PlainFormat.text):
            _usage("-o - writes nothing but samples, at once: --verify and --format json need a file")
        _request("speak", text, text_input=True, sound_output=True, stream=True, options=options, **settings)
        return
    options["verify"] = verify
    _request("speak", text, out=out, format=format, text_input=True, sound_output=True, force=force, options=options, **settings)


@app.command(cls=Command)
@with_settings
def enhance(
    files: Files,
    out: AudioOut = None,
    verify: Annotated[bool, typer.Option("--verify", help="Transcribe before and after, and keep the input where the words changed.")] = False,
    format: PlainFormats = None,
    force: Force = False,
    strict: Strict = False,
    **settings,
):
    """Clean a noisy recording of speech. The answer is exactly as long as the input.

    laura enhance noisy.wav -o clean.wav

    laura enhance *.wav -o cleaned/
    """
    if out is None:
        _usage("say where to write the sound, as in: laura enhance noisy.wav -o clean.wav")
    _request("enhance", files, out=out, format=format, sound_output=True, force=force, options={"verify": verify}, strict=strict, **settings)


@app.command(cls=Command)
@with_settings
def caption(
    files: Files, min_confidence: MinConfidence = 0.0, format: Formats = None, out: Out = None, strict: Strict = False, **settings
):
    """Describe the sounds of a recording in a sentence.

    laura caption street.ogg
    """
    _request("caption", files, out, format, formats=SUBTITLE_FORMATS, options={"min_confidence": min_confidence}, strict=strict, **settings)


@app.command(cls=Command)
@with_settings
def emotion(
    files: Files, min_confidence: MinConfidence = 0.0, format: PlainFormats = None, out: Out = None, strict: Strict = False, **settings
):
    """Name the emotion of a voice.

    With --format json the answer has a score for each emotion.

    laura emotion voice.wav --format json
    """
    _request("emotion", files, out, format, options={"min_confidence": min_confidence}, strict=strict, **settings)


@app.command(cls=Command)
@with_settings
def understand(
    files: Files,
    lang: Lang = None,
    min_confidence: MinConfidence = 0.0,
    format: PlainFormats = None,
    out: Out = None,
    strict: Strict = False,
    **settings,
):
    """Turn a spoken request into an intent and its slots.

    laura understand order.wav --format json
    """
    _request("understand", files, out, format, options={"lang": lang, "min_confidence": min_confidence}, strict=strict, **settings)


@app.command(cls=Command)
@with_settings
def chain(
    steps: Annotated[str, typer.Argument(help='Verbs joined by |, as in "enhance | transcribe | translate:de | speak".', show_default=False)],
    files: Files,
    out: AudioOut = None,
    seed: Seed = 0,
    temperature: Temperature = 0.3,
    top_k: TopK = 25,
    format: PlainFormats = None,
    force: Force = False,
    strict: Strict = False,
    **settings,
):
    """Run several verbs one after the other.

    `speak` keeps the voice of the recording. The answers of all steps but the last are shown on stderr.

    laura chain "enhance | transcribe | translate:de | speak" in.wav -o out.wav

    laura chain "enhance | transcribe" noisy.wav
    """
    from lauragpt.cli.request import check_language
    from lauragpt.engine.chain import VERBS, parse_chain

    try:
        parsed = parse_chain(steps)
        for step in parsed:
            if step.lang is not None:
                check_language(step.lang, str(settings["model"]))
    except LauraError as error:
        _usage(str(error))
    sound = VERBS[parsed[-1].verb][1] == "audio"
    if sound and out is None:
        _usage('this chain ends in sound: say where to write it, as in: laura chain "enhance" in.wav -o out.wav')
    options = {"steps": steps, "seed": seed, "temperature": temperature, "top_k": top_k}
    _request("chain", files, out, format, sound_output=sound, force=force, options=options, strict=strict, **settings)


@app.command(cls=Command)
@with_settings
def codec(
    files: Annotated[list[Path], typer.Argument(help="Recordings, or codes (.safetensors) that --codes wrote.", show_default=False)],
    quantizers: Annotated[int | None, typer.Option("-n", "--quantizers", help="Use the first n quantizers only. Default: all.", min=1, show_default=False)] = None,
    out: AudioOut = None,
    codes: Annotated[str | None, typer.Option(help="Write the codes: a .safetensors file, or a folder.", show_default=False)] = None,
    format: PlainFormats = None,
    force: Force = False,
    strict: Strict = False,
    **settings,
):
    """Turn sound into the codec's tokens and back.

    Without the GPT. Shows the bit rate and how the codes are used; -o lets you hear what is lost.

    laura codec talk.wav -n 8 -o after.wav

    laura codec talk.wav --codes talk.safetensors

    laura codec talk.safetensors -n 1 -o first-quantizer.wav
    """
    options = {"quantizers": quantizers, "codes": codes}
    _request("codec", files, out, format, sound_output=True, force=force, options=options, strict=strict, **settings)


@app.command(cls=Command)
@with_settings
def replay(answers: Annotated[Path, typer.Argument(help="Lines of JSON that --format json wrote.", show_default=False)], **settings):
    """Repeat answers from their receipts and compare.

    Exit status 1 where any answer differs.

    laura transcribe talk.flac --format json > answers.jsonl && laura replay answers.jsonl
    """
    _request("replay", [answers], **settings)


@app.command(cls=Command)
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the sounds and the page.")] = Path("laura-demo"),
    model: Model = DEFAULT_MODEL,
    device: Device = None,
):
    """Run every verb on recordings that ship.

    Prints a table; writes the sounds and a page to listen to.
    """
    from lauragpt.cli.io import load, one_line

    with one_line():
        from lauragpt.cli.demo import run_demo

        run_demo(load(model, device), out)


for verb in (training.prepare, training.synth, training.train, training.export):
    app.command(cls=Command)(verb)
app.command(name="eval", cls=Command)(training.evaluate)
