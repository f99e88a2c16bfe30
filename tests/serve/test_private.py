"""Folders of a server's own: they go with it, or when the next server starts; nobody else's do."""

import os
import signal
import tempfile
from pathlib import Path

import psutil
import pytest
from servers import clip, http, started

from lauragpt.serve.private import PREFIX, in_use, private_folder, remove_unused

VOICE = {"name": "anna", "consent": "yes", "text": "The night was calm and snowy.", "language": "en"}


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test and its servers alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{PREFIX}*"))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_a_killed_server_leaves_goes_when_the_next_one_starts(temporary, workers):
    """The workers of a server that is killed end as well, and give up its port and its folder."""
    words = ("--threads", "1", "--workers", str(workers))
    with started(*words) as (process, address), started("--threads", "1") as (_, living):
        for each in (address, living):
            assert http.post(f"{each}/v1/voices", files={"audio_sample": clip("kathleen")}, data=VOICE).status_code == 200
        folders = left(temporary)
        assert [len(list(folder.glob("voices/*.wav"))) for folder in folders] == [1, 1]
        family = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        psutil.wait_procs(family)
        assert left(temporary) == folders
        with started(*words, port=address.rpartition(":")[2]) as (_, again):
            [kept] = set(folders) & set(left(temporary))
            assert [row["name"] for row in http.get(f"{again}/v1/voices").json()["data"]][-1] != "anna"
            assert http.get(f"{living}/v1/voices").json()["data"][-1]["name"] == "anna"
        assert len(list(kept.glob("voices/*.wav"))) == 1
    assert left(temporary) == []


def test_a_folder_is_kept_as_long_as_one_process_uses_it(temporary):
    with private_folder("voices", "numbers") as folder:
        assert all(path.stat().st_mode & 0o777 == 0o700 for path in (folder, folder / "voices", folder / "numbers"))
        remove_unused()
        assert left(temporary) == [folder]
    assert left(temporary) == []
    folder.mkdir()
    (folder / "voices").mkdir()
    with in_use(folder):
        remove_unused()
        assert left(temporary) == [folder]
    remove_unused()
    assert left(temporary) == []


def test_what_is_not_ours_stays(temporary, monkeypatch):
    """A folder that is only just being made, a link, a file, another name, and what belongs to another user."""
    elsewhere, other = temporary / "elsewhere", temporary / "laura-notes"
    for folder in (elsewhere, other, temporary / f"{PREFIX}new"):
        folder.mkdir()
    for folder in (elsewhere, other):
        (folder / "kept").touch()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}file").touch()
    before = sorted(temporary.rglob("*"))
    remove_unused()
    assert sorted(temporary.rglob("*")) == before
    (temporary / f"{PREFIX}new" / "voices").mkdir()
    with monkeypatch.context() as other_user:
        other_user.setattr(os, "geteuid", lambda: os.getuid() + 1)
        remove_unused()
    assert len(left(temporary)) == 3
    remove_unused()
    assert len(left(temporary)) == 2
