# The two commands that do everything: make demo, make test. Both set themselves up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
SETUP := $(VENV)/.set-up
DEMO := demo-output
DOCS := .venv-docs
# What make test-versions runs; .ci/run runs the locked set only, in make test.
SETS ?= locked newest lowest

.PHONY: help setup demo docs test test-platforms test-versions lint hooks faces changes lock campaign benchmark clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /	/' | expand -t 18

setup: $(SETUP)  ## Set up a virtual environment for the tests, with locked dependencies and the project

# The environment is set up in two stages: what sccr needs to run, and what the tests and tools add to it. The first is
# all that the demonstration needs; pip shows its progress there, because somebody is waiting for it.
$(RUNTIME): pyproject.toml hatch_build.py requirements.lock sccr_node/numerics/kernels.c sccr_node/runtime/watchdog.c
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version}"'
# One line, for the clock. Built in isolation, so that the build hook can request a C compiler from PyPI if there is none.
	@begin=$$(date +%s) \
		&& echo "Installing sccr and what it needs to run into $(VENV): a few minutes the first time." \
		&& $(PYTHON) -m venv $(VENV) \
		&& $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock \
		&& $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable . \
		&& touch $@ \
		&& echo "Installed in $$(($$(date +%s) - begin)) s."

$(SETUP): $(RUNTIME) requirements-test.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-test.lock
	touch $@

demo: $(RUNTIME)  ## Impute simulated data and mouse lungs: compare with the known truth, write a report and a verdict
	$(BIN)/python -m tools.demo $(DEMO)

docs: $(DOCS)/.set-up  ## Build the documentation site in docs/_build/html, and run its tutorials
	$(DOCS)/bin/python -m sphinx -W --keep-going --builder html docs docs/_build/html

# An environment of its own: Sphinx and Jupyter are no business of the demonstration and the tests.
$(DOCS)/.set-up: pyproject.toml hatch_build.py requirements-docs.lock sccr_node/numerics/kernels.c sccr_node/runtime/watchdog.c
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --require-hashes -r requirements-docs.lock
	$(DOCS)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

test: $(SETUP) lint  ## Run the tests
	$(BIN)/python -m pytest -m "not platform" -n auto --dist loadfile

test-platforms: $(SETUP)  ## Run the tests that need containers, Nextflow, Galaxy or a browser, and install those
	$(BIN)/python -m pytest -m platform -n 2 --dist loadfile --durations 40

test-versions: $(SETUP)  ## Run the tests on Python 3.11 as locked, on the newest Python and versions, on the lowest ones (an hour)
	$(BIN)/python -m tools.versions $(SETS)

lint: $(SETUP)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

hooks: $(SETUP)  ## Install git hooks that check every commit as lint does, and the derived files too
	$(BIN)/pre-commit install

faces: $(SETUP)  ## Write the files that are derived from the contract
	$(BIN)/python -m tools.faces

changes: $(SETUP)  ## Show what the next release will say in CHANGELOG.md
	$(BIN)/towncrier build --draft

lock: $(SETUP)  ## Resolve the dependencies again
	PATH="$(abspath $(BIN)):$$PATH" containers/lock.sh

campaign: $(SETUP)  ## End 1,000 runs, damage 20,000 inputs and 2,000 manifests, take stores away from 200 runs, and look for harm (hours)
	$(BIN)/python -m tests.campaigns.kills 1000
	$(BIN)/python -m tests.campaigns.mutations 20000
	$(BIN)/python -m tests.campaigns.manifests 2000
	$(BIN)/python -m tests.campaigns.vanishing 200

benchmark: $(SETUP)  ## Compare the core with the published algorithm and MAGIC
	$(BIN)/python tests/benchmarks/benchmark_core.py

clean:  ## Remove what the other targets created
	rm -rf $(VENV) .venv-versions $(DEMO) $(DOCS) docs/_build docs/reference/generated build dist
