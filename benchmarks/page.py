"""The page of `laura serve` in a real browser: its size, its first paint over the loopback, and how soon the words of a recording appear.

In: a checkpoint. Out: tables on stdout, and page.json and page.md in a folder. Needs the package `playwright` and `chromium`."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import command
import soundfile
from serve import started
from speed import SEED, cell, machine, material

from lauragpt.audio import SAMPLE_RATE
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate.metrics import need

PACKAGES = ("lauragpt", "onnxruntime", "playwright", "numpy")
SECONDS = 30.0  # of the recording
PAINTS, ANSWERS = 20, 5  # visits, and recordings that are transcribed
FORGET = 600_000  # ms: nothing is measured by it
GOALS = {"first paint, ms": 100, "with all it loads, kB": 300, "first words, s": 2}
# Milliseconds from the click to the first word and to the end of the answer.
WATCH = """() => {
  const [began, run] = [performance.now(), document.querySelector('#run')];
  window.seen = {};
  const look = () => {
    if (!window.seen.first && document.querySelector('#shown .words button')) window.seen.first = performance.now() - began;
    if (!window.seen.last && !run.disabled) window.seen.last = performance.now() - began;
  };
  run.click();
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


@contextlib.contextmanager
def browsing() -> Iterator:
    """A browser without a window. LauraError where there is none."""
    play = need("playwright.sync_api", "playwright")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise LauraError("the page is measured in chromium: install it, as with apt-get install chromium")
    with play.sync_playwright() as playing:
        browser = playing.chromium.launch(executable_path=program)
        yield browser
        browser.close()


def visit(browser, address: str) -> tuple[float, int]:
    """With nothing kept from before: milliseconds until something is painted, and bytes of all files."""
    context, sizes = browser.new_context(), []
    page = context.new_page()
    page.on("response", lambda answer: sizes.append(len(answer.body())) if "/v1/" not in answer.url and answer.status == 200 else None)
    page.goto(address, wait_until="networkidle")
    while not (painted := page.evaluate("performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)")):
        page.wait_for_timeout(20)
    context.close()
    return painted[0], sum(sizes)


def answer(browser, address: str, recording: Path) -> dict[str, float]:
    """Seconds from the click on Run until the first word, and until all of them, are there."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(FORGET)
    page.goto(address)
    page.locator("#file").set_input_files(recording)
    page.evaluate(WATCH)
    while not page.evaluate("window.seen.last"):
        page.wait_for_timeout(50)
    if not (seen := page.evaluate("window.seen")).get("first"):
        raise LauraError(f"the page shows no word of {recording.name}: {page.locator('#error').text_content()}")
    context.close()
    return {name: milliseconds / 1000 for name, milliseconds in seen.items()}


def whole(laura: Laura, recording: Path) -> float:
    """Seconds that the package itself takes for all of it."""
    began = time.perf_counter()
    laura.transcribe(recording)
    return time.perf_counter() - began


def benchmark(checkpoint: str, out: Path, quick: bool = False) -> dict:
    """Measures, writes the two files, and returns what is in page.json."""
    command.check_out(out)
    paints, answers, seconds = (2, 1, 5.0) if quick else (PAINTS, ANSWERS, SECONDS)
    laura = Laura.load(checkpoint)
    report = {"checkpoint": laura.name, "quick": quick, "seed": SEED, "seconds": seconds, "machine": machine(laura, PACKAGES)}
    with TemporaryDirectory() as folder, started(checkpoint) as (_, (host, port), _), browsing() as browser:
        recording, address = Path(folder) / "speech.wav", f"http://{host}:{port}"
        soundfile.write(recording, material("speech", seconds, 1)[0], SAMPLE_RATE)
        visit(browser, address), answer(browser, address, recording), laura.transcribe(recording)  # warm-up
        painted = [visit(browser, address) for _ in range(paints)]
        read = [answer(browser, address, recording) | {"package": whole(laura, recording)} for _ in range(answers)]
    sizes = {size for _, size in painted}
    files = [file.read_bytes() for file in (resources.files("lauragpt") / "page").iterdir()]
    report["rows"] = [
        row("first paint, ms", [milliseconds for milliseconds, _ in painted]),
        row("with all it loads, kB", [size / 1000 for size in sizes]),
        row("all files of the page, kB", [sum(map(len, files)) / 1000]),
        row("first words, s", [each["first"] for each in read]),
        row("all words, s", [each["last"] for each in read]),
        row("all words by the package itself, s", [each["package"] for each in read]),
        row("first words by all words", [each["first"] / each["last"] for each in read]),
        row("all words by the package itself", [each["last"] / each["package"] for each in read]),
    ]
    command.write(report, out, "page", markdown(report))
    return report


def row(what: str, values: list[float]) -> dict:
    values = sorted(values)
    return {"what": what, "median": values[len(values) // 2], "from": values[0], "to": values[-1], "goal": GOALS.get(what)}


def markdown(report: dict) -> str:
    lines = command.head(f"The page of laura serve with {report['checkpoint']}", report, f"{report['machine']['threads']} threads")
    lines += [f"- a recording of {report['seconds']:g} s; browser, server and package share the machine", ""]
    return "\n".join([*lines, *command.table(tuple(report["rows"][0]), report["rows"], cell)]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    return command.run("page", "Measure the page in a browser: size, first paint, first words.", "few visits, a recording of 5 s",
                       benchmark, markdown, arguments)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
