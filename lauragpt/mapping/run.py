"""`laura map`: a verb over a whole corpus, by Ray Data. Package ray, of the extra `cluster`.

In: a path, and what is asked (`Job`). Out: finished shards in the job's folder (shards.py). A block of Ray Data is the names of a shard's
inputs; an actor holds the model, reads, answers and writes the shard whole, so that of all that is done twice, because a machine was lost
or the work was begun again, there is one answer. The folder is one that all machines share, as is that of the recordings.
"""

import contextlib
import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext, from_items

from lauragpt.adapters import read_adapter
from lauragpt.checkpoint import find_checkpoint, read_config, read_info
from lauragpt.errors import LauraError
from lauragpt.mapping.inputs import Item, read_inputs
from lauragpt.mapping.shards import Job, close_job, count_failed, open_job, shards_of, write_shard
from lauragpt.mapping.work import VERBS, WITH_MANIFEST, Worker

LOCAL = "local"
SHARD = 64  # inputs
AHEAD = 2  # shards that wait for an actor beside the one it works on: they wait longer where it is lost
Progress = Callable[[int, int], None]  # inputs that are done, of how many


@dataclass
class Finished:
    """failed: inputs, of which each has a line in OUT/failed. manifests: how many examples each holds."""

    inputs: int
    failed: int
    problems: list[str]  # lines of the data that cannot be used
    manifests: dict[Path, int] = field(default_factory=dict)


class Actor:
    """What Ray Data calls, on any machine."""

    def __init__(self, job: Job):
        self.job, self.worker = job, Worker(job)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[int]]:
        """A shard's number, and its items as JSON -> its number. One that is finished, by an actor that was lost since, stays."""
        for number, items in zip(batch["shard"].tolist(), batch["items"].tolist()):
            if not self.job.shard(number).exists():
                write_shard(self.job, number, self.worker.rows([Item(**each) for each in json.loads(items)], number))
        return {"shard": batch["shard"].tolist()}


def run_map(
    path: Path, job: Job, address: str = LOCAL, workers: int | None = None, size: int = SHARD, progress: Progress | None = None
) -> Finished:
    """Answers all inputs of `path` whose shards are not finished.

    address: of a Ray cluster, as of `ray.init`; "local" begins one on this machine. workers: actors; None: as many as the cluster has
    processors or GPUs for now. size: inputs of a shard. LauraError where the work cannot be begun or goes no further; what is finished
    stays, and the same call goes on from there."""
    if job.verb not in VERBS:
        raise LauraError(f"{job.verb!r} cannot be mapped: choose from {', '.join(VERBS)}")
    checkpoint = find_checkpoint(job.model)
    info = read_info(checkpoint, read_config(checkpoint))
    weights = info.weights if job.adapter is None else read_adapter(job.adapter, info.weights).hash
    inputs = read_inputs(path, whole=job.verb == "filter", noisy=job.verb == "enhance")
    job = replace(job, out=job.out.absolute(), rates=inputs.rates)
    shards = shards_of(inputs.items, size)
    open_job(job, weights, inputs.items, size)
    waiting = [number for number in range(len(shards)) if not job.shard(number).exists()]
    done, total = len(inputs.items) - sum(len(shards[number]) for number in waiting), len(inputs.items)
    if progress is not None:
        progress(done, total)
    if waiting:
        with cluster(address):
            for number in _finished(shards, waiting, job, workers):
                done += len(shards[number])
                if progress is not None:
                    progress(done, total)
    failed = sum(count_failed(job, number) for number in range(len(shards)))
    manifests = close_job(job, len(shards), inputs.licences, job.verb in WITH_MANIFEST)
    return Finished(total, failed, inputs.problems, manifests)


@contextlib.contextmanager
def cluster(address: str) -> Iterator[None]:
    """Joined, or begun for this block. One that is joined already stays."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if found := re.fullmatch(r"([\w.-]+):(\d+)", address):  # Ray itself would wait for minutes
            socket.create_connection((found[1], int(found[2])), timeout=5).close()
        ray.init(address=address, **quiet, **({"include_dashboard": False} if address == LOCAL else {}))
    except Exception as error:  # Ray raises that itself
        where = "could be begun on this machine" if address == LOCAL else f"answers at {address}"
        hint = "" if address == LOCAL else ": begin one with ray start --head, or leave --ray out"
        raise LauraError(f"no Ray cluster {where} ({first_line(error)}){hint}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _finished(shards: list[list[Item]], waiting: list[int], job: Job, workers: int | None) -> Iterator[int]:
    """The numbers of shards as they are finished, each once."""
    gpu = (job.device or "").startswith("cuda")
    if workers is None:
        there = ray.cluster_resources()
        workers = int(there.get("GPU", 0) if gpu else there.get("CPU", 0) // job.threads)
    if workers < 1:
        needed = "GPU" if gpu else f"{job.threads} processors" if job.threads > 1 else "processor"
        raise LauraError(f"the Ray cluster has no {needed} for a worker: add machines, or say with --workers how many there will be")
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"shard": number, "items": json.dumps([asdict(item) for item in shards[number]])} for number in waiting]
    dataset = from_items(rows, override_num_blocks=len(rows)).map_batches(
        Actor, fn_constructor_args=(job,), batch_size=1, num_cpus=job.threads, num_gpus=1 if gpu else None,
        compute=ActorPoolStrategy(size=min(workers, len(rows)), max_tasks_in_flight_per_actor=1 + AHEAD),
    )  # fmt: skip
    seen = set[int]()
    try:
        for row in dataset.iter_rows():
            if row["shard"] not in seen:
                seen.add(row["shard"])
                yield row["shard"]
    except (ray.exceptions.RayError, SystemError) as error:
        raise LauraError(f"the work stopped: {cause(error)}; the same command goes on from here") from None
    if missing := len(waiting) - len(seen):
        raise LauraError(f"the work stopped before {missing} shards were finished: the same command goes on from here")


def cause(error: BaseException) -> str:
    """What a person should read of an error that came through Ray: ours where there is one."""
    reasons, seen = [error], list[BaseException]()
    while reasons:
        each = reasons.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        if isinstance(each, LauraError):
            return str(each)
        reasons += [getattr(each, "cause", None), each.__cause__, each.__context__]
    told = [line for line in str(error).splitlines() if "LauraError: " in line]
    return told[-1].partition("LauraError: ")[2] if told else first_line(error)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
