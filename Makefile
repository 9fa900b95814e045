# Two commands set everything up: `make demo` and `make test`. Both may be called again at any time.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PREFECT ?= 1

# Of `make test WING=tasks/cog`: the tests of one wing.
WING ?=
TESTS := $(if $(WING),tests/$(WING),tests)

# A catalog of real scenes for the gallery; without one they are asked of the archive.
REAL ?= $(wildcard ../shared/real/catalog.json)

.PHONY: help demo test test-all test-again check format models docs docs-site services services-stop clean

help:
	@echo 'make demo    build the embedded sample and map water and change on it'
	@echo 'make test    run the tests but for the long whole runs; WING=tasks/cog: those of one wing'
	@echo 'make test-all  every test, as CI does'
	@echo 'make test-again  what failed in the last run of either, one after another'
	@echo 'make check   lint and types'
	@echo 'make format  format the code'
	@echo 'make models  rebuild the built-in models byte for byte'
	@echo 'make docs    check that the documents and their examples are true'
	@echo 'make docs-site  the pages of docs/ as a site in build/site, with a gallery drawn by running jobs'
	@echo 'make services, make services-stop   PostgreSQL, a STAC API, S3 and Prefect on this machine, for the tests'
	@echo 'make clean   remove the environment and what tools left'

demo: $(VENV)/.cpu
	@$(BIN)/tilewright demo

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(PYTEST_ARGS) $(TESTS)

test-all: $(VENV)/.dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS) $(TESTS)

# What failed in the last run, one after another; none is a failure too.
test-again: $(VENV)/.dev
	@$(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(PYTEST_ARGS) $(TESTS)

docs: $(VENV)/.dev
	@$(BIN)/python -m pytest --quiet tests/project/test_readme.py tests/project/test_tasks_readme.py \
		tests/models/card/test_readme.py tests/project/test_documents.py tests/project/test_docs_site.py

docs-site: $(VENV)/.dev
	@$(BIN)/python -m deploy.site build/gallery $(if $(REAL),--real $(REAL))
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict
	@echo 'Open build/site/index.html'

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo 'run `make format`'; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@echo 'check: lint, format and types are clean'

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

models: $(VENV)/.dev
	@$(BIN)/python -m tilewright.models.builtin.build

# Needs root once where PostgreSQL with PostGIS, or Chromium, is missing (Debian packages); PREFECT=0 leaves the
# Prefect server out.
services: $(VENV)/.dev
	@$(BIN)/python -m deploy.services start $(if $(filter 0 no,$(PREFECT)),--no-prefect)

services-stop:
	@test ! -d .services || $(BIN)/python -m deploy.services stop

clean:
	-@test ! -d .services || $(BIN)/python -m deploy.services remove
	@rm -rf $(VENV) .services.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is remade when its needs change; what pip says is kept aside and shown only when it fails.
define install
	@test -n '$(PYTHON)' || { echo 'Tilewright needs Python 3.11 or newer: set PYTHON=/path/to/python'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing Tilewright ($(1)) into $(VENV); the first time takes a few minutes ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[$(1)]' >$(VENV)/install.log 2>&1 || { cat $(VENV)/install.log; exit 1; }
	@touch $@
endef

$(VENV)/.cpu: pyproject.toml constraints.txt
	$(call install,cpu)

$(VENV)/.dev: pyproject.toml constraints.txt
	$(call install,cpu$(comma)flows$(comma)kubernetes$(comma)watching$(comma)stackstac$(comma)find$(comma)export$(comma)docs$(comma)dev)
	@touch $(VENV)/.cpu

comma := ,
