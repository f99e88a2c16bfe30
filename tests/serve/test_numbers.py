"""The numbers of several processes: their sums, but for what one of them held that has ended."""

import os
import subprocess
import sys

from lauragpt.serve.metrics import FOLDER, forget_ended

WORKER = """
from lauragpt.serve.metrics import Metrics
metrics = Metrics()
metrics.requested("POST", "/a", 200, 0.1)
metrics.held.set(3)
print(metrics.page().decode())
"""


def test_processes_are_counted_together(tmp_path):
    for number in (1, 2, 3):
        done = subprocess.run([sys.executable, "-c", WORKER], env=os.environ | {FOLDER: str(tmp_path)}, capture_output=True, text=True)
        assert f'laura_requests_total{{method="POST",path="/a",status="200"}} {number}.0' in done.stdout, done.stderr
        assert f'laura_request_seconds_count{{path="/a"}} {number}.0' in done.stdout
        assert "laura_held_seconds 3.0" in done.stdout.splitlines()  # those before it have ended


def test_workers_that_have_ended_hold_nothing(tmp_path):
    nobody = 2**22 + 1  # above any process id
    kept = [f"gauge_livesum_{os.getpid()}.db", f"counter_{nobody}.db"]
    for name in [*kept, f"gauge_livesum_{nobody}.db"]:
        (tmp_path / name).write_bytes(b"")
    forget_ended(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
