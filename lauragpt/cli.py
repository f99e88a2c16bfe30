"""The command line: `laura VERB`. Answers go to stdout, everything else to stderr.

Exit status: 0 all done; 1 some inputs failed (one line each; the others are done); 2 wrong usage, told before the model is loaded.
Nothing heavy is imported before a verb needs it, so that `laura --help` answers at once.
"""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lauragpt.errors import LauraError
from lauragpt.tasks import LANGS

app = typer.Typer(
    name="laura",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="One model that listens, understands, translates, speaks and cleans sound. Offline, no GPU needed.\n\n"
    "Start with: laura demo",
)


class Format(str, Enum):
    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"


class Plain(str, Enum):
    text = "text"
    json = "json"


class Stage(str, Enum):
    codec = "codec"
    encoder = "encoder"
    gpt = "gpt"
    vocoder = "vocoder"
    laura = "laura"
    speaker = "speaker"


class Split(str, Enum):
    train = "train"
    dev = "dev"
    test = "test"


Files = Annotated[list[Path], typer.Argument(help="Recordings: WAV, FLAC, Ogg, Opus, MP3; any rate, any number of channels.", show_default=False)]
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
Formats = Annotated[Format, typer.Option("--format", "-f", help="text; json: one object a line, with each word's time; srt, vtt, tsv: subtitles.")]
Plains = Annotated[Plain, typer.Option("--format", "-f", help="text; json: one object a line.")]


@app.command()
def transcribe(
    files: Files,
    lang: Lang = None,
    min_confidence: Sure = 0.0,
    stream: Annotated[bool, typer.Option("--stream", help="Answer while it comes: a recording, or - for raw 16-bit samples, one channel, on stdin.")] = False,
    rate: Annotated[int, typer.Option(help="Samples a second of what --stream reads on stdin.", min=1000, max=768_000)] = 16_000,
    format: Formats = Format.text,
    out: Out = None,
    model: Model = "mini",
    device: Device = None,
):
    """Write down what is said.

    laura transcribe talk.flac

    laura transcribe *.wav --format json > answers.jsonl

    laura transcribe lecture.mp3 --lang de --format srt -o lecture.srt

    arecord -q -f S16_LE -r 16000 | laura transcribe --stream -
    """
    from lauragpt.commands import answer, check, usage
    from lauragpt.live import stream_transcript

    if stream:
        if len(files) != 1 or out is not None or format not in (Format.text, Format.json):
            usage("--stream takes one recording, or -, and writes text or json to stdout as it comes: leave -o and the others out")
        check(lang=lang)
        stream_transcript(files[0], rate, format.value, model, device, lang=lang, min_confidence=min_confidence)
        return
    if rate != 16_000:
        usage("--rate is of the samples that --stream - reads: a file says its own")
    check(lang=lang, out=out, format=format.value, count=len(files))
    answer(files, lambda laura, waves: laura.transcribe(waves, lang=lang, min_confidence=min_confidence), format.value, out, model, device)


@app.command()
def translate(
    files: Annotated[list[Path] | None, typer.Argument(help="Recordings to translate.", show_default=False)] = None,
    to: To = "de",
    text: Annotated[list[str] | None, typer.Option(help="Translate this text instead of a recording; may be given again.", show_default=False)] = None,
    format: Formats = Format.text,
    out: Out = None,
    model: Model = "mini",
    device: Device = None,
):
    """Translate a recording or a text into another language, as text.

    laura translate talk.flac --to de

    laura translate --text "A man rides a horse." --to de
    """
    from lauragpt.commands import answer, answer_texts, check, usage

    if bool(files) == bool(text):
        usage("give either recordings or --text, as in: laura translate --text \"Good morning.\" --to de")
    if text and format not in (Format.text, Format.json):
        usage(f"--format {format.value} needs a recording: a text has no times")
    check(lang=to, out=out, format=format.value, count=len(files or text))
    if text:
        answer_texts(text, lambda laura, texts: laura.translate(text=texts, to=to), format.value, out, model, device)
    else:
        answer(files, lambda laura, waves: laura.translate(waves, to=to), format.value, out, model, device)


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
    from lauragpt.commands import answer_texts, check, stream_speech, usage

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
    model: Model = "mini",
    device: Device = None,
):
    """Clean a noisy recording of speech. The answer is exactly as long as the input.

    laura enhance noisy.wav -o clean.wav

    laura enhance *.wav -o cleaned/
    """
    from lauragpt.commands import answer, check, usage

    if out is None:
        usage("say where to write the sound, as in: laura enhance noisy.wav -o clean.wav")
    check(out=out, audio=True, count=len(files))
    answer(files, lambda laura, waves: laura.enhance(waves, verify=verify), format.value, out, model, device, audio=True)


@app.command()
def caption(
    files: Files, min_confidence: Sure = 0.0, format: Formats = Format.text, out: Out = None, model: Model = "mini", device: Device = None
):
    """Describe the sounds of a recording in a sentence.

    laura caption street.ogg
    """
    from lauragpt.commands import answer, check

    check(out=out, format=format.value, count=len(files))
    answer(files, lambda laura, waves: laura.caption(waves, min_confidence), format.value, out, model, device)


@app.command()
def emotion(
    files: Files, min_confidence: Sure = 0.0, format: Plains = Plain.text, out: Out = None, model: Model = "mini", device: Device = None
):
    """Name the emotion of a voice; --format json adds a score for each.

    laura emotion voice.wav --format json
    """
    from lauragpt.commands import answer, check

    check(out=out, format=format.value, count=len(files))
    answer(files, lambda laura, waves: laura.emotion(waves, min_confidence), format.value, out, model, device)


@app.command()
def understand(
    files: Files,
    lang: Lang = None,
    min_confidence: Sure = 0.0,
    format: Plains = Plain.text,
    out: Out = None,
    model: Model = "mini",
    device: Device = None,
):
    """Read a spoken order as an intent and its slots.

    laura understand order.wav --format json
    """
    from lauragpt.commands import answer, check

    check(lang=lang, out=out, format=format.value, count=len(files))
    answer(files, lambda laura, waves: laura.understand(waves, lang=lang, min_confidence=min_confidence), format.value, out, model, device)


@app.command()
def chain(
    steps: Annotated[str, typer.Argument(help='Verbs joined by |, as in "enhance | transcribe | translate:de | speak".', show_default=False)],
    files: Files,
    out: AudioOut = None,
    seed: Seed = 0,
    temperature: Temperature = 0.3,
    top_k: TopK = 25,
    format: Plains = Plain.text,
    model: Model = "mini",
    device: Device = None,
):
    """Run verbs one after the other; `speak` goes on in the voice of the recording.

    laura chain "enhance | transcribe | translate:de | speak" in.wav -o out.wav

    laura chain "enhance | transcribe" noisy.wav
    """
    from lauragpt.commands import answer, check, usage
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

    answer(files, run, format.value, out, model, device, audio=spoken)


@app.command()
def codec(
    files: Annotated[list[Path], typer.Argument(help="Recordings, or codes (.safetensors) that --codes wrote.", show_default=False)],
    quantizers: Annotated[int | None, typer.Option("-n", "--quantizers", help="Only the first n; left out, all.", min=1, show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the sound: a .wav, .flac or .ogg file; with several inputs a folder.", show_default=False)] = None,
    codes: Annotated[Path | None, typer.Option(help="Write the codes: a .safetensors file; with several inputs a folder.", show_default=False)] = None,
    format: Plains = Plain.text,
    model: Model = "mini",
    device: Device = None,
):
    """Turn sound into the codec's tokens and back, without the GPT: bit rate, how the codes are used, what is lost.

    laura codec talk.wav -n 8 -o after.wav

    laura codec talk.wav --codes talk.safetensors

    laura codec talk.safetensors -n 1 -o tokens-alone.wav
    """
    from lauragpt.commands import check, code_files, usage

    check(out=out, audio=True, count=len(files))
    if codes is not None:
        if len(files) == 1 and codes.suffix != ".safetensors":
            usage(f"{codes}: codes are written as .safetensors")
        check(out=codes, folder=True, count=len(files))
    code_files(files, quantizers, out, codes, format.value, model, device)


@app.command()
def replay(
    answers: Annotated[Path, typer.Argument(help="Lines of JSON that --format json wrote.", show_default=False)],
    model: Model = "mini",
    device: Device = None,
):
    """Make answers again from their receipts, and say which are not the same. Exit status 1 where any is not.

    laura transcribe talk.flac --format json > answers.jsonl && laura replay answers.jsonl
    """
    from lauragpt.commands import replay_answers

    replay_answers(answers, model, device)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the sounds and the page.")] = Path("laura-demo"),
    model: Model = "mini",
    device: Device = None,
):
    """Run every verb on a few real recordings that ship; prints a table, writes the sounds and a page to listen to."""
    from lauragpt.commands import load, one_line

    with one_line():
        from lauragpt.demo import run_demo

        run_demo(load(model, device), out)


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="Folder of the corpora.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for the manifests.", show_default=False)],
    open_only: Annotated[bool, typer.Option("--open-only", help="Leave out every set that forbids commercial use.")] = False,
):
    """Turn corpora into examples of every task, one JSONL line each.

    laura prepare corpora/ data/
    """
    from lauragpt.commands import one_line

    with one_line():
        from lauragpt.data.corpora import prepare as run

        for split, counts in run(data, out, open_only=open_only).items():
            print(f"{split}: " + ", ".join(f"{task} {count}" for task, count in sorted(counts.items())))


@app.command()
def synth(
    data: Annotated[Path, typer.Argument(help="Folder of the corpora, whose texts are spoken.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for the recordings and their manifests.", show_default=False)],
    hours: Annotated[float, typer.Option(help="Multiplies the length of every set.", min=0)] = 1.0,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(help="Synthesisers run at a time.", min=1)] = 2,
):
    """Make speech from text with the synthesisers that are installed (espeak-ng, flite): many voices, rates and pitches.

    laura synth corpora/ data/
    """
    from lauragpt.commands import one_line

    with one_line():
        from lauragpt.data.synth import synthesize

        def show(name: str, done: int, of: int, seconds: float) -> None:
            if done == of or done % 500 == 0:
                print(f"{name}: {done} of {of} sentences, {seconds / 3600:.2f} hours", file=sys.stderr)

        for name, made in synthesize(data, out, hours=hours, seed=seed, workers=workers, progress=show).items():
            print(f"{name}: {made:.2f} hours")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, such as recipes/debug.yaml.", show_default=False)],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value pairs that override the recipe.", show_default=False)] = None,
    stage: Annotated[Stage | None, typer.Option(help="Only this stage; left out, all of them in order.", show_default=False)] = None,
    hours: Annotated[float | None, typer.Option(help="Stop after so long, with a valid checkpoint.", min=0, show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the last run stopped.")] = False,
):
    """Train a checkpoint from data by a recipe.

    laura train recipes/debug.yaml

    laura train recipes/mini.yaml --stage laura --hours 2 --resume lr=1e-4
    """
    from lauragpt.commands import one_line, usage

    for override in overrides or []:
        if not override.partition("=")[0] or "=" not in override:
            usage(f"{override!r} is no override: write key=value, as in lr=1e-4")
    with one_line():
        from lauragpt.train.run import train as run

        run(recipe, stage=stage.value if stage else None, hours=hours, resume=resume, overrides=overrides or [])


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder.", show_default=False)],
    bits: Annotated[int, typer.Option(help="Of the GPT's weights: 32 answers as torch does, 8 is faster.")] = 32,
):
    """Write a checkpoint's networks as ONNX graphs beside its weights, so that it runs without torch.

    laura export runs/mini/export
    """
    from lauragpt.commands import one_line

    with one_line():
        from lauragpt.engine.laura import find_checkpoint
        from lauragpt.train.graphs import export_graphs

        print(export_graphs(find_checkpoint(checkpoint), bits))


@app.command(name="eval")
def evaluate(
    checkpoint: Annotated[str | None, typer.Argument(help="A checkpoint folder, or the name of one that ships: mini, the default.", show_default=False)] = None,
    *,
    data: Annotated[Path, typer.Option(help="Folder of the manifests that `laura prepare` wrote.", show_default=False)],
    split: Annotated[Split, typer.Option(help="Which part to measure on.")] = Split.dev,
    tasks: Annotated[str | None, typer.Option(help="Only these, as in asr,ser; the codec is one of them.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(help="So many examples a corpus, fewer where they are long, a fifteenth where sound is made.", min=1, show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for the report as files.", show_default=False)] = None,
    hyp: Annotated[Path | None, typer.Option(help='Score the answers of this JSONL file ({"id": ..., "text" or "audio": ...}).', show_default=False)] = None,
    peer: Annotated[list[str] | None, typer.Option(help="Measure this too, on the same files: pocketsphinx, or transformers:FOLDER.", show_default=False)] = None,
    against: Annotated[str | None, typer.Option(help="Compare with this checkpoint, example by example.", show_default=False)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask everything anew, keep nothing: else answers are kept and found again.")] = False,
    device: Device = None,
):
    """Measure a checkpoint, or anyone's answers: one metric a task, with its 95 % interval, beside the trivial floor.

    laura eval mini --data data/ --split dev

    laura eval runs/mini/export --data data/ --tasks asr,ser --limit 20 --against mini -o report/

    laura eval --data data/ --hyp answers.jsonl
    """
    from lauragpt.commands import one_line, usage

    with one_line():
        from lauragpt.evaluate.answers import default_folder
        from lauragpt.evaluate.scorers import SCORERS
    if hyp is not None and (checkpoint or against):
        usage("--hyp scores a file of answers: leave CHECKPOINT and --against out")
    wanted = [task.strip() for task in tasks.split(",")] if tasks else None
    for task in wanted or []:
        if task not in SCORERS:
            usage(f"unknown task {task!r}: choose from {', '.join(SCORERS)}")
    with one_line():
        from lauragpt.evaluate.run import evaluate as run

        if not data.is_dir():
            raise LauraError(f"{data} is not a folder: give the folder that `laura prepare` wrote")
        run(
            checkpoint or "mini", data, split=split.value, tasks=wanted, limit=limit, out=out, hyp=hyp, peers=peer or [], other=against,
            cache=None if fresh else default_folder(), device=device,
        )  # fmt: skip


if __name__ == "__main__":
    app()
