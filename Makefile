# The two commands of the README are `make demo` and `make test`. Both install what they need.

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
KIND ?= container
PYTEST_ARGS ?=
TORTURE_ARGS ?=
# the crash sample before the reboot, after which /run is empty
STACK_TESTS := $(addprefix tests/lab/,test_drift_matrix.py test_crash.py test_stack.py)
CONTENT_TESTS := $(addprefix tests/lab/,test_content.py test_reads.py)
BENCH ?=
BENCH_ARGS ?=
.PHONY: demo test lint unit browser-test lab-test lab-stack-test lab-content-test lab-host-test vm-test long-test torture bench docs clean venv

venv: $(VENV)/.ready

# python3-venv is a package of its own on Debian and Ubuntu
$(VENV)/.ready: pyproject.toml
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -q && apt-get install -qy python3-venv; } || dnf install -y python3
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: venv
	$(PYTHON) -m lab.demo $(KIND)

# these wait more than they work: side by side, each one's output in one piece
test: lint browser-test
	$(MAKE) --no-print-directory --jobs 5 --output-sync=target lab-stack-test vm-test lab-host-test lab-content-test unit

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit: venv
	$(PYTHON) -m pytest -q tests/unit tests/contract $(PYTEST_ARGS)
	DIFYFLEET_READ_AHEAD=0 $(PYTHON) -m pytest -q tests/unit/fleet $(PYTEST_ARGS)

# installs Chromium where it is missing
browser-test: venv
	$(PYTHON) -m pytest -q tests/browser $(PYTEST_ARGS)

lab-test: lab-stack-test lab-content-test lab-host-test

# on one host that has the whole stack
lab-stack-test: venv
	$(PYTHON) -m pytest -q $(STACK_TESTS) -m "not slow" --durations=10 $(PYTEST_ARGS)

# the same, for what is inside Dify
lab-content-test: venv
	STACK_HOST=t-content $(PYTHON) -m pytest -q $(CONTENT_TESTS) -m "not slow" --durations=10 $(PYTEST_ARGS)

# on hosts of their own
lab-host-test: venv
	$(PYTHON) -m pytest -q tests/lab $(patsubst %,--ignore=%,$(STACK_TESTS) $(CONTENT_TESTS)) -m "not vm and not slow" --durations=10 $(PYTEST_ARGS)

vm-test: venv
	$(PYTHON) -m pytest -q tests/lab -m "vm and not slow" --durations=5 $(PYTEST_ARGS)

# what every run leaves out: the rest of the drift matrix, a hundred checks without a false alarm, the whole stack on the virtual machine,
# bundles, offline hosts, transfers between hosts, the lock file; then the matrix once more with read-ahead off: an hour and a half
long-test: venv
	$(PYTHON) -m pytest -q tests/lab -m slow --durations=10 $(PYTEST_ARGS)
	DIFYFLEET_READ_AHEAD=0 $(PYTHON) -m pytest -q tests/lab/test_drift_matrix.py --durations=10 $(PYTEST_ARGS)

# an apply cut at every change, by SIGKILL and by cutting its connection: about half an hour; writes into docs/reliability.md
torture: venv
	$(PYTHON) -m tests.lab.torture $(TORTURE_ARGS)

# paired runs as ratios: docs/performance.md
bench: venv
	$(PYTHON) -m bench $(BENCH) $(BENCH_ARGS)

docs: venv
	$(PYTHON) -m difyfleet.spec

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
