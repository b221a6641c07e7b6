# On a fresh clone: `make demo` plays a scene, `make loop` tunes a very small model on its own scenes, `make test` checks
# everything.
# Everything is installed in .venv. PYTHON names another interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
QUESTION ?= How do I ask my neighbour to keep the dog quiet at night?
override QUESTION := $(value QUESTION)
export QUESTION

.PHONY: demo loop test lint lock clean

demo: .venv/core
	MATRIX_ALIGN="$(BIN)/matrix-align" sh runs/scene.sh

loop: .venv/tune
	MATRIX_ALIGN="$(BIN)/matrix-align" sh runs/demo.sh

# Two workers, each with whole files: more would start more models than a small machine holds.
test: .venv/dev lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# pyproject.toml says which packages; requirements.lock says which versions.
.venv/core: pyproject.toml requirements.lock
	@echo "Installing matrix-align into .venv (once, about a minute)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable .
	touch $@

.venv/tune: .venv/core
	@echo "Installing torch and TRL into .venv (once, some minutes)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[tune]'
	touch $@

.venv/dev: .venv/core
	@echo "Installing what the tests need into .venv (once, some minutes)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev,eval,ray,serve,tune]'
	touch $@

# Renews the lock with the newest versions that pyproject.toml allows. It holds names and versions only.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,eval,ray,serve,tune]'
	.venv-lock/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-lock .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
