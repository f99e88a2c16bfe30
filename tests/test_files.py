"""Writing: whole or not at all; devices, pipes and links stay what they are; modes are kept."""

import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from sounds import fails, tone

from lauragpt.audio import load_audio, save_audio, save_stream
from lauragpt.errors import LauraError
from lauragpt.files import replace_folder, replacing, umask


def mode_of(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_new_file_gets_what_the_umask_allows_and_an_old_one_keeps_its_mode(tmp_path):
    path = tmp_path / "a.wav"
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            save_audio(path, tone())
            assert umask() == mask and mode_of(path) == 0o666 & ~mask
        finally:
            os.umask(before)
        path.unlink()
    save_audio(path, tone())
    for mode in (0o600, 0o640, 0o755):
        path.chmod(mode)
        save_audio(path, tone(0.3))
        assert mode_of(path) == mode and len(load_audio(path)) == 4800
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    real, link, loose = tmp_path / "there" / "real.wav", tmp_path / "link.wav", tmp_path / "loose.wav"
    real.write_bytes(b"old")
    link.symlink_to(real)
    loose.symlink_to("there/new.wav")
    save_audio(link, tone())
    save_audio(loose, tone())
    assert link.is_symlink() and loose.is_symlink() and len(load_audio(real)) == len(load_audio(tmp_path / "there" / "new.wav")) == 8000
    assert sorted(os.listdir(tmp_path / "there")) == ["new.wav", "real.wav"]


def test_a_pipe_is_written_into(tmp_path):
    pipe, got = tmp_path / "pipe.wav", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(load_audio(pipe)))
    reader.start()
    save_audio(pipe, tone())
    reader.join()
    assert stat.S_ISFIFO(os.stat(pipe).st_mode) and np.abs(got[0] - tone()).max() < 1e-4


def test_devices_are_written_into(tmp_path):
    null, full = tmp_path / "null.wav", tmp_path / "full.wav"
    null.symlink_to("/dev/null")
    full.symlink_to("/dev/full")
    save_audio(null, tone())
    fails(lambda: save_audio(full, tone()), "full.wav cannot be written", "No space left")
    for name in ("/dev/null", "/dev/full"):
        assert stat.S_ISCHR(os.stat(name).st_mode)
    with replacing("/dev/null", "w", encoding="utf-8") as file:
        file.write("ä")


@pytest.mark.parametrize("how", ["wb", "ab"])
def test_a_name_for_stdout_adds_to_the_file_it_is(tmp_path, how):
    target = tmp_path / "out"
    target.write_text("before\n")
    code = "from lauragpt.files import replacing\nwith replacing('/dev/stdout', 'w') as file: print('answer', file=file)"
    with open(target, how) as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert target.read_text() == ("before\n" if how == "ab" else "") + "answer\n" and os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [LauraError("no"), KeyboardInterrupt(), SystemExit(143), OSError(28, "No space left on device")])
@pytest.mark.parametrize("old", [None, b"old"])
def test_what_fails_leaves_nothing_behind(tmp_path, error, old):
    path = tmp_path / "a.wav"
    if old is not None:
        path.write_bytes(old)

    def pieces():
        yield tone()
        raise error

    with pytest.raises(LauraError if isinstance(error, OSError) else type(error)):
        save_stream(path, pieces())
    assert os.listdir(tmp_path) == ([] if old is None else ["a.wav"]) and (old is None or path.read_bytes() == old)


def test_nothing_reaches_a_pipe_of_what_fails(tmp_path):
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def pieces():
        yield tone()
        raise LauraError("the second piece cannot be made")

    fails(lambda: save_stream(pipe, pieces()), "second piece")
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda name, mode: not (mode == os.W_OK and str(name) == str(path)))  # root may write anything
    fails(lambda: save_audio(path, tone()), "Permission denied")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.wav"]


def test_a_folder_is_replaced_whole_or_stays(tmp_path):
    def made(name: str, text: str):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
        return tmp_path / name

    folder = tmp_path / "folder"
    replace_folder(made("part", "one"), folder)
    replace_folder(made("part", "two"), folder)
    assert (folder / "file").read_text() == "two" and [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(FileNotFoundError):  # the new one is not there
        replace_folder(tmp_path / "part", folder)
    assert (folder / "file").read_text() == "two" and [path.name for path in tmp_path.iterdir()] == ["folder"]
    folder.rename(tmp_path / "folder.old")  # as if the machine had stopped between the two renames
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "part", folder)
    assert (folder / "file").read_text() == "two"
