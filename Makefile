# Needs python3 (3.11 or newer) with venv and pip, and make. Everything else lands in .venv.

PYTHON ?= python3
BIN := .venv/bin
# Options for pytest, for instance: make test ARGS="tests/unit -k lease"
ARGS ?=
# Simulated worlds that `make sim` runs when no SEED is given.
WORLDS ?= 3000

WEB := gridd/web
PAGE := $(WEB)/dist/index.html
PAGE_SOURCES := $(wildcard $(addprefix $(WEB)/,index.html *.ts package.json tsconfig.json src/* src/*/*))

.DEFAULT_GOAL := help
.PHONY: help install page demo run fmt lint types test sim bench pictures dist lock clean check

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Without npm there is no page to look at, and everything else works.
install: $(BIN)/.installed ## Make .venv with everything that development needs
	@! command -v npm >/dev/null || $(MAKE) --no-print-directory page || \
		echo "The page was not built (the reason stands above). Everything else works without it."

# The stamp is newer than what it was made from: installing again happens only when these change.
$(BIN)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("gridd needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which: make PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "python3 has no venv here; run: sudo apt-get install python3-venv"; exit 1; }
	@echo "Installing into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

page: $(PAGE) ## Build the page that the server shows (needs npm, and Node 20.19 or newer)
	@:

$(PAGE): $(WEB)/node_modules/.package-lock.json $(PAGE_SOURCES)
	@echo "Building the page"
	@cd $(WEB) && npm run --silent build
	@touch $@

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing; run: sudo apt-get install npm"; exit 1; }
	@cd $(WEB) && npm ci --silent --no-audit --no-fund
	@touch $@

demo: install ## Start a grid with one worker, run a real job and show its result
	@$(BIN)/python -m gridd.demo

run: install ## Start the same grid and stay (Ctrl-C stops it)
	@$(BIN)/gridd up

fmt: install ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install ## Check style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install ## Check types
	$(BIN)/mypy

test: install ## Run every test, installing missing system parts where that is allowed
	@.ci/test $(ARGS)

sim: install ## Run simulated worlds: SEED=7 for one, WORLDS=100 for as many
	$(BIN)/python tests/simulation/run.py $(if $(SEED),--seed $(SEED),--worlds $(WORLDS))

bench: install ## Measure jobs per second and the time from submit to result
	$(BIN)/python bench/run.py

pictures: install ## Take the three pictures of the README anew (needs chromium)
	$(BIN)/python -m tests.browser.pictures docs/pictures

dist: install ## Build the wheel and the source archive into dist/
	rm -rf dist
	$(BIN)/hatchling build -d dist
	@test -f $(PAGE) || echo "The wheel holds no page, because npm is missing here."

# Not part of `install`: it needs uv, and only whoever changes a dependency needs it.
lock: ## Pin every dependency with its hashes into requirements.lock (needs uv)
	@command -v uv >/dev/null || { echo "uv is missing; run: pip install uv"; exit 1; }
	printf 'hatchling>=1.27\n' | uv pip compile pyproject.toml - --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --quiet -o requirements.lock

clean: ## Remove what make made, never your data
	rm -rf .venv dist $(WEB)/dist $(WEB)/node_modules $(WEB)/.tests demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check: lint types test sim dist demo ## What CI runs
