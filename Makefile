# One verb each. Everything is installed into .venv, once, and again only when what is to be installed changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CONSTRAINTS ?= .ci/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-page test check compat docs bench families train-tiny clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: $(READY) ## make .venv with Glimp, its extras and the tools (needs python3 >= 3.11)

demo: $(READY) ## watch the bundled pair share one chain of thought
	@$(BIN)/glimp demo $(ARGS)

demo-page: $(READY) ## watch them in the browser (ARGS="--port 8001")
	@$(BIN)/glimp serve --open $(ARGS)

# PYTHONDONTWRITEBYTECODE is emptied: each of hundreds of processes would compile the same modules
test: $(READY) ## run the tests, on up to four cores (ARGS="-k name" goes to pytest)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal --benchmark-disable $(ARGS)

check: $(READY) ## lint, formatting, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

compat: $(READY) ## run the lowest declared versions and the newest (ARGS="--python PATH --only lowest --keep")
	@$(BIN)/python tools/compat.py $(ARGS)

docs: $(READY) ## build the documentation as a site in build/site; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)
	@echo "Open build/site/index.html"

bench: $(READY) ## small alone, large alone and the pair, on held-out problems
	@$(BIN)/glimp bench $(ARGS)

families: $(READY) ## which laws hold for which architectures, on tiny models (ARGS="qwen3 mamba" names some)
	@PYTHONPATH=tests $(BIN)/python -m local.families.table $(ARGS)

train-tiny: $(READY) ## train the bundled pair anew
	$(BIN)/python examples/tiny_pair/train.py $(ARGS)

clean: ## remove .venv and everything that was built or cached
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml .ci/constraints.txt
	@echo "Setting up $(VENV). The first time this loads PyTorch and takes some minutes."
	@$(PYTHON) -c 'import sys; sys.exit("Glimp needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable ".[all]" --group dev --group docs
	@touch $@
