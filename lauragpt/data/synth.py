"""Text -> synthetic speech to train on: `laura synth`.

In: sets of lines (`TextSet`). `plan_synth` turns them into jobs (pure data: which voice speaks which line, how fast, how high), the same
for the same seed. `run_jobs` speaks them into 16 kHz FLAC files and returns manifest examples. `synthesize` checks that all is there,
then does both, a set at a time, and writes NAME.jsonl when a set is done. Files that exist are kept, so an interrupted run goes on where
it stopped.

Some voices are kept out of training (`held_out`) and speak the dev and test lines, so that what is measured are new voices.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from lauragpt.audio import SAMPLE_RATE, save_audio
from lauragpt.data.checks import check_folder, check_room
from lauragpt.data.licences import CORPORA
from lauragpt.data.manifest import Example, write_manifest
from lauragpt.data.synth_texts import SETS, TEXT_FILES, TextSet, check_set, how_spoken, text_set
from lauragpt.data.synthesisers import VOICES, Voice, install_command, installed_voices, shown_name, speak_text
from lauragpt.errors import LauraError

MAX_SECONDS = {"train": 15.0, "dev": 9.0, "test": 9.0}  # what is measured stays as it is, so that measurements compare
BYTES_A_SECOND = 20_000  # of FLAC at 16 kHz, and some for the file system


@dataclass(frozen=True)
class Job:
    """One recording to make, and the examples it will be."""

    id: str  # "synth-books/00f3a1c2d4e5-slt": also the file's name
    corpus: str
    split: str
    text: str
    lang: str
    voice: Voice
    rate: float  # 1 = the voice's own speed; 1.1 is faster
    pitch: int  # as Voice.pitch
    seconds: float  # estimate
    uses: tuple[dict, ...] = field(default_factory=tuple)  # fields of the examples: task, lang, targets, source, extra ...


def check_synth(data: Path, out: Path, sets: Sequence[str]) -> None:
    """LauraError that names all that the sets lack, before minutes of work: synthesisers, texts, a folder that can be written."""
    if not data.is_dir():
        raise LauraError(f"{data} is not a folder of corpora: it should hold text/books_en.txt.gz and so on (docs/corpora.md)")
    check_folder(out)
    voices, problems, missing = installed_voices(), [], set()
    for name in sets:
        lang, engines = how_spoken(name)
        if not any(voice.lang == lang and voice.engine in engines and not voice.held_out for voice in voices):
            able = {voice.engine for voice in VOICES if voice.lang == lang and voice.engine in engines}
            problems.append(f"{name} needs {' or '.join(sorted(map(shown_name, able)))}")
            missing |= able
        if not any((data / "text" / f"{file}.gz").exists() for file in TEXT_FILES[name]):
            problems.append(f"{name} needs text/{TEXT_FILES[name][0]}.gz in {data}")
    if problems:
        install = f"; no speech synthesiser is there for some: {install_command(missing)}" if missing else ""
        raise LauraError(f"{', '.join(problems)}{install}; or leave these sets out with --sets")


def plan_synth(text_sets: Iterable[TextSet], voices: Iterable[Voice] = VOICES, seed: int = 0) -> list[Job]:
    """The jobs for the sets, in order. What a line becomes depends on the seed and the line alone, not on its neighbours."""
    voices, jobs = list(voices), []
    for texts in text_sets:
        spent = {"train": 0.0, "dev": 0.0, "test": 0.0}
        budget = {"train": texts.hours * 3600, "dev": texts.dev_hours * 3600, "test": texts.test_hours * 3600}
        order = sorted(texts.lines, key=lambda line: _digest(seed, texts.corpus, line.key))
        for line in order:
            chosen = _cast(texts, line.split, voices, _rng(seed, texts.corpus, line.key))
            for voice, rate, pitch in chosen:
                seconds = estimate_seconds(line.text) / rate
                if seconds > MAX_SECONDS[line.split] - 0.5 or spent[line.split] + seconds > budget[line.split]:
                    continue
                spent[line.split] += seconds
                # all that the sound depends on is in the name: a file that exists is the right one
                name = f"{texts.corpus}/{_digest(line.key, line.text, voice.key, rate, pitch)[:12]}-{voice.name}"
                jobs.append(Job(name, texts.corpus, line.split, line.text, texts.lang, voice, rate, pitch, seconds, line.uses))
    return jobs


def _cast(texts: TextSet, split: str, voices: list[Voice], rng: np.random.Generator) -> list[tuple[Voice, float, int]]:
    """The voices of a line (`texts.copies` different ones), their speed and pitch. A set for TTS keeps each voice as it is."""
    share = texts.engines if split == "train" else texts.measured
    allowed = [v for v in voices if v.lang == texts.lang and v.held_out == (split != "train") and share.get(v.engine, 0) > 0]
    if texts.only:
        allowed = [v for v in allowed if v.name in texts.only]
    if not allowed:
        return []
    total = {engine: sum(v.weight for v in allowed if v.engine == engine) for engine in share}
    weight = np.array([v.weight / total[v.engine] * share[v.engine] for v in allowed])
    picks = rng.choice(len(allowed), size=min(texts.copies, len(allowed)), replace=False, p=weight / weight.sum())
    cast = []
    for voice in (allowed[i] for i in picks):
        rate, pitch = round(rng.uniform(0.85, 1.2), 2), round(voice.pitch * rng.uniform(0.8, 1.25))
        cast.append((voice, rate, pitch) if texts.varied else (voice, 1.0, voice.pitch))
    return cast


def estimate_seconds(text: str) -> float:
    """About how long flite takes over a text at its own speed (fitted on its four voices)."""
    return 0.4 + 0.06 * len(text)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _rng(*parts: object) -> np.random.Generator:
    return np.random.default_rng(int(_digest(*parts)[:16], 16))


def run_jobs(jobs: list[Job], out: str | Path, workers: int = 1, progress: Callable[[Job, float], None] | None = None) -> list[Example]:
    """Speaks the jobs into `out`/JOB_ID.flac and returns their examples. Recordings that came out silent, longer than MAX_SECONDS or
    not at all are left out. `workers` processes do the work: Pico lets no other thread run. `progress(job, seconds)`. LauraError where
    most jobs fail, or a process dies."""
    out = Path(out).absolute()
    for folder in {(out / job.id).parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    examples, failures = [], []
    # spawned, not forked: PyTorch may have threads in this process, which a fork would leave hanging
    pool = ProcessPoolExecutor(max(1, workers), mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        for job, result in zip(jobs, pool.map(partial(_work, out=out), jobs, chunksize=4)):  # in order: the manifest is always the same
            if isinstance(result, LauraError):
                failures.append(result)
            elif result:
                examples += job_examples(job, str(out / f"{job.id}.flac"), result)
            if progress:
                progress(job, 0.0 if isinstance(result, LauraError) else result)
    except BrokenProcessPool:
        raise LauraError(
            "a process that makes recordings was killed, perhaps for lack of memory: run this again, with fewer --workers; "
            "what was made is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
    if jobs and len(failures) > len(jobs) / 2:
        raise failures[0]
    return examples


def _start_worker() -> None:
    """A worker leaves Ctrl-C to its parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(job: Job, out: Path) -> float | LauraError:
    try:
        return _make(job, out / f"{job.id}.flac")
    except LauraError as error:
        return error


def _make(job: Job, path: Path) -> float:
    """Seconds of the recording of a job, made unless it is there; 0 when it is to be left out."""
    if path.exists():
        return soundfile.info(path).duration
    wave = speak_text(job.text, job.voice, job.rate, job.pitch)
    seconds = len(wave) / SAMPLE_RATE
    if seconds > MAX_SECONDS[job.split] or seconds < 0.2 or np.abs(wave).max() < 0.01:
        return 0.0
    save_audio(path, wave)
    return seconds


def job_examples(job: Job, audio: str, seconds: float) -> list[Example]:
    """The manifest examples of a recording. A voice at another pitch is another speaker: prompts must not mix them."""
    speaker = job.voice.key if job.pitch == job.voice.pitch else f"{job.voice.key}@{job.pitch // 10 * 10}"
    return [
        Example(
            id=f"{use['task']}/{job.id}", split=job.split, corpus=job.corpus, audio=audio, duration=round(seconds, 3), speaker=speaker,
            **{"lang": job.lang, **use},
        )
        for use in job.uses
    ]  # fmt: skip


def synthesize(
    data: str | Path,
    out: str | Path,
    sets: Iterable[str] | None = None,
    hours: float = 1.0,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[str, int, int, float], None] | None = None,
    open_only: bool = False,
) -> dict[str, float]:
    """Makes the named sets (all by default) from the texts in `data` and writes `out`/NAME.jsonl after each; returns hours by set.

    `hours` multiplies the length of each set; `workers` processes make it, by default one a core; `progress(set, jobs done, jobs, seconds
    of audio so far)`. `open_only` leaves out the sets whose texts forbid commercial use. LauraError, before the first recording, where
    something is missing.
    """
    from lauragpt.engine.onnx_backend import cores  # here, for the workers do without it

    data, out, workers = Path(data), Path(out), workers or cores()
    names = chosen_sets(sets, open_only)
    check_synth(data, out, names)
    voices = installed_voices()
    plans = {name: plan_synth([text_set(name, data, hours)], voices, seed) for name in names}
    if empty := [name for name, jobs in plans.items() if not jobs]:
        raise LauraError(f"{', '.join(empty)}: none of the sentences can be spoken: check their texts in {data / 'text'}, or raise --hours")
    planned = sum(job.seconds for jobs in plans.values() for job in jobs if not (out / "audio" / f"{job.id}.flac").exists())
    check_room(out, planned * BYTES_A_SECOND, f"{planned / 3600:.1f} hours of speech")
    return {name: _make_set(name, jobs, out, workers, progress) for name, jobs in plans.items()}


def chosen_sets(sets: Iterable[str] | None = None, open_only: bool = False) -> list[str]:
    """The names of the sets to be made. LauraError for one that there is not."""
    names = list(SETS) if sets is None else list(sets)
    for name in names:
        check_set(name)
    return [name for name in names if CORPORA[name].commercial or not open_only]


def _make_set(name: str, jobs: list[Job], out: Path, workers: int, progress: Callable[[str, int, int, float], None] | None) -> float:
    """Hours of the set that was made."""
    done, total = 0, 0.0

    def report(job: Job, seconds: float) -> None:
        nonlocal done, total
        done, total = done + 1, total + seconds
        if progress:
            progress(name, done, len(jobs), total)

    write_manifest(out / f"{name}.jsonl", run_jobs(jobs, out / "audio", workers, report))
    return total / 3600
