"""How far the work is, as a person sees it in a terminal and a log sees it elsewhere."""

import os
import pty
import re
import select

from lauragpt.cli.io import Progress


def test_a_log_has_a_line_a_chunk_when_it_is_verbose(capsys):
    for verbose in (False, True):
        with Progress(3, verbose) as progress:
            show = progress.part(["a.wav", "b.wav"])
            show(20, 116)
            progress.advance()
            progress.advance()
            progress.part(["'Good morning.'"], "sentences")(1, 2)
    assert capsys.readouterr().err == "laura: a.wav and 1 more: 20 of 116 s\nlaura: 'Good morning.': 1 of 2 sentences\n"


def test_a_terminal_has_a_bar(monkeypatch):
    main, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        with Progress(1) as progress:
            show = progress.part(["a.wav"])
            for done in (0, 29, 58, 87):
                show(done, 116)
                progress._bar.refresh()
            progress.advance()
    shown = b""
    while select.select([main], [], [], 0)[0]:
        try:
            shown += os.read(main, 10_000)
        except OSError:  # the other end is closed
            break
    os.close(main)
    percents = re.findall(r"(\d+)%", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()))
    assert {"0", "25", "50", "75"} <= set(percents)
