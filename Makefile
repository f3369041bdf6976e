# The two commands: `make survey` and `make test`. Everything is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup survey test lint unit bench soak clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# A survey of the simulated Internet, or of TARGETS=file; PROCS=2 uses two cores.
survey: setup
	$(BIN)/scrapy survey $(if $(TARGETS),-a targets=$(TARGETS)) $(if $(PROCS),--procs $(PROCS))

test: setup lint unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: setup
	tests/install-packages
	$(BIN)/pytest $(PURE:%=--cov=smtpsurvey/%) --cov-report=
	$(BIN)/coverage report --fail-under=100 --show-missing --skip-covered

# The rooms that touch neither sockets nor Scrapy: every branch is tested.
PURE := smtp admission classify analysis

bench: setup
	$(BIN)/python bench/run.py

soak: setup
	$(BIN)/pytest -m soak

clean:
	rm -rf $(VENV) build *.egg-info run report .coverage .mypy_cache .ruff_cache .hypothesis
