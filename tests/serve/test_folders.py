"""Names -> places below allowed folders: against a walk through every combination of parts, links and folders that lead elsewhere."""

import itertools
import os

import pytest

from lauragpt.errors import LauraError
from lauragpt.serve.folders import Folders

PARTS = ("..", ".", "sub", "out", "in", "loop", "file", "nothing", "allowed", "outside")


@pytest.fixture
def tree(tmp_path):
    """allowed/ with a file, a folder, and links out, in and to itself; outside/ with files of the same names."""
    for folder in ("allowed/sub", "outside/sub", "allowed-too"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("allowed", "allowed/sub", "outside", "outside/sub", "allowed-too"):
        (tmp_path / folder / "file").write_text(folder)
    (tmp_path / "allowed" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "allowed" / "in").symlink_to("sub")
    (tmp_path / "allowed" / "loop").symlink_to("loop")
    (tmp_path / "allowed" / "secret.wav").symlink_to(tmp_path / "outside" / "file")
    (tmp_path / "allowed" / "none.wav").symlink_to(tmp_path / "outside" / "nothing.wav")
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "allowed")
    return tmp_path


def refusal(folders: Folders, name: str) -> str:
    with pytest.raises(LauraError) as error:
        folders.place(name)
    return str(error.value).replace(repr(name), "NAME")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_place_is_below_a_folder_and_the_file_that_the_name_opens(tree, count):
    folders, found, told = Folders([tree / "allowed"]), 0, set()
    for parts in itertools.product(PARTS, repeat=count):
        for name in ("/".join(parts), f"{tree}/allowed/{'/'.join(parts)}", f"{tree}/{'/'.join(parts)}"):
            try:
                place = folders.place(name)
            except LauraError as error:
                told.add(str(error).replace(repr(name), "NAME"))
                # Only what leads outside is refused, by its letters or by its links, and what is behind a link to itself.
                opened, written = os.path.realpath(tree / "allowed" / name), os.path.normpath(tree / "allowed" / name)
                assert "loop" in parts or not all(path.startswith(f"{tree}/allowed/") for path in (opened, written)), name
                continue
            found += 1
            assert str(place).startswith(f"{tree}/allowed/") and str(place) == os.path.realpath(place)
            if place.is_file():
                assert place.read_text() != "outside"
                if os.path.exists(tree / "allowed" / name):
                    assert os.path.samefile(place, tree / "allowed" / name)
    assert found and len(told) == 1


def test_what_is_outside_is_refused_alike_whether_it_exists_or_not(tree):
    folders = Folders([tree / "allowed"])
    there = ["../outside/file", str(tree / "outside" / "file"), "out/file", "secret.wav", "/etc/passwd", str(tree / "allowed-too" / "file")]
    absent = ["../outside/nothing", str(tree / "nothing"), "out/nothing", "none.wav", "/etc/nothing", str(tree / "allowed-three")]
    odd = ["", ".", "..", "/", str(tree / "allowed"), "a\0b", "\ud800", "x/" * 5000 + "../" * 5001 + "y", f"{tree}/outside/back/file"]
    assert len({refusal(folders, name) for name in [*there, *absent, *odd]}) == 1


def test_a_home_folder_is_not_meant(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree / "outside"))
    assert Folders([tree / "allowed"]).place("~/file") == tree / "allowed" / "~" / "file"


def test_folders_may_be_links_and_several(tree):
    (tree / "link").symlink_to("allowed")
    folders = Folders([tree / "link", tree / "allowed-too"])
    for name in ("file", f"{tree}/link/file", f"{tree}/allowed/file", f"{tree}/allowed-too/../allowed/file"):
        assert folders.recording(name) == tree / "allowed" / "file"
    assert folders.recording(f"{tree}/allowed-too/file") == tree / "allowed-too" / "file"
    assert folders.place("in/file") == tree / "allowed" / "sub" / "file"
    refusal(folders, f"{tree}/outside/file")


def test_only_plain_files_are_read(tree):
    folders = Folders([tree / "allowed"])
    os.mkfifo(tree / "allowed" / "pipe")  # opening it would wait for ever
    for name, says in (("nothing", "no such file"), ("sub", "not a file"), ("pipe", "not a file")):
        with pytest.raises(LauraError, match=f"{name}: {says}"):
            folders.recording(name)
    with pytest.raises(LauraError, match="nor a voice's name"):
        folders.recording("anna", "a voice's name (slt)")


def test_nothing_is_overwritten_unasked_and_an_input_never(tree):
    folders, sounds = Folders([tree / "allowed"]), (".wav", ".flac")
    for name in ("old.wav", "in.wav"):
        (tree / "allowed" / name).write_text(name)
    source = tree / "allowed" / "in.wav"
    os.link(source, tree / "allowed" / "hard.wav")
    (tree / "allowed" / "soft.wav").symlink_to("old.wav")
    (tree / "allowed" / "folder.wav").mkdir()
    os.mkfifo(tree / "allowed" / "pipe.wav")
    assert folders.target("new.wav", sounds) == tree / "allowed" / "new.wav"
    for name in ("old.wav", "soft.wav"):
        with pytest.raises(LauraError, match="old.wav exists already"):
            folders.target(name, sounds)
        assert folders.target(name, sounds, [source], overwrite=True) == tree / "allowed" / "old.wav"
    for name, says in (
        ("in.wav", "is an input"), ("hard.wav", "is an input"), ("folder.wav", "is no file"), ("pipe.wav", "is no file"),
        ("new.mp3", "is written as .wav, .flac, not '.mp3'"), ("new", "without a suffix"), ("nothing/new.wav", "does not exist"),
        ("secret.wav", "is not below"), ("none.wav", "is not below"), ("out/new.wav", "is not below"),
    ):  # fmt: skip
        with pytest.raises(LauraError, match=says):
            folders.target(name, sounds, [source], overwrite=True)


def test_folders_exist(tree):
    for wrong in ([], [tree / "nothing"], [tree / "allowed", tree / "outside" / "file"]):
        with pytest.raises(LauraError, match="no such folder"):
            Folders(wrong)
