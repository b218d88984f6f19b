# Needs only make and Python 3.11 or newer; everything else goes into .venv.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
MANAGE := $(BIN)/python manage.py
# Each has a stack of its own.
TEST_PROCESSES ?= 2
export PYTHONUNBUFFERED := 1
export PIP_PROGRESS_BAR := off
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help demo test up down status venv lint format types proto proto-check bench bench-quick django-suite package-suites \
	hooks clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.demo ## start two shards, load 336,776 flights of 16 tenants, prove it all, stop
	@$(BIN)/python scripts/local_project.py demo

test: $(VENV)/.dev ## all tests, the browser's too
	@$(BIN)/python scripts/install_chromium.py
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal $(ARGS)

up: $(VENV)/.demo ## the stack, and the admin at http://127.0.0.1:8000, until Ctrl-C
	@$(BIN)/python scripts/local_project.py up

down: ## stop the stack; its data stays
	@$(MANAGE) mtdd_down

status: ## how the stack is
	@$(MANAGE) mtdd_status

venv: $(VENV)/.dev $(VENV)/.demo ## everything a developer needs

lint: $(VENV)/.dev ## ruff, and buf on protos/
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/buf lint protos

format: $(VENV)/.dev ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

proto: $(VENV)/.dev ## generate mtdd_router/pb from protos/
	@$(BIN)/python scripts/generate_pb.py

proto-check: $(VENV)/.dev ## is mtdd_router/pb what protos/ gives?
	@$(BIN)/python scripts/generate_pb.py --check

bench: $(VENV)/.bench ## what speed is promised, beside what it is compared with; writes the README's table
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(VENV)/.bench ## the same in two minutes, with fewer tenants and rounds; writes nothing
	@$(BIN)/python -m benchmarks --quick --rounds 5 $(ARGS)

django-suite: $(VENV)/.dev ## Django's own test suite, over gRPC and straight
	@$(BIN)/python -m tests.suites django $(ARGS)

package-suites: $(VENV)/.dev ## the suites of other packages, over gRPC and straight
	@$(BIN)/python -m tests.suites packages $(ARGS)

hooks: $(VENV)/.dev ## install the pre-commit hooks
	@$(BIN)/pre-commit install

clean: ## stop the stack; delete its data, .venv and all caches
	@test ! -x $(BIN)/python || $(MANAGE) mtdd_down || true
	rm -rf .mtdd $(VENV) .nox .suites .mypy_cache .pytest_cache .ruff_cache build dist

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found." >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the tests and tools need ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/.dev
	@echo "Installing what the benchmarks compare with ..."
	@$(PIP) install --editable '.[bench]'
	@touch $@

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the demo needs ..."
	@$(PIP) install --editable '.[demo]'
	@touch $@
