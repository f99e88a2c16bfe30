"""What `laura doctor` writes: text, JSON, the page, the cleaned manifest; and its exit status. Recordings stay as they were."""

import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr
from typer.testing import CliRunner

from lauragpt.cli.app import app
from lauragpt.data.manifest import read_manifest
from lauragpt.data.user_data import read_data
from lauragpt.doctor.diagnosis import examine
from lauragpt.doctor.fix import cleaned
from lauragpt.doctor.page import page
from lauragpt.engine.api import Laura


def run(*arguments):
    done = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture
def sick(talks):
    """Data with several faults."""
    talks.write("copy.mp3", talks.sound("room.wav"))
    talks.add("copy.mp3", "room.wav", split="dev")
    (talks.folder / "bad.wav").write_bytes(b"no sound")
    talks.add("bad.wav", "night.wav", text="nothing at all")
    talks.write("low.wav", soxr.resample(talks.sound("byron.wav")[20000:50000], 16000, 8000), 8000)
    talks.add("low.wav", "night.wav", text="till i came to don juan")
    talks.row("town.wav")["duration"] = 9.0
    talks.write("twice.wav", talks.sound("night.wav"))
    talks.add("twice.wav", "night.wav")
    return talks


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_good_data(talks):
    done = run(talks.table(), "--from", "none")
    assert done.exit_code == 0
    assert ["asr", "de", "train", "talks", "1", "0:00:03"] in [line.split() for line in done.stdout.splitlines()]
    assert "speakers: 4, most of talks/6272 (0:00:05)" in done.stdout
    assert "licences: talks (CC BY 4.0); the strictest: attribution, of talks" in done.stdout
    assert done.stdout.rstrip().endswith("talks.jsonl: fit for training: no fault was found")


def test_sick_data(sick):
    before = contents(sick.folder) | {"talks.jsonl": sick.table().read_bytes()}
    done = run(sick.table(), "--from", "none")
    assert done.exit_code == 1 and contents(sick.folder) == before
    kinds = re.findall(r"^(\w+): .*: (\d+) \(([\w-]+)\)$", done.stdout, re.MULTILINE)
    assert kinds == [
        ("error", "1", "unreadable"), ("error", "1", "duration"), ("error", "1", "same-audio"), ("warning", "1", "duplicate"),
        ("warning", "1", "low-rate"),
    ]  # fmt: skip
    assert "not fit for training: 3 errors, 2 warnings" in done.stdout


def test_warnings_count_where_they_are_asked_to(talks):
    talks.write("night.wav", soxr.resample(talks.sound("night.wav"), 16000, 8000), 8000)
    assert run(talks.table(), "--from", "none").exit_code == 0
    assert run(talks.table(), "--from", "none", "--strict").exit_code == 1


def test_json_holds_everything(sick):
    done = run(sick.table(), "--from", "none", "--json")
    told = json.loads(done.stdout)
    assert told["fit"] is False and told["examples"] == 8 and told["strictest"] == {"asks": "attribution", "corpora": ["talks"]}
    assert {fault["kind"] for fault in told["faults"]} == {"unreadable", "duration", "same-audio", "duplicate", "low-rate"}
    fault = next(fault for fault in told["faults"] if fault["kind"] == "unreadable")
    assert fault["ids"] == ["asr/talks/bad.wav"] and fault["places"][0].endswith("talks.jsonl, line 6")
    assert sum(row["examples"] for row in told["tasks"]) == 8 and set(told["speakers"]) >= {"talks/kathleen"}


def test_fix_writes_a_manifest_without_the_faults(sick, tmp_path):
    before = contents(sick.folder) | {"talks.jsonl": sick.table().read_bytes()}
    done = run(sick.table(), "--from", "none", "--fix", tmp_path / "clean.jsonl")
    assert done.exit_code == 1 and contents(sick.folder) == before, "the exit status tells of the data as they are"
    assert "clean.jsonl: 5 examples; left out: 1 duplicate, 1 same-audio, 1 unreadable" in done.stdout
    examples = read_manifest(tmp_path / "clean.jsonl")
    assert [Path(example.audio).name for example in examples] == ["night.wav", "town.wav", "byron.wav", "copy.mp3", "low.wav"]
    assert examples[1].duration == pytest.approx(len(sick.sound("town.wav")) / 16000, abs=1e-3)


def test_what_was_fixed_is_fit(sick, tmp_path):
    run(sick.table(), "--from", "none", "--fix", tmp_path / "clean")
    assert sorted(path.name for path in (tmp_path / "clean").iterdir()) == ["corpora.json", "dev.jsonl", "train.jsonl"]
    done = run(tmp_path / "clean", "--from", "none")
    assert done.exit_code == 0 and "fit for training, but it could be better: 1 warning" in done.stdout
    assert "talks (CC BY 4.0)" in done.stdout


def test_fix_keeps_a_kind(sick, tmp_path):
    run(sick.table(), "--from", "none", "--fix", tmp_path / "clean.jsonl", "--keep", "duplicate", "--keep", "same-audio")
    assert len(read_manifest(tmp_path / "clean.jsonl")) == 7


def test_repeated_ids_are_numbered(talks):
    for row in talks.rows:
        row["id"] = "one"
    examples, left_out = cleaned(examine(read_data(talks.table()), workers=1))
    assert [example.id for example in examples] == ["asr/talks/one", *(f"asr/talks/one-{number}" for number in (2, 3, 4))] and not left_out


def test_a_number_never_meets_an_id_that_is_there(talks):
    for row, name in zip(talks.rows, ("a", "a", "a-2", "a")):
        row["id"] = name
    examples, _ = cleaned(examine(read_data(talks.table()), workers=1))
    assert [example.id.rpartition("/")[2] for example in examples] == ["a", "a-3", "a-2", "a-4"]


def test_a_recording_that_cannot_be_read_is_kept_where_its_duration_is_told(sick, tmp_path):
    sick.add("gone.wav", "night.wav", text="it will be there", duration=2.5)
    done = run(sick.table(), "--from", "none", "--fix", tmp_path / "clean.jsonl", "--keep", "missing", "--keep", "unreadable")
    assert "clean.jsonl: 6 examples; left out: 1 duplicate, 1 same-audio, 1 unreadable" in done.stdout
    [kept] = [example for example in read_manifest(tmp_path / "clean.jsonl") if example.audio.endswith("gone.wav")]
    assert kept.duration == 2.5


def test_fix_never_replaces_the_data(talks):
    table = talks.table()
    before = table.read_bytes()
    done = run(table, "--from", "none", "--fix", table)
    assert done.exit_code == 1 and table.read_bytes() == before and "talks.jsonl is the data themselves" in done.stderr


def test_fix_writes_nothing_that_training_cannot_read(talks, tmp_path):
    talks.row("byron.wav")["lang"] = "fr"
    done = run(talks.table(), "--from", "none", "--fix", tmp_path / "clean")
    assert done.exit_code == 1 and not (tmp_path / "clean").exists()
    assert "asr/talks/byron.wav cannot be written: field 'lang' is 'fr': choose one of en, de, zh" in done.stderr


class Tags(html.parser.HTMLParser):
    """Every tag is closed, and what is fetched from elsewhere."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.counts = [], [], {}

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.fetched += [value for name, value in attributes if name in ("src", "href") and not value.startswith(("data:", "#"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page(sick):
    sick.row("night.wav")["text"] = "<b>I returned</b> to a house on the hill."
    diagnosis = examine(read_data(sick.table()), Laura.load("mini").runtime, workers=1)
    text = page(diagnosis)
    tags = Tags()
    tags.feed(text)
    assert not tags.open and not tags.fetched and "<b>I returned" not in text and "$" not in re.sub(r"data:[^\"]+", "", text)
    assert tags.counts["audio"] == len(diagnosis.heard) + len(diagnosis.faults_of("conflict"))
    for kind in {fault.kind for fault in diagnosis.faults}:
        assert f'<section id="{kind}">' in text and f'<a href="#{kind}">' in text
    assert text.index('id="heard"') < text.index('id="licences"') and "--accent" in text
    worst = re.findall(r"<header><h3>([^<]+)</h3><b>([\d.]+)</b>", text)
    assert worst[0][0] == "asr/talks/night.wav" and [float(cost) for _, cost in worst] == sorted((float(c) for _, c in worst), reverse=True)


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["none.csv"], 1, "none.csv: no such file or folder"),
        (["{}", "--column", "text"], 2, "'text' says nothing of a column"),
        (["{}", "--column", "text=words"], 1, "talks.jsonl has no column 'words' for text: its columns are file, speaker"),
        (["{}", "--keep", "all"], 2, "'all' is no kind of fault: choose from line, id"),
        (["{}", "--keep", "pace"], 2, "--keep is for --fix"),
        (["{}", "--html", "no/folder/page.html"], 2, "the folder no/folder does not exist"),
        (["{}", "--task", "mt"], 1, "talks.jsonl (JSONL) holds no mt examples"),
        (["{}", "--from", "nowhere"], 1, "nowhere"),
    ],
)
def test_mistakes_are_one_line(talks, arguments, status, message):
    table = talks.table()
    done = run(*(each.format(table) for each in arguments))
    assert done.exit_code == status and done.stdout == ""
    assert message in done.stderr and done.stderr.startswith("laura: ") and done.stderr.count("\n") == 1


def test_the_model_listens_by_default_and_without_torch(talks):
    """As an installation without PyTorch does it."""
    talks.row("night.wav")["text"], talks.row("room.wav")["text"] = talks.row("room.wav")["text"], talks.row("night.wav")["text"]
    blocked = "import sys; sys.modules['torch'] = None; from lauragpt.cli.app import app; app()"
    page_file = talks.folder / "page.html"
    arguments = [sys.executable, "-c", blocked, "doctor", str(talks.table()), "--html", str(page_file)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1, done.stderr
    assert "error: transcripts that the recordings do not say: 2 (mismatch)" in done.stdout
    assert "4 transcripts were held against the sound" in done.stdout and page_file.stat().st_size > 100_000


def test_the_hours_that_are_heard_are_limited_and_told(talks):
    runtime = Laura.load("mini").runtime
    data = read_data(talks.table())
    few = examine(data, runtime, hours=4 / 3600, workers=1)
    assert 0 < len(few.heard) < few.hearable == 4
    everything = {each.index: each.cost for each in examine(data, runtime, workers=1).heard}
    assert all(each.cost == pytest.approx(everything[each.index], abs=1e-2) for each in few.heard)


def test_the_cost_of_a_transcript_is_that_of_its_likeliest_path():
    """Against all paths of a small example, by brute force."""
    from itertools import product

    from lauragpt.ctc_units import collapsed
    from lauragpt.doctor.hearing import transcript_cost

    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(4), size=6))
    paths = [(sum(log_probs[t, unit] for t, unit in enumerate(path)), collapsed(path)) for path in product(range(4), repeat=6)]
    for units in ([1], [1, 1], [3, 2, 1], [1, 2, 1, 2]):
        best = max(score for score, spelled in paths if spelled == units)
        expected = (max(score for score, _ in paths) - best) / len(units)
        assert transcript_cost(log_probs, units, 0) == pytest.approx(expected)
    assert transcript_cost(log_probs[:2], [1, 2, 3], 0) == float("inf")
