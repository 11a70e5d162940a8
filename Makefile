# Everything a newcomer needs: `make plan`, `make test`. Both set themselves up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
EXAMPLES := examples/llama3.1-8b.toml examples/llama3.1-70b.toml examples/llama3.1-405b.toml

FUZZ_TIMES ?= 5

.PHONY: plan test fuzz check bench dashboard calibrate validation wheels clean

plan: $(VENV)/.ready-plan  ## plan 8B, 70B and 405B and write a report
	@$(BIN)/herdplan plan $(EXAMPLES) --report out/llama3.1.html

test: $(VENV)/.ready-dev browser check  ## set up, check and run all tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

fuzz: $(VENV)/.ready-dev  ## the property tests on examples never tried before
	@for i in $$(seq $(FUZZ_TIMES)); do \
		HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n 2 -m hypothesis || exit 1; done

check: $(VENV)/.ready-dev  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready-dev  ## speed, with pytest-benchmark
	$(BIN)/python -m pytest benchmarks -p benchmark --benchmark-only --benchmark-columns=min,median,max,rounds

dashboard: $(VENV)/.ready-dashboard  ## the dashboard at localhost:8501
	$(BIN)/herdplan dashboard

calibrate: $(VENV)/.ready-dev  ## fit the step model's constants to the published runs (a few minutes)
	$(BIN)/python -m planner.calibrate --write

# The profiler's needs beside torch and transformers, for scripts/profile_gpu.sh (Linux, Python 3.12, x86-64).
wheels: | $(BIN)/python  ## what a GPU machine without a network lacks, in .wheels
	@rm -rf .wheels && mkdir .wheels
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir .wheels fairscale==0.4.13
	@$(BIN)/python -m pip download --quiet --only-binary=:all: --python-version 3.12 --implementation cp \
		--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
		-d .wheels -c constraints.txt pydantic typer nvidia-ml-py
	@ls .wheels

validation: $(VENV)/.ready-dashboard  ## docs/validation.md and its figure
	$(BIN)/herdplan validate --markdown docs/validation.md --figure docs/validation.svg

clean:
	rm -rf $(VENV) out build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "herdplan needs Python 3.11 or newer; $(PYTHON) is older (set PYTHON=python3.12, say)."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "No venv module: apt-get install python3-venv"; exit 1; }

$(VENV)/.ready-plan: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up .venv (once, under two minutes)"
	@$(PIP) -e '.[report]'
	@touch $@

$(VENV)/.ready-dashboard: pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) -e '.[dashboard]'
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up .venv for development (once, a few minutes)"
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.ready-plan $(VENV)/.ready-dashboard

# Browser tests drive Debian's Chromium.
.PHONY: browser
browser:
	@command -v chromium >/dev/null || { echo "Installing Chromium for the browser tests"; \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$SUDO apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$SUDO apt-get install -qq -y chromium >/dev/null; }
