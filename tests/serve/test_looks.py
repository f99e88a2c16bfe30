"""The page, the demo's page and the evaluation's report, which share a style sheet: for every screen, in both languages, for everybody."""

import numpy as np
import pytest
from browsing import LONG, Visit, path_of, violations
from playwright.sync_api import expect

from lauragpt.audio import load_audio
from lauragpt.cli import demo_page
from lauragpt.cli.demo import DemoCase
from lauragpt.data.manifest import Example
from lauragpt.evaluate.answers import Answer
from lauragpt.evaluate.metrics import confusion
from lauragpt.evaluate.report import page as report_page
from lauragpt.evaluate.report.tables import Report, Row
from lauragpt.evaluate.tally import Score, mean
from lauragpt.result import Result


@pytest.mark.parametrize("width", [360, 1280, 2560, 3840])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen(browser, address, width, scheme):
    visit = Visit(browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    visit.page.get_by_label("Language of the page").select_option("de" if scheme == "dark" else "en")
    for verb in visit.page.locator("#verbs input").all():
        verb.check()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.violations() == []
    visit.close()
    assert visit.complaints == []


def test_german(visit):
    visit.page.get_by_label("Language of the page").select_option("de")
    assert visit.page.evaluate("document.documentElement.lang") == "de"
    visit.give("ravdess-03-01-05")
    visit.verb("Gefühl")
    visit.page.get_by_role("button", name="Los").click()
    visit.wait()
    assert "Dieselbe Anfrage anderswo" in visit.answer() and visit.violations() == []
    visit.page.reload()
    expect(visit.page.get_by_role("button", name="Los")).to_be_visible()


def demo() -> str:
    wave = load_audio(path_of("kathleen"))
    heard = Result("asr", "en", "the night was clam", confidence=0.7)
    sad = Result("ser", "en", "sad", scores={"sad": 0.7, "calm": 0.2, "happy": 0.1}, confidence=0.7)
    cases = [
        DemoCase("transcribe", "a voice", lambda: heard, wave, "The night was calm.", "en", "CC0", result=heard, verdict="partly right"),
        DemoCase("emotion", "a sad voice", lambda: sad, wave, "sad", "en", result=sad, verdict="right"),
        DemoCase("caption", "rain", lambda: sad, wave, "rain", "en", error="no captions today", verdict="failed"),
    ]
    return demo_page.page("mini", cases, 3.0)


def report() -> str:
    known = {"audio": str(path_of("kathleen")), "duration": 1.8, "targets": ["one two"]}
    examples = [Example(f"asr/{n}", "asr", "dev", "en", "set", **known) for n in (1, 2)]
    answers = [Answer(text="one to", confidence=0.6), Answer(text="one two", confidence=0.9)]
    row = Row("asr", "set", 2, 2, "WER %", Score(25.0, 10.0, 40.0, 2), 100.0, "silence", {"CER %": 9.0, "why": "a remark"}, 1.0, 2.0, True,
              mean([0.5, 0], 100), examples, answers)  # fmt: skip
    emotion = Row("ser", "set", 2, 2, "UA %", Score(50.0, 40.0, 60.0, 2), tally=mean([0, 1], 100), examples=examples, answers=answers,
                  confusion=confusion(["sad", "calm"], ["sad", "sad"]))  # fmt: skip
    return report_page.page(Report("mini", "dev", 0, [row, emotion], ["a note"], {"mt": ["no corpus"]}), lambda answer: np.zeros(100))


@pytest.mark.parametrize("made", [demo, report])
@pytest.mark.parametrize("width, scheme", [(360, "light"), (1280, "dark"), (2560, "light")])
def test_pages_that_stand_alone_have_the_same_look(browser, made, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(LONG)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(made())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == [] and [url for url in asked if not url.startswith("data:")] == []
    accent = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--accent')")
    assert accent.strip() == {"light": "#7a2a78", "dark": "#e0a1dc"}[scheme]
    context.close()
