# `make demo` and `make test` are all a newcomer needs; both stay inside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-full lint docs clean

demo: $(VENV)/.installed
	@$(BIN)/animdiff generate --model pocket --prompt "a red rocket in the night sky" --seed 7

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

test-full: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m full

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy animdiff_cli
	$(BIN)/python -m tools.docs --check
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo site/index.html

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) site animdiff-out .pytest_cache .mypy_cache .ruff_cache
