"""A real evaluation: its rows, files and page. All rows are there whatever their names hold, players decode, plots are drawn."""

import base64
import io
import json
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from lauragpt.audio import SAMPLE_RATE, load_audio
from lauragpt.cli.demo import RECORDINGS
from lauragpt.data.channel import telephone
from lauragpt.data.manifest import Example
from lauragpt.engine.api import Laura
from lauragpt.evaluate import metrics
from lauragpt.evaluate.answers import Answer, key_of
from lauragpt.evaluate.groups import add_telephone, make_groups, read_split
from lauragpt.evaluate.inputs import input_wave
from lauragpt.evaluate.metrics import MissingPackage, confusion, ua, wer
from lauragpt.evaluate.report import worst
from lauragpt.evaluate.report.page import PAPER, TITLES, bar, clears_floor, page
from lauragpt.evaluate.report.plots import draw, right_or_wrong
from lauragpt.evaluate.report.tables import Report, Row
from lauragpt.evaluate.report.worst import Budget, encoded, player
from lauragpt.evaluate.run import evaluate
from lauragpt.evaluate.tally import Score, Verdict, mean
from lauragpt.tasks import TASKS

VOID = {"meta", "br", "hr", "img", "input", "link"}
KATHLEEN = str(RECORDINGS / "kathleen-arctic_a0473_1592704836.opus")
HOSTILE = '<script>alert("x")</script> & $x$ #010203'


class Outline(HTMLParser):
    """Checks that what is opened is closed, in order; keeps the tags, their attributes and the text."""

    def __init__(self, document: str):
        super().__init__()
        self.open, self.tags, self.links, self.ids, self.texts, self.cells = [], [], [], [], [], []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)
        if {"td", "text", "footer", "article"} & set(self.open):
            self.cells.append(data)


def sounds_of(document: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(r'src="data:audio/\w+;base64,([^"]+)"', document)]


def nothing(answer: Answer) -> None:
    return None


@pytest.fixture(scope="module")
def report(evaluation) -> Report:
    return evaluation.report


@pytest.fixture(scope="module")
def few(report) -> Report:
    """Some of the rows: a page of them takes a fraction of the time."""
    return replace(report, rows=[row for row in report.rows if row.task in ("asr", "ser")])


@pytest.fixture(scope="module")
def sound():
    return lambda answer: 0.1 * np.sin(np.arange(SAMPLE_RATE) / 9) if answer.sound else None


@pytest.fixture(scope="module")
def document(evaluation):
    return (evaluation.out / "report.html").read_text(encoding="utf-8")


def test_all_tasks_are_measured_for_real(evaluation):
    report, folder = evaluation.report, evaluation.out
    assert {row.task for row in report.rows} == {*TASKS, "codec"}
    assert not report.failures
    by = {(row.task, row.data): row for row in report.rows}
    assert by["ser", "ravdess"].floor_name == "always calm, the commonest of train"
    assert by["asr", "nospeech"].metric == "stays silent %"
    assert "CTC greedy WER %" in by["asr", "kathleen"].also and by["asr", "kathleen"].floor == 100
    assert sum(row.task == "se" for row in report.rows) == 6
    assert by["se", "kathleen: the GPT's tokens"].floor == by["se", "kathleen: noisy input"].score.value
    codec = [row for row in report.rows if row.task == "codec" and row.data.startswith("kathleen")]
    assert [row.data.split(": ")[1] for row in codec] == [
        "1 quantizers",
        "2 quantizers",
        "4 quantizers",
        *(f"Opus at {n} kbit/s" for n in (6, 8, 12)),
    ]
    assert [row.also["kbit/s"] for row in codec[:3]] == [0.25, 0.5, 1] and all("codes used" in row.also for row in codec[:3])
    assert codec[3].score.value < codec[4].score.value < codec[5].score.value and "codes used" not in codec[3].also
    heard = by["se", "kathleen: the codec's ceiling"].also
    assert heard["WER % heard by pocketsphinx"] >= 0 and heard["WER % heard by itself"] >= 0
    assert "WER % heard by itself" not in by["se", "kathleen: the GPT's tokens, shuffled"].also  # no words are in it
    assert "pocketsphinx" in by["tts", "kathleen: the real recordings"].also["heard by"]
    true = by["tts", "kathleen: the true tokens"]
    assert 0 < true.also["STOI"] < 1 and true.floor == by["tts", "kathleen: the real recordings"].score.value
    assert "this model itself" in by["tts", "kerstin: the real recordings"].also["heard by"]
    assert "right sound %" in evaluation.printed
    assert json.loads((folder / "report.json").read_text())["split"] == "dev"
    worst = (folder / "worst.md").read_text()
    assert re.findall(r"^## (\w+)$", worst, re.MULTILINE) == list(dict.fromkeys(row.task for row in report.rows if row.task != "codec"))
    assert all(section.count("\n| ") - 2 <= 10 for section in worst.split("\n## ")[1:]) and "real recordings" not in worst
    few = (
        report.worst(3).split("\n## asr\n")[1].split("\n## ")[0]
    )  # a header, its rule, three answers: of each row the worst before the next
    assert (
        few.count("\n| ") - 2
        == 3
        == len({line.split("|")[1] for line in few.splitlines() if line.startswith("| ") and "example" not in line and "---" not in line})
    )
    html = (folder / "report.html").read_text()
    assert "Speech enhancement" in html and html.count("<audio") > 10 and "http" not in re.sub(r"https?://(www\.w3\.org|arxiv)", "", html)


def test_nothing_is_asked_twice(evaluation, debug_checkpoint, data, monkeypatch):
    for verb in ("ask", "enhance", "speak", "translate", "transcribe"):
        monkeypatch.setattr(Laura, verb, lambda *args, **options: pytest.fail("asked again"))
    again = evaluate(debug_checkpoint, data, limit=2, show=False, cache=evaluation.cache)
    assert again.to_json() == evaluation.report.to_json()


def test_speech_is_translated_in_both_ways_whichever_the_checkpoint_takes(evaluation, debug_checkpoint):
    direct, cascade = (row for row in evaluation.report.rows if row.task == "s2tt")
    assert (direct.data, cascade.data) == ("kathleen en-de: direct", "kathleen en-de: cascade")
    laura = Laura.load(debug_checkpoint)
    for row, model in ((direct, laura.with_cascade(False)), (cascade, laura.with_cascade(True))):
        assert [a.text for a in row.answers] == [model.translate(e.audio, to="de").text for e in row.examples]
    assert [a.text for a in direct.answers] != [a.text for a in cascade.answers]
    assert "compared with direct" in cascade.also and "compared with direct" not in direct.also
    assert "takes the way called direct" in evaluation.report.markdown()
    [file] = evaluation.cache.glob("*/s2tt.jsonl")
    kept = [json.loads(line)["answers"] for line in file.read_text().splitlines()]
    assert [[a["variant"] for a in answers] for answers in kept] == [["direct", "cascade"]] * len(direct.answers)
    rows = json.loads((evaluation.out / "report.json").read_text())["rows"]
    assert [row["data"] for row in rows if row["task"] == "s2tt"] == [direct.data, cascade.data]


def test_the_report_says_which_way_of_translation_users_get(debug_checkpoint, data, tmp_path):
    laura = Laura.load(debug_checkpoint)
    for model, way in ((laura.with_cascade(True), "cascade"), (laura, "direct")):
        [note] = [note for note in evaluate(model, data, tasks=["mt"], show=False).notes if note.startswith("s2tt, ")]
        assert f"takes the way called {way}" in note


def test_english_recordings_are_measured_through_a_telephone_too(evaluation, data):
    rows = {row.data: row for row in evaluation.report.rows if row.task == "asr"}
    assert {name for name in rows if "telephone" in name} == {"kathleen, telephone", "librispeech, telephone"}
    clean, phone = rows["kathleen"].examples, rows["kathleen, telephone"].examples
    assert [e.audio for e in clean] == [e.audio for e in phone] and not {key_of(e) for e in clean} & {key_of(e) for e in phone}
    np.testing.assert_array_equal(input_wave(phone[0]), telephone(load_audio(clean[0].audio)))
    np.testing.assert_array_equal(input_wave(clean[0]), load_audio(clean[0].audio))
    groups = make_groups(read_split(data, "dev"), 2)
    assert [g for g in add_telephone(groups) if "telephone" not in g.name] == groups  # the other rows stay as they are


def test_the_document_is_whole_and_fetches_nothing(document):
    outline = Outline(document)
    assert all(link.startswith(("data:", "#")) for link in outline.links)
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert "url(http" not in document and "@import" not in document and len(document) < 15e6


def test_all_rows_are_there_and_no_cell_is_nan(report, document):
    outline = Outline(document)
    texts = " ".join(outline.texts)
    assert {row.task for row in report.rows} == set(TITLES)
    for row in report.rows:
        assert row.data in texts and row.metric in texts and TITLES[row.task] in texts
    assert outline.tags.count("tr") == 1 + len({row.task for row in report.rows}) + len(report.rows)
    assert not [cell for cell in outline.cells if re.search(r"\b(nan|inf)\b", cell, re.IGNORECASE)]
    assert "`" not in texts and "dev chooses between" in re.sub(r"\s+", " ", texts).replace(" dev  ", "dev ")


def test_a_task_that_was_added_goes_by_its_name():
    row = Row(
        "<hum>",
        "set",
        1,
        1,
        "WA %",
        Score(0.0, n=1),
        tally=mean([0], 100),
        examples=[Example("a", "asr", "dev", "en", "set")],
        answers=[Answer(text="la")],
    )
    document = page(Report("m", "dev", 0, [row]), nothing)
    assert "<h2>&lt;hum&gt;</h2>" in document and "<hum>" not in document and "la</p>" in document
    Outline(document)


def test_the_paper_stands_beside_its_tasks_and_can_be_left_out(few, sound, document):
    assert "LibriSpeech clean WER % 4.4" in document and "orientation, not for comparison" in document
    assert PAPER.keys() <= TITLES.keys()
    assert "orientation" not in page(few, sound, {})
    assert "the paper: mine WER % 1.0" in page(few, sound, {"asr": (("mine", "WER %", "1.0"),)})


def test_players_hold_the_recordings_and_the_answers(report, document):
    lengths = sorted(round(soundfile.info(io.BytesIO(data)).duration, 1) for data in sounds_of(document))
    expected = []
    for row in report.rows:
        for example, answer in zip(row.examples, row.answers) if not row.is_reference else ():
            answers = {"se": [example.duration, answer.audio_seconds], "tts": [answer.audio_seconds]}.get(
                row.task, []
            )  # se: the noisy input first
            expected += [seconds for seconds in answers if seconds] + ([example.duration] if example.audio else [])
    np.testing.assert_allclose(lengths, sorted(expected), atol=0.15)


def test_an_encoded_sound_is_the_sound():
    wave = load_audio(KATHLEEN)
    data = base64.b64decode(encoded(wave).split(",")[1])
    back, rate = soundfile.read(io.BytesIO(data))
    assert len(back) == len(wave) and rate == SAMPLE_RATE and len(data) < len(wave)
    assert np.corrcoef(wave, back)[0, 1] > 0.9


def test_what_comes_from_data_is_escaped():
    bad = Example(HOSTILE, "asr", "dev", "en", HOSTILE, targets=[HOSTILE], source=HOSTILE, speaker=HOSTILE)
    other = Example("b", "asr", "dev", "en", HOSTILE, targets=["b"], speaker="b")
    answers = [Answer(text=HOSTILE, finish=HOSTILE, confidence=math.nan, scores={HOSTILE: 0.5}), Answer(text="b")]
    score, verdict = Score(50.0, 40.0, 60.0, 2), Verdict(1.0, 0.5, 1.5, 2, "better")
    truth, texts = ["a", HOSTILE], [HOSTILE, HOSTILE]
    row = Row(
        "asr",
        HOSTILE,
        2,
        2,
        "WER %",
        score,
        100.0,
        HOSTILE,
        {HOSTILE: 1.0, "why": HOSTILE},
        1.0,
        2.0,
        True,
        mean([0, 1]),
        [bad, other],
        answers,
    )
    emotion = Row(
        "ser", HOSTILE, 2, 2, HOSTILE, score, tally=mean([0, 1]), examples=[bad, other], answers=answers, confusion=confusion(truth, texts)
    )
    row.verdict = verdict
    document = page(
        Report(HOSTILE, HOSTILE, 0, [row, emotion], [HOSTILE], {HOSTILE: [HOSTILE]}), nothing, {"asr": ((HOSTILE, HOSTILE, HOSTILE),)}
    )
    outline = Outline(document)
    assert outline.tags.count("script") == 1 and "alert(" in "".join(outline.texts)
    assert "better than the other by" in unescape(document)


def test_a_recording_that_cannot_be_read_is_a_line_of_text(tmp_path):
    broken = tmp_path / "broken.opus"
    broken.write_bytes(b"OggS")
    example = Example("a", "asr", "dev", "en", "set", audio=str(broken), duration=1.0, targets=["a"])
    row = Row("asr", "set", 1, 1, "WER %", Score(0.0, n=1), tally=mean([0]), examples=[example], answers=[Answer(text="a")])
    document = page(Report("m", "dev", 0, [row]), nothing)
    assert "cannot be played" in document and "<audio" not in document
    assert "no sound" in player("answer", lambda: None, Budget())
    assert "cannot be played" in player("answer", lambda: {}["gone"], Budget())
    assert "cannot be played" in player("answer", lambda: np.full(10, np.nan), Budget())


def test_the_budget_gives_each_row_its_worst_first(few, sound, monkeypatch):
    wave = np.zeros(SAMPLE_RATE)
    one = len(player("input", lambda: wave, Budget()))
    budget = Budget(2 * one)
    players = [player("input", lambda: wave, budget) for _ in range(3)]
    assert ["<audio" in html for html in players] == [True, True, False] and "left out" in players[2] and budget.left_out == 1
    monkeypatch.setattr(worst.Budget, "__init__", lambda self: self.__dict__.update(limit=120_000, spent=0, left_out=0))
    small = page(few, sound)
    assert "players were left out" in small and 0 < len(sounds_of(small)) < len(sounds_of(page_of_all(few, sound, monkeypatch)))
    assert sum(map(len, re.findall(r"data:audio[^\"]+", small))) <= 120_000
    Outline(small)


def page_of_all(few, sound, monkeypatch) -> str:
    monkeypatch.undo()
    return page(few, sound)


def test_without_matplotlib_the_page_says_how_to_get_it(few, sound, monkeypatch):
    def need(package):
        if package == "matplotlib":
            raise MissingPackage("not measured: matplotlib is missing")
        return real(package)

    real = metrics.need
    monkeypatch.setattr(metrics, "need", need)
    document = page(few, sound)
    assert "pip install -e" in document and '<svg class="plot"' not in document
    assert len(sounds_of(document)) == len(sounds_of(page_of_all(few, sound, monkeypatch)))


def spoken_by(n: int) -> list[Example]:
    return [Example(f"{i}", "asr", "dev", "en", "set", speaker=f"s{i % 3}", duration=float(i), targets=["a b"]) for i in range(n)]


def test_every_kind_of_plot_is_drawn_where_there_is_enough_for_it(report):
    titles = {(plot.task, plot.title) for plot in draw(report.rows)}
    assert ("se", "kathleen: the ablation of enhancement") in titles
    assert ("tts", "kathleen: each voice beside the real recordings") in titles
    assert any("confusion matrix" in title for _, title in titles)
    assert any("accuracy by confidence" in title for task, title in titles if task == "ser")
    tally = wer([["a b"]] * 12, ["a"] * 12, "en")
    row = Row("asr", "set", 12, 12, "WER %", tally.score(), 100.0, "empty", tally=tally, examples=spoken_by(12), answers=[Answer("a")] * 12)
    by = {plot.title: plot.svg for plot in draw([row])}
    assert by.keys() == {"WER % by corpus", "set: by part"}
    assert "speaker s2 (4)" in by["set: by part"] and "longest third (4)" in by["set: by part"]
    assert not re.search("#0[1-9a]0", "".join(by.values())), "a stand-in colour was not exchanged for the page's"


def test_only_answers_that_are_right_or_wrong_can_be_calibrated():
    answers = [Answer(text=text, confidence=0.5, scores={"sad": 0.7, "calm": 0.3}) for text in ("sad", "calm")]
    row = Row("ser", "set", 2, 2, "UA %", Score(50.0), tally=ua(["sad", "sad"], ["sad", "calm"]), answers=answers)
    assert right_or_wrong(row) == ([0.7, 0.7], [1, 0])
    assert right_or_wrong(Row("se", "set", 2, 2, "STOI", Score(0.5), tally=mean([0, 1]), answers=answers)) == ([], [])
    assert right_or_wrong(Row("asr", "set", 2, 2, "WER %", Score(5.0), lower_is_better=True, tally=mean([0, 1], 100), answers=answers)) == (
        [],
        [],
    )


@pytest.mark.parametrize(
    "score, floor, lower, clears",
    [
        (Score(60, 50, 70, 9), 100, True, True), (Score(98, 90, 105, 9), 100, True, False), (Score(60, 50, 70, 9), 40, False, True),
        (Score(60, 50, 70, 9), 55, False, False), (Score(60, n=1), 40, False, False), (Score(60, 50, 70, 9), None, False, None),
        (Score(100, 100, 100, 9), 100, False, None), (Score(math.nan), 40, False, None),
    ],
)  # fmt: skip
def test_a_score_is_clear_of_its_floor_only_by_its_whole_interval(score, floor, lower, clears):
    assert clears_floor(Row("asr", "set", 9, 9, "any %", score, floor, lower_is_better=lower)) is clears


def test_the_bar_stays_on_its_scale():
    wide = bar(Row("asr", "set", 9, 9, "WER %", Score(150, 120, 200, 9), 100))
    places = [float(number) for number in re.findall(r"(?:left|width):([\d.-]+)%", wide)]
    assert places == [60.0, 40.0, 50.0, 75.0]
    below = bar(Row("x", "set", 9, 9, "SI-SDR dB", Score(-5, -10, 0, 9)))
    assert all(0 <= float(number) <= 100 for number in re.findall(r"left:([\d.-]+)%", below))
