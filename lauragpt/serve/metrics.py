"""Numbers about the server as Prometheus reads them: requests, their time, seconds of sound, calls of the model, the queue.

Where several processes answer, each writes its numbers into a folder that the variable FOLDER names, and any of them gives the sums.
"""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the name is prometheus_client's, which reads it when it is imported
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TIMES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)  # seconds
BATCHES = (1, 2, 4, 8, 16)


class Metrics:
    """`held`, `waiting`: seconds of sound that requests hold, and jobs in the queue, to be set when they change."""

    def __init__(self):
        self.registry = CollectorRegistry()
        labels = ["method", "path", "status"]
        self.requests = Counter("laura_requests", "Requests that were answered.", labels, registry=self.registry)
        self.times = Histogram("laura_request_seconds", "Time to an answer.", ["path"], buckets=TIMES, registry=self.registry)
        self.sound = Counter("laura_sound_seconds", "Seconds of sound that the model was asked about.", registry=self.registry)
        self.busy = Counter("laura_model_seconds", "Seconds that the model took.", registry=self.registry)
        self.batches = Histogram("laura_batch_jobs", "Jobs answered in one call.", buckets=BATCHES, registry=self.registry)
        gauge = {"registry": self.registry, "multiprocess_mode": "livesum"}
        self.held = Gauge("laura_held_seconds", "Seconds of sound that requests hold.", **gauge)
        self.waiting = Gauge("laura_waiting_jobs", "Jobs in the queue.", **gauge)

    def requested(self, method: str, path: str, status: int, took: float) -> None:
        self.requests.labels(method, path, str(status)).inc()
        self.times.labels(path).observe(took)

    def answered(self, jobs: int, seconds: float, took: float) -> None:
        self.batches.observe(jobs)
        self.sound.inc(seconds)
        self.busy.inc(took)

    def page(self) -> bytes:
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        forget_ended(Path(os.environ[FOLDER]))
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)


def forget_ended(folder: Path) -> None:
    """What a worker held that was killed, it holds no longer. Its requests still count."""
    for path in folder.glob("gauge_live*_*.db"):
        number = int(path.stem.rpartition("_")[2])
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            mark_process_dead(number, str(folder))
