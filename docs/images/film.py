"""The film at the top of the README, made from the page that a server shows.

In: the address of a `laura serve` with `mini`. Out: page.gif beside this file. Needs playwright, chromium and Pillow.

    laura serve --port 8123
    python docs/images/film.py http://127.0.0.1:8123
"""

import io
import shutil
import sys
from importlib import resources
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

SIZE = {"width": 1120, "height": 640}
SHOWN = (910, 520)  # pixels of the film
COLOURS = 192
STILL, STEP = 1400, 120  # ms of a frame that one looks at, and of one that moves
LONG = 600_000  # ms: it only ends what would hang for ever
CLIPS = resources.files("lauragpt") / "assets" / "demo"


class Film:
    def __init__(self, page: Page):
        self.page, self.frames, self.times = page, [], []

    def shoot(self, milliseconds: int) -> None:
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS)
        self.frames.append(picture)
        self.times.append(milliseconds)

    def save(self, path: Path) -> None:
        """One palette for all frames, so that what stands still is the same in each and takes no place."""
        sheet = Image.new("RGB", (SHOWN[0], SHOWN[1] * len(self.frames)))
        for number, frame in enumerate(self.frames):
            sheet.paste(frame, (0, number * SHOWN[1]))
        palette = sheet.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=self.times, loop=0, optimize=True)


def answered(page: Page) -> None:
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#run")).to_be_enabled(timeout=LONG)
    page.wait_for_timeout(400)


def give(page: Page, name: str) -> None:
    [clip] = [file for file in CLIPS.iterdir() if file.name.startswith(name) and file.name.endswith(".opus")]
    page.locator("#file").set_input_files(str(clip))


def verb(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).check()


def transcribe(film: Film, page: Page) -> None:
    film.shoot(STILL)
    give(page, "librispeech-6272")
    film.shoot(STILL // 2)
    answered(page)
    film.shoot(STILL)
    words = page.locator("#shown .words button")
    for number in range(2, min(14, words.count())):  # as they light up while they are played
        words.nth(number).click()
        page.get_by_role("button", name="Pause").click()
        film.shoot(2 * STEP)


def enhance(film: Film, page: Page) -> None:
    verb(page, "Enhance")
    give(page, "kathleen")
    answered(page)
    film.shoot(STILL)
    for name in ("Input", "Enhanced", "Difference"):
        page.get_by_role("button", name=name, exact=True).click()
        film.shoot(STILL // 2)


def speak(film: Film, page: Page) -> None:
    verb(page, "Speak")
    text = "Good morning, everyone."
    for end in (*range(4, len(text), 6), len(text)):
        page.locator("#text").fill(text[:end])
        film.shoot(STEP)
    answered(page)
    film.shoot(STILL)
    page.locator(".part").scroll_into_view_if_needed()
    box = page.locator(".screen").bounding_box()
    page.mouse.move(box["x"] + 0.35 * box["width"], box["y"] + 30)
    page.mouse.down()
    for share in (0.42, 0.5, 0.57, 0.64):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 30)
        film.shoot(STEP)
    page.mouse.up()
    page.get_by_role("button", name="Say this part anew").click()
    expect(page.locator("#shown")).to_contain_text('"regenerated"', timeout=LONG)
    expect(page.locator("#run")).to_be_enabled(timeout=LONG)
    page.wait_for_timeout(400)
    film.shoot(2 * STILL)


def main(address: str) -> None:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program)
        page = browser.new_page(viewport=SIZE, locale="en-US", color_scheme="light")
        page.set_default_timeout(LONG)
        page.goto(address)
        expect(page.locator("#state")).to_contain_text("mini")
        film = Film(page)
        for scene in (transcribe, enhance, speak):
            scene(film, page)
        film.save(Path(__file__).with_name("page.gif"))
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
