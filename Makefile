# Everything runs in .venv, which holds exactly the packages of requirements*.txt.
PYTHON ?= python3
ARGS ?=

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The extras for the tests. Without ray and optuna, because they need old releases of joblib and SQLAlchemy, which
# other packages refuse.
EXTRAS := dev dvclive joblib mlflow onnx peft slurm wandb

BIN := .venv/bin
# Without reordering: xdist would run files with few tests last, and some of these take minutes.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
CORE := .venv/.core
DEV := .venv/.dev

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: train
train: $(CORE)  ## Fine-tune a classifier; ARGS="training.lr=3e-5" overrides any key
	@$(BIN)/python scripts/train.py $(ARGS)

.PHONY: test
test: $(DEV)  ## Run all tests; ARGS="tests/trackers -x" goes to pytest
	@$(PYTEST) $(ARGS)

.PHONY: test-quick
test-quick: $(DEV)  ## Run the tests that take seconds
	@$(PYTEST) -m "not slow and not proof" $(ARGS)

.PHONY: proof
proof: $(DEV)  ## Run the tests that take minutes: many combinations, trackers, DVC, launchers
	@$(BIN)/python -m pytest -m proof $(ARGS)

.PHONY: check
check: $(DEV)  ## Check lint, formatting, types and secrets
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@git ls-files -z --cached --others --exclude-standard | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

.PHONY: format
format: $(DEV)  ## Format the code and fix what can be fixed automatically
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: requirements
requirements: $(DEV)  ## Compile requirements*.txt from pyproject.toml; ARGS=--upgrade selects newer releases
	@$(call compile,requirements.txt,)
	@$(call compile,requirements-dev.txt,$(EXTRAS:%=--extra %))

.PHONY: docs
docs: $(CORE)  ## Write the table of keys in README.md
	@$(BIN)/python scripts/document_keys.py

.PHONY: clean
clean:  ## Remove .venv and the caches of tools; runs are kept
	@rm -rf .venv .venv.lock .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	@find conf scripts src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(CORE): requirements.txt pyproject.toml
	@$(call install,requirements.txt,$(CORE))

$(DEV): requirements-dev.txt pyproject.toml
	@$(call install,requirements-dev.txt,$(CORE) $(DEV))

# $(call install,FILE,STAMPS): installs FILE into .venv and touches STAMPS. If two makes run in one tree, the second
# waits for the lock and then has nothing to do. .ready is missing while pip runs, so an incomplete environment is
# created again.
define install
$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	f"ostinato needs Python 3.11 or newer; $(PYTHON) is {v[0]}.{v[1]}. Try: make PYTHON=python3.11")'; \
exec 9>.venv.lock; $(PYTHON) -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'; \
test $(lastword $(2)) -nt $(1) -a $(lastword $(2)) -nt pyproject.toml && exit 0; \
test -e .venv/.ready || $(PYTHON) -m venv --clear .venv; \
rm -f .venv/.ready; \
echo "Installing $(1) into .venv (once) ..."; \
$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(1); \
touch .venv/.ready $(2)
endef

# $(call compile,FILE,OPTIONS): the CPU and the CUDA build of torch must give the same file. The label of the build and
# the packages that only the CUDA build needs (it pins them itself) are therefore removed. `-e .` installs the package.
define compile
CUSTOM_COMPILE_COMMAND="make requirements" \
	$(BIN)/pip-compile --output-file $(1) $(2) $(ARGS) pyproject.toml; \
sed -E -i.bak -e 's/^(torch==[^+ ]+)\+[a-z0-9]+/\1/' -e '/^(cuda|nvidia|triton)[a-z0-9-]*==/d' $(1); \
rm $(1).bak; \
echo "-e ." >> $(1)
endef
