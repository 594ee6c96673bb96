# Everything a developer does. It needs Python 3.11 or newer.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS := 3  # tests at a time: most of them wait for a server
PYTEST = $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup run test test-bare check devconsole bench ledger e2e docs docs-serve screenshots lock images cluster-up clean

help: ## List the targets
	@sed -n 's/^\([a-z][a-z0-9-]*\):[^#]*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-17s %s\n", $$1, $$2 }'

setup: $(READY) ## Create .venv with the locked packages; PYTHON=/path/to/python selects the interpreter

$(READY): requirements.lock pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" scripts/setup.sh $(VENV)
	@touch $@

run: $(READY) ## Start Penstock, process sample images, keep serving; PORT=8080
	@$(BIN)/python -m penstock.local.demo $(if $(PORT),--port $(PORT))

test: $(READY) ## Run all tests; ARGS="-k name" selects some, JOBS=1 runs one at a time
ifdef ARGS
	@$(PYTEST) $(ARGS)
else
	@$(PYTEST) --ignore tests/e2e/browser
	@$(BIN)/pytest tests/e2e/browser  # alone: a browser drops what it loads whenever a container starts beside it
endif

test-bare: ## Run the tests in a fresh clone, without the servers that they could use; needs root
	@scripts/test_bare.sh

check: $(READY) ## Check format, lint, types, import contracts, version, generated docs, documentation site
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_version.py
	@$(BIN)/python scripts/make_docs.py --check
	@$(BIN)/python scripts/make_sync_client.py --check
	@$(BIN)/python scripts/render_manifests.py --check
	@$(BIN)/python scripts/make_chart_docs.py --check
	@$(BIN)/python scripts/build_site.py
	@scripts/check_chart.sh

devconsole: $(READY) ## Open a Python console with the project's objects loaded
	@$(BIN)/python -i scripts/devconsole.py

bench: $(READY) ## Measure against a plain OpenCV pool; ARGS="--rounds 5" passes options
	@$(BIN)/penstock bench $(ARGS)

ledger: $(READY) ## Kill and disturb whole systems, audit the outcome; ARGS="--point published" selects
	@PYTHONPATH=tests/support:tests/support/servers $(BIN)/python tests/ledger/sweep.py $(ARGS)

e2e: $(READY) ## Test whole installations on a real Kubernetes (CONTRIBUTING.md); ARGS="-k name" selects some
	@$(BIN)/pytest tests/e2e/cluster $(ARGS)

docs: $(READY) ## Generate the pages and schemas that come from the code, and the blocking client
	@$(BIN)/python scripts/make_docs.py
	@$(BIN)/python scripts/make_sync_client.py
	@$(BIN)/python scripts/make_chart_docs.py

docs-serve: $(READY) ## Serve the documentation site on http://localhost:8000, rebuilt after each change
	@$(BIN)/python scripts/build_site.py --serve

screenshots: $(READY) ## Make the screenshots in docs/images with Chromium; ARGS=FOLDER uses the images there
	@$(BIN)/python scripts/make_screenshots.py $(ARGS)

COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --custom-compile-command 'make lock'
COMPILE_IMAGE := $(COMPILE) --python-version 3.13 --python-platform linux --constraints requirements.lock

lock: $(READY) ## Pin the newest packages that pyproject.toml allows, with their hashes
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@$(COMPILE) --universal --python-version 3.11 --extra all --group dev --output-file requirements.lock pyproject.toml
	@$(COMPILE_IMAGE) --extra coordinator --extra tracing --output-file services/coordinator.lock pyproject.toml
	@$(COMPILE_IMAGE) --extra steps --extra tracing --output-file services/steps.lock pyproject.toml
	@mkdir -p build
	@sed -n '/^numpy==/d; s/^\([a-z].*\) \\$$/\1/p' requirements.lock >build/not-numpy.lock
	@$(COMPILE) --python-version 3.13 --python-platform linux --constraints build/not-numpy.lock --extra gpu --output-file services/gpu.lock pyproject.toml
	@echo setuptools | $(COMPILE_IMAGE) --output-file services/build.lock -
	@echo pi-heif | $(COMPILE_IMAGE) --no-deps --output-file services/heif.lock -

images: ## Build every container image, print their sizes; REGISTRY=local BASE=python:3.13-slim-trixie TAG=0.1.0
	@REGISTRY="$(REGISTRY)" BASE="$(BASE)" TAG="$(TAG)" scripts/build_images.sh

cluster-up: $(READY) ## Install into the current cluster, run a job, fetch its results; variables are in scripts/cluster_up.sh
	@scripts/cluster_up.sh

clean: ## Remove .venv, caches and builds; results and penstock-data stay
	@rm -rf $(VENV) build dist services/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find services tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
