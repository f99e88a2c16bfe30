# `make` lists what there is to do. Everything is installed into .venv.

PYTHON ?= python3
PIP = .venv/bin/python -m pip install -q -c constraints.txt
SOURCES = $(shell find lauragpt -type f -not -path '*/__pycache__/*')
PYTEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests

.PHONY: help demo lint test test-all docs clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "make %-10s %s\n", $$1, $$2 }'

demo: .venv/installed-demo  ## install, then run every verb on the recordings that ship (a minute or two)
	.venv/bin/laura demo

lint: .venv/installed-test  ## check the code's style
	.venv/bin/ruff check .

test: lint  ## check the style and run the quick tests
	$(PYTEST) -m "not slow"

test-all: lint  ## check the style and run all tests
	$(PIP) -e '.[test,cluster]'
	$(PYTEST)

docs: .venv/installed-docs  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

clean:  ## remove what was installed and built
	rm -rf .venv build dist site *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed-torch: constraints.txt | .venv/bin/python
	$(PIP) torch
	touch $@

# Each of these two installations replaces the other, and so removes its mark. An old build/ would bring back deleted files.
.venv/installed-demo: constraints.txt pyproject.toml $(SOURCES) | .venv/bin/python
	rm -rf build .venv/installed-test
	$(PIP) .
	touch $@

.venv/installed-test: .venv/installed-torch pyproject.toml lauragpt/__init__.py
	rm -f .venv/installed-demo
	$(PIP) -e '.[test]'
	touch $@

.venv/installed-docs: constraints.txt | .venv/bin/python
	$(PIP) mkdocs-material
	touch $@
