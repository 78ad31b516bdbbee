# nerveplan: `make demo` runs the main job on the sample scan, `make test` proves the project. Each sets itself up.
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export MPLBACKEND := Agg

# Off-screen GL for the pictures, a virtual display and Qt's xcb libraries for the viewer.
SYSTEM_PACKAGES := libgl1 libegl1 libosmesa6 libglx-mesa0 libxrender1 libxt6 libgomp1 xvfb libxkbcommon-x11-0 libdbus-1-3 \
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 \
  libxcb-xinerama0 libxcb-xfixes0

.PHONY: demo test test-record test-rest check validate bench clean

demo: $(VENV)/.run-ready
	env -u DISPLAY $(BIN)/nerveplan demo --out out/demo

test: $(VENV)/.dev-ready check
	$(MAKE) --no-print-directory -j2 test-record test-rest

# Two halves side by side: the record and its window, and everything else.
test-record: $(VENV)/.dev-ready
	env -u DISPLAY $(BIN)/python -m pytest -q tests/planner tests/viewer

test-rest: $(VENV)/.dev-ready
	env -u DISPLAY $(BIN)/python -m pytest -q --ignore=tests/planner --ignore=tests/viewer

check: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/mypy

validate: $(VENV)/.dev-ready
	env -u DISPLAY $(BIN)/python -m benchmarks.validate
	env -u DISPLAY $(BIN)/python -m benchmarks.robustness --page
	env -u DISPLAY $(BIN)/python -m benchmarks.reliability

bench: $(VENV)/.dev-ready
	env -u DISPLAY $(BIN)/python -m benchmarks

$(VENV)/.system-ready:
	@mkdir -p $(VENV)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  missing=$$(for p in $(SYSTEM_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	  if [ -n "$$missing" ]; then apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi; \
	else echo "not root or no apt-get: off-screen GL is taken as it is ($(SYSTEM_PACKAGES))"; fi
	@touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip

$(VENV)/.run-ready: pyproject.toml requirements-dev.lock $(VENV)/.system-ready | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c requirements-dev.lock -e .
	@touch $@

$(VENV)/.dev-ready: pyproject.toml requirements-dev.lock $(VENV)/.system-ready | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c requirements-dev.lock -e ".[dev]"
	@touch $@ $(VENV)/.run-ready

clean:
	rm -rf $(VENV) out build dist *.egg-info
