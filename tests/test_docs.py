"""The pages of docs/: their commands and code run as they are written, their site builds, and the files that they name exist."""

import json
import re
import subprocess
import sys

import pages
import pytest
import yaml
from pages import DOCS, README, ROOT, blocks, commands, needs_training, shell, verb

WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "eight": 8, "fifteen": 15}  # of docs/scale.md; "one" is everywhere
CARD = ROOT / "lauragpt" / "assets" / "mini" / "MODEL_CARD.md"
PAGES = [ROOT / "CONTRIBUTING.md", *DOCS]
RUN_ELSEWHERE = ("new-task.md", "serve.md")  # by tests/test_new_task.py and tests/serve/test_page.py
WITH_PYTHON = [page for page in DOCS if page.name not in RUN_ELSEWHERE and blocks(page, "python")]
WITH_EXAMPLES = [page for page in DOCS if page.name != "new-task.md" and blocks(page, "jsonl")]
ALL = list(dict.fromkeys(line for page in [README, *PAGES] for line in commands(page) if not pages.serves(line)))
ELSEWHERE = set(commands(README))  # run by tests/test_readme.py


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pages.make_recordings(tmp_path_factory.mktemp("docs"))


@pytest.mark.parametrize("line", [line for line in ALL if line not in ELSEWHERE and verb(line) is not None and not needs_training(line)])
def test_command(line, folder):
    pages.check_command(line, folder)


@pytest.mark.parametrize("line", [line for line in ALL if verb(line) is None])
def test_other_command(line):
    """What is not `laura` is known, and what it names exists."""
    program, *words = line.split()
    if program == "make":
        assert shell(f"{line} -n", ROOT).returncode == 0
    elif line.startswith("pip install"):
        extras = re.search(r"\[(.*)\]", line)
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in (extras[1].split(",") if extras else []))
        assert "-c" not in words or (ROOT / words[words.index("-c") + 1]).exists()
    elif program in (".venv/bin/python", "python", ".venv/bin/ruff"):
        assert all((ROOT / word).exists() for word in words if word.endswith((".py", ".md")) and word != "kws.py")
    else:
        assert program in ("git", "cd"), f"the tests do not know how to check {line!r}"


@pytest.mark.slow
def test_training_from_corpora_to_a_measured_checkpoint(tmp_path):
    lines = [line for line in ALL if needs_training(line)]
    assert {verb(line) for line in lines} >= set(pages.TRAINING)
    pages.run_training(lines, tmp_path)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python(page, folder):
    """The page's blocks of Python, one after the other in one program."""
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks(page, "python"))], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 1


def test_examples_are_examples(tmp_path):
    """Lines of JSON that pages give as examples are read without complaint."""
    from lauragpt.data.manifest import check_example

    lines = [json.loads(line) for page in WITH_EXAMPLES for block in blocks(page, "jsonl") for line in block.splitlines()]
    assert len(lines) >= 3
    for line in lines:
        check_example(line)


def test_the_site_builds_without_a_network(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(DOCS) - 1
    for page in pages:  # what a browser would fetch by itself
        fetched = re.findall(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8"))
        assert fetched == [], page


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"]))
    assert sorted(listed) == sorted(str(page.relative_to(ROOT / "docs")) for page in DOCS)


def test_architecture_names_every_file_and_no_other():
    listed = set()
    for block in blocks(ROOT / "docs" / "architecture.md", "text"):
        for line in block.splitlines():
            if found := re.fullmatch(r"(lauragpt/[\w/]*)", line):
                package = found[1]
            elif found := re.match(r"  (\w+/) ", line):
                inner = found[1]
            elif found := re.match(r"  ([\w/]+\.py) ", line):
                listed.add(package + found[1])
            elif found := re.match(r"    (\w+\.py) ", line):
                listed.add(package + inner + found[1])
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "lauragpt").rglob("*.py") if path.name != "__init__.py"}
    assert listed == files


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md", CARD], ids=lambda page: page.name)
def test_named_files_exist(page):
    names = re.findall(r"`((?:lauragpt|tests|recipes|docs|experiments|benchmarks)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert names and [name for name in names if not (ROOT / name).exists()] == []


def test_what_was_run_is_kept_where_the_page_says():
    """Each row has a kind, what is not unknown has its file, and the file has every number of the row."""
    lines = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ") and "---" not in line]
    rows = [row for row in rows if row[1] != "how it stands"]
    assert len(rows) >= 25 and {row[1] for row in rows} == {"run", "arithmetic", "unknown"}
    for what, kind, details, where in rows:
        files = re.findall(r"`([\w./-]+)`", where)
        assert files or kind == "unknown", what
        kept = "".join((ROOT / name).read_text(encoding="utf-8") for name in files) if files else details
        for number in re.findall(rf"(?<![\w.-])\d(?:[\d,.]*\d)?(?:e-\d+)?|\b(?:{'|'.join(WORDS)})\b", f"{what} {details}", re.IGNORECASE):
            spelt = rf"\b{number}\b|(?<![\d.,]){WORDS[number.lower()]}" if number.lower() in WORDS else rf"(?<![\d.,]){re.escape(number)}"
            assert re.search(rf"(?:{spelt})(?!\d)", kept, re.IGNORECASE), (what, number)
        assert all((ROOT / name).exists() for name in re.findall(r"`((?:deploy|benchmarks|recipes)/[\w./-]+)`", f"{what} {details}")), what


@pytest.mark.parametrize("call", re.findall(r"`([\w/]+\.py)`:\s+`(\w+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")), ids=str)
def test_the_walk_names_what_is_there(call):
    """CONTRIBUTING walks from function to function: each is in the file that is named."""
    file, name = call
    assert re.search(rf"^\s*(?:def|class) {name}\b", (ROOT / "lauragpt" / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_model_card_names_every_corpus_with_its_licence():
    corpora = json.loads((CARD.parent / "config.json").read_text())["corpora"]
    table = dict(re.findall(r"^\| ([\w-]+) \| ([^|]+) \|$", CARD.read_text(encoding="utf-8").split("## Licences")[1], re.MULTILINE))
    assert {name: table.get(name) for name in corpora} == corpora


def test_the_model_card_repeats_the_results():
    """Each value and interval of the card stands in the full tables."""
    results = (ROOT / "docs" / "results" / "mini.md").read_text(encoding="utf-8")
    row = r"^\| [^|]+ \| [^|]+ \| [^|]+ \| ([\d.]+) \| (?:([\d.]+) to ([\d.]+))? ?\|"
    rows = re.findall(row, CARD.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) >= 14
    for value, low, high in rows:
        found = [tuple(map(float, row)) for row in re.findall(r"\| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", results)]
        assert (float(value), float(low), float(high)) in found if low else f"{value}" in results, value


def test_recordings_of_the_demo_are_those_of_the_index():
    names = {row["file"] for row in json.loads((pages.CLIPS / "index.json").read_text())}
    assert {path.name for path in pages.CLIPS.glob("*.opus")} == names


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_commands_stand_in_blocks_that_tests_run(page):
    """A block without a language, or with another, would not be run."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        assert language in ("sh", "python", "text", "json", "jsonl", "yaml"), f"{page}: {block[:60]!r} has the language {language!r}"
        assert language == "sh" or not re.search(r"^(laura [a-z-]|(pip|make|git|python) )", block, re.MULTILINE), block[:60]


def test_the_changelog_begins_with_this_version():
    from lauragpt import __version__

    assert re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[0] == __version__
