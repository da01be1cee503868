# Everything works in a fresh clone with Python 3.11 or newer, make and git.

SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all:
COMPILE := $(BIN)/uv pip compile --no-config --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header pyproject.toml
WORKERS ?= 2

.PHONY: help demo serve migrate openapi examples verifier test lint types rooms sql pytest lock checksums format clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Play a day of its story against a house of its own, and check every outcome
	$(BIN)/python -m service demo

serve: $(RUNTIME) ## Serve the API on http://127.0.0.1:8000 (PORT=0 takes a free port)
	$(BIN)/python -m service serve $(if $(PORT),--port $(PORT))

migrate: $(RUNTIME) ## Bring the database's schema up to date
	$(BIN)/python -m service migrate

openapi: $(RUNTIME) ## Write openapi/openapi.json from the routes
	$(BIN)/python -m service openapi

examples: $(RUNTIME) ## Ask everything that can be asked, and show the answers in openapi/openapi.json
	$(BIN)/python -m service examples
	$(BIN)/python -m service openapi

verifier: $(RUNTIME) ## Write dist/verify.py: one file that checks evidence without this service
	$(BIN)/python -m service.trail.standalone dist/verify.py

# Side by side: the types keep one core busy for a minute, and the tests do not fill two. What fails fails the whole.
test: $(DEV) ## Check everything
	@$(MAKE) --no-print-directory --jobs 2 lint rooms sql types pytest

lint: $(DEV) ## Check style
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet

types: $(DEV) ## Check types
	$(BIN)/basedpyright --level error

rooms: $(DEV) ## Check who imports whom
	$(BIN)/lint-imports --no-logo --cache-dir .cache/imports

sql: $(DEV) ## Check the migrations
	$(BIN)/squawk --assume-in-transaction --pg-version=15 migrations/[0-9]*.sql

pytest: $(DEV) ## Run the tests alone (ARGS="-k name" chooses)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

format: $(DEV) ## Put the code into shape
	$(BIN)/ruff check --fix --quiet; $(BIN)/ruff format --quiet

lock: $(DEV) ## Choose versions again, within the ranges of pyproject.toml
	$(COMPILE) --output-file requirements.lock $(ARGS)
	$(COMPILE) --group dev --constraint requirements.lock --output-file requirements-dev.lock $(ARGS)

checksums: $(RUNTIME) ## Note the digests of new migrations; those noted are never changed
	$(BIN)/python -m service.db.checksums

clean: ## Remove what was made here, the data too
	rm -rf $(VENV) .data .cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with its venv module is missing: install it (Debian: apt install python3 python3-venv), or say PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.lock | $(VENV)/bin/python
	$(PIP) -r requirements.lock
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	$(PIP) -r requirements-dev.lock
	@touch $@
