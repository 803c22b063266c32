# Needs python3 (3.11 or newer, with its venv module) and make; everything else goes into .venv.
#   make demo                       the one to start with
#   make install PYTHON=python3.12  with another Python
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PLAIN  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt

# One thread a process: two test workers on two cores are then as quick as the tests get. Each takes half of the files, so that it
# makes what the tests of a file share once, and whoever is done first takes over what the other has left.
test test-all bench: export OMP_NUM_THREADS = 1
# Bytecode, that of the tests' rewritten assertions too, is kept from run to run: without it a worker starts 20 seconds later.
# It lies beside the sources: that of the libraries is there since their installation, and Python looks in one place only.
test test-all: export PYTHONDONTWRITEBYTECODE =
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install dev demo test test-all check bench clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

install: $(PLAIN) ## .venv with the package, ready for `.venv/bin/weatherproof`
	@echo "Ready: $(BIN)/weatherproof --help"

dev: $(DEV) ## the same with the tools for tests, checks and benchmarks

demo: $(PLAIN) ## harden an encoder on handwritten digits: a table and a page (two to five minutes on two cores)
	$(BIN)/weatherproof demo

test: $(DEV) ## the tests, but for the long ones; those on real images need WEATHERPROOF_DATA
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal -m "not slow"

test-all: $(DEV) ## all tests, those too that take long and whose kind `make test` covers quicker
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal

check: $(DEV) ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV) ## speed and memory against their floors, into docs/results/benchmarks.md
	$(BIN)/python -m benchmarks

clean: ## forget caches and built packages; .venv and runs stay
	rm -rf dist build .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "weatherproof needs Python 3.11 or newer, and there is no '$(PYTHON)': name yours with make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "weatherproof needs Python 3.11 or newer, and '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1): name another with make PYTHON=python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu, install the package python3-venv" >&2; exit 1; }

$(PLAIN): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(DEV): $(PLAIN)
	$(PIP) -e '.[dev]'
	@touch $@
