"""The README's own commands, run as they are written, in a folder that holds the files that they name."""

import re
import subprocess
import sys

import pytest
import soundfile
from pages import README, ROOT, blocks, check_command, commands, make_recordings, needs_training, run_training, shell, verb

TEXT = README.read_text(encoding="utf-8")
COMMANDS = commands(README)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_recordings(tmp_path_factory.mktemp("readme"))


@pytest.mark.parametrize("line", [line for line in COMMANDS if verb(line) and not needs_training(line)])
def test_command(line, folder):
    check_command(line, folder)


@pytest.mark.slow
def test_training_from_corpora_to_a_measured_checkpoint(tmp_path):
    run_training([line for line in COMMANDS if needs_training(line)], tmp_path)


def test_python(folder):
    done = subprocess.run([sys.executable, "-c", blocks(README, "python")[0]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 5 and soundfile.info(folder / "morning.wav").duration > 0.2


def test_the_first_commands_start_the_demo():
    clone, enter, make = blocks(README, "sh")[0].splitlines()
    project = re.search(r'^Homepage = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert clone == f"git clone --depth 1 {project}" and enter == f"cd {project.rpartition('/')[2]}"
    assert ".venv/bin/laura demo" in shell(f"{make} -n", ROOT).stdout


def test_it_names_every_verb():
    listed = re.findall(r"^  ([a-z]+)  ", shell("laura --help", ROOT).stdout, re.MULTILINE)
    assert len(listed) > 10
    assert {name for name in listed if not re.search(rf"\blaura {name}\b|`{name}`|make {name}\b", TEXT)} == set()


def test_its_first_screen_says_how_well_it_works():
    """The rounded numbers are those of the results."""
    card = (ROOT / "lauragpt" / "assets" / "mini" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for page in (TEXT, (ROOT / "docs" / "index.md").read_text(encoding="utf-8")):
        for name, row in (("spoken digits", "spoken digits"), ("LibriSpeech", "LibriSpeech, English"), ("German (one", "kerstin"),
                          ("into German", "Multi30k, English to German"), ("emotion of", "RAVDESS"), ("environmental", "ESC-50"),
                          ("coffee orders", "coffee orders")):  # fmt: skip
            rounded = float(re.search(rf"^\|[^|\n]*{re.escape(name)}[^|\n]*\|\D*(\d+)", page, re.MULTILINE)[1])
            exact = float(re.search(rf"^\|[^|]*\|[^|]*{row}[^|]*\|[^|]*\| ([\d.]+) \|", card, re.MULTILINE)[1])
            assert abs(rounded - exact) <= 0.5, name


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)", TEXT))
def test_links(link):
    assert (ROOT / link).exists()
