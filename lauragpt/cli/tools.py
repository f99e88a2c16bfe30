"""What the command line does with a checkpoint beside asking it: the codec by itself, and answers made again from their receipts."""

import json
from pathlib import Path

from lauragpt.cli.inputs import sound_stream
from lauragpt.cli.io import Notes, OutputError, Progress, Unread, failure, print_line, say
from lauragpt.cli.request import Request, codes_targets, targets
from lauragpt.cli.run import load_for
from lauragpt.errors import LauraError


def codec(request: Request) -> int:
    """Each recording, or file of codes, through the codec -> how many failed."""
    from lauragpt.engine.codec_io import Codes, decode_to

    quantizers, codes_out, failed = request.options["quantizers"], request.options["codes"], 0
    nowhere = [None] * len(request.inputs)
    sound_files = targets(request.inputs, Path(request.out), request.folder, ".wav") if request.out else nowhere
    codes_files = codes_targets(request, codes_out) if codes_out else nowhere
    laura, notes = load_for(request), Notes()
    with Progress(len(request.inputs)) as progress:
        for name, sound_file, codes_file in zip(request.inputs, sound_files, codes_files):
            try:
                codes = (
                    Codes.load(name).first(quantizers)
                    if name.endswith(".safetensors")
                    else laura.encode(sound_stream(request, name), quantizers)
                )
                for target in filter(None, (sound_file, codes_file)):
                    target.parent.mkdir(parents=True, exist_ok=True)
                if codes_file:
                    codes.save(codes_file)
                if sound_file:
                    decode_to(laura.runtime.backend, codes, sound_file)
                row = {"file": name, **codes.to_row(), "audio": sound_file and str(sound_file)}
                line = json.dumps(row) if request.format == "json" else codes.to_text(name)
                (notes.print if sound_file or codes_file else print_line)(line)
            except OutputError:
                raise
            except Unread:
                break
            except LauraError as error:
                say(failure(name, error))
                failed += 1
            except OSError as error:
                say(f"{error.filename} cannot be made: {error.strerror}")
                failed += 1
            progress.advance()
    return failed + notes.failed


def replay(request: Request) -> int:
    """Each line's answer made again -> how many differ or cannot be made."""
    rows, failed = _rows(request.inputs[0]), 0
    from lauragpt.engine.replay import replay as differences

    laura = load_for(request)
    for number, row in enumerate(rows, start=1):
        name = row.get("file") or f"line {number}"
        try:
            changes = differences(laura, row)
            print_line(f"{name}: {'; '.join(changes) or 'the same'}")
            failed += bool(changes)
        except OutputError:
            raise
        except Unread:
            break
        except LauraError as error:
            say(failure(str(name), error))
            failed += 1
    return failed


def _rows(name: str) -> list[dict]:
    try:
        rows = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise LauraError(f"{name} holds no answers ({str(error).splitlines()[0][:100]}): give the lines that --format json wrote") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise LauraError(f"{name} holds no answers: give the lines that --format json wrote")
    return rows
