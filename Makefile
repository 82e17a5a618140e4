# Two commands need nothing before them: `make demo` and `make test`. Both set up .venv as the lock file says.
.DEFAULT_GOAL := help
.ONESHELL:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# Two at a time, a module's tests in one process because they share what was made for them; the longest come first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder
LONG_LOG := benchmarks/results/test-long.log
BOARD_LOG := benchmarks/results/test-board.log
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.stamp

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv demo check reference docs browser test test-long test-board bench bench-full clean

help: ## show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv with the locked dependencies (nothing to do when it is up to date)

demo: venv ## profile, plan, run and report on the bundled sample, in minutes
	@$(BIN)/neuroflux demo

check: venv ## lint, format, types, import rules, and the documents' links
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --site-dir build/site

reference: venv ## write the pages of docs/reference that come from the code
	@$(BIN)/python -m docs.generate

docs: reference ## build the documents as a site: build/site/index.html
	@$(BIN)/mkdocs build --strict --site-dir build/site

# The dashboard's tests skip, and say so, where this does not get them a browser. Without a font it would draw boxes.
browser:
	@command -v chromium >/dev/null && exit
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    echo "make browser: installing chromium" >&2
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core && exit
	fi
	echo "make browser: no chromium: the dashboard's tests in it are skipped. On Debian: sudo apt-get install chromium" >&2

test: check browser ## check, then every test that is not marked long or board
	@$(PYTEST) -m "not long and not board"

# The log is kept in the repository, so the folder this copy lies in is written as a dot.
test-long: check browser ## check, then all tests but those on boards; the log goes to benchmarks/results/
	@mkdir -p $(dir $(LONG_LOG))
	$(PYTEST) -m "not board" 2>&1 | sed -u 's|$(CURDIR)|.|g' | tee $(LONG_LOG)

# One board at a time, and what each of them printed. Disks are kept in ~/.cache/neuroflux-board.
test-board: venv ## tests on emulated arm64 boards (needs qemu-system-arm); the log goes to benchmarks/results/
	@mkdir -p $(dir $(BOARD_LOG))
	$(BIN)/python -m pytest -m board -v -rP tests/board 2>&1 | sed -u 's|$(CURDIR)|.|g' | tee $(BOARD_LOG)

# Root, or who may make a memory group. Results go behind those that are there: remove the file to begin anew.
bench: venv $(PEERS_STAMP) ## VGG-16 beside what people would run instead, at three budgets (25 minutes)
	@$(BIN)/python -m benchmarks.peers bench --python $(PEERS)/bin/python

bench-full: venv $(PEERS_STAMP) ## five networks, every peer, one thread and two (a day)
	@$(BIN)/python -m benchmarks.peers full --python $(PEERS)/bin/python

clean: ## remove build outputs and caches; .venv stays
	@rm -rf build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . \( -path ./$(VENV) -o -path ./$(PEERS) \) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# What other people's code runs with, apart from .venv: nothing of it is needed otherwise. numpy lies by itself, for those alone
# that need it: torch imports it wherever it is found.
$(PEERS_STAMP): benchmarks/peers/requirements.txt | $(STAMP)
	@$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install "$$(grep '^torch==' $<)"
	$(PEERS)/bin/python -m pip install $$(grep -v -e '^#' -e '^numpy' $<)
	$(PEERS)/bin/python -m pip install --target $(PEERS)/numpy "$$(grep '^numpy==' $<)"
	touch $@

# torch comes first: whatever else is resolved afterwards finds it there and leaves it as it is. The project itself is
# built without isolation, so that its build backend is the locked one too.
$(STAMP): requirements.lock pyproject.toml
	@install_system_packages() {
	    if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	        echo "make venv: this system lacks $$*. On Debian: sudo apt-get install $$*" >&2
	        exit 1
	    fi
	    echo "make venv: installing $$*" >&2
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$$@" || exit 1
	}
	command -v $(PYTHON) >/dev/null || install_system_packages $(notdir $(PYTHON))
	version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	    echo "make venv: $(PYTHON) is Python $$version, 3.11 or newer is needed; name one: make venv PYTHON=python3.11" >&2
	    exit 1
	fi
	$(PYTHON) -m ensurepip --version >/dev/null 2>&1 || install_system_packages "python$$version-venv"
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	touch $@
