"""The page in a real browser: Debian's chromium, driven by Playwright, with a microphone that hears a recording."""

import contextlib
import json
import shutil
from pathlib import Path

import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright
from servers import CLIPS

from lauragpt.audio import load_audio

LONG = 600_000  # ms: nothing is measured by it, it only ends what would hang for ever
FAKE = "--use-fake-device-for-media-stream"
expect.set_options(timeout=LONG)


def path_of(name: str) -> Path:
    """A recording that ships, by the beginning of its name."""
    [path] = CLIPS.glob(f"{name}*.opus")
    return path


@contextlib.contextmanager
def browsing(folder: Path, heard: str):
    """A browser whose microphone hears the recording `heard` over and over."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "the page is tested in chromium: install it, as with apt-get install chromium"
    file = folder / "microphone.wav"
    soundfile.write(file, load_audio(path_of(heard)), 16000, subtype="PCM_16")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=[FAKE, f"--use-file-for-fake-audio-capture={file}"])
        yield browser
        browser.close()


class Visit:
    """One tab at the page of a server. `complaints`: what its console said of errors."""

    def __init__(self, browser, address: str, microphone: bool = True, **context):
        self.context = browser.new_context(locale="en-US", accept_downloads=True, **{"viewport": {"width": 1280, "height": 900}} | context)
        self.context.set_default_timeout(LONG)
        if microphone:
            self.context.grant_permissions(["microphone", "clipboard-read", "clipboard-write"], origin=address)
        self.address, self.complaints, self.asked = address, [], []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)

    def verb(self, name: str) -> None:
        self.page.get_by_role("radio", name=name, exact=True).check()

    def give(self, *names: str | Path) -> None:
        self.page.locator("#file").set_input_files([name if isinstance(name, Path) else path_of(name) for name in names])

    def run(self) -> None:
        """Asks, and waits for the answer or for why there is none."""
        self.page.locator("#run").click()
        self.wait()

    def wait(self) -> None:
        expect(self.page.locator("#run")).to_be_enabled()

    def until(self, condition: str) -> None:
        """Waits for something in JavaScript. Playwright's own way is refused by the page's policy."""
        while not self.page.evaluate(condition):
            self.page.wait_for_timeout(50)

    def error(self) -> str | None:
        line = self.page.locator("#error")
        return line.text_content() if line.is_visible() else None

    def answer(self) -> str:
        return self.page.locator("#shown").inner_text()

    def words(self) -> str:
        return " ".join(self.page.locator("#shown .words button").all_text_contents())

    def receipt(self) -> dict:
        return json.loads(self.page.locator("#shown pre").last.text_content())

    def saved(self, name: str) -> bytes:
        """What a button saves."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=name, exact=True).click()
        return Path(download.value.path()).read_bytes()

    def violations(self) -> list[str]:
        return violations(self.page)

    def close(self) -> None:
        self.context.close()


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong for people with disabilities."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for rule in found for node in rule["nodes"]]
