# Two commands matter: `make demo` and `make test`. Both need only python3 (3.11 to 3.13, with venv) and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
UV_VERSION = 0.13.8

# Dozens of processes import the same large libraries: let Python keep what it has compiled.
unexport PYTHONDONTWRITEBYTECODE

PIP_AUDIT_VERSION = 2.10.1

.PHONY: demo training test slow lint check lock sbom audit clean

# One environment for running, more stamps on top of it for training and testing; both pinned by requirements.lock.
$(VENV)/uv: Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

$(VENV)/runtime: $(VENV)/uv pyproject.toml requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable .
	touch $@

$(VENV)/training: $(VENV)/runtime
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '.[training]'
	touch $@

$(VENV)/testing: $(VENV)/runtime
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '.[training,test]'
	touch $@

# `make demo KEEP=1` leaves everything running until Ctrl-C.
demo: $(VENV)/runtime
	$(BIN)/python -m worker demo $(if $(KEEP),--keep)

# What `python -m training` needs beside the worker's own packages.
training: $(VENV)/training

test: $(VENV)/testing lint
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

# Minutes-long tests: full-size training, soak.
slow: $(VENV)/testing
	$(BIN)/python -m pytest -m slow --timeout 7200

lint: $(VENV)/testing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every package pinned, with the hashes of its files; versions stay as they are unless pyproject.toml demands others.
# `make lock UPGRADE=--upgrade` takes the newest ones.
lock: $(VENV)/uv
	$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-annotate --custom-compile-command "make lock" $(UPGRADE) --output-file requirements.lock

# What an installation holds (CycloneDX): the default install in an environment of its own, without training and tests.
sbom: $(VENV)/testing
	$(BIN)/uv venv --quiet --clear build/runtime
	$(BIN)/uv pip install --quiet --python build/runtime/bin/python --constraint requirements.lock .
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json build/runtime/bin/python

# Known vulnerabilities of what is pinned; asks PyPI, and fails where a package cannot be looked up.
audit: $(VENV)/uv
	$(BIN)/uv tool run pip-audit==$(PIP_AUDIT_VERSION) --strict --disable-pip --require-hashes --requirement requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info demo-data
