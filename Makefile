# All set-up and all checks, one command each, that may be given again at any time: what is there
# already is not made again.
#
# Needed: Python 3.10 or newer with pip and venv, and make. Everything else goes below `.venv/` (an
# environment for each version of Python) and `.cache/`; nothing is installed on the system. Two
# stamps in an environment, newer than pyproject.toml, say what is installed there: `base` is enough
# to run the pool, `dev` for everything.

# What `make pythons` fetched is found too, behind everything that the machine has.
SEARCH := PATH="$$PATH:$(CURDIR)/.cache/pythons/bin"

ifndef PYTHON
PYTHON := $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
endif

# pyenv puts every python3.x it has on the PATH, but runs only the selected ones: so select all.
# A free-threaded build is one of its own: 3.13t.
FIND := import sys; print(sys.executable, "%d.%d%s" % (*sys.version_info[:2], sys.abiflags))
ALL := $$(pyenv versions --bare 2>/dev/null | grep -E '^3\.[0-9]+\.[0-9]+$$' | sort -rV | paste -sd: -)
FOUND := $(shell export $(SEARCH); $(PYTHON) -c '$(FIND)' 2>/dev/null || PYENV_VERSION=$(ALL) $(PYTHON) -c '$(FIND)' 2>/dev/null)
INTERPRETER := $(word 1,$(FOUND))
VENV := .venv/$(word 2,$(FOUND))
BIN := $(VENV)/bin
# For a free-threaded build no database driver has wheels: it gets what the tests of threads need.
FREE_THREADED := $(findstring t,$(notdir $(VENV)))
EXTRA := $(if $(FREE_THREADED),threads,dev)
PYTEST := $(BIN)/python -m pytest
INSTANTS := tests/integration/test_every_instant*.py
# `make test` tries every fifth of these: of each commit the same, and of the next one others.
SAMPLE = 5:$$(git rev-list --count HEAD 2>/dev/null || echo 0)
QUICK := tests/model tests/integration
# On every core. Servers of real databases are started by each process that needs them: so by two.
SPREAD := -n auto --maxprocesses 4 --dist worksteal
SERVERS := -n 2 --dist loadfile

# What Python and pytest compile is kept (below __pycache__), or each stage begins half a minute later.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help environment run test thorough test-model test-threads test-databases test-thorough quick instants pythons browser check mutation mutation-runtime bench report check-lint docs dist interpreter

help: ## Show this list
	@echo "make TARGET [PYTHON=python3.x]     (now: $(or $(INTERPRETER),no such thing as $(PYTHON)))"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

environment: $(VENV)/dev ## Make the environment for tests of this Python, and no more

run: $(VENV)/base ## Watch the pool at work beside playhouse.pool: throughput, waits, fairness; under a minute
	@$(BIN)/python -m benchmarks.demo

test: $(VENV)/dev ## Run every test, some at a sample: 6 minutes on an idle machine with two cores, 12 to 18 on a busy one
	@$(BIN)/python -m tests.stages test "$(MAKE_COMMAND)" --no-print-directory PYTHON="$(PYTHON)"

thorough: $(VENV)/dev ## Run what `make test` leaves out: every instant, TLC, planted faults; about as long again
	@$(BIN)/python -m tests.stages thorough "$(MAKE_COMMAND)" --no-print-directory PYTHON="$(PYTHON)"

# The stages of both, each of which may be given alone (tests/stages.py names them).
test-model: $(VENV)/dev
	@$(PYTEST) $(SPREAD) tests/model -m "not thorough"

test-threads: $(VENV)/dev
	@$(BIN)/python -m tests.integration.browser
	@PUREPOOL_HITS=1000 PUREPOOL_INSTANTS=$(SAMPLE) $(PYTEST) $(SPREAD) tests/integration -m "not database and not thorough"

test-databases: $(VENV)/dev
	@$(BIN)/python -m tests.integration.servers
	@$(BIN)/python -m tests.integration.mariadb_driver
	@$(PYTEST) $(SERVERS) tests/integration -m database

test-thorough: $(VENV)/dev
	@$(PYTEST) $(SPREAD) tests -m "sampled or thorough"

quick: $(VENV)/dev ## Run the pure and the SQLite tests, but the slow ones (TLC, ports, long searches); some minutes
	@PUREPOOL_HITS=1000 $(PYTEST) $(SPREAD) $(QUICK) -m "not database and not slow $(BUT)"

instants: $(VENV)/dev ## An exception, or a fork, at every instant; where these are differs from Python to Python
	@$(PYTEST) $(SPREAD) $(INSTANTS)

pythons: $(VENV)/dev ## Fetch Python 3.14 and 3.15, compile a free-threaded 3.13; three minutes (ONLY=3.15 for one)
	@$(BIN)/python -m tests.pythons $(ONLY)

browser: $(VENV)/dev ## Fetch Chromium, unless there is one, for the test of the time line's page; half a minute
	@$(BIN)/python -m tests.integration.browser

check: $(VENV)/dev ## Explore, compare with TLA+, plant faults, try every order of threads: what users put into CI
	@$(BIN)/purepool check --profile ci

mutation: $(VENV)/dev ## Mutate the pure core: each mutant is killed by a test, or it is explained why none can
	@$(BIN)/python -m tests.model.mutation

mutation-runtime: $(VENV)/dev ## The same for everything else; may take hours (ONLY=pool/lease.py for a part)
	@$(BIN)/python -m tests.mutation $(ONLY)

bench: $(VENV)/dev ## Measure against the targets and beside other pools: 8 minutes; fails if a target is missed
	@$(BIN)/python -m benchmarks

report: $(VENV)/dev ## Ask this pool and others the same questions, and write docs/report.md; some minutes
	@$(BIN)/python -m benchmarks.report > .cache/report.md && mv .cache/report.md docs/report.md

check-lint: $(VENV)/dev ## Check style, format, types, and which file may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

# -E: a page that is not read again would not give its warnings again.
docs: $(VENV)/dev ## Build the site into build/docs, with a search; a warning is an error; half a minute
	@rm -rf build/docs
	@$(BIN)/python -m sphinx -W --keep-going -q -E -d build/doctrees -c docs/site . build/docs
	@echo "==> build/docs/index.html"

dist: $(VENV)/dev ## Build what is released, and install it from nothing with each extra; minutes (ONLY=postgres)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary '.[release]'
	@$(BIN)/python -m tests.packaging $(ONLY)

interpreter: # What PYTHON stands for, for scripts; nothing when it doesn't run
	@echo $(INTERPRETER)

# Made again when it is missing or its interpreter is gone: a dangling link counts as missing.
$(BIN)/python:
	@test -n "$(INTERPRETER)" || { echo "$(PYTHON) does not run here: choose with PYTHON=python3.x"; exit 1; }
	@echo "==> making $(VENV) with $(INTERPRETER)"
	@$(INTERPRETER) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }  # half an environment is none

$(VENV)/base: pyproject.toml $(BIN)/python
	@echo "==> installing the pool and rich (for the display) into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . rich
	@touch $@

$(VENV)/dev: pyproject.toml $(BIN)/python
	@echo "==> installing everything for tests and benchmarks into $(VENV); the first time takes a minute or two"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary --editable '.[$(EXTRA)]'
	@touch $(VENV)/base $@
