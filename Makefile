# All commands of the project. Needs Python 3.11 or 3.12 and make; everything else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
.DEFAULT_GOAL := help

help:  ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Install everything into .venv

$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV) (about a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { echo "error: Python 3.11 or 3.12 is needed, $(PYTHON) is another; set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
	@touch $@

test: setup  ## Run all tests: two processes with a real Kafka each, then what is measured, alone
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/measure
	$(BIN)/python -m pytest tests/measure

check: setup  ## Run everything that CI runs: lint, format, types, architecture, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

demo: setup  ## Send the touches of examples/ through a real Kafka to the sandbox, and show the results
	$(BIN)/python -m pipeline.lab.demo run

up: setup  ## Start what demo starts and leave it running; prints the addresses
	$(BIN)/python -m pipeline.lab.demo up

down: setup  ## Stop what `make up` started
	$(BIN)/python -m pipeline.lab.demo down

bench: setup  ## Measure CPU time per touch and touches per second; python -m bench --help for more
	$(BIN)/python -m bench

profile: setup  ## Show where a worker's CPU time goes; CHANNEL=sms for another channel
	$(BIN)/python -m bench.profile --channel $(or $(CHANNEL),email)

bench-deferred: setup  ## Measure a million deferred touches, an opening window, a million waiting touches (half an hour); TOUCHES=20000 for less
	$(BIN)/python -m bench.deferred --touches $(or $(TOUCHES),1000000)

chaos: setup  ## Test with kills, freezes and network faults (7 minutes), then show all tables; LONG=1 for most of an hour
	LONG=$(LONG) $(BIN)/python -m pytest tests/chaos -s --durations=0 --durations-min=1 -o faulthandler_timeout=1800

lanes: setup  ## Measure limits and outages at the sandbox; LONG=1 for twenty minutes
	LONG=$(LONG) $(BIN)/python -m pytest tests/measure -s --durations=0 --durations-min=1 -o faulthandler_timeout=1800

simulate: setup  ## Run a thousand histories of crashes in simulated time; SEEDS=10000 for more
	$(BIN)/python -m pipeline.lab.simulation --seeds $(or $(SEEDS),1000)

mutants: setup  ## Break the code in one place at a time; a test must notice each
	$(BIN)/python -m tests.mutants

clean:  ## Remove everything that make installed or wrote
	rm -rf $(VENV) .data .artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

.PHONY: help setup test check demo up down bench profile bench-deferred chaos lanes simulate mutants clean
