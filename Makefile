# Two commands do everything on a fresh machine: `make lab` and `make test`. Set-up happens once and is reused.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
NOTEBOOKS := $(sort $(wildcard notebooks/0*.ipynb))



.DEFAULT_GOAL := help
.PHONY: help setup lab test unit notebooks run lint bench clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/ready ## create .venv and install the course into it (once)

$(VENV)/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed; try: make setup PYTHON=python3.12') if sys.version_info < (3, 11) else None"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	$(BIN)/jupyter labextension disable @jupyterlab/apputils-extension:announcements  # its question covers the page
	@touch $@

lab: setup ## check this machine, then open JupyterLab at the notebooks
	$(BIN)/python -m course_utils doctor --quick
	cd notebooks && ../$(BIN)/jupyter lab

test: unit notebooks ## unit tests, then all notebooks at reduced settings

unit: setup ## unit tests only
	$(BIN)/python -m pytest

notebooks: setup ## all notebooks at reduced settings, checked values compared
	COURSE_PROFILE=smoke $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=90 \
	  --nbval-sanitize-with tests/nbval_sanitize.cfg -p no:warnings $(NOTEBOOKS)

run: setup ## execute the notebooks and write them as pages into build/site
	mkdir -p build/site
	$(BIN)/jupyter nbconvert --execute --to html --log-level WARN --ExecutePreprocessor.timeout=600 \
	  --template template --TemplateExporter.extra_template_basedirs=notebooks \
	  --embed-images --output-dir build/site $(NOTEBOOKS)
	@echo "wrote $(patsubst notebooks/%.ipynb,build/site/%.html,$(NOTEBOOKS))"

lint: setup ## code style
	$(BIN)/ruff check .

bench: setup ## time and memory against other libraries, on an idle machine (about an hour)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[peers]"
	for script in losses.py growth.py time_to_accuracy.py "augment.py --compile" step.py knn.py; do \
	  $(BIN)/python benchmarks/$$script || exit 1; done

clean: ## remove what can be made again (the environment and the downloads stay)
	rm -rf build
