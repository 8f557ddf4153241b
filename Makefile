# `make demo` and `make test` set up a fresh machine by themselves: Python 3.11+ and make are all they need.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2
# A file's tests stay on one worker, which starts what they share once; the files are in order, longest first.
SPREAD := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Tests start hundreds of processes: let each read compiled code, whatever the environment says.
test test-slow: export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup demo test test-slow lint format lock docs up bench clean

help: ## Say what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv (done by every other target)

# uv is used when it is there or pip can fetch it; plain pip does the same, slower. It trusts what the machine trusts, as pip does.
export UV_NATIVE_TLS ?= 1
$(STAMP): requirements.lock pyproject.toml hatch_build.py
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found (set PYTHON=...)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "python -m venv failed (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Installing captionacc and its dependencies into $(VENV) ..."
	@if command -v uv >/dev/null 2>&1; then UV=uv; \
	elif $(BIN)/python -m pip install -q uv 2>/dev/null; then UV="$(BIN)/python -m uv"; else UV=; fi; \
	if [ -n "$$UV" ]; then \
		$$UV pip install -q --compile-bytecode -p $(BIN)/python -r requirements.lock && \
		$$UV pip install -q -p $(BIN)/python --no-deps -e .; \
	else \
		$(BIN)/python -m pip install -q -r requirements.lock && $(BIN)/python -m pip install -q --no-deps -e .; \
	fi
	@$(BIN)/python -m compileall -q captionacc_dagster  # else the first command compiles for seconds
	@touch $@

demo: $(STAMP) ## Make a clip, find its captions, and say how many were right
	@$(BIN)/captionacc demo

test: $(STAMP) ## Run the default tests (less than ten minutes on two cores)
	$(PYTEST) -m "not slow" $(SPREAD) $(ARGS)

test-slow: $(STAMP) ## Run the tests that take longer
	$(PYTEST) -m slow $(SPREAD) $(ARGS)

lint: $(STAMP) ## Check style, types and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code in order
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

lock: $(STAMP) ## Write requirements.lock anew from pyproject.toml
	@command -v uv >/dev/null 2>&1 || $(BIN)/python -m pip install -q uv
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip compile -q pyproject.toml --extra dev --universal \
		--python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o requirements.lock

docs: $(STAMP) ## Write docs/reference, the figures, and the pictures from the code
	$(BIN)/python -m docs.make_reference
	$(BIN)/python -m docs.make_figures
	$(BIN)/python -m docs.make_pictures
	$(BIN)/python -m docs.make_screenshots
	$(BIN)/python -m docs.make_recording

up: $(STAMP) ## Start Dagster's UI and daemon on the embedded data, until Ctrl-C
	@$(BIN)/captionacc up

bench: $(STAMP) ## Measure captions found: our engine and a naive baseline, side by side
	$(BIN)/python -m benchmarks.captions --part final --install-fonts --write $(ARGS)

clean: ## Remove the environment and caches (not .captionacc, your data)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
