# Every task of the project. Installing speaks on standard error only: `make demo ARGS=--json`
# keeps standard output for the program.

python ?= python3
venv := .venv
uv := $(venv)/bin/uv
compile := $(uv) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-config --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.SILENT:
.PHONY: help demo test check format mutate bench soak lock clean

help: ## list these targets
	awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(venv)/.runtime ## run everything on this machine; options in ARGS, e.g. ARGS=--json
	exec $(venv)/bin/paygate demo $(ARGS)

# Tests start hundreds of processes: each would compile everything anew where this variable forbids to keep it.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(venv)/.dev ## run the tests, on every core; or on one with options for pytest in ARGS
	exec $(venv)/bin/pytest -q $(or $(ARGS),$(shared))

# A file's tests stay together, as they share fixtures; in pytest's order, which leaves the many small files of
# tests/unit for the end. A worker that dies is not replaced: it fails the run.
shared := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

check: $(venv)/.dev ## format, lint, types, import rules
	$(venv)/bin/ruff format --check
	$(venv)/bin/ruff check --quiet
	$(venv)/bin/mypy --no-error-summary
	$(venv)/bin/lint-imports --no-logo

format: $(venv)/.dev ## rewrite the code in the house format
	$(venv)/bin/ruff format
	$(venv)/bin/ruff check --fix

mutate: $(venv)/.dev ## mutate the pure core and name what its unit tests let live; --json FILE in ARGS
	exec $(venv)/bin/python -m tests.planted.mutants $(ARGS)

bench: $(venv)/.dev ## print the benchmarks' figures
	exec $(venv)/bin/python -m tests.benchmarks $(ARGS)

soak: $(venv)/.dev ## run the campaigns of docs/assurance.md, hours; or those named in ARGS
	exec $(venv)/bin/python -m tests.assurance $(ARGS)

lock: $(uv) ## pin the dependencies; ARGS=--upgrade takes the newest versions
	$(compile) $(ARGS) --group install --output-file requirements.lock
	$(compile) $(ARGS) --group install --group dev --constraints requirements.lock --output-file requirements-dev.lock

clean: ## remove what this Makefile and the tools created
	rm -rf $(venv) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist mutants

# Each stamp says: the virtual environment holds what this lock file names.
$(venv)/.runtime: requirements.lock pyproject.toml | $(uv)
	echo 'installing the packages of $< …' >&2
	$(call install,$<)
	touch $@

$(venv)/.dev: requirements-dev.lock pyproject.toml | $(uv)
	echo 'installing the packages of $< …' >&2
	$(call install,$<)
	touch $@ $(venv)/.runtime

# uv installs in a second what takes pip twenty. Where it cannot (it does not read pip's settings,
# such as a company's mirror) pip does. Nothing is compiled ahead: that takes longer than the first run.
define install
	$(uv) pip install --quiet --python $(venv) --require-hashes --requirement $(1) >&2 \
		|| $(pip) --require-hashes --requirement $(1) >&2
	$(uv) pip install --quiet --python $(venv) --no-deps --editable . >&2
endef
pip = $(python) -m pip --python $(venv) install --quiet --root-user-action ignore

# The environment borrows the interpreter's own pip: quicker than a second copy, and Debian's
# python3 has no second copy to give unless python3-venv is installed.
$(uv):
	$(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or newer is needed; name one: make python=python3.12 …' >&2; exit 1; }
	$(python) -m pip --version >/dev/null 2>&1 \
		|| { echo '$(python) has no pip; on Debian or Ubuntu: apt install python3-pip' >&2; exit 1; }
	echo 'creating $(venv) …' >&2
	$(python) -m venv --clear --without-pip $(venv) >&2
	awk '/^[^ #]/ { ours = /^uv==/ } ours' requirements.lock >$(venv)/uv.txt
	$(pip) --require-hashes --requirement $(venv)/uv.txt >&2
