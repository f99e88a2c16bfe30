"""Shards: prepared data as lhotse Shar, in a folder or behind an address. train/shards.py writes them.

    shards.json            every file with its size, the format of the sound, the codec whose tokens are there
    train.jsonl  text.*    examples without a recording, sentences and licences, as in a folder of manifests
    train/cuts.000000.jsonl.gz  recording.000000.tar  noisy.000000.tar  codec_tokens.000000.tar    and so on; dev/, test/

In: such a folder, or its address (s3://, https:// and what else smart_open reads). Out: the examples, whose `audio` names a part of a
shard: `recording.000003.tar#bytes=1536,20480,0a1b2c3d` are 20480 bytes from 1536 on, with their CRC-32. So a recording is read by itself,
in any order, and a batch stays a function of its number alone.
"""

import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO

import numpy as np

from lauragpt.data.manifest import SPLITS, Example, check_example
from lauragpt.errors import LauraError, install_hint
from lauragpt.files import cache_folder, replacing

INDEX = "shards.json"
FORMAT = 1
AGAIN = "fetch it again, or make it again with `laura prepare`"
CONNECTIONS = 16  # at a time, to ask for the sizes of shards
_CRC = "([0-9a-f]{8})"
_MEMBER = re.compile(rf"(.+\.tar)#bytes=(\d+),(\d+),{_CRC}(?:;tokens=(\d+),(\d+),{_CRC})?")
_TOKENS = re.compile(r"[a-z_]+(\.\d+\.tar)$")


@dataclass(frozen=True)
class Member:
    """A file within a shard."""

    shard: str  # path or address
    offset: int  # bytes
    size: int
    crc: str

    def read(self) -> bytes:
        """LauraError where the shard is missing or damaged."""
        try:
            with opened(self.shard, self.size) as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except LauraError:
            raise
        except Exception as error:  # of an address: of as many kinds as there are protocols
            raise unreadable(self.shard, error) from None
        if f"{zlib.crc32(data):08x}" != self.crc:
            place = f"bytes {self.offset} to {self.offset + self.size}"
            raise LauraError(f"the shard {self.shard} is damaged: {place} are not what was written: {AGAIN}")
        return data


def member_name(shard: str, place: Iterable, tokens: Iterable | None = None) -> str:
    """What an example's `audio` is called. place, tokens: (offset, size, CRC) in the shard and in that of the codec's tokens beside it."""
    return f"{shard}#bytes={','.join(map(str, place))}" + (f";tokens={','.join(map(str, tokens))}" if tokens else "")


def member_of(audio: str) -> Member | None:
    """The part of a shard that an example's `audio` names; None where it names a file."""
    found = _MEMBER.fullmatch(audio) if ".tar#bytes=" in audio else None
    return Member(found[1], int(found[2]), int(found[3]), found[4]) if found else None


def stored_tokens(audio: str, codec: str) -> np.ndarray | None:
    """(T,) int16: the tokens of a recording that its shards hold; None where they hold none, or not those of the codec of this hash."""
    found = _MEMBER.fullmatch(audio) if ";tokens=" in audio else None
    if found is None or not found[7]:
        return None
    beside = Member(_TOKENS.sub(r"codec_tokens\1", found[1]), int(found[5]), int(found[6]), found[7])
    if _codec_of(found[1].rpartition("/")[0].rpartition("/")[0]) != codec:
        return None
    return np.load(io.BytesIO(beside.read()), allow_pickle=False)


@cache
def _codec_of(folder: str) -> str | None:
    """The hash of the codec whose tokens the shards of a folder, or behind an address, hold."""
    return (read_index(local_data(folder)) or {}).get("codec")


def is_address(data: str | Path) -> bool:
    return "://" in str(data)


def opened(path: str, size: int | None = None) -> BinaryIO:
    """A file, or what is behind an address, to be read as it is. `size`: bytes that are asked for at a time."""
    if not is_address(path):
        return open(path, "rb")
    try:
        import smart_open
    except ModuleNotFoundError:
        raise LauraError(f"{path} is read by smart_open, which is not installed: {install_hint('train')}") from None
    how: dict[str, Any] = {}
    if path.startswith("s3:"):
        how = {"client": _s3(os.getpid()), "defer_seek": True, **({"range_chunk_size": size} if size else {})}
    return smart_open.open(path, "rb", compression="disable", transport_params=how)


@cache
def _s3(process: int) -> Any:
    """The client of this process, which threads share and forks must not. Its settings come from the environment (AWS_ENDPOINT_URL)."""
    try:
        import boto3
    except ModuleNotFoundError:
        raise LauraError(f"s3:// is read by boto3, which is not installed: {install_hint('train')}") from None
    return boto3.session.Session().client("s3")


def said(error: Exception) -> str:
    """What an error says, in one line."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def unreadable(path: str, error: Exception) -> LauraError:
    return LauraError(f"{path} cannot be read ({said(error)}): {AGAIN}")


def local_data(data: str | Path) -> Path:
    """The folder of `data`. Of an address: a copy in the user's cache of all but the recordings, renewed where they have changed. What is
    no longer there is deleted here too, since manifests and sentences are found by their names. LauraError where nothing is behind it."""
    if not is_address(data):
        return Path(data)
    address = str(data).rstrip("/")
    folder = cache_folder() / "shards" / hashlib.sha256(address.encode()).hexdigest()[:16]
    try:
        with opened(f"{address}/{INDEX}") as file:
            index = parsed(file.read(), f"{address}/{INDEX}")
    except LauraError:
        raise
    except Exception as error:
        raise LauraError(f"{address} holds no shards: {INDEX} cannot be read there ({said(error)})") from None
    folder.mkdir(parents=True, exist_ok=True)
    for name, about in index["files"].items():
        if not name.endswith(".tar") and (not (folder / name).is_file() or hash_of((folder / name).read_bytes()) != about["sha256"]):
            _fetch(f"{address}/{name}", folder / name, about["sha256"])
    listed = {INDEX, *index["files"]}
    for path in folder.rglob("*"):
        unlisted = path.relative_to(folder).as_posix() not in listed
        if unlisted and path.is_file() and not path.name.startswith("."):  # what another process is just fetching begins with a dot
            path.unlink(missing_ok=True)
    with replacing(folder / INDEX, "w", encoding="utf-8") as file:
        json.dump(index | {"source": address}, file)
    return folder


def _fetch(address: str, path: Path, digest: str) -> None:
    try:
        with opened(address) as file:
            data = file.read()
    except LauraError:
        raise
    except Exception as error:
        raise unreadable(address, error) from None
    if hash_of(data) != digest:
        raise LauraError(f"{address} is damaged, or not of the same shards as {INDEX}: copy the shards there again")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data)


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parsed(data: bytes, where: str) -> dict:
    """shards.json. LauraError where it is damaged, of another format, or names a file that would lie outside its folder."""
    try:
        index = json.loads(data)
        if index["format"] != FORMAT:
            raise LauraError(f"{where} is of format {index['format']}, and this version reads {FORMAT}: write the shards again")
        index |= {"files": dict(index["files"]), "codec": index["codec"]}
    except (ValueError, KeyError, TypeError):
        raise LauraError(f"{where} is damaged: copy it again from where the shards were written") from None
    if outside := [name for name in index["files"] if not _is_inside(name)]:
        raise LauraError(f"{where} names the file {outside[0]!r}, which is not within the folder of the shards: only read shards you trust")
    return index


def _is_inside(name: str) -> bool:
    """Whether this is a relative path that stays below its folder, on Windows too."""
    path = PureWindowsPath(name)
    return bool(path.parts) and not path.anchor and ".." not in path.parts and "\\" not in name


def read_index(folder: Path) -> dict | None:
    """shards.json; None where a folder holds no shards."""
    path = folder / INDEX
    return parsed(path.read_bytes(), str(path)) if path.is_file() else None


def read_shards(folder: Path, splits: Iterable[str] = SPLITS) -> list[Example]:
    """The examples of recordings in the shards of a folder, [] where it holds none. LauraError where a shard is missing or of another size,
    or where its cuts are damaged."""
    index = read_index(folder)
    if index is None:
        return []
    base = index.get("source") or str(folder.absolute())
    wanted = [name for name in index["files"] if name.partition("/")[0] in splits and "/" in name]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda name: _check_size(f"{base}/{name}", index["files"][name]["bytes"]), [n for n in wanted if n.endswith(".tar")]))
    return [example for name in wanted if name.endswith(".jsonl.gz") for example in _examples(folder / name, f"{base}/{name}")]


def _check_size(shard: str, size: int) -> None:
    try:
        if is_address(shard):
            with opened(shard) as file:
                found = file.seek(0, os.SEEK_END)
        else:
            found = os.path.getsize(shard)
    except LauraError:
        raise
    except Exception as error:
        raise LauraError(f"the shard {shard} is missing or cannot be read ({said(error)}): {AGAIN}") from None
    if found != size:
        raise LauraError(f"the shard {shard} is damaged: it has {found} bytes, not {size}: {AGAIN}")


def _examples(path: Path, name: str) -> list[Example]:
    """The examples of one file of cuts, whose shards are named after it. `name`: its path or its address."""
    examples, number = [], name.rpartition("/cuts")[2].removesuffix(".jsonl.gz")
    folder, split = name.rpartition("/")[0], path.parent.name
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                cut = json.loads(line)
                custom, places = cut["custom"], cut["custom"]["bytes"]
                audio = member_name(f"{folder}/recording{number}.tar", places["recording"], places.get("codec_tokens"))
                noisy = member_name(f"{folder}/noisy{number}.tar", places["noisy"]) if "noisy" in places else None
                for row in custom["examples"]:
                    more = {"split": split, "audio": audio, "noisy": noisy if row.get("noisy", True) else None, "duration": cut["duration"]}
                    examples.append(check_example(row | more, f"{name}, {cut['id']}"))
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise LauraError(f"the shard {name} is damaged ({type(error).__name__}: {error}): {AGAIN}") from None
    return examples
