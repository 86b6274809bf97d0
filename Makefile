# Two commands do everything on a fresh machine: `make lab` and `make test`. Set-up happens once and is reused.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
NOTEBOOKS := $(sort $(wildcard notebooks/0*.ipynb))
OUT    ?= grades.csv



.DEFAULT_GOAL := help
.PHONY: help setup lab test unit notebooks browser run execute site slides homework grade proof lint bench clean

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

test: unit notebooks browser ## unit tests, all notebooks at reduced settings, then their panels in a browser

unit: setup ## unit tests only
	$(BIN)/python -m pytest --ignore tests/homework

notebooks: setup ## all notebooks at reduced settings, checked values compared
	COURSE_PROFILE=smoke $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=90 \
	  --nbval-sanitize-with tests/nbval_sanitize.cfg -p no:warnings $(NOTEBOOKS)

browser: setup ## every panel moved by keyboard in a real browser (skipped, with a line, where there is none)
	$(BIN)/python -m pytest -rs tests/browser

run: setup ## execute the notebooks and write them as a site into build/site
	mkdir -p build/run
	$(BIN)/jupyter nbconvert --execute --to notebook --log-level WARN --ExecutePreprocessor.timeout=600 \
	  --output-dir build/run $(NOTEBOOKS)
	$(BIN)/python tools/pages.py site $(NOTEBOOKS:notebooks/%=build/run/%)

execute: setup ## run the lecture notebooks at the laptop profile, in place: what is committed is one such run
	$(BIN)/python tools/execute.py

site: setup ## the same site from the outputs that the notebooks hold; nothing is executed
	$(BIN)/python tools/pages.py site

slides: setup ## a reveal.js deck of each notebook in build/slides; S opens the notes and the clock
	$(BIN)/python tools/pages.py slides

proof: setup ## try every planted wrong answer, and write the table to tests/homework/README.md
	$(BIN)/python tests/homework/proof.py

$(VENV)/authors: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[authors]"
	@touch $@

homework: $(VENV)/authors ## write the student edition into notebooks/homework
	$(BIN)/python tools/homework.py

grade: $(VENV)/authors ## grade SUBMISSIONS=folder into OUT=grades.csv (see notebooks/homework/README.md)
	$(BIN)/python tools/grade.py "$(SUBMISSIONS)" "$(OUT)"

lint: setup ## code style
	$(BIN)/ruff check .

bench: setup ## time and memory against other libraries, on an idle machine (about an hour)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[peers]"
	for script in losses.py growth.py time_to_accuracy.py "augment.py --compile" step.py knn.py; do \
	  $(BIN)/python benchmarks/$$script || exit 1; done

clean: ## remove what can be made again (the environment and the downloads stay)
	rm -rf build
