"""The edges of a process: names, encodings, closed streams, devices and signals, each with the checkpoint that ships.

None of them ends a batch: the others are done, one line says what is wrong, the exit status is 1, and there is no traceback.
"""

import json
import os
import pty
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading

import pytest

from lauragpt.audio import load_audio, save_audio
from lauragpt.cli.demo import RECORDINGS
from lauragpt.cli.training import Stage
from lauragpt.train.stages import STAGES

LAURA = [sys.executable, "-m", "lauragpt"]
CLIP = RECORDINGS / "digits-4_theo_0.opus"  # "four"


@pytest.fixture
def four(tmp_path):
    return shutil.copy(CLIP, tmp_path / "four.opus")


def laura(*words, status=0, more="", **environment) -> subprocess.CompletedProcess:
    """Runs it with bytes as they are; `more` is what a shell puts behind a command."""
    command = b" ".join(
        [shlex.join(LAURA).encode(), *(shlex.quote(os.fsdecode(word)).encode(errors="surrogateescape") for word in words), more.encode()]
    )
    done = subprocess.run(command, shell=True, executable="/bin/bash", env=os.environ | environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr, done.stderr.decode(errors="replace")
    assert done.returncode == status, done.stderr.decode(errors="replace")
    return done


ASCII, C = {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "environment, format", [({}, "json"), (ASCII, "text"), (ASCII, "json"), ({"PYTHONIOENCODING": "latin-1"}, "json"), (C, "text")]
)
def test_a_name_that_is_no_text_in_any_encoding(tmp_path, environment, format):
    names = [bytes(tmp_path) + b"/caf\xe9.opus", bytes(tmp_path) + "/ähm.opus".encode()]
    for name in names:
        shutil.copy(CLIP, name)
    missing = bytes(tmp_path) + b"/\xff.opus"
    done = laura("transcribe", *names, missing, "--format", format, status=1, **environment)
    assert done.stderr == b"laura: " + missing + b": no such file\n"
    first, second = done.stdout.splitlines()
    if format == "json":
        assert [os.fsencode(json.loads(line)["file"]) for line in (first, second)] == names
    else:
        assert first == names[0] + b": four" and second in (names[1] + b": four", bytes(tmp_path) + b"/\\xe4hm.opus: four")


def test_an_undecodable_name_in_files(tmp_path):
    name = bytes(tmp_path) + b"/caf\xe9.opus"
    shutil.copy(CLIP, name)
    laura("transcribe", name, "--output-dir", tmp_path / "out", "--format", "json")
    assert os.listdir(bytes(tmp_path / "out")) == [b"caf\xe9.json"]
    assert laura("replay", tmp_path / "out" / os.fsdecode(b"caf\xe9.json")).stdout == name + b": the same\n"


def test_a_full_device(four, tmp_path):
    for words, more in ((["transcribe", four, four], "> /dev/full"), (["transcribe", four, "-o", "/dev/full"], "")):
        assert laura(*words, more=more, status=1).stderr.decode().splitlines() == [
            f"laura: {'stdout' if more else '/dev/full'} cannot be written: No space left on device"
        ]
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    done = laura("codec", four, four, "-o", f"{tmp_path}/out/", more="> /dev/full", status=1)
    assert len(done.stderr.splitlines()) == 1 and sorted(os.listdir(tmp_path / "out")) == ["four-2.wav", "four.wav"]


def test_stdin_that_is_not_utf8(tmp_path):
    (tmp_path / "latin").write_bytes("schöner Tag".encode("latin-1"))
    (tmp_path / "utf8").write_text("\ufeffEin schöner Tag", encoding="utf-8")
    done = laura("speak", "-", "Yes.", "--lang", "de", "-o", f"{tmp_path}/out/", more=f"< {tmp_path}/latin", status=1)
    assert os.listdir(tmp_path / "out") == ["2.wav"] and "stdin is not utf-8 (byte 3)" in done.stderr.decode()
    done = laura("translate", "--text", "-", "--text", "A dog.", "--to", "de", more=f"< {tmp_path}/latin", status=1)
    assert len(done.stdout.splitlines()) == len(done.stderr.splitlines()) == 1
    done = laura("translate", "--text", "-", "--to", "en", "--format", "json", more=f"< {tmp_path}/latin", PYTHONIOENCODING="latin-1")
    assert json.loads(done.stdout)["receipt"]["text"] == "schöner Tag"
    done = laura("translate", "--text", "-", "--to", "en", "--format", "json", more=f"< {tmp_path}/utf8")
    assert json.loads(done.stdout)["receipt"]["text"] == "Ein schöner Tag"
    done = laura("translate", "--text", b"caf\xe9", "--text", "A dog.", "--to", "de", status=1)
    assert len(done.stdout.splitlines()) == 1 and b"not UTF-8 after 'caf'" in done.stderr


def test_closed_streams(four, tmp_path):
    assert b"stdout is closed" in laura("transcribe", four, more=">&-", status=1).stderr
    laura("transcribe", four, "-o", tmp_path / "a.txt", more=">&-")
    assert (tmp_path / "a.txt").read_text() == "four\n"
    done = laura("transcribe", four, tmp_path / "missing.wav", more="<&- 2>&-", status=1)
    assert done.stdout == f"{four}: four\n".encode()
    assert b"stdin is closed" in laura("speak", "-", "-o", tmp_path / "a.wav", more="<&-", status=1).stderr
    assert b"stdin is closed" in laura("transcribe", "--stream", "-", more="<&-", status=1).stderr
    assert laura("transcribe", four, four, more="| true").stderr == b""


def test_what_is_no_plain_file_is_written_into(four, tmp_path):
    fifo, text = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: text.append(fifo.read_text()))
    reader.start()
    laura("transcribe", four, "-o", fifo)
    reader.join()
    assert text == ["four\n"] and stat.S_ISFIFO(fifo.stat().st_mode)
    main, terminal = pty.openpty()
    laura("transcribe", four, "-o", os.ttyname(terminal))
    assert os.read(main, 100) == b"four\r\n" and stat.S_ISCHR(os.stat(os.ttyname(terminal)).st_mode)
    os.close(main)
    os.close(terminal)
    assert laura("transcribe", four, "-o", "/dev/stdout").stdout == b"four\n"
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/answer")
    laura("transcribe", four, "-o", tmp_path / "link", "--format", "json")
    assert (tmp_path / "link").is_symlink() and json.loads((tmp_path / "folder" / "answer").read_text())["text"] == "four"


def test_modes_and_the_umask_are_kept(four, tmp_path):
    secret, new = tmp_path / "secret.txt", tmp_path / "new.txt"
    secret.touch(mode=0o600)
    for path in (secret, new):
        done = subprocess.run([*LAURA, "transcribe", four, "-o", path], umask=0o027, check=True, capture_output=True)
        assert path.read_text() == "four\n" and not done.stderr
    assert [stat.S_IMODE(path.stat().st_mode) for path in (secret, new)] == [0o600, 0o640]


def test_an_input_is_replaced_only_by_force(tmp_path):
    own = tmp_path / "own.wav"
    save_audio(own, load_audio(CLIP))
    before = own.read_bytes()
    laura("enhance", own, "-o", tmp_path, status=2)
    assert own.read_bytes() == before
    laura("enhance", own, "-o", tmp_path, "--force")
    assert own.read_bytes() != before and len(own.read_bytes()) == len(before)


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_keeps_what_is_finished_and_leaves_nothing_else(tmp_path, name, status):
    """The input after the first group is a pipe that nobody writes into, so that the signal finds it waiting."""
    clips = [shutil.copy(CLIP, tmp_path / f"{number}.opus") for number in range(16)]
    os.mkfifo(tmp_path / "pipe.wav")
    command = [*LAURA, "transcribe", *clips, tmp_path / "pipe.wav", "-o", tmp_path / "answers.jsonl", "--verbose"]
    before = {path.name for path in tmp_path.iterdir()}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (line := process.stderr.readline()).startswith(f"laura: {clips[-1]}: "):
            assert line, "it ended before the signal"
        process.send_signal(getattr(signal, name))
        rest = process.stderr.read()
    assert process.returncode == status and " of 17 answers finished" in rest and "Traceback" not in rest
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(rows) in (15, 16) and all(row["text"] == "four" for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == before | {"answers.jsonl"}


def test_every_stage_can_be_named_on_the_command_line():
    assert {stage.value for stage in Stage} == set(STAGES)
