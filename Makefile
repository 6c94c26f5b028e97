# Everything that a fresh machine needs: Python 3.11 to 3.13 and a network that reaches the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process for each core, each with one thread; the tests of a file stay together, for they share what they make.
WORKERS ?= logical
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist loadscope

.PHONY: help setup demo test test-slow test-browser fuzz drills lint docs docs-blocks readme sbom benchmarks clean

help:            ## Show what can be made.
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(VENV)/.ready  ## Create .venv with pinned versions.

# torch comes first and alone: its CPU build is small, and nothing may replace it.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[pictures,view,dev]'
	touch $@

demo: setup      ## The whole story without data or GPU; ends in runs/demo/report.html.
	$(BIN)/lpm demo --out runs/demo

test: setup lint ## Lint, check types, run the tests but the slow ones: some minutes.
	$(PYTEST)

test-slow: setup ## The tests marked slow.
	$(PYTEST) -m "slow and not browser and not drill"

test-browser: setup ## The viewer in a headless Chromium; the system's, or Playwright's if there is none.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	command -v chromium chromium-browser google-chrome >/dev/null || $(BIN)/playwright install --with-deps chromium
	$(BIN)/python -m pytest -m browser tests/browser

FILES ?= 10000
fuzz: setup      ## Read FILES mutated files of every kind; those that end badly are kept in runs/fuzz.
	PYTHONPATH=tests $(BIN)/python tests/fuzz/campaign.py --files $(FILES)
	PYTHONPATH=tests $(BIN)/python tests/fuzz/campaign.py --table docs/reliability.md runs/fuzz/*.json

KILLS ?= 207
drills: setup    ## Stop every command that writes KILLS times in all, fill disks ...; writes docs/reliability.md (half an hour).
	$(PYTEST) -m drill tests/drills
	$(BIN)/python tests/drills/campaign.py --kills $(KILLS)

lint: setup      ## ruff, codespell and mypy.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

docs: setup      ## Build the documentation into runs/site; every warning is an error.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/lpm export --page docs/_static/lungs.html  # on the front; it is not kept
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs runs/site
	@echo open runs/site/index.html

docs-blocks: setup ## Run every code block of the documentation, slow ones too; lists them in runs/code-blocks.md.
	$(BIN)/python tests/docs/doc_blocks.py

readme: setup    ## Run README's commands as printed, in an empty folder.
	$(BIN)/python tests/docs/doc_readme.py

EXTRAS ?= pictures,view,study,dicom,hub,cluster,download
sbom:            ## List what an installation with EXTRAS holds, with versions and licences (CycloneDX): runs/sbom.cdx.json.
	$(PYTHON) -m venv --clear runs/sbom/installed
	runs/sbom/installed/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	runs/sbom/installed/bin/python -m pip install --quiet --constraint constraints.txt '.[$(EXTRAS)]'
	$(PYTHON) -m venv --clear runs/sbom/tools
	runs/sbom/tools/bin/python -m pip install --quiet 'cyclonedx-bom[json-validation]>=7'
	runs/sbom/tools/bin/python packaging/sbom.py runs/sbom/installed/bin/python --out runs/sbom.cdx.json

clean:           ## Remove what the demo and the tests left.
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

benchmarks: setup ## Measure everything in docs/benchmarks.md again (hours; needs the real lungs).
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmarks]'
	$(BIN)/python benchmarks/run.py --lungs ../shared/data/lungs --work runs/benchmarks
