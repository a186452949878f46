# make demo, make test, make check and make bench set up what they need; Python 3.11+ is all they ask for.
PYTHON ?= python3
PORT ?= 8000
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')# most tests wait for other processes
BIN = .venv/bin

.PHONY: demo test check bench format clean
.DELETE_ON_ERROR:

demo: .venv/demo-ready  ## run the example service on 127.0.0.1:$(PORT)
	@PORT=$(PORT) $(BIN)/python -m example_app

test: .venv/dev-ready  ## every test, with the coverage gate
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term

check: .venv/dev-ready  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/bench-ready  ## every benchmark, each prints its table
	$(BIN)/python -m tests.benchmarks

format: .venv/dev-ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf demo.db* .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pairlock needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

.venv/demo-ready: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[server]'
	@touch $@

.venv/dev-ready: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group check
	@touch $@

.venv/bench-ready: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group bench
	@touch $@
