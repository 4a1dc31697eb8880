# Everything runs in a virtual environment of its own; PYTHON may name another interpreter (3.11 or later).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# torch without the libraries of a GPU, which are gigabytes. Where this index does not answer, pip takes the torch that it finds.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
ASK_INDEX = timeout 5 $(BIN)/python -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=3)' $(TORCH_INDEX)/torch/
CPU_TORCH = $(ASK_INDEX) 2>/dev/null && $(PIP) --no-deps --index-url $(TORCH_INDEX) torch \
	|| echo "no torch from $(TORCH_INDEX): pip takes the one that it finds"

.PHONY: demo test test-slow chaos lint clean

## Set up and watch a simulated plant being learned and monitored; results in demo-output/
demo: $(VENV)/run-ready
	$(BIN)/monitor demo

# Tests that run in parallel. Each has five minutes at most; one that is stuck in C even then is ended.
PARALLEL := $(BIN)/pytest -q -m "not slow" -n auto --maxprocesses 8 --dist worksteal -o faulthandler_timeout=400

## Set up, check style and types, run the tests
test: lint
	$(PARALLEL)

## The tests that take longer: real brokers and databases, processes that are killed, the demo, and all examples of the property tests
test-slow: $(VENV)/test-ready
	$(BIN)/pytest -q -m slow -n 2 --dist loadfile
	$(PARALLEL) --hypothesis-profile full tests/properties tests/store

## Groups of workers in every fault: a row per scenario, and build/chaos.json; QUICK=1 for a part in 3 minutes (6 with KAFKA_HOME), SEED=N for others
chaos: $(VENV)/test-ready
	$(BIN)/python -m tests.crash.chaos $(if $(QUICK),--quick) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/run-ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(CPU_TORCH)
	$(PIP) -e .
	touch $@

$(VENV)/test-ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(CPU_TORCH)
	$(PIP) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
