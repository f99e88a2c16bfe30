"""The command line: `laura VERB`. Answers go to stdout, everything else to stderr.

Exit status: 0 all done; 1 some inputs failed (one line each; the others are done); 2 wrong usage, told before the model is loaded.
Nothing heavy is imported before a verb needs it, so that `laura --help` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lauragpt.cli import training
from lauragpt.cli.options import (
    AudioOut,
    Beams,
    Device,
    Files,
    Format,
    Formats,
    Lang,
    Model,
    Out,
    Plain,
    Plains,
    Seed,
    SpokenOut,
    Strict,
    Sure,
    Temperature,
    To,
    TopK,
)
from lauragpt.errors import LauraError
from lauragpt.tasks import BEAMS

app = typer.Typer(
    name="laura",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="One model that listens, understands, translates, speaks and cleans sound. Offline, no GPU needed.\n\n"
    "Start with: laura demo",
)


@app.command()
def transcribe(
    files: Files,
    lang: Lang = None,
    min_confidence: Sure = 0.0,
    beams: Beams = BEAMS,
    stream: Annotated[bool, typer.Option("--stream", help="Answer while it comes: a recording, or - for raw 16-bit samples, one channel, on stdin.")] = False,
    rate: Annotated[int, typer.Option(help="Samples a second of what --stream reads on stdin.", min=1000, max=768_000)] = 16_000,
    format: Formats = Format.text,
    out: Out = None,
    strict: Strict = False,
    model: Model = "mini",
    device: Device = None,
):
    """Write down what is said.

    laura transcribe talk.flac

    laura transcribe *.wav --format json > answers.jsonl

    laura transcribe lecture.mp3 --lang de --format srt -o lecture.srt

    arecord -q -f S16_LE -r 16000 | laura transcribe --stream -
    """
    from lauragpt.cli.io import answer, check, usage
    from lauragpt.cli.stream import stream_transcript

    if rate != 16_000 and not (stream and str(files[0]) == "-"):
        usage("--rate is of the samples that --stream - reads: a file says its own")
    if stream:
        if len(files) != 1 or out is not None or format not in (Format.text, Format.json):
            usage("--stream takes one recording, or -, and writes text or json to stdout as it comes: leave -o and the others out")
        check(lang=lang)
        stream_transcript(files[0], rate, format.value, model, device, beams, strict, lang=lang, min_confidence=min_confidence)
        return
    if Path("-") in files:
        usage("- is read as raw samples with --stream: laura transcribe --stream -")
    check(lang=lang, out=out, format=format.value, count=len(files))

    def run(laura, waves):
        return laura.transcribe(waves, lang=lang, min_confidence=min_confidence)

    answer(files, run, format.value, out, model, device, beams=beams, strict=strict)


@app.command()
def translate(
    files: Annotated[list[Path] | None, typer.Argument(help="Recordings to translate.", show_default=False)] = None,
    to: To = "de",
    text: Annotated[list[str] | None, typer.Option(help="Translate this text instead of a recording; may be given again.", show_default=False)] = None,
    beams: Beams = BEAMS,
    format: Formats = Format.text,
    out: Out = None,
    strict: Strict = False,
    model: Model = "mini",
    device: Device = None,
):
    """Translate a recording or a text into another language, as text.

    laura translate talk.flac --to de

    laura translate --text "A man rides a horse." --to de
    """
    from lauragpt.cli.io import answer, answer_texts, check, usage

    if bool(files) == bool(text):
        usage("give either recordings or --text, as in: laura translate --text \"Good morning.\" --to de")
    if text and format not in (Format.text, Format.json):
        usage(f"--format {format.value} needs a recording: a text has no times")
    check(lang=to, out=out, format=format.value, count=len(files or text))
    if text:
        answer_texts(text, lambda laura, texts: laura.translate(text=texts, to=to), format.value, out, model, device, beams=beams)
    else:
        answer(files, lambda laura, waves: laura.translate(waves, to=to), format.value, out, model, device, beams=beams, strict=strict)


@app.command()
def speak(
    text: Annotated[list[str], typer.Argument(help="What to say; - reads stdin.", show_default=False)],
    out: SpokenOut = None,
    lang: Lang = None,
    voice: Annotated[str | None, typer.Option(help="The name of a voice that ships, or any recording to speak like.", show_default=False)] = None,
    voice_text: Annotated[str | None, typer.Option(help="What the --voice recording says; left out, it is transcribed.", show_default=False)] = None,
    seed: Seed = 0,
    temperature: Temperature = 0.3,
    top_k: TopK = 25,
    verify: Annotated[int, typer.Option(help="Listen to it, and try again so often where the words are not heard; the best is kept.", min=0)] = 0,
    format: Plains = Plain.text,
    model: Model = "mini",
    device: Device = None,
):
    """Say a text.

    laura speak "Good morning, everyone." -o morning.wav

    laura speak "Guten Morgen." --lang de -o morgen.wav --seed 3

    laura speak "I sound like you." --voice you.wav --voice-text "what you say in it" -o me.wav

    laura speak "Heard while it is being made." -o - | aplay -q -f S16_LE -r 16000
    """
    from lauragpt.cli.io import answer_texts, check, stream_speech, usage

    if out is None:
        usage("say where to write the sound, as in: laura speak \"Hello.\" -o hello.wav")
    texts = [sys.stdin.read() if each == "-" else each for each in text]
    if voice_text and not voice:
        usage("--voice-text says what the --voice recording says: give --voice too")
    if str(out) == "-":
        if verify or format is not Plain.text:
            usage("-o - writes nothing but samples, at once: --verify and --format json need a file")
        check(lang=lang)
        stream_speech(texts, model, device, lang=lang, voice=voice, voice_text=voice_text, seed=seed, temperature=temperature, top_k=top_k)
        return
    check(lang=lang, out=out, audio=True, count=len(texts))

    def say(laura, texts):
        results = laura.speak(
            texts, lang=lang, voice=voice, voice_text=voice_text, seed=seed, temperature=temperature, top_k=top_k, verify=verify
        )
        for result in results if verify else []:
            checked = result.receipt["verify"]
            print(f"heard {checked['agreement']:.0%} of it after {checked['tries']} tries: {checked['heard']}", file=sys.stderr)
        return results

    answer_texts(texts, say, format.value, out, model, device, audio=True)


@app.command()
def enhance(
    files: Files,
    out: AudioOut = None,
    verify: Annotated[bool, typer.Option("--verify", help="Listen before and after, and keep the input where the words changed.")] = False,
    format: Plains = Plain.text,
    strict: Strict = False,
    model: Model = "mini",
    device: Device = None,
):
    """Clean a noisy recording of speech. The answer is exactly as long as the input.

    laura enhance noisy.wav -o clean.wav

    laura enhance *.wav -o cleaned/
    """
    from lauragpt.cli.io import answer, check, usage

    if out is None:
        usage("say where to write the sound, as in: laura enhance noisy.wav -o clean.wav")
    check(out=out, audio=True, count=len(files))
    answer(files, lambda laura, waves: laura.enhance(waves, verify=verify), format.value, out, model, device, audio=True, strict=strict)


@app.command()
def caption(
    files: Files,
    min_confidence: Sure = 0.0,
    format: Formats = Format.text,
    out: Out = None,
    strict: Strict = False,
    model: Model = "mini",
    device: Device = None,
):
    """Describe the sounds of a recording in a sentence.

    laura caption street.ogg
    """
    from lauragpt.cli.io import answer, check

    check(out=out, format=format.value, count=len(files))
    answer(files, lambda laura, waves: laura.caption(waves, min_confidence), format.value, out, model, device, strict=strict)


@app.command()
def emotion(
    files: Files,
    min_confidence: Sure = 0.0,
    format: Plains = Plain.text,
    out: Out = None,
    strict: Strict = False,
    model: Model = "mini",
    device: Device = None,
):
    """Name the emotion of a voice; --format json adds a score for each.

    laura emotion voice.wav --format json
    """
    from lauragpt.cli.io import answer, check

    check(out=out, format=format.value, count=len(files))
    answer(files, lambda laura, waves: laura.emotion(waves, min_confidence), format.value, out, model, device, strict=strict)


@app.command()
def understand(
    files: Files,
    lang: Lang = None,
    min_confidence: Sure = 0.0,
    format: Plains = Plain.text,
    out: Out = None,
    strict: Strict = False,
    model: Model = "mini",
    device: Device = None,
):
    """Read a spoken order as an intent and its slots.

    laura understand order.wav --format json
    """
    from lauragpt.cli.io import answer, check

    check(lang=lang, out=out, format=format.value, count=len(files))

    def run(laura, waves):
        return laura.understand(waves, lang=lang, min_confidence=min_confidence)

    answer(files, run, format.value, out, model, device, strict=strict)


@app.command()
def chain(
    steps: Annotated[str, typer.Argument(help='Verbs joined by |, as in "enhance | transcribe | translate:de | speak".', show_default=False)],
    files: Files,
    out: AudioOut = None,
    seed: Seed = 0,
    temperature: Temperature = 0.3,
    top_k: TopK = 25,
    format: Plains = Plain.text,
    strict: Strict = False,
    model: Model = "mini",
    device: Device = None,
):
    """Run verbs one after the other; `speak` goes on in the voice of the recording.

    laura chain "enhance | transcribe | translate:de | speak" in.wav -o out.wav

    laura chain "enhance | transcribe" noisy.wav
    """
    from lauragpt.cli.io import answer, check, usage
    from lauragpt.engine.chain import VERBS, parse_chain

    try:
        spoken = VERBS[parse_chain(steps)[-1].verb][1] == "audio"
    except LauraError as error:
        usage(str(error))
    if spoken and out is None:
        usage('this chain ends in sound: say where to write it, as in: laura chain "enhance" in.wav -o out.wav')
    check(out=out, audio=spoken, count=len(files))

    def run(laura, waves):
        return laura.chain(steps, waves, seed=seed, temperature=temperature, top_k=top_k)

    answer(files, run, format.value, out, model, device, audio=spoken, strict=strict)


@app.command()
def codec(
    files: Annotated[list[Path], typer.Argument(help="Recordings, or codes (.safetensors) that --codes wrote.", show_default=False)],
    quantizers: Annotated[int | None, typer.Option("-n", "--quantizers", help="Only the first n; left out, all.", min=1, show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the sound: a .wav, .flac or .ogg file; with several inputs a folder.", show_default=False)] = None,
    codes: Annotated[Path | None, typer.Option(help="Write the codes: a .safetensors file; with several inputs a folder.", show_default=False)] = None,
    format: Plains = Plain.text,
    strict: Strict = False,
    model: Model = "mini",
    device: Device = None,
):
    """Turn sound into the codec's tokens and back, without the GPT: bit rate, how the codes are used, what is lost.

    laura codec talk.wav -n 8 -o after.wav

    laura codec talk.wav --codes talk.safetensors

    laura codec talk.safetensors -n 1 -o tokens-alone.wav
    """
    from lauragpt.cli.io import check, code_files, usage

    check(out=out, audio=True, count=len(files))
    if codes is not None:
        if len(files) == 1 and codes.suffix != ".safetensors":
            usage(f"{codes}: codes are written as .safetensors")
        check(out=codes, folder=True, count=len(files))
    code_files(files, quantizers, out, codes, format.value, model, device, strict)


@app.command()
def replay(
    answers: Annotated[Path, typer.Argument(help="Lines of JSON that --format json wrote.", show_default=False)],
    model: Model = "mini",
    device: Device = None,
):
    """Make answers again from their receipts, and say which are not the same. Exit status 1 where any is not.

    laura transcribe talk.flac --format json > answers.jsonl && laura replay answers.jsonl
    """
    from lauragpt.cli.io import replay_answers

    replay_answers(answers, model, device)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the sounds and the page.")] = Path("laura-demo"),
    model: Model = "mini",
    device: Device = None,
):
    """Run every verb on a few real recordings that ship; prints a table, writes the sounds and a page to listen to."""
    from lauragpt.cli.io import load, one_line

    with one_line():
        from lauragpt.cli.demo import run_demo

        run_demo(load(model, device), out)


for verb in (training.prepare, training.synth, training.train, training.export):
    app.command()(verb)
app.command(name="eval")(training.evaluate)
