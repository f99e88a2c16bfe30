# make demo: install into .venv and run every verb on the recordings that ship.
# make test: install with what the tests need and run them all. Speech synthesis tests use espeak-ng and flite.

PYTHON ?= python3
PIP = .venv/bin/python -m pip install -q -c constraints.txt
SOURCES = $(shell find lauragpt -type f -not -path '*/__pycache__/*')

.PHONY: demo test clean

demo: .venv/installed-demo
	.venv/bin/laura demo

test: .venv/installed-test
	.venv/bin/python -m pytest -q tests

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed-torch: constraints.txt | .venv/bin/python
	$(PIP) torch==2.13.0
	touch $@

# Each of the two installations takes the other's place, and so removes its mark. build/ would bring back deleted files.
.venv/installed-demo: constraints.txt pyproject.toml $(SOURCES) | .venv/bin/python
	rm -rf build .venv/installed-test
	$(PIP) .
	touch $@

.venv/installed-test: .venv/installed-torch pyproject.toml lauragpt/__init__.py
	rm -f .venv/installed-demo
	$(PIP) -e '.[test]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
