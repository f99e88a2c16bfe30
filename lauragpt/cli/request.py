"""What a person asked for: one frozen `Request`, filled by a verb of the command line and handed to the one runner (run.py).

`checked` finds everything that can be wrong before the model is loaded, and settles the format and the file of each answer.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from lauragpt.cli.options import DEFAULT_MODEL, languages
from lauragpt.errors import LauraError
from lauragpt.files import is_written_into
from lauragpt.subtitles import STANDARD, CueLayout
from lauragpt.tasks import BEAMS

SUBTITLES = ("srt", "vtt", "tsv")
SUFFIXES = {".txt": "text", ".json": "json", ".jsonl": "json", ".srt": "srt", ".vtt": "vtt", ".tsv": "tsv"}  # of text -> its format
SOUNDS = (".wav", ".flac", ".ogg")
CODES = ".safetensors"


@dataclass(frozen=True)
class Request:
    """`out` None is stdout, or, for sound, nowhere. With `folder` each input has a file of its own in the folder `out`."""

    verb: str
    inputs: tuple[str, ...]  # paths of recordings, or texts; - is stdin
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))  # keyword arguments of the verb's method of Laura
    text_input: bool = False  # the inputs are texts
    sound_output: bool = False  # the answer is sound
    stream: bool = False  # answered while it is still coming, or still being generated
    out: str | None = None
    output_dir: str | None = None  # another way to name a folder as `out`
    folder: bool = False
    force: bool = False  # the output may take the place of an input
    format: str | None = None  # None: by the suffix of `out`
    formats: tuple[str, ...] = ("text", "json")  # that the verb has
    # of subtitles, CueLayout's: None where a person gave none
    limits: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))
    layout: CueLayout = STANDARD
    model: str = DEFAULT_MODEL
    adapter: Path | None = None  # what is added to its weights
    device: str | None = None
    threads: int | None = None
    beams: int = BEAMS
    strict: bool = False  # files that are cut short or damaged are refused
    verbose: bool = False


def checked(request: Request) -> Request:
    """The request with its format and `folder` settled. LauraError for what is wrong with it."""
    for lang in (request.options.get("lang"), request.options.get("to")):
        if lang is not None:
            check_language(str(lang), request.model)
    if (voice := request.options.get("voice_text")) is not None:
        check_text(str(voice), "--voice-text")
    if request.output_dir is not None:
        if request.out is not None:
            raise LauraError("-o and --output-dir both say where to write: leave one of them out")
        request = replace(request, out=request.output_dir, folder=True)
    elif request.out == "-" and not request.sound_output:  # stdout
        request = replace(request, out=None)
    request = _with_sound_format(request) if request.sound_output else _with_format(request)
    if limits := {name: limit for name, limit in request.limits.items() if limit is not None}:
        if request.format not in ("srt", "vtt"):
            raise LauraError(f"--{next(iter(limits)).replace('_', '-')} is for subtitles: add --format srt or vtt")
        request = replace(request, layout=CueLayout(**limits))
    if request.stream and not request.sound_output and (len(request.inputs) != 1 or request.out is not None or request.format in SUBTITLES):
        raise LauraError(
            "--stream takes one recording, or -, and writes text or json to stdout as it comes: leave -o and other formats out"
        )
    if (codes := request.options.get("codes")) is not None:
        _check_codes(request, str(codes))
    if request.out is None:
        if request.format in SUBTITLES and len(request.inputs) > 1:
            raise LauraError(f"--format {request.format} with several recordings makes several files: name a folder with -o")
        return request
    return _with_output(request)


def check_language(lang: str, model: str) -> None:
    if lang not in (langs := languages(model)):
        raise LauraError(f"unknown language {lang!r}: {Path(model).name} knows {', '.join(langs)}")


def check_text(text: str, name: str = "the text") -> str:
    """The text itself. LauraError where it is no text: a shell hands over bytes that are not UTF-8 as lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        place = text[max(0, error.start - 20) : error.start]
        raise LauraError(f"{name} is not UTF-8 after {place!r}: convert it, as with iconv -f latin1 -t utf-8") from None
    return text


def targets(inputs: tuple[str, ...], out: Path, folder: bool, suffix: str, texts: bool = False) -> list[Path]:
    """The file of each answer: `out`, or files in it that are named after the inputs, texts by number, numbered where names meet."""
    if not folder:
        return [out] * len(inputs)
    files: list[Path] = []
    for number, name in enumerate(inputs, start=1):
        stem, copy = str(number) if texts else Path(name).stem, 1
        while (path := out / f"{stem}{f'-{copy}' if copy > 1 else ''}{suffix}") in files:
            copy += 1
        files.append(path)
    return files


def answer_suffix(request: Request) -> str:
    """Of a file in a folder."""
    if request.sound_output:
        return ".wav"
    return next(suffix for suffix, format in SUFFIXES.items() if format == request.format)


def _with_sound_format(request: Request) -> Request:
    if request.format in SUBTITLES:
        raise LauraError(f"{request.verb} answers with sound, so no {request.format}: choose text or json")
    return replace(request, format=request.format or "text")


def _with_format(request: Request) -> Request:
    suffix = Path(request.out).suffix.lower() if request.out and not request.folder else ""
    by_suffix = SUFFIXES.get(suffix)
    if suffix in SOUNDS:
        raise LauraError(f"{request.out} names a sound, but {request.verb} writes text: choose {', '.join(SUFFIXES)}")
    if request.format and by_suffix and by_suffix != request.format:
        raise LauraError(f"--format {request.format} contradicts {request.out}: leave one of them out")
    format = request.format or by_suffix or "text"
    if format not in request.formats:
        raise LauraError(f"{request.verb}{' of a text' if request.text_input else ''} has no times, so no {format}: choose text or json")
    if suffix == ".json" and len(request.inputs) > 1:
        name = Path(request.out).with_suffix(".jsonl").name
        raise LauraError(f"several answers are written as lines of JSON: name the file {name}, or name a folder")
    return replace(request, format=format)


def _with_output(request: Request) -> Request:
    out, several = Path(request.out), len(request.inputs) > 1
    named_folder = request.folder or is_folder_name(request.out)
    folder = named_folder or (several and (request.sound_output or request.format in SUBTITLES))
    if folder and not named_folder:
        check_no_file_name(request.out)
    if not folder and request.sound_output and out.suffix.lower() not in SOUNDS:
        raise LauraError(f"{out}: sound is written as {', '.join(SOUNDS)}, not {out.suffix or 'without a suffix'!r}")
    if folder:
        check_folder(out)
    else:
        check_file(out)
    request = replace(request, folder=folder)
    if not request.force:
        check_inputs_kept(request, targets(request.inputs, out, folder, answer_suffix(request), request.text_input))
    return request


def check_inputs_kept(request: Request, files: list[Path]) -> None:
    """LauraError where an answer would take the place of a recording that is read."""
    voice = request.options.get("voice")
    inputs = [*(() if request.text_input else request.inputs), *([voice] if isinstance(voice, str) else [])]
    for path in files:
        if os.path.isfile(path) and any(os.path.isfile(name) and os.path.samefile(name, path) for name in inputs):
            way = ", or give --force" if request.sound_output else ""
            raise LauraError(f"{path} is an input and would be overwritten: name another file{way}")


def is_folder_name(out: str) -> bool:
    return out.endswith(os.sep) or os.path.isdir(out)


def check_no_file_name(out: str) -> None:
    """LauraError where several answers would go into a folder that is named like one file."""
    if not os.path.exists(out) and Path(out).suffix.lower() in (*SOUNDS, *SUFFIXES, CODES):
        raise LauraError(f"{out} names one file, but there are several answers: name a folder, as in {Path(out).with_suffix('')}{os.sep}")


def check_folder(out: Path) -> None:
    if os.path.exists(out) and not os.path.isdir(out):
        raise LauraError(f"{out} is a file: several answers need a folder")
    place = Path(os.path.abspath(out))
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise LauraError(f"{out} cannot be made: {place} is a file")
    _try_to_write(out, place)


def check_file(out: Path) -> None:
    if is_written_into(out):
        if not os.access(out, os.W_OK):
            raise LauraError(f"{out} cannot be written: Permission denied")
        return
    place = Path(os.path.realpath(out)).parent
    if not place.is_dir():
        raise LauraError(f"{out} cannot be written: the folder {place if out.is_symlink() else out.parent} does not exist")
    _try_to_write(out, place)


def codes_targets(request: Request, codes: str) -> list[Path]:
    """The files of codes that `laura codec` writes."""
    folder = len(request.inputs) > 1 or is_folder_name(codes)
    return targets(request.inputs, Path(codes), folder, CODES)


def _check_codes(request: Request, codes: str) -> None:
    files = codes_targets(request, codes)
    if files != [Path(codes)]:
        if not is_folder_name(codes):
            check_no_file_name(codes)
        check_folder(Path(codes))
    elif not codes.endswith(CODES):
        raise LauraError(f"{codes}: codes are written as .safetensors")
    else:
        check_file(Path(codes))
    if not request.force:
        check_inputs_kept(request, files)


def _try_to_write(out: Path, place: Path) -> None:
    try:
        # Trying is the only sure test: modes say nothing about read-only file systems, quotas, or root.
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise LauraError(f"{out} cannot be written: {error.strerror}") from None
