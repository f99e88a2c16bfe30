"""docs/serve.md and the README's section: their commands and code run as they are written, against a server on another port."""

import json
import subprocess
import sys

import pages
import pytest
from servers import http, started

from lauragpt.audio import load_audio

PAGE = pages.ROOT / "docs" / "serve.md"
HERE = "http://127.0.0.1:8000"
ASKING = [line for line in pages.commands(PAGE) if line.startswith("curl ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pages.make_recordings(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def there(folder):
    """The address of a server that the page's own command started."""
    [command] = [line for line in pages.commands(PAGE) if pages.verb(line) == "serve"]
    with started(*command.split()[2:], cwd=folder) as (_, address):
        yield address


def at(text: str, address: str) -> str:
    return text.replace(HERE, address).replace(HERE.replace("http", "ws"), address.replace("http", "ws"))


def test_commands(folder, there):
    """In their order: what is uploaded is listed and deleted."""
    assert len(ASKING) > 12
    for line in ASKING:
        assert HERE in line
        done = pages.shell(at(line, there), folder)
        assert done.returncode == 0, (line, done.stderr)
        if " -o " in line:
            assert len(load_audio(folder / line.split()[-1])) > 1600
        elif "srt" in line or "stream=true" in line:
            assert " --> " in done.stdout or "transcript.text.done" in done.stdout
        else:
            assert "error" not in json.loads(done.stdout), line


@pytest.mark.parametrize("code", pages.blocks(PAGE, "python") + pages.blocks(pages.README, "python")[1:])
def test_python(code, folder, there):
    done = subprocess.run([sys.executable, "-c", at(code, there)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_it_names_every_path_and_option(there):

    text = PAGE.read_text(encoding="utf-8")
    for path in http.get(f"{there}/openapi.json").json()["paths"]:
        assert path.rpartition("/")[2].partition("{")[0].rstrip("}") in text, path
    shown = pages.shell("laura serve --help", pages.ROOT).stdout
    for option in ("--host", "--api-key-file", "--voices", "--max-megabytes", "--max-seconds", "--queue-seconds",
                   "--time-limit", "--workers"):  # fmt: skip
        assert option in text and option in shown
