# `make quickstart` and `make test` are all that a fresh machine needs; each makes the environment first.
# Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test lint format doctor evaluate-models clean

quickstart: $(INSTALLED)  ## the main job on the embedded models
	rm -rf results/quickstart
	$(BIN)/diffharness run --anno examples/anno.json --gen examples/gen.json \
		--config configs/quickstart.yaml --out results/quickstart
	$(BIN)/python examples/check.py results/quickstart

test: $(INSTALLED)  ## all tests: two at a time, and then those whose times are judged
	$(BIN)/python -m pytest -m 'not alone' --numprocesses 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -m alone

lint: $(INSTALLED)  ## what CI asks of the code besides the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doctor: $(INSTALLED)  ## what this machine can do
	$(BIN)/diffharness doctor

evaluate-models: $(INSTALLED)  ## the figures of the embedded models
	$(BIN)/python -m training.evaluate

clean:
	rm -rf $(VENV) results build dist .mypy_cache .ruff_cache .pytest_cache

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "diffharness needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "Python's venv is missing: install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[methods,dev]'
	touch $(INSTALLED)
