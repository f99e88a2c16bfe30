"""The command line: `laura VERB`. Answers go to stdout, everything else to stderr.

Exit status: 0 all done; 1 some inputs failed (one line each; the others are done); 2 wrong usage, told before the model is loaded.
Each verb fills one `Request` (request.py), which one runner answers (run.py). Nothing heavy is imported before a verb needs it, so
that `laura --help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from lauragpt import __version__
from lauragpt.cli import claims, doctor, finetune, plan, serving, training
from lauragpt.cli import options as opt
from lauragpt.cli.commands import CONTEXT, Command, Group
from lauragpt.cli.map import map_corpus  # not the module, which would hide the builtin
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
    help="One model that listens, understands, translates, speaks and cleans sound. Offline, no GPU needed.\n\nStart with: laura demo",
)

SUBTITLE_FORMATS = tuple(each.value for each in opt.Format)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"laura {__version__}")
        raise typer.Exit


@app.callback()
def laura(version: Annotated[bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)] = False):
    from lauragpt.cli.io import prepare_process

    prepare_process()


def _request(verb: str, inputs: list, out: str | None = None, format: opt.Format | None = None, **more: object) -> None:
    """Hands a request to the runner."""
    from lauragpt.cli.request import Request
    from lauragpt.cli.run import run

    run(Request(verb, tuple(map(str, inputs)), out=out, format=format.value if format else None, **more))


def _usage(message: str) -> None:
    from lauragpt.cli.io import usage

    usage(message)


@app.command(cls=Command)
@opt.with_settings
def transcribe(
    files: opt.Files,
    lang: opt.Lang = None,
    min_confidence: opt.WordConfidence = 0.0,
    beams: opt.Beams = BEAMS,
    stream: opt.Stream = False,
    rate: opt.Rate = 16_000,
    format: opt.Formats = None,
    out: opt.Out = None,
    output_dir: opt.OutputDir = None,
    max_line_width: opt.LineWidth = None,
    max_line_count: opt.LineCount = None,
    max_words_per_line: opt.WordsPerLine = None,
    strict: opt.Strict = False,
    **settings,
):
    """Transcribe speech.

    The text is in lower case, without punctuation, with numbers in words.

    laura transcribe talk.flac

    laura transcribe *.wav --format json > answers.jsonl

    laura transcribe lecture.mp3 --lang de -o lecture.srt

    arecord -q -f S16_LE -r 16000 | laura transcribe --stream -
    """
    options: dict = {"lang": lang, "min_confidence": min_confidence}
    limits = {"max_line_width": max_line_width, "max_line_count": max_line_count, "max_words_per_line": max_words_per_line}
    if rate != 16_000 and not (stream and str(files[0]) == "-"):
        _usage("--rate is for the raw samples that --stream - reads: a file has its own")
    if stream:
        options["rate"] = rate
    elif Path("-") in files:
        _usage("- is read as raw samples with --stream: laura transcribe --stream -")
    written = {"output_dir": output_dir, "formats": SUBTITLE_FORMATS, "limits": limits}
    _request("transcribe", files, out, format, options=options, stream=stream, beams=beams, strict=strict, **written, **settings)


@app.command(cls=Command)
@opt.with_settings
def translate(
    files: opt.SomeFiles = None,
    to: opt.To = "de",
    lang: opt.SourceLang = None,
    text: opt.SomeTexts = None,
    beams: opt.Beams = BEAMS,
    format: opt.Formats = None,
    out: opt.Out = None,
    output_dir: opt.OutputDir = None,
    max_line_width: opt.LineWidth = None,
    max_line_count: opt.LineCount = None,
    max_words_per_line: opt.WordsPerLine = None,
    strict: opt.Strict = False,
    **settings,
):
    """Translate a recording or a text, as text.

    laura translate talk.flac --to de

    laura translate --text "A man rides a horse." --to de
    """
    if bool(files) == bool(text):
        _usage('give either recordings or --text, as in: laura translate --text "Good morning." --to de')
    limits = {"max_line_width": max_line_width, "max_line_count": max_line_count, "max_words_per_line": max_words_per_line}
    written = {"output_dir": output_dir, "formats": ("text", "json") if text else SUBTITLE_FORMATS, "limits": limits}
    options, is_text = {"to": to, "lang": lang}, bool(text)
    _request(
        "translate", text or files, out, format, options=options, text_input=is_text, beams=beams, strict=strict, **written, **settings
    )


@app.command(cls=Command)
@opt.with_settings
def speak(
    text: opt.Texts,
    out: opt.SpokenOut = None,
    lang: opt.Lang = None,
    voice: opt.VoiceName = None,
    voice_text: opt.VoiceText = None,
    seed: opt.Seed = 0,
    temperature: opt.Temperature = 0.3,
    top_k: opt.TopK = 25,
    verify: opt.Tries = 0,
    format: opt.PlainFormats = None,
    force: opt.Force = False,
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
        if verify or format not in (None, opt.Format.text):
            _usage("-o - writes nothing but samples, at once: --verify and --format json need a file")
        _request("speak", text, text_input=True, sound_output=True, stream=True, options=options, **settings)
        return
    options["verify"] = verify
    _request("speak", text, out=out, format=format, text_input=True, sound_output=True, force=force, options=options, **settings)


@app.command(cls=Command)
@opt.with_settings
def enhance(
    files: opt.Files,
    out: opt.AudioOut = None,
    verify: opt.Verify = False,
    format: opt.PlainFormats = None,
    force: opt.Force = False,
    strict: opt.Strict = False,
    **settings,
):
    """Clean a noisy recording of speech. The answer is exactly as long as the input.

    laura enhance noisy.wav -o clean.wav

    laura enhance *.wav -o cleaned/
    """
    if out is None:
        _usage("say where to write the sound, as in: laura enhance noisy.wav -o clean.wav")
    _request(
        "enhance", files, out=out, format=format, sound_output=True, force=force, options={"verify": verify}, strict=strict, **settings
    )


@app.command(cls=Command)
@opt.with_settings
def caption(
    files: opt.Files,
    min_confidence: opt.MinConfidence = 0.0,
    format: opt.Formats = None,
    out: opt.Out = None,
    strict: opt.Strict = False,
    **settings,
):
    """Describe the sounds of a recording in a sentence.

    laura caption street.ogg
    """
    _request("caption", files, out, format, formats=SUBTITLE_FORMATS, options={"min_confidence": min_confidence}, strict=strict, **settings)


@app.command(cls=Command)
@opt.with_settings
def emotion(
    files: opt.Files,
    min_confidence: opt.MinConfidence = 0.0,
    format: opt.PlainFormats = None,
    out: opt.Out = None,
    strict: opt.Strict = False,
    **settings,
):
    """Name the emotion of a voice.

    With --format json the answer has a score for each emotion.

    laura emotion voice.wav --format json
    """
    _request("emotion", files, out, format, options={"min_confidence": min_confidence}, strict=strict, **settings)


@app.command(cls=Command)
@opt.with_settings
def understand(
    files: opt.Files,
    lang: opt.Lang = None,
    min_confidence: opt.MinConfidence = 0.0,
    format: opt.PlainFormats = None,
    out: opt.Out = None,
    strict: opt.Strict = False,
    **settings,
):
    """Turn a spoken request into an intent and its slots.

    laura understand order.wav --format json
    """
    _request("understand", files, out, format, options={"lang": lang, "min_confidence": min_confidence}, strict=strict, **settings)


@app.command(cls=Command)
@opt.with_settings
def ask(
    task: opt.TaskName,
    files: opt.Files,
    lang: opt.Lang = None,
    min_confidence: opt.MinConfidence = 0.0,
    format: opt.PlainFormats = None,
    out: opt.Out = None,
    strict: opt.Strict = False,
    **settings,
):
    """Answer by any task that listens and writes, such as one that `laura finetune` added.

    laura ask asr talk.flac
    """
    options = {"task": task, "lang": lang, "min_confidence": min_confidence}
    _request("ask", files, out, format, options=options, strict=strict, **settings)


@app.command(cls=Command)
@opt.with_settings
def chain(
    steps: opt.Steps,
    files: opt.ChainFiles = None,
    text: opt.ChainTexts = None,
    out: opt.ChainOut = None,
    seed: opt.Seed = 0,
    temperature: opt.Temperature = 0.3,
    top_k: opt.TopK = 25,
    format: opt.PlainFormats = None,
    force: opt.Force = False,
    strict: opt.Strict = False,
    **settings,
):
    """Run several verbs one after the other.

    `speak` keeps the voice of the recording. The answers of all steps but the last are shown on stderr.

    laura chain "enhance | transcribe | translate:de | speak" in.wav -o out.wav

    laura chain "enhance | transcribe" noisy.wav

    laura chain "translate:de | speak" --text "Good morning." -o morning.wav
    """
    if bool(files) == bool(text):
        _usage('give either recordings or --text, as in: laura chain "translate:de | speak" --text "Good morning." -o morning.wav')
    from lauragpt.cli.request import check_language
    from lauragpt.engine.chain import VERBS, parse_chain

    try:
        parsed = parse_chain(steps, "text" if text else "audio")
        for step in parsed:
            if step.lang is not None:
                check_language(step.lang, str(settings["model"]))
    except LauraError as error:
        _usage(str(error))
    sound = VERBS[parsed[-1].verb][1] == "audio"
    if sound and out is None:
        _usage('this chain ends in sound: say where to write it, as in: laura chain "enhance" in.wav -o out.wav')
    options = {"steps": steps, "seed": seed, "temperature": temperature, "top_k": top_k}
    given = {"text_input": bool(text), "sound_output": sound}
    _request("chain", text or files, out, format, force=force, options=options, strict=strict, **given, **settings)


@app.command(cls=Command)
@opt.with_settings
def codec(
    files: opt.FilesOrCodes,
    quantizers: opt.Quantizers = None,
    out: opt.AudioOut = None,
    codes: opt.Codes = None,
    format: opt.PlainFormats = None,
    force: opt.Force = False,
    strict: opt.Strict = False,
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
@opt.with_settings
def replay(answers: opt.Answers, **settings):
    """Repeat answers from their receipts and compare.

    Exit status 1 where any answer differs.

    laura transcribe talk.flac --format json > answers.jsonl && laura replay answers.jsonl
    """
    _request("replay", [answers], **settings)


@app.command(cls=Command)
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the sounds and the page.")] = Path("laura-demo"),
    model: opt.Model = opt.DEFAULT_MODEL,
    device: opt.Device = None,
):
    """Run every verb on recordings that ship.

    Prints a table; writes the sounds and a page to listen to.
    """
    from lauragpt.cli.io import load, one_line

    with one_line():
        from lauragpt.cli.demo import run_demo

        run_demo(load(model, device), out)


for verb in (
    serving.serve, serving.mcp, doctor.doctor, finetune.finetune, training.prepare, training.synth, training.train, plan.plan,
    training.export,
):  # fmt: skip
    app.command(cls=Command)(verb)
app.command(name="eval", cls=Command)(training.evaluate)
app.command(name="map", cls=Command)(map_corpus)
app.command(cls=Command)(claims.claims)
