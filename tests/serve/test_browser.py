"""The page at / in a real browser: each verb by a real upload, the microphone, chains, cancelling, errors, and for everybody."""

import csv
import io
import json
import re
import zipfile

import numpy as np
import pytest
import soundfile
from browsing import Visit, path_of
from playwright.sync_api import expect
from servers import clip, encoded, http, serving

from lauragpt.audio import decode_audio, load_audio
from lauragpt.serve.keys import read_keys
from lauragpt.serve.settings import Settings

TALK, NIGHT, ORDER = "librispeech-2136", "kathleen", "barista-458e9432"


def post(address, path, name, **form):
    return http.post(f"{address}/v1/audio/{path}", files={"file": clip(name)}, data=form)


def test_transcribe(visit, address):
    visit.give(TALK)
    visit.run()
    assert visit.error() is None
    assert visit.words() == post(address, "transcriptions", TALK).json()["text"]
    receipt, known = visit.receipt(), json.loads(post(address, "transcriptions", TALK).headers["x-laura-receipt"])
    assert receipt["seconds_given"] == known["seconds_given"] and receipt["weights"] == known["weights"]
    assert visit.page.evaluate("document.activeElement.id") == "answer"
    assert visit.violations() == []


def test_the_sequence_is_drawn_to_scale(visit):
    visit.verb("Chain")
    visit.give(TALK)
    visit.run()
    visit.page.get_by_text("What the GPT read and wrote").click()
    receipt = visit.receipt()
    rows = [row for step in [*receipt["steps"], receipt] for row in step["sequences"]]
    assert {row["task"] for row in rows} == {"se", "asr"} and rows[-1]["frames"] > 20
    strips = visit.page.locator("#shown .strip")
    for row, strip in zip(rows, strips.all(), strict=True):
        assert f"{row['frames']} frames" in strip.get_attribute("aria-label") and f"<{row['task']}>" in strip.get_attribute("aria-label")
        read, wrote = (strip.locator(f".{part}").bounding_box()["width"] for part in ("frames", "output"))
        assert wrote / read == pytest.approx(row["output"] / row["frames"], rel=0.05)
    assert visit.violations() == []


def test_words_play_and_light_up(visit, address):
    visit.give(TALK)
    visit.run()
    form = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    words = post(address, "transcriptions", TALK, **form).json()["words"]
    said, buttons = [word["word"] for word in words], visit.page.locator("#shown .words button")
    visit.page.evaluate("""() => {
      const note = changes => changes.forEach(({target}) => target.classList.contains('now') && lit.push(target.textContent));
      window.lit = [];
      new MutationObserver(note).observe(document.querySelector('.words'), {subtree: true, attributeFilter: ['class']});
    }""")
    buttons.nth(1).click()
    visit.until("lit.length && document.querySelector('.sound button').textContent === 'Play'")  # it ends
    lit, rest = visit.page.evaluate("lit"), iter(said[1:])
    assert lit[0] == said[1] and all(word in rest for word in lit)  # in their order
    stopped = visit.page.evaluate("""() => {
      document.querySelectorAll('.words button')[3].click();
      document.querySelector('.sound button').click();
      return [Number(document.querySelector('.sound input').value), document.querySelector('.words .now').textContent];
    }""")
    assert stopped == [pytest.approx(words[3]["start"], abs=0.02), said[3]]
    buttons.nth(1).focus()
    visit.page.keyboard.press("ArrowRight")
    expect(buttons.nth(2)).to_be_focused()
    visit.page.keyboard.press("Home")
    expect(buttons.nth(0)).to_be_focused()
    assert [buttons.nth(number).get_attribute("tabindex") for number in range(len(words))].count("0") == 1


def test_a_transcript_is_corrected_and_saved(visit, address):
    visit.give(TALK)
    visit.run()
    known = {format: post(address, "transcriptions", TALK, response_format=format).text for format in ("srt", "vtt")}
    for format in ("srt", "vtt"):
        assert visit.saved(f"Save as {format}").decode().split() == known[format].split()
    before = json.loads(visit.saved("Save as json"))["words"]
    visit.page.get_by_role("button", name="Correct").click()
    visit.page.keyboard.press("Control+Home")
    visit.page.keyboard.type("so, ")
    visit.page.get_by_role("button", name="Done").click()
    text = f"so, {' '.join(word['word'] for word in before)}"
    assert visit.words() == text and visit.saved("Save as txt").decode() == f"{text}\n"
    after = json.loads(visit.saved("Save as json"))
    assert after["words"][1:] == before and after["text"] == text and after["words"][0]["confidence"] is None


def test_translate_a_recording(visit, address):
    visit.give(TALK)
    visit.verb("Translate")
    visit.page.get_by_label("Language spoken").select_option("en")
    visit.run()
    known = post(address, "translations", TALK, to="de", language="en", response_format="verbose_json").json()
    assert visit.page.locator("#shown .big").text_content() == (known["text"] or "Nothing.")
    assert known["receipt"]["transcript"] in visit.page.locator("#shown .pair").text_content()
    assert visit.violations() == []


def test_translate_a_text(visit, address):
    visit.verb("Translate")
    visit.verb("Text")
    visit.page.get_by_label("Text", exact=True).last.fill("A man is riding a bicycle.")
    visit.page.keyboard.press("Control+Enter")
    visit.wait()
    known = http.post(f"{address}/v1/text/translations", json={"input": "A man is riding a bicycle.", "to": "de"}).json()["text"]
    assert visit.page.locator("#shown .big").text_content() == known and "A man is riding" in visit.page.locator(".pair").inner_text()


def test_enhance_is_compared_with_its_input(visit, address):
    visit.give(NIGHT)
    visit.verb("Enhance")
    visit.run()
    assert visit.saved("Save the sound") == post(address, "enhancements", NIGHT).content
    before, after = (visit.page.get_by_role("button", name=name, exact=True) for name in ("Input", "Enhanced"))
    expect(after).to_have_attribute("aria-pressed", "true")
    visit.page.get_by_role("button", name="Play").click()
    visit.page.keyboard.press("x")
    expect(before).to_have_attribute("aria-pressed", "true")
    visit.page.keyboard.press("X")
    expect(after).to_have_attribute("aria-pressed", "true")
    visit.page.get_by_role("button", name="Difference").click()
    visit.page.locator("#answer").focus()
    visit.page.keyboard.press(" ")
    colours = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    assert visit.page.locator(".screen canvas").nth(1).evaluate(colours) > 20
    assert visit.violations() == []


def test_emotion_caption_and_order(visit, address):
    visit.verb("Emotion")
    visit.give("ravdess-03-01-05")
    visit.run()
    scores = post(address, "emotions", "ravdess-03-01-05").json()["scores"]
    shown = visit.page.locator("#shown .bars li").all_inner_texts()
    likeliest = max(scores, key=scores.get)
    assert len(shown) == 8 and shown[0].split() == [likeliest, f"{round(100 * scores[likeliest])}", "%"]
    visit.verb("Caption")
    visit.give("esc50-4-160999")
    visit.run()
    assert visit.page.locator("#shown .big").text_content() == (post(address, "captions", "esc50-4-160999").json()["text"] or "Nothing.")
    visit.verb("Understand")
    visit.give(ORDER)
    visit.run()
    known = post(address, "intents", ORDER).json()
    card = visit.page.locator("#shown .facts").inner_text()
    assert known["intent"] in card and all(value in card for value in known["slots"].values())
    assert visit.violations() == []


def test_a_chain_is_built_step_by_step(visit, address):
    visit.give(NIGHT)
    visit.verb("Chain")
    visit.page.get_by_role("button", name="Remove the step Transcribe").click()
    add = visit.page.get_by_label("Add a step…")
    assert "Speak" not in add.inner_text()  # it cannot speak what is no text
    for step in ("transcribe", "translate"):
        add.select_option(step)
    visit.run()
    answer = post(address, "chains", NIGHT, steps="enhance | transcribe | translate:de", seed=0)
    assert visit.error() is None and visit.page.locator("#shown .big").text_content() == (answer.json()["text"] or "Nothing.")
    assert visit.page.locator("#shown .steps li").count() == 2
    assert visit.receipt()["chain"] == "enhance | transcribe | translate:de" and visit.violations() == []


def test_a_chain_begins_with_a_text(visit, address):
    visit.verb("Chain")
    visit.verb("Text")
    assert visit.page.locator(".chain li").all_inner_texts()[1].startswith("Speak")
    visit.page.get_by_role("button", name="Remove the step Speak").click()
    fitting = visit.page.get_by_label("Add a step…").locator("option").all_text_contents()
    assert fitting == ["Add a step…", "Translate", "Speak"]  # what a text can go to
    visit.page.locator("#text").fill("A man is riding a bicycle.")
    visit.run()
    body = {"input": "A man is riding a bicycle.", "steps": "translate:de"}
    known = http.post(f"{address}/v1/text/chains", json=body).json()["text"]
    assert visit.page.locator("#shown .big").text_content() == known and "A man is riding" in visit.answer()
    visit.page.get_by_label("Add a step…").select_option("speak")
    visit.run()
    spoken = http.post(f"{address}/v1/text/chains", json=body | {"steps": "translate:de | speak"})
    assert visit.saved("Save the sound") == spoken.content and visit.receipt()["text"] == known
    assert known in visit.page.locator("#shown .steps").text_content() and visit.violations() == []


def test_the_microphone_is_recorded(visit):
    visit.page.get_by_role("button", name="Record", exact=True).click()
    expect(visit.page.locator("#recorded")).to_contain_text("0:04")  # all of the clip that it hears over and over, wherever that began
    assert float(visit.page.locator("#level").evaluate("meter => meter.value")) >= 0
    visit.page.get_by_role("button", name="Stop").click()
    expect(visit.page.locator("#files li")).to_contain_text("recording.wav")
    visit.run()
    assert visit.error() is None and len(visit.words()) > 5 and visit.receipt()["seconds_given"] > 3.9


def test_live_captions(visit):
    visit.verb("Live captions")
    visit.page.locator("#run").click()
    expect(visit.page.get_by_role("log")).to_contain_text(re.compile(r"\w+ \w+ \w+"))  # words come while it listens
    visit.page.get_by_role("button", name="Stop").click()
    visit.wait()
    assert visit.error() is None and len(visit.words()) > 5
    visit.page.get_by_role("button", name="Play").click()
    assert visit.violations() == []


def test_a_microphone_that_is_refused(browser, address):
    visit = Visit(browser, address, microphone=False)
    visit.page.get_by_role("button", name="Record", exact=True).click()
    expect(visit.page.locator("#error")).to_contain_text("does not let this page hear the microphone")
    visit.close()
    assert visit.complaints == []


@pytest.fixture(scope="module")
def long_talk(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, np.concatenate([load_audio(path_of("librispeech-6272")), np.zeros(16000)] * 40), 16000)
    return path


def test_cancelling_ends_the_work(visit, server, long_talk):
    visit.give(long_talk)
    visit.page.locator("#run").click()
    expect(visit.page.locator("#progress-text")).to_contain_text("Read:")
    visit.page.get_by_role("button", name="Cancel").click()
    visit.wait()
    assert visit.error() == "Cancelled." and visit.words()  # what was read stays
    held = server[1].worker
    while held.held:  # the server's place is free again as soon as it sees that the page left
        visit.page.wait_for_timeout(20)
    visit.give(TALK)
    visit.run()
    assert visit.error() is None


def test_a_reload_in_the_middle(visit, long_talk):
    visit.verb("Translate")
    visit.give(long_talk)
    visit.page.locator("#run").click()
    expect(visit.page.locator("#cancel")).to_be_enabled()
    visit.page.reload()
    expect(visit.page.locator("#error")).to_contain_text("loaded again while an answer was being made")
    expect(visit.page.get_by_role("radio", name="Translate")).to_be_checked()
    visit.give(TALK)
    visit.run()
    assert visit.error() is None
    visit.page.reload()
    expect(visit.page.locator("#state")).to_contain_text("mini")
    assert visit.error() is None


def test_errors_are_one_clear_line(browser, address, tmp_path):
    """The console tells of the failed requests itself, and of nothing else."""
    visit = Visit(browser, address)
    visit.run()
    assert visit.error() == "Choose, drop or record a recording first."
    (tmp_path / "notes.txt").write_text("no sound")
    visit.give(tmp_path / "notes.txt")
    visit.run()
    assert visit.error() == post_bytes(address, b"no sound") and "\n" not in visit.error()
    assert visit.violations() == []
    visit.verb("Chain")
    for _ in range(2):
        visit.page.locator(".chain button").click()
    visit.run()
    assert visit.error() == "Add a step to the chain first."
    visit.verb("Caption")
    visit.context.set_offline(True)
    visit.run()
    assert visit.error() == "The server cannot be reached. Is laura serve running?"
    visit.close()
    assert all("Failed to load resource" in line for line in visit.complaints) and len(visit.complaints) >= 2


def post_bytes(address, data):
    return http.post(f"{address}/v1/audio/transcriptions", files={"file": data}).json()["error"]["message"]


def test_several_files_are_a_table(visit, address, tmp_path):
    (tmp_path / "=1+1.txt").write_text("no sound")
    visit.give(TALK, "digits-4", "digits-7", tmp_path / "=1+1.txt")
    visit.run()
    rows = visit.page.locator("#table tbody tr")
    expected = [post(address, "transcriptions", name).json()["text"] for name in (TALK, "digits-4", "digits-7")]
    assert [rows.nth(number).locator("td").nth(1).inner_text() for number in range(3)] == expected
    lines = list(csv.reader(io.StringIO(visit.saved("Save as CSV").decode())))
    assert lines[0] == ["file", "text", "confidence", "language", "error"] and [line[1] for line in lines[1:4]] == expected
    assert lines[4][0] == "'=1+1.txt" and lines[4][4] == post_bytes(address, b"no sound")
    answers = json.loads(visit.saved("Save as JSON"))
    assert [answer.get("text") for answer in answers] == [*expected, None] and answers[0]["receipt"]["weights"]
    with zipfile.ZipFile(io.BytesIO(visit.saved("Save as SRT"))) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 3
        known = post(address, "transcriptions", TALK, response_format="srt").text
        assert archive.read(f"{path_of(TALK).stem}.srt").decode().split() == known.split()
    rows.nth(0).get_by_role("button").click()
    expect(visit.page.locator("#shown .words")).to_be_visible()
    assert visit.words() == expected[0] and visit.violations() == []
    visit.complaints = [line for line in visit.complaints if "400" not in line]


def test_the_same_request_elsewhere(visit, tmp_path):
    """The command, the program and the request to the server give the answer that the page shows."""
    soundfile.write(tmp_path / "it's here.wav", load_audio(path_of("digits-7")), 16000)
    visit.verb("Emotion")
    visit.give(tmp_path / "it's here.wav")
    visit.run()
    visit.page.get_by_text("The same request elsewhere").click()
    visit.page.get_by_role("button", name="Copy the request for curl").click()
    copied = visit.page.evaluate("navigator.clipboard.readText()")
    texts = visit.page.locator("#shown details pre").all_text_contents()
    assert copied == texts[0] and visit.violations() == []
    from pages import shell

    answers = [shell(texts[0], tmp_path), shell(f"python - <<'END'\n{texts[1]}\nEND", tmp_path), shell(texts[2], tmp_path)]
    label = visit.page.locator("#shown .big").text_content()
    for done in answers:
        assert done.returncode == 0 and json.loads(done.stdout)["text"] == label, done.stderr


def test_a_server_with_keys(browser, tmp_path):
    (tmp_path / "keys.txt").write_text("a key, of many letters: ü\n")
    with serving(Settings(keys=read_keys(tmp_path / "keys.txt"))) as (address, _):
        visit = Visit(browser, address)
        field = visit.page.get_by_label("Key", exact=True)
        expect(field).to_be_focused()
        assert visit.violations() == []
        field.fill("wrong")
        visit.page.get_by_role("button", name="Use").click()
        expect(visit.page.locator("#error")).to_contain_text("the key is missing or not known")
        field.fill("a key, of many letters: ü")
        visit.page.get_by_role("button", name="Use").click()
        expect(visit.page.locator("#state")).to_contain_text("mini")
        visit.give("digits-4")
        visit.run()
        assert visit.words() == "four"
        visit.verb("Live captions")
        visit.page.locator("#run").click()
        expect(visit.page.get_by_role("log")).to_contain_text(" ")
        visit.page.keyboard.press("Escape")
        visit.wait()
        assert visit.error() is None
        visit.close()


def test_only_with_the_keyboard(visit):
    visit.give("digits-4")
    visit.page.get_by_role("radio", name="Transcribe").focus()
    visit.page.keyboard.press("ArrowRight")
    expect(visit.page.get_by_role("radio", name="Translate")).to_be_checked()
    visit.page.keyboard.press("ArrowLeft")
    for _ in range(20):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement.id") == "run":
            break
    visit.page.keyboard.press("Enter")
    visit.wait()
    assert visit.words() == "four"
    expect(visit.page.locator("#answer")).to_be_focused()
    visit.page.evaluate("""() => {
      window.said = [];
      const button = document.querySelector('.sound button');
      new MutationObserver(() => said.push(button.textContent)).observe(button, {childList: true});
    }""")
    visit.page.keyboard.press(" ")
    visit.until("said.at(-1) === 'Play'")  # it ends
    assert visit.page.evaluate("said[0]") == "Pause"


def test_levels_and_files_of_sound(visit):
    """sound.js against numpy: a wave survives its file, and two waves get one level without clipping."""
    wave = (0.5 * np.sin(np.arange(16000) / 9)).astype(np.float32)
    data = visit.page.evaluate("""async wave => {
      const {wav} = await import('/page/sound.js');
      return [...new Uint8Array(await wav(Float32Array.from(wave), 16000).arrayBuffer())];
    }""", wave.tolist())  # fmt: skip
    assert np.abs(decode_audio(bytes(data)) - wave).max() < 1 / 32000
    gains = visit.page.evaluate("""async ([quiet, loud]) => {
      const {matched} = await import('/page/sound.js');
      return matched(Float32Array.from(quiet), Float32Array.from(loud));
    }""", [(0.1 * wave).tolist(), wave.tolist()])  # fmt: skip
    assert gains == pytest.approx([1, 0.1], rel=0.01)


def test_files_of_the_browser_are_files_of_sound(visit):
    """A drop of a file, and one that the server reads and the browser does not."""
    visit.page.evaluate("""async data => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(data)], 'four.aiff'));
      document.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }""", list(encoded(load_audio(path_of("digits-4")), format="AIFF")))  # fmt: skip
    expect(visit.page.locator("#files li")).to_contain_text("four.aiff")
    visit.run()
    assert visit.words() == "four" and visit.page.locator("#shown .sound").count() == 0


