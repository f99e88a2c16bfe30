"""`laura mcp`: the verbs as tools for assistants, by the Model Context Protocol on stdin and stdout.

In: a checkpoint, and the folders whose files an assistant may name. Out: a server of the official package `mcp`, with one tool a verb: its
arguments have types, and its descriptions say what a person would ask it for. desk.py answers the calls.
"""

import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field, ValidationError

from lauragpt import __version__
from lauragpt.audio import WRITABLE
from lauragpt.cli.io import say
from lauragpt.cli.request import SUFFIXES
from lauragpt.engine.api import Laura
from lauragpt.engine.chain import VERBS
from lauragpt.errors import LauraError
from lauragpt.serve.desk import Answered, Desk, told
from lauragpt.serve.folders import Folders
from lauragpt.tasks import TASKS

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


class Tools(MCPServer):
    """A server that takes None for an argument that is left out, and tells what is wrong with arguments in one line."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context | None = None) -> Any:
        known = {tool.name: tool.input_schema["properties"] for tool in await self.list_tools()}
        if name in known and (unknown := [each for each in arguments if each not in known[name]]):
            raise ToolError(f"{name} has no argument {', '.join(map(repr, unknown))}: it takes {', '.join(known[name])}")
        try:
            return await super().call_tool(name, {key: value for key, value in arguments.items() if value is not None}, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            mistakes = (f"{'.'.join(map(str, each['loc'][:1]))}: {each['msg']}" for each in error.__cause__.errors())
            raise ToolError(f"{name}: {'; '.join(dict.fromkeys(mistakes))}") from None


def make_server(desk: Desk) -> MCPServer:
    """The server with a tool for each verb. Languages and voices are those of the checkpoint."""
    info, folders = desk.laura.runtime.info, ", ".join(map(str, desk.folders.named))
    langs = Literal[tuple(info.langs)]
    voices = ", ".join(f"{name} ({card['lang']})" for name, card in desk.laura.voices.cards.items()) or "of which none ships"
    sounds, texts = ", ".join(WRITABLE), ", ".join(SUFFIXES)
    server = Tools(
        "laura", title="LauraGPT", version=__version__, log_level="WARNING",
        instructions=f"Speech and sound, answered on this computer by the model {info.name}. Files are read and written only below "
        f"{folders}. Give whole paths, or paths relative to {desk.folders.named[0]}. Recordings may have any length. Answers hold "
        "mistakes: confidence (0 to 1) in the data tells how sure the model is.",
    )  # fmt: skip

    # None may stand for each that has it as its default. It is no part of the type, or the text "null" would be read as None.
    def described(description: str, kind: Any = str) -> Any:
        return Annotated[kind, Field(description=description)]

    File = described(f"The recording: a WAV, FLAC, Ogg, Opus, MP3 or AIFF file below {folders}.")
    SomeFile = described("The recording to translate. Give either file or text.")
    SomeText = described("The text to translate. Give either file or text.")
    Lang = described("Language that is spoken. Leave it out to have it detected.", langs)
    TextLang = described("Language of the text. Leave it out to have it detected.", langs)
    To = described("Language to translate into.", langs)
    Sound = described(f"The file to write the sound into ({sounds}), below {folders}.")
    Text = described(f"A file below {folders} to write the answer into instead of returning it; its suffix is the format: {texts}.")
    ChainOut = described(f"Where the answer goes, below {folders}. Needed where the last step makes sound: {sounds}; else {texts}.")
    Overwrite = described("Whether out may take the place of a file that exists. Ask the person first.", bool)
    WordTimes = described("Whether the data hold the start and end of every word, in seconds.", bool)
    Spoken = described("What to say, as it is written: numbers and abbreviations are read out.")
    VoiceName = described(f"A voice by name, {voices}; or a recording to imitate, of a speaker who consents.")
    VoiceText = described("What is said in the recording to imitate, if that is known.")
    Seed = Annotated[int, Field(description="The same seed gives the same speech again; another one says it differently.", ge=0)]
    Tries = Annotated[int, Field(description="Transcribe the speech, and keep the best of so many tries. 0 does not check.", ge=0, le=10)]
    Verify = described("Whether to keep the input wherever other words are recognised afterwards.", bool)
    Steps = described(f"Steps joined by |, of {', '.join(VERBS)}; translate and speak take a language, as in "
                      '"enhance | transcribe | translate:de | speak".')  # fmt: skip

    def tool(title: str, annotations: ToolAnnotations) -> Callable[[Callable], Callable]:
        return lambda verb: server.tool(
            title=title, annotations=annotations, description=inspect.cleandoc(verb.__doc__).replace("\n", " ")
        )(verb)

    @tool("Transcribe speech", WRITES)
    async def transcribe(
        context: Context, file: File, lang: Lang = None, word_times: WordTimes = False, out: Text = None, overwrite: Overwrite = False
    ) -> Answered:
        """Write down what is said in a recording, in the language that is spoken: lower case, no punctuation, numbers in words. Use it
        also for subtitles, with an out that ends in .srt or .vtt. Silence gives an empty text."""
        return await desk.answer(context, "transcribe", file, out, overwrite, word_times, lang=lang)

    @tool("Translate speech or text", WRITES)
    async def translate(
        context: Context, to: To, file: SomeFile = None, text: SomeText = None, lang: Lang = None, out: Text = None,
        overwrite: Overwrite = False,
    ) -> Answered:  # fmt: skip
        """Translate a recording of speech, or a text, into a text in another language. For translated speech use chain."""
        if (file is None) == (text is None):
            return told(["translate takes either file or text: give one of them"], is_error=True)
        given = {"text": text} if text is not None else {}
        return await desk.answer(context, "translate", file, out, overwrite, to=to, lang=lang, **given)

    @tool("Speak a text", WRITES)
    async def speak(
        context: Context, text: Spoken, out: Sound, lang: TextLang = None, voice: VoiceName = None, voice_text: VoiceText = None,
        seed: Seed = 0, verify: Tries = 0, overwrite: Overwrite = False,
    ) -> Answered:  # fmt: skip
        """Say a text aloud: write it as speech into a sound file."""
        options = {"text": text, "lang": lang, "voice": voice, "voice_text": voice_text, "seed": seed, "verify": verify}
        return await desk.answer(context, "speak", None, out, overwrite, **options)

    @tool("Remove noise", WRITES)
    async def enhance(context: Context, file: File, out: Sound, verify: Verify = False, overwrite: Overwrite = False) -> Answered:
        """Clean a noisy recording of speech: write the speech without its noise into a sound file, exactly as long."""
        return await desk.answer(context, "enhance", file, out, overwrite, verify=verify)

    @tool("Describe sounds", READS)
    async def caption(context: Context, file: File) -> Answered:
        """Describe in an English sentence what sounds in a recording, such as rain, a dog or bells. For words that are said use
        transcribe."""
        return await desk.answer(context, "caption", file)

    async def emotion(context: Context, file: File) -> Answered:
        return await desk.answer(context, "emotion", file)

    emotion.__doc__ = f"""Name the emotion in a speaker's voice, one of {", ".join(TASKS["ser"].labels)}. The data hold the probability of
        each (scores)."""
    tool("Name the emotion of a voice", READS)(emotion)

    @tool("Understand a spoken order", READS)
    async def understand(context: Context, file: File, lang: Lang = None) -> Answered:
        """Turn a short spoken order, such as one for a coffee or for an alarm, into its intent and its slots. For anything else that is
        said use transcribe."""
        return await desk.answer(context, "understand", file, lang=lang)

    @tool("Run several verbs", WRITES)
    async def chain(
        context: Context, steps: Steps, file: File, out: ChainOut = None, seed: Seed = 0, overwrite: Overwrite = False
    ) -> Answered:
        """Run several verbs on a recording, each on the answer of the one before, in one call. Use it to translate speech into speech:
        speak goes on in the speaker's own voice."""
        return await desk.answer(context, "chain", file, out, overwrite, steps=steps, seed=seed)

    return server


def serve(laura: Laura, folders: Folders, most: float) -> None:
    """Answers the client on stdin and stdout until it closes stdin. `most`: seconds that a recording may last. LauraError where these are
    closed."""
    if sys.stdin is None or sys.stdout is None:
        raise LauraError("stdin or stdout is closed: an assistant's program starts `laura mcp` and speaks with it through these")
    if sys.stdin.isatty():
        say("waiting for an MCP client on stdin: an assistant's program starts this command; Ctrl-D ends it")
    desk = Desk(laura, folders, most)
    anyio.run(_serve, make_server(desk), desk.turn)


async def _serve(server: MCPServer, turn: anyio.Lock) -> None:
    async with anyio.create_task_group() as group:
        if sys.platform != "win32":  # where an event loop hears no signals
            group.start_soon(_leave, group.cancel_scope, turn)
        await server.run_stdio_async()
        group.cancel_scope.cancel()


async def _leave(scope: anyio.CancelScope, turn: anyio.Lock) -> None:
    """Ends the process at a signal. A thread that waits for stdin would keep it alive otherwise."""
    numbers = [each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    with anyio.open_signal_receiver(*numbers) as signals:
        async for number in signals:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                async with turn:  # the call that was being answered has stopped: no file is half written
                    os._exit(128 + number)
