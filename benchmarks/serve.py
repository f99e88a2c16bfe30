"""`laura serve` under load: a process of its own on this machine, asked by many clients at once whose answers are known beforehand.

In: a checkpoint, and the requests of known_answers.py. Out: tables on stdout, and serve.json and serve.md in a folder: answers that were
lost, wrong or somebody else's, waiting times beside those of one client, memory, what answering together gains, and what HTTP costs."""

import contextlib
import http.client
import json
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import command
import numpy as np
from known_answers import LOST, Case, files, form, mixed, spoken, transcripts
from speed import SEED, cell, machine

from lauragpt.engine.api import Laura
from lauragpt.engine.onnx_backend import cores
from lauragpt.errors import LauraError
from lauragpt.evaluate.metrics import MissingPackage, need

PACKAGES = ("lauragpt", "onnxruntime", "fastapi", "uvicorn", "numpy")


@dataclass(frozen=True)
class Plan:
    requests: int  # of many clients, after a fifth as many as a warm-up
    clients: int
    seconds: float  # of a recording
    cases: int  # of each verb; of the transcripts four times as many
    repeats: int  # of these transcripts, one at a time and together
    runs: int  # of both in turn
    single: int  # requests that are timed by themselves
    starts: int  # of the server


FULL, QUICK = Plan(1000, 32, 3.0, 3, 8, 3, 30, 3), Plan(24, 4, 1.0, 1, 2, 1, 2, 1)


class Client:
    """One connection, which is kept."""

    def __init__(self, address: tuple[str, int]):
        self.address, self.connection = address, http.client.HTTPConnection(*address, timeout=600)

    def ask(self, case: Case) -> bytes | None:
        """The body of the answer; None where there is none, or another status than 200."""
        try:
            self.connection.request("POST", case.path, case.body, {"Content-Type": case.kind})
            answer = self.connection.getresponse()
            body = answer.read()
            return body if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            self.connection.close()  # the next request opens it again
            return None

    def get(self, path: str) -> str:
        self.connection.request("GET", path)
        return self.connection.getresponse().read().decode()

    def first_byte(self, case: Case) -> float:
        """Seconds until the first of the sound is there."""
        began = time.perf_counter()
        self.connection.request("POST", case.path, case.body, {"Content-Type": case.kind})
        answer = self.connection.getresponse()
        answer.read(1)
        took = time.perf_counter() - began
        answer.read()
        return took


@contextlib.contextmanager
def started(checkpoint: str, *options: str) -> Iterator[tuple[subprocess.Popen, tuple[str, int], float]]:
    """A server that is ready: its process, its address, and how many seconds it took. LauraError where it ends instead."""
    began, words = time.perf_counter(), [sys.executable, "-m", "lauragpt", "serve", checkpoint, "--port", "0", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if found is None:
            raise LauraError(f"laura serve did not start: {line.strip()}")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # the log, which else would fill its pipe
        address = (found[1], int(found[2]))
        while not is_ready(address):
            if process.poll() is not None:
                raise LauraError("laura serve ended before it was ready")
            time.sleep(0.01)
        yield process, address, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def is_ready(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def load(address: tuple[str, int], asked: list[Case], clients: int) -> list[tuple[Case, bytes | None, float]]:
    """All of `asked` by so many clients, each of which takes the next when it has its answer: (case, answer, seconds)."""
    waiting, done = iter(asked), []

    def work(client: Client) -> None:
        for case in waiting:  # one iterator for all: `next` of a list's iterator is whole under the interpreter's lock
            began = time.perf_counter()
            body = client.ask(case)
            done.append((case, body, time.perf_counter() - began))

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, [Client(address) for _ in range(clients)]))
    return done


def counted(clients: int, done: list[tuple[Case, bytes | None, float]], took: float, cases: list[Case]) -> dict:
    """A row of the table of requests."""
    verdicts = Counter(case.verdict(body, cases) for case, body, _ in done)
    seconds = [each for _, _, each in done]
    row = {"clients": clients, "requests": len(done)} | {name: verdicts[name] for name in ("right", LOST, "another's", "wrong")}
    return row | {"a second": len(done) / took, "p50 s": float(np.percentile(seconds, 50)), "p95 s": float(np.percentile(seconds, 95))}


def measure_requests(address: tuple[str, int], process: subprocess.Popen, cases: list[Case], plan: Plan, report: dict) -> None:
    """Rows of one client and of many with the same mixture, and the server's memory in between and at the end."""
    order = random.Random(SEED)
    asked = [order.choice(cases) for _ in range(plan.requests)]
    rows = []
    for clients, some in ((1, asked[: max(len(cases), plan.requests // 10)]), (plan.clients, asked)):
        if clients == plan.clients:
            load(address, asked[: plan.requests // 5], clients)  # the warm-up
            report["memory"]["warm"] = resident_mib(process, report)
        began = time.perf_counter()
        done = load(address, some, clients)
        rows.append(counted(clients, done, time.perf_counter() - began, cases))
    report["memory"]["end"], report["requests"] = resident_mib(process, report), rows


def measure_batches(address: tuple[str, int], process: subprocess.Popen, laura: Laura, checkpoint: str, plan: Plan) -> dict:
    """The same recordings in turn: one at a time, from many clients, and from these with a process of one thread on each core. Seconds,
    ratios to one at a time, jobs a call of the model, and what a recording costs the server's processor, which also tells what is gained
    where others use it."""
    cases, workers = transcripts(laura, plan.seconds, 4 * plan.cases), max(2, cores())
    asked, verdicts, told = cases * plan.repeats, Counter(), {}

    def contender(clients: int, address: tuple[str, int], process: subprocess.Popen, workers: int) -> Callable[[list[Case]], None]:
        def run(given: list[Case]) -> None:
            before, began = calls(address), processor_seconds(process)
            verdicts.update(case.verdict(body, cases) for case, body, _ in load(address, given, clients))
            after, ended = calls(address), processor_seconds(process)
            told[clients, workers] = {
                "jobs a call": (after[1] - before[1]) / (after[0] - before[0]),
                "processor ms a recording": None if began is None else 1000 * (ended - began) / len(given),
            }

        return run

    with started(checkpoint, "--workers", str(workers), "--threads", "1") as (several, there, _):
        who = {(1, 1): (address, process), (plan.clients, 1): (address, process), (plan.clients, workers): (there, several)}
        contenders = {key: contender(key[0], *server, key[1]) for key, server in who.items()}
        taken = command.in_turn(contenders, asked, plan.runs)
    rows = []
    for key, seconds in taken.items():
        row = {"clients": key[0], "processes": key[1], "recordings": len(asked), "seconds": statistics.median(seconds)}
        gain = command.spread(taken[1, 1], seconds)
        row |= {"a second": len(asked) / row["seconds"], "times one": gain["median"], "from": gain["from"], "to": gain["to"]}
        rows.append(row | told[key])
    return {"rows": rows, "not equal": verdicts.total() - verdicts["right"]}


def calls(address: tuple[str, int]) -> tuple[float, float]:
    """Calls of the model, and jobs answered in them, so far."""
    page = Client(address).get("/metrics")
    return tuple(float(re.search(rf"^laura_batch_jobs_{what} (\S+)$", page, re.MULTILINE)[1]) for what in ("count", "sum"))


def measure_single(address: tuple[str, int], laura: Laura, plan: Plan) -> list[dict]:
    """Rows of what one request costs: HTTP beside the call in this process, and the first byte of speech."""
    [file], client = files("speech", 1.0, 1), Client(address)
    case = Case("/v1/audio/transcriptions", *form(file), None, json.loads)
    taken = command.in_turn({"here": lambda _: laura.transcribe(file), "there": lambda _: client.ask(case)}, None, plan.single)
    over = [there - here for here, there in zip(taken["here"], taken["there"], strict=True)]
    speech = Case("/v1/audio/speech", *spoken("Good morning, everyone.", stream_format="audio", response_format="pcm"), None, bytes)
    first = [client.first_byte(speech) for _ in range(plan.single + 1)][1:]
    timed = {
        "transcript of 1 s, in this process": taken["here"], "the same over HTTP": taken["there"], "what HTTP adds": over,
        "first byte of streamed speech": first,
    }  # fmt: skip
    return [spread_ms(name, seconds) for name, seconds in timed.items()]


def processor_seconds(process: subprocess.Popen) -> float | None:
    """That the server has used so far, on all cores; None where it cannot be known."""
    with contextlib.suppress(MissingPackage):
        server = need("psutil").Process(process.pid)
        times = [each.cpu_times() for each in (server, *server.children(recursive=True))]
        return sum(each.user + each.system for each in times)
    return None


def spread_ms(name: str, seconds: list[float]) -> dict:
    return {"what": name, "runs": len(seconds), "median ms": 1000 * statistics.median(seconds), "from": 1000 * min(seconds),
            "to": 1000 * max(seconds)}  # fmt: skip


def resident_mib(process: subprocess.Popen, report: dict) -> float | None:
    """Main memory that the server holds now; a note where it cannot be known."""
    try:
        return need("psutil").Process(process.pid).memory_info().rss / 2**20
    except MissingPackage as error:
        report["notes"] = [f"memory: {error}"]
        return None


def markdown(report: dict) -> str:
    lines = command.head(f"laura serve with {report['checkpoint']} under load", report, f"{report['machine']['threads']} threads")
    warm, end = report["memory"]["warm"], report["memory"]["end"]
    lines += [f"- recordings of {report['plan']['seconds']:g} s; the clients are on the same machine and take their share of it"]
    if warm is not None:
        lines += [f"- memory: {warm:.0f} MiB after a fifth of the requests as a warm-up, {end:.0f} MiB at the end, {end / warm - 1:+.1%}"]
    lines += [f"- of the transcripts asked for one at a time and together, {report['batches']['not equal']} were not those of the package"]
    lines += [f"- {note}" for note in report["notes"]]
    tables = {"Requests of every verb": report["requests"], "Transcripts, one at a time and together": report["batches"]["rows"],
              "One request": report["single"]}  # fmt: skip
    for title, rows in tables.items():
        lines += ["", f"## {title}", "", *command.table(tuple(rows[0]), rows, cell)]
    return "\n".join(lines) + "\n"


def planned(quick: bool, requests: int | None, clients: int | None) -> Plan:
    """LauraError for numbers with which nothing can be measured."""
    plan = QUICK if quick else FULL
    requests, clients = requests if requests is not None else plan.requests, clients if clients is not None else plan.clients
    if requests < 10 or clients < 2:
        raise LauraError(f"{requests} requests by {clients} clients: take at least 10 and 2")
    return replace(plan, requests=requests, clients=clients)


def benchmark(checkpoint: str, out: Path, quick: bool = False, requests: int | None = None, clients: int | None = None) -> dict:
    """Measures, writes the two files, and returns what is in serve.json."""
    command.check_out(out)
    plan, laura = planned(quick, requests, clients), Laura.load(checkpoint)
    report = {"checkpoint": laura.name, "quick": quick, "seed": SEED, "plan": vars(plan), "machine": machine(laura, PACKAGES)}
    report |= {"notes": [], "memory": {}}
    cases, starts = mixed(laura, plan.seconds, plan.cases), []
    for _ in range(plan.starts - 1):
        with started(checkpoint) as (_, _, took):
            starts.append(took)
    with started(checkpoint) as (process, address, took):
        starts.append(took)
        report["single"] = [spread_ms("from the command to /ready", starts), *measure_single(address, laura, plan)]
        measure_requests(address, process, cases, plan, report)
        report["batches"] = measure_batches(address, process, laura, checkpoint, plan)
    command.write(report, out, "serve", markdown(report))
    return report


def main(arguments: list[str] | None = None) -> int:
    return command.run(
        "serve",
        "Measure a server under load: answers lost or swapped, waiting times, memory, batches.",
        "few requests of short recordings, one run",
        benchmark,
        markdown,
        arguments,
        {"requests": "requests of every verb by all clients (1000)", "clients": "clients at once (32)"},
    )


if __name__ == "__main__":
    sys.exit(main())
