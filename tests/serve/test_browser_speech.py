"""The page at / in a real browser: speech, its tokens, a part of it made anew, voices."""

import numpy as np
import pytest
from browsing import path_of
from playwright.sync_api import expect
from servers import http

NIGHT = "kathleen"


def test_speak(visit, address):
    visit.verb("Speak")
    visit.page.locator("#text").fill("One, two.")
    visit.page.get_by_label("Voice").select_option("slt")
    visit.page.get_by_label("Seed").fill("3")
    visit.run()
    body = {"input": "One, two.", "voice": "slt", "seed": 3, "response_format": "wav"}
    assert visit.saved("Save the sound") == http.post(f"{address}/v1/audio/speech", json=body).content
    assert visit.receipt()["seed"] == 3 and visit.violations() == []


def test_audio_tokens_are_drawn_under_the_waveform(visit, address):
    visit.verb("Speak")
    visit.page.locator("#text").fill("One, two.")
    visit.run()
    body = {"input": "One, two.", "seed": 0, "response_format": "verbose_json"}
    [segment] = http.post(f"{address}/v1/audio/speech", json=body).json()["segments"]
    shares, strip = segment["probabilities"], visit.page.locator(".screen .tokens")
    assert f"{len(shares)} audio tokens" in strip.get_attribute("aria-label")
    assert f"{round(100 * np.mean(shares))} %" in strip.get_attribute("aria-label")
    tall = strip.evaluate("""({width, height}, count) => {
      const {data} = document.querySelector('.tokens').getContext('2d').getImageData(0, 0, width, height);
      const drawn = (x, y) => data[4 * (y * width + x) + 3] > 0;
      const rows = Array.from({length: height}, (_, y) => y);
      return Array.from({length: count}, (_, n) => rows.filter(y => drawn(Math.floor((n + .4) * width / count), y)).length / height);
    }""", len(shares))  # fmt: skip
    assert tall == pytest.approx([max(0.03, share) for share in shares], abs=0.06)
    assert visit.violations() == []


def test_a_part_of_speech_is_made_anew(visit, address):
    visit.verb("Speak")
    visit.page.locator("#text").fill("One, two.")
    visit.run()
    expect(visit.page.get_by_role("button", name="Say this part anew")).to_be_disabled()
    box = visit.page.locator(".screen").bounding_box()
    visit.page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 20, steps=4)
    visit.page.mouse.up()
    start, end = (float(visit.page.get_by_label(name, exact=True).input_value()) for name in ("From (s)", "To (s)"))
    speech = http.post(f"{address}/v1/audio/speech", json={"input": "One, two.", "response_format": "verbose_json"}).json()
    assert (start, end) == pytest.approx((speech["seconds"] / 4, 3 * speech["seconds"] / 4), abs=0.03)
    assert visit.page.locator(".screen .span").is_visible() and visit.page.locator(".sound .time").inner_text().startswith("0:00.0")
    visit.page.get_by_role("button", name="Say this part anew").click()
    expect(visit.page.locator("#shown")).to_contain_text('"regenerated"')
    visit.wait()
    body = {"speech": speech, "start": start, "end": end, "seed": 1, "response_format": "wav"}
    assert visit.saved("Save the sound") == http.post(f"{address}/v1/audio/regenerations", json=body).content
    assert [(made["seed"], made["start"]) for made in visit.receipt()["regenerated"]] == [(1, start)]
    assert visit.page.get_by_label("From (s)").input_value() == f"{start:.2f}" and visit.violations() == []


def test_speak_at_another_speed(visit, address):
    visit.verb("Speak")
    visit.page.locator("#text").fill("One, two.")
    speed = visit.page.get_by_label("Speed")
    speed.fill("9")
    speed.blur()
    expect(speed).to_have_value("4")  # the fastest
    speed.fill("1.25")
    visit.run()
    body = {"input": "One, two.", "speed": 1.25, "seed": 0, "response_format": "wav"}
    assert visit.saved("Save the sound") == http.post(f"{address}/v1/audio/speech", json=body).content
    assert visit.receipt()["speed"] == 1.25 and "laura speak" not in visit.page.locator("#shown").text_content()
    assert visit.violations() == []


def test_a_voice_is_added_with_consent_and_deleted(visit, address):
    visit.verb("Speak")
    visit.page.get_by_role("button", name="Add a voice…").click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("anna")
    dialog.get_by_label("Recording", exact=True).set_input_files(path_of(NIGHT))
    dialog.get_by_label("What it says").fill("The night was calm and snowy.")
    dialog.get_by_label("How the speaker agreed").fill("Anna has agreed in writing.")
    dialog.get_by_role("button", name="Upload").click()
    expect(dialog).to_be_visible()  # not without the speaker's consent
    assert visit.violations() == []
    dialog.get_by_label("The speaker agrees").check()
    dialog.get_by_role("button", name="Upload").click()
    expect(dialog).to_have_count(0)
    expect(visit.page.get_by_label("Voice")).to_contain_text("anna")
    assert visit.page.get_by_label("Voice").input_value().startswith("voice_")
    visit.page.locator("#text").fill("One.")
    visit.run()
    assert visit.error() is None and "laura speak" not in visit.page.locator("#shown").text_content()  # no other program has this voice
    visit.page.get_by_role("button", name="Delete this voice").click()
    expect(visit.page.get_by_label("Voice")).not_to_contain_text("anna")
    assert [row for row in http.get(f"{address}/v1/voices").json()["data"] if row["source"] == "uploaded"] == []
