# make demo   install into .venv, build the data, train, answer questions, compare
# make test   the test suite                   make lint   ruff, mypy, import directions
# make docs   the site of docs/, in build/site; broken links fail
# make test-adapters  the tests of the frameworks that are no part of .venv, in .venvs/ over it
# make dist   the wheel and the source archive, in dist/, checked by twine
# make clean  remove what the above made, except .venv and .venvs (make distclean removes those too)
#
# PYTHON      interpreter that makes .venv, 3.11 or newer       make demo PYTHON=python3.12
# PIP_FLAGS   more options for pip install, e.g. another package index (see constraints.txt)
# THREADS     CPU threads of the demo; default: all
# JOBS        processes of make test; default: 2
# BUILD_FLAGS options of make dist's build; --no-isolation builds without downloads
# TRAIN_FLAGS options for the demo's li train. The default needs no language model to run; with
#             one it takes longer and knows more words:           make demo TRAIN_FLAGS=

PYTHON ?= python3
PIP_FLAGS ?=
THREADS ?=
JOBS ?= 2
BUILD_FLAGS ?=
TRAIN_FLAGS ?= --encoder lsa:512
VENV := .venv
BIN := $(VENV)/bin
LI := $(BIN)/li
DEMO := demo
THREAD_FLAGS := $(if $(THREADS),--threads $(THREADS))

# Installing again is needed only when one of these changes.
INSTALL_INPUTS := pyproject.toml constraints.txt
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo install test test-slow test-adapters lint format types imports tree docs dist clean distclean check-python

help:
	@sed -n '/^# /s/^# //p' Makefile

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "learned-index needs Python 3.11 or newer; '$(PYTHON)' is" \
	       "$$($(PYTHON) --version 2>&1 || echo missing)." ; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" ; exit 1 ; } >&2

$(VENV)/bin/python: | check-python
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(INSTALL_INPUTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[all]'
	@touch $@

$(DEV_STAMP): $(INSTALL_INPUTS) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $(RUN_STAMP) $@

install: $(RUN_STAMP)

# ---- demo ----------------------------------------------------------------------------------

$(DEMO)/data.built: | $(RUN_STAMP)
	@echo "== 1/4  data: the documentation of the Python packages installed here"
	$(LI) data build api-docs --out $(DEMO)/data --force
	@touch $@

$(DEMO)/model.report.json: $(DEMO)/data.built
	@echo "== 2/4  training"
	$(LI) train --data $(DEMO)/data --out $(DEMO)/model --overwrite --resume --seed 0 $(THREAD_FLAGS) \
	  $(TRAIN_FLAGS)

$(DEMO)/compare/table.txt: $(DEMO)/model.report.json
	@echo "== 4/4  comparison with a graph (HNSW), an exact scan and a fixed tree"
	@mkdir -p $(DEMO)/compare
	$(LI) compare --data $(DEMO)/data --model $(DEMO)/model --baselines hnsw,exact,tree \
	  --max-queries 1000 --repeats 1 --timing-seconds 0.3 --out $(DEMO)/compare $(THREAD_FLAGS) > $@

demo: $(DEMO)/model.report.json
	@echo "== 3/4  three questions, and twenty whose answers are known"
	@$(LI) search $(DEMO)/model -k 5 \
	  "solve a sparse symmetric linear system" \
	  "split a data set into a training part and a test part" \
	  "smooth a noisy signal with a moving polynomial"
	@$(BIN)/python examples/answer_questions.py $(DEMO)/model examples/questions.tsv
	@$(MAKE) --no-print-directory $(DEMO)/compare/table.txt
	@cat $(DEMO)/compare/table.txt
	@echo
	@echo "Model: $(DEMO)/model    table and plot: $(DEMO)/compare/compare.json, .csv, .png"
	@echo "Next:  $(LI) search $(DEMO)/model \"your own question\""
	@echo "       $(LI) evaluate $(DEMO)/model --data $(DEMO)/data"
	@echo "       your own data: README.md and docs/cli.md"

# ---- checks --------------------------------------------------------------------------------

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  $(PYTEST_FLAGS)

test-slow: $(DEV_STAMP)
	$(BIN)/python -m pytest -m "slow or server" $(PYTEST_FLAGS)

# ---- frameworks that are no part of .venv ---------------------------------------------------
# Environments over .venv: they see what that has, and hold what a framework needs besides. Annif
# has one of its own, for it wants other versions of some packages.

FRAMEWORKS := .venvs/frameworks
ANNIF := .venvs/annif
# Their tests, beside those of tests/adapters.
OTHERS := tests/serving/test_serving_kubernetes.py tests/tracking/test_trackers.py

.venvs/%/bin/python: | $(DEV_STAMP)
	$(PYTHON) -m venv .venvs/$*
	@echo "import site; site.addsitedir('$$($(abspath $(BIN))/python -c \
	  'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
	  > $$(.venvs/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz-over.pth

$(FRAMEWORKS)/.installed: $(INSTALL_INPUTS) | $(FRAMEWORKS)/bin/python
	$(FRAMEWORKS)/bin/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt \
	  -e '.[ray,spark,mlflow,wandb,spacy,mteb,hub]' 'ray[serve]' kubernetes
	@touch $@

$(ANNIF)/.installed: $(INSTALL_INPUTS) examples/annif-backend/pyproject.toml | $(ANNIF)/bin/python
	$(ANNIF)/bin/python -m pip install --quiet $(PIP_FLAGS) -e . annif ./examples/annif-backend
	@touch $@

# Exit code 5: PYTEST_FLAGS chose none of these tests.
test-adapters: $(FRAMEWORKS)/.installed $(ANNIF)/.installed
	$(FRAMEWORKS)/bin/python -m pytest -m "not gpu" $(PYTEST_FLAGS) tests/adapters $(OTHERS) \
	  || [ $$? -eq 5 ]
	$(ANNIF)/bin/python -m pytest -m "not gpu" $(PYTEST_FLAGS) tests/adapters/test_adapter_annif.py \
	  || [ $$? -eq 5 ]

lint: $(DEV_STAMP) types imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The installed package's folders do not lie where its import names say (see docs/architecture.md),
# and mypy and import-linter look at folders. So both look at a tree as the wheel lays it out.
tree: $(DEV_STAMP)
	@rm -rf build/tree
	@$(BIN)/python -c 'import setuptools; setuptools.setup()' -q build_py --build-lib build/tree

types: tree
	MYPYPATH=build/tree $(BIN)/mypy -p learned_index

imports: tree
	cd build/tree && ../../$(BIN)/lint-imports --config ../../pyproject.toml

# ---- site and release ----------------------------------------------------------------------

# The reference is read off the tree, too.
docs: tree
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --site-dir build/site
	@echo "site: build/site/index.html"

# From a source archive, as a stranger would build it: what is missing there shows.
dist: $(DEV_STAMP)
	rm -rf dist build/lib build/bdist.*
	$(BIN)/python -m build $(BUILD_FLAGS) --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf build dist *.egg-info $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) .venvs
