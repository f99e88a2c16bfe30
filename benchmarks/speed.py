"""How quick every verb is, how time and memory grow with the recording's length, and how that compares with pocketsphinx.

In: a checkpoint; the recordings and texts are the demo's own (lauragpt/assets/demo), put end to end and repeated where more is needed.
Out: tables on stdout, and speed.json, speed.md and speed.png in a folder. Every figure is of one run on one machine, which is named
beside it; loading a model is never counted. README.md beside this file says what the columns mean.
"""

import functools
import importlib.metadata
import itertools
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import command
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lauragpt.audio import SAMPLE_RATE
from lauragpt.cli.demo import SEED, SENTENCES, SNR, TEXT_TRANSLATIONS, read_clips
from lauragpt.data.augment import fit, mix_at_snr, unclip
from lauragpt.engine.api import Laura
from lauragpt.errors import LauraError
from lauragpt.evaluate.metrics import MissingPackage, need
from lauragpt.evaluate.report.tables import number

ITEMS = 8  # inputs of each verb: one by one, then all in one call
LONG = 60  # seconds; a longer recording is read once, without a warm-up, which would take minutes and change nothing
PEER_LONGEST = 600  # seconds; the longest recording for the baseline, which takes a quarter of real time
FITTED = 20  # seconds; growth is fitted from here on, because shorter recordings are one chunk
PACKAGES = ("lauragpt", "onnxruntime", "torch", "numpy", "pocketsphinx")


@dataclass(frozen=True)
class Plan:
    item: float  # seconds of a recording that a verb is given
    lengths: tuple[int, ...]  # seconds, ascending: a process's peak memory never falls
    runs: int  # the median of them counts


FULL, QUICK = Plan(5.0, (1, 5, 20, 60, 300, 600, 1800, 3600), 5), Plan(1.0, (1, 2), 1)

# verb -> (kind of its inputs, the call with a list of them)
VERBS: dict[str, tuple[str, Callable[[Laura, list], list]]] = {
    "transcribe": ("speech", lambda laura, items: laura.transcribe(items, lang="en")),
    "translate speech": ("speech", lambda laura, items: laura.translate(items, to="de")),
    "translate text": ("text", lambda laura, items: laura.translate(text=items, to="de")),
    "speak": ("text", lambda laura, items: laura.speak(items, lang="en", seed=SEED)),
    "enhance": ("noisy speech", lambda laura, items: laura.enhance(items)),
    "caption": ("sound", lambda laura, items: laura.caption(items)),
    "emotion": ("voice", lambda laura, items: laura.emotion(items)),
    "understand": ("order", lambda laura, items: laura.understand(items, lang="en")),
}
GROWING = ("transcribe", "enhance")


@functools.cache
def recordings() -> dict[str, np.ndarray]:
    """Kind -> the English recordings of that kind end to end, (N,)."""
    clips = [clip for clip in read_clips() if clip.lang == "en"]

    def join(*tasks: str) -> np.ndarray:
        return np.concatenate([clip.wave for clip in clips if clip.task in tasks])

    speech, noise = join("asr", "ser", "slu"), join("noise")
    noisy = unclip(mix_at_snr(speech, fit(noise, len(speech), np.random.default_rng(SEED)), SNR))
    return {"speech": speech, "noisy speech": noisy, "sound": join("aac"), "voice": join("ser"), "order": join("slu")}


def material(kind: str, seconds: float, count: int) -> list:
    """`count` waves of `seconds` each, each continuing where the last one ended; or as many sentences."""
    if kind == "text":
        transcripts = [clip.reference for clip in read_clips() if clip.task == "asr" and clip.lang == "en" and " " in clip.reference]
        return list(itertools.islice(itertools.cycle([SENTENCES["en"], TEXT_TRANSLATIONS[0][2], *transcripts]), count))
    return list(np.resize(recordings()[kind], (count, int(seconds * SAMPLE_RATE))))


def timed(runs: int, warm: bool, call: Callable, *args: object) -> tuple[float, object]:
    """The median seconds of `runs` calls, with `warm` after one that does not count; and the last answer."""
    seconds, answer = [], call(*args) if warm else None
    for _ in range(runs):
        start = time.perf_counter()
        answer = call(*args)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), answer


def measure_verbs(laura: Laura, plan: Plan, tick: Callable[[str], None], notes: list[str]) -> list[dict]:
    """Two rows a verb: the same inputs one by one, and in one call."""
    rows = []
    for verb, (kind, ask) in VERBS.items():
        items, alone = material(kind, plan.item, ITEMS), None
        for batch in (1, ITEMS):
            tick(f"{verb}, batch {batch}")
            try:
                seconds, results = timed(plan.runs, True, _in_groups, laura, ask, items, batch)
            except LauraError as error:
                notes.append(f"{verb} at batch {batch} was not measured: {error}")
                continue
            alone = seconds if batch == 1 else alone
            heard = [len(wave) for wave in items if kind != "text"] or [len(r.audio) for r in results if r.audio is not None]
            sound = sum(heard) / SAMPLE_RATE
            row = {"verb": verb, "batch": batch, "inputs": ITEMS, "seconds": seconds, "seconds_a_call": seconds * batch / ITEMS}
            row |= {"audio_seconds": sound or None, "real_time_factor": seconds / sound if sound else None}
            rows.append(row | {"speed_up": alone / seconds if alone else None})
    return rows


def _in_groups(laura: Laura, ask: Callable, items: list, size: int) -> list:
    return [result for at in range(0, len(items), size) for result in ask(laura, items[at : at + size])]


def measure_growth(checkpoint: str, plan: Plan, baseline: Callable | str, tick: Callable[[str], None], notes: list[str]) -> list[dict]:
    """A row a verb and length. Each verb has a process of its own, so that the memory is its own; the baseline follows on the same
    audio."""
    rows = []
    for verb in GROWING:
        with ProcessPoolExecutor(1, get_context("spawn")) as child:
            for length in plan.lengths:
                tick(f"{verb}, {length} s")
                runs, warm = (plan.runs, True) if length <= LONG else (1, False)
                try:
                    seconds, peak, loaded = child.submit(_grow, checkpoint, verb, length, runs, warm).result()
                except BrokenProcessPool:
                    notes.append(f"{verb} was not measured from {length} s on: its process was killed, likely for want of memory")
                    break
                row = {"verb": verb, "audio_seconds": length, "runs": runs, "seconds": seconds, "real_time_factor": seconds / length}
                row |= {"peak_mib": peak, "loaded_mib": loaded, "peer_seconds": None, "times_peer": None}
                if verb == "transcribe" and callable(baseline) and length <= PEER_LONGEST:
                    tick(f"pocketsphinx, {length} s")
                    row["peer_seconds"], _ = timed(runs, warm, baseline, material("speech", length, 1)[0])
                    row["times_peer"] = seconds / row["peer_seconds"]
                elif verb == "transcribe" and not callable(baseline):
                    row["times_peer"] = baseline
                rows.append(row)
    return rows


def growth(rows: list[dict]) -> list[str]:
    """A sentence a verb: with which power of the length its time grows, and how much its memory, from FITTED seconds on."""
    told = []
    for verb in dict.fromkeys(row["verb"] for row in rows):
        long = [row for row in rows if row["verb"] == verb and row["audio_seconds"] >= FITTED]
        if len(long) < 3:
            continue
        power = np.polyfit(np.log([row["audio_seconds"] for row in long]), np.log([row["seconds"] for row in long]), 1)[0]
        held = [row["peak_mib"] for row in long if row["peak_mib"] is not None]
        memory = f", memory from {held[0]:.0f} to {held[-1]:.0f} MiB" if held else ""
        told.append(
            f"{verb}, {long[0]['audio_seconds']} to {long[-1]['audio_seconds']} s: "
            f"time grows as the length to the power {power:.2f}{memory}"
        )
    return told


@functools.cache
def _load(checkpoint: str) -> tuple[Laura, float | None]:
    return Laura.load(checkpoint), peak_mib()


def _grow(checkpoint: str, verb: str, length: int, runs: int, warm: bool) -> tuple[float, float | None, float | None]:
    """In the child: (seconds, peak MiB so far, MiB once the model was loaded)."""
    laura, loaded = _load(checkpoint)
    kind, ask = VERBS[verb]
    seconds, _ = timed(runs, warm, ask, laura, material(kind, length, 1))
    return seconds, peak_mib(), loaded


def peak_mib() -> float | None:
    """The most memory this process has held. From /proc where there is one, because getrusage may begin at the parent's peak."""
    try:
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10
    except (OSError, TypeError):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def open_baseline() -> Callable[[np.ndarray], str] | str:
    """pocketsphinx with its own English model, opened once as Laura is; or how to get it."""
    try:
        decoder = need("pocketsphinx").Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")
    except MissingPackage as error:
        return str(error)

    def hear(wave: np.ndarray) -> str:
        decoder.start_utt()
        decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        return decoder.hyp().hypstr if decoder.hyp() else ""

    return hear


def machine(laura: Laura, packages: tuple[str, ...] = PACKAGES) -> dict:
    """What the figures were measured on."""
    try:
        named = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        named = None
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": named[1] if named else platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "threads": laura.runtime.backend.threads,
        "device": f"{laura.runtime.backend.device} ({laura.runtime.backend.name})",
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.system(), "python": platform.python_version(), "packages": versions,
    }  # fmt: skip


def markdown(report: dict) -> str:
    where, plan = report["machine"], report["plan"]
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    lines = [f"# Speed of {report['checkpoint']}" + ", the quick form: for a look, not to be quoted" * report["quick"], ""]
    lines += [f"- {where['cpu']}, {where['cores']} cores, {where['threads']} threads; model on {where['device']}; {where['system']}"]
    lines += [f"- Python {where['python']}, {packages}; load average before the run {where['load_average']}"]
    lines += [
        f"- Runs after a warm-up, the median counts: {plan['runs']}; over {LONG} s of audio one run without.",
        *(f"- {note}" for note in report["notes"]),
    ]
    heads = {
        "verbs": ("verb", "batch", "inputs", "seconds", "seconds_a_call", "audio_seconds", "real_time_factor", "speed_up"),
        "growth": ("verb", "audio_seconds", "runs", "seconds", "real_time_factor", "peak_mib", "loaded_mib", "peer_seconds", "times_peer"),
    }
    for part, title in (
        ("verbs", f"Verbs, {plan['item']:g} s a recording"),
        ("growth", "Growth with length, and pocketsphinx on the same audio"),
    ):
        lines += [
            "",
            f"## {title}",
            "",
            "| " + " | ".join(name.replace("_", " ") for name in heads[part]) + " |",
            "|" + " --- |" * len(heads[part]),
        ]
        lines += ["| " + " | ".join(cell(row[name]) for name in heads[part]) + " |" for row in report[part]]
    return "\n".join(lines) + "\n"


def cell(value: object) -> str:
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


def draw(report: dict, path: Path) -> None:
    """Three pictures side by side. MissingPackage without matplotlib."""
    need("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5), layout="constrained")
    bars, times, memory = figure.subplots(1, 3)
    verbs = list(dict.fromkeys(row["verb"] for row in report["verbs"] if row["real_time_factor"]))
    for batch, shift in ((1, -0.2), (ITEMS, 0.2)):
        rows = [row for row in report["verbs"] if row["batch"] == batch and row["real_time_factor"]]
        bars.barh(
            [verbs.index(row["verb"]) + shift for row in rows], [row["real_time_factor"] for row in rows], 0.4, label=f"batch {batch}"
        )
    bars.set_yticks(range(len(verbs)), verbs)
    bars.invert_yaxis()
    bars.set(title="verbs", xlabel="seconds of computing a second of sound")
    for verb in GROWING:
        rows = [row for row in report["growth"] if row["verb"] == verb]
        times.plot([row["audio_seconds"] for row in rows], [row["real_time_factor"] for row in rows], "o-", label=verb)
        held = [(row["audio_seconds"], row["peak_mib"]) for row in rows if row["peak_mib"] is not None]
        if held:
            memory.plot(*zip(*held), "o-", label=verb)
    if baselines := [(row["audio_seconds"], row["peer_seconds"] / row["audio_seconds"]) for row in report["growth"] if row["peer_seconds"]]:
        times.plot(*zip(*baselines), "s--", label="pocketsphinx")
    times.set(title="time", ylabel="seconds of computing a second of sound")
    memory.set(title="memory", ylabel="peak MiB")
    for axes in (times, memory):
        axes.set(xscale="log", xlabel="seconds of audio", ylim=(0, 1.1 * axes.get_ylim()[1]))
        axes.set_xticks(report["plan"]["lengths"], report["plan"]["lengths"])
        axes.set_xticks([], minor=True)
    for axes in (bars, times, memory):
        axes.legend(*axes.get_legend_handles_labels())
    figure.suptitle(f"{report['checkpoint']} on {report['machine']['cpu']}, {report['machine']['threads']} threads")
    aside = path.with_name(f".{path.name}")
    try:
        figure.savefig(aside, format="png", dpi=120)
        os.replace(aside, path)
    except OSError as error:
        raise LauraError(f"{path} cannot be written: {error.strerror}") from None


def benchmark(checkpoint: str, out: Path, quick: bool = False) -> dict:
    """Measures, writes the three files, and returns what is in speed.json."""
    command.check_out(out)
    plan, laura, baseline = QUICK if quick else FULL, Laura.load(checkpoint), open_baseline()
    report = {"checkpoint": laura.name, "quick": quick, "seed": SEED, "plan": vars(plan), "machine": machine(laura), "notes": []}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn between measurements only, so that drawing takes nothing from what is timed.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task(
            "",
            total=2 * len(VERBS)
            + len(GROWING) * len(plan.lengths)
            + callable(baseline) * sum(length <= PEER_LONGEST for length in plan.lengths),
        )
        done = itertools.count()

        def tick(name: str) -> None:
            bar.update(task, description=name, completed=next(done), refresh=True)

        report["verbs"] = measure_verbs(laura, plan, tick, report["notes"])
        report["growth"] = measure_growth(checkpoint, plan, baseline, tick, report["notes"])
    report["notes"] += growth(report["growth"])
    try:
        draw(report, out / "speed.png")
    except MissingPackage as error:
        report["notes"].append(f"speed.png: {error}")
    command.write(report, out, "speed", markdown(report))
    return report


def main(arguments: list[str] | None = None) -> int:
    return command.run(
        "speed",
        "Measure the speed of every verb, and how time and memory grow with length.",
        "short recordings, one run",
        benchmark,
        markdown,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
