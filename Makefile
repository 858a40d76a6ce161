# The two commands of the README, `make verify` and `make test`, need Python >= 3.11 and make.
# Everything is installed into .venv at the versions of constraints.txt; a stamp remembers that.
# For PyTorch's smaller CPU build on Linux:
#   make test PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SPEC := pyproject.toml constraints.txt Makefile
ifdef PIP_EXTRA_INDEX_URL
export PIP_EXTRA_INDEX_URL
endif

.DEFAULT_GOAL := help
.PHONY: help verify test lint format campaign readme figures notebooks docs browser bench clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "prefeq needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The build backend goes in first, pinned, so that nothing unpinned is fetched for the build.
$(VENV)/.core: $(SPEC) | $(BIN)/python
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(INSTALL) --no-build-isolation --editable '.[bench,dask,docs,notebooks,test,torch,trl]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

verify: $(VENV)/.core ## Set up .venv, then prove or refute the claims
	$(BIN)/prefeq verify

test: $(VENV)/.test ## Set up .venv, then run every test (torch, TRL and doctests included)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

campaign: $(VENV)/.test ## Run the full-size campaigns (an hour or more), and store what they measured
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/mutants.py
	$(BIN)/python benchmarks/tampering.py
	$(BIN)/python -m benchmarks.search_campaign
	$(BIN)/python -m benchmarks.hard_inputs
	$(BIN)/python -m benchmarks.audit_figures
	$(BIN)/python -m benchmarks.zoo_cards
	$(BIN)/python -m benchmarks.performance

readme: $(VENV)/.test ## Write the README's verdicts, the pages of claims and bugs, the fixed texts and tables
	$(BIN)/python -m prefeq.claims.markdown README.md docs/claims.md
	$(BIN)/python -m prefeq.bundle.snapshot
	$(BIN)/python -m prefeq.llm.oracle_table
	$(BIN)/python -m prefeq.loss_cards.zoo docs/zoo.md
	$(BIN)/python tests/claims/planted_bugs.py docs/planted-bugs.md

figures: $(VENV)/.core ## Draw the figures again (PNG, SVG and captions in figures/)
	$(BIN)/prefeq figures

notebooks: $(VENV)/.test ## Execute the notebooks and store their outputs
	$(BIN)/python notebooks/build.py

docs: $(VENV)/.test ## Build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

browser: $(VENV)/.test ## Open pages of audits in headless Chromium, and look for what only it can see
	OMP_NUM_THREADS=1 $(BIN)/python tests/browser/check_page.py --images docs/images

bench: $(VENV)/.dev ## Run every benchmark, store what it measured, and write docs/performance.md
	$(BIN)/python -m pytest benchmarks/bench_*.py -o faulthandler_timeout=0 \
	    --benchmark-columns=min,median,rounds; status=$$?; \
	    $(BIN)/python -m benchmarks.performance && exit $$status

clean: ## Remove .venv and everything generated
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
