PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-processors test-milvus torture fuzz check format clean

# The examples, built into a folder that git ignores, and the blocks of three of them.
DEMO := culture/police-follow-ferry-tickets.txt environment/wildfire-orrin-fells-villages-emptied.txt health/cooling-towers-shut-down-dunmarrow.txt
demo: $(VENV)/installed
	$(BIN)/recommender build examples --index index/demo
	@for id in $(DEMO); do \
		echo; echo '$$ recommender related' $$id '--index index/demo'; echo; \
		$(BIN)/recommender related $$id --index index/demo || exit 1; done

test: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --dist worksteal

# The tests that embed, as on processors with fewer instructions: oneDNN leaves the others out.
LEVELS := AVX2 AVX512_CORE_VNNI
test-processors: $(VENV)/installed
	for level in $(LEVELS); do echo "ONEDNN_MAX_CPU_ISA=$$level"; ONEDNN_MAX_CPU_ISA=$$level \
		$(BIN)/python -m pytest tests/test_examples.py tests/test_processors.py tests/embedding || exit 1; done

# A long run of what `make test` does a little of: writers killed, the power gone, the disk full, files
# damaged. The same seed repeats a run.
SEED ?= 0
torture: $(VENV)/installed
	$(BIN)/python tests/torture/run.py --kills 1000 --power 1000 --full 400 --seed $(SEED)
	$(BIN)/python tests/torture/damage.py --flips 40 --seed $(SEED)

# Coverage-guided fuzzing of the readers, so many seconds each.
SECONDS ?= 60
fuzz: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	for target in jsonl gzip txt md html json xml csv record policy blocks qrels; do $(BIN)/python tests/fuzz/fuzz.py $$target --seconds $(SECONDS) || exit 1; done

# The tests of the stores against a real Milvus server too, which is started, and killed, for them (Linux on x86-64).
test-milvus: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[milvus-server]'
	$(BIN)/python -m pytest --milvus own tests/store/test_contract.py tests/store/milvus/test_milvus.py

# Lint, format, types, and the direction of imports.
check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) index/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
