"""Measuring a checkpoint: metrics.py scores pairs, scorers.py runs a task and makes its rows, report.py prints them, run.py is `laura
eval`."""
