# `make help` lists the targets. Another Python: make setup PYTHON=python3.13
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q

.DEFAULT_GOAL := help
.PHONY: setup setup-test certificates demo serve test check interop format proto bench bench-quick clean help

setup: $(VENV)/.setup ## Make .venv and install quicrpc into it

$(VENV)/.setup: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "quicrpc needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

setup-test: $(VENV)/.setup-test

$(VENV)/.setup-test: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

certificates: setup
	test -f certs/server.pem || $(BIN)/quicrpc certs certs

demo: certificates ## Copy Python's library over HTTP/3 and HTTP/2 and compare every byte
	$(BIN)/quicrpc demo

serve: certificates ## Serve every family on port 8443 (UDP and TCP)
	$(BIN)/quicrpc serve

test: setup-test ## Run the tests, except those that need outside programs or much time
	$(PYTEST) -m 'not interop and not attack' tests

check: setup-test ## Lint, format, types, imports, generated code, unit tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python proto/generate.py --check
	$(PYTEST) tests/unit

interop: setup-test ## Test against outside clients and suites; says which are missing
	@for tool in go cargo chromium; do command -v $$tool >/dev/null || echo "missing: $$tool; its tests are skipped"; done
	$(PYTEST) -rs -m interop tests

format: setup-test ## Format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: setup-test ## Generate quicrpc/gen from proto
	$(BIN)/python proto/generate.py

bench: setup-test ## Run the benchmarks
	$(BIN)/python -m bench

bench-quick: setup-test ## Run the benchmarks briefly, to see that they work
	$(BIN)/python -m bench --quick

clean: ## Remove what was made, certificates included
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage data certs/*.pem certs/*.key

help: ## Print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
