"""The commands that answer other programs: `laura serve` over a network, `laura mcp` on stdin and stdout."""

from pathlib import Path
from typing import Annotated

import typer

from lauragpt.cli.options import DEFAULT_MODEL, Adapter, Beams, Device, Model, Threads
from lauragpt.errors import LauraError
from lauragpt.tasks import BEAMS


def serve(
    checkpoint: Annotated[
        str, typer.Argument(help="A checkpoint folder, or the name of a checkpoint that ships.", show_default=True)
    ] = DEFAULT_MODEL,
    host: Annotated[str, typer.Option(help="The address to listen on. 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes one that is free.", min=0, max=65535)] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option(help="A file with a key a line: requests must show one of them.", show_default=False)
    ] = None,
    voices: Annotated[
        Path | None,
        typer.Option(help="A folder that keeps uploaded voices. Default: a private one, which goes with the server.", show_default=False),
    ] = None,
    max_megabytes: Annotated[float, typer.Option(help="MiB that a request may send.", min=0.001)] = 100,
    max_seconds: Annotated[float, typer.Option(help="Seconds that a recording may last.", min=1)] = 3600,
    queue_seconds: Annotated[
        float | None,
        typer.Option(help="Seconds of sound that all requests may hold together. Default: as --max-seconds.", show_default=False),
    ] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that a request may take.", min=0.1)] = 600,
    workers: Annotated[int, typer.Option(help="Processes that answer, each with a model and limits of its own.", min=1)] = 1,
    device: Device = None,
    threads: Threads = None,
    beams: Beams = BEAMS,
):
    """Answer over HTTP, as OpenAI's audio API does.

    Clients of that API work as they are: their base URL is http://127.0.0.1:8000/v1.

    laura serve

    laura serve runs/scratch/export --port 9000 --api-key-file keys.txt
    """
    from lauragpt.cli.io import one_line

    with one_line():
        from lauragpt.serve.keys import read_keys
        from lauragpt.serve.run import serve as run
        from lauragpt.serve.settings import Limits, Settings, make_voices_folder

        size = int(max_megabytes * 2**20)
        limits = Limits(
            upload_bytes=size, held_bytes=4 * size, seconds=max_seconds, request_seconds=time_limit,
            held_seconds=max_seconds if queue_seconds is None else queue_seconds,
        )  # fmt: skip
        keys = read_keys(api_key_file) if api_key_file else ()
        if voices is not None:
            make_voices_folder(voices)
        run(Settings(checkpoint, device, threads, beams, host, keys, voices, limits=limits), port, workers)


def mcp(
    folders: Annotated[list[Path], typer.Argument(help="Folders below which files are read and written.", show_default=False)],
    model: Model = DEFAULT_MODEL,
    adapter: Adapter = None,
    device: Device = None,
    threads: Threads = None,
    max_seconds: Annotated[float, typer.Option(help="Seconds that a recording may last.", min=1)] = 14400,
):
    """Offer the verbs as tools to an assistant.

    The assistant's program starts this command and speaks the Model Context Protocol with it on stdin and stdout.

    laura mcp recordings/
    """
    from lauragpt.cli.io import load, one_line, usage

    with one_line():
        from lauragpt.serve.folders import Folders
        from lauragpt.serve.mcp import serve

        try:
            allowed = Folders(folders)
        except LauraError as error:
            usage(str(error))
        serve(load(model, device, threads=threads, adapter=adapter), allowed, max_seconds)
