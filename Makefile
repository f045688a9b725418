# `make` alone prints this list.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TEXTS = $(VENV)/guarismo.pot

.PHONY: help install demo serve test lint format catalogues bench bench-reading reader clean

help:  ## Print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.train: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(VENV)/.dev  ## Make the environment with everything for development

demo: $(VENV)/.train  ## The whole laboratory on the embedded digits: one command, two minutes
	$(BIN)/guarismo lab digits

serve: $(VENV)/.train  ## The page that reads your hand, on this machine
	$(BIN)/guarismo serve

lint: $(VENV)/.dev  ## Style, types, and the order of the stages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: lint  ## Lint, then all the tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

format: $(VENV)/.dev  ## Put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

catalogues: $(VENV)/.dev  ## Put the texts of the code into languages/*.po, new ones to be translated there
	$(BIN)/pybabel -q extract -F pyproject.toml -k _ -k N_ -k choice:2 --no-location --sort-output -o $(TEXTS) src
	for code in es pt; do $(BIN)/pybabel -q update -l $$code -i $(TEXTS) -o src/guarismo/languages/$$code.po \
		--no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --width 120; done
	rm $(TEXTS)

bench: $(VENV)/.dev  ## Every benchmark that needs a few minutes only
	$(BIN)/python benchmarks/road.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/serving.py

bench-reading: $(VENV)/.dev  ## How well photos are read, beside others; needs labelled photos
	$(BIN)/python benchmarks/reading.py

reader: $(VENV)/.dev  ## The reader that comes with the package, trained anew (needs MNIST and Fashion-MNIST)
	$(BIN)/guarismo train mnist --recipe reader --out runs/reader
	$(BIN)/guarismo evaluate runs/reader
	$(BIN)/python benchmarks/trust.py runs/reader --card src/guarismo/reading/model

clean:  ## Remove the environment and what tools left behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
