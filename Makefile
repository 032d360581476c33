# make help lists the targets. Everything runs in the virtual environment .venv, which is built when it is missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs test-legacy clean

# The Python to build with: PYTHON=... names one, else the first of these that runs.
PYTHON ?= python3.11 python3.12 python3.13 python3.10 python3.9
# Test processes, and threads in each: torch's own threads would fight over the same cores. Files keep their order.
WORKERS ?= 2
RUN_TESTS = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(2)

help:  ## list the targets
	@grep -E '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F '\t' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo '  Variables: PYTHON=python3.12 (for a new .venv)  TORCH=torch==2.12.0 (same)  WORKERS=4  TESTS=tests/unit'

demo: .venv/stamp  ## train and decode on bundled text, print a table, draw a picture
	.venv/bin/python scripts/experiments/demo.py

test: .venv/stamp  ## run every test (TESTS=... for some)
	$(call RUN_TESTS,.venv,$(TESTS))

check: .venv/stamp  ## lint, format, types, the law of imports, documents
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -q tests/documents tests/unit/test_imports.py

bench: .venv/stamp  ## measure speed, as ratios in one run
	.venv/bin/python scripts/benchmarks/benchmark.py

docs: .venv/stamp  ## write docs/options.md and the picture of the rooms from the source
	.venv/bin/python scripts/tools/write_options.py
	.venv/bin/python scripts/tools/draw_rooms.py

test-legacy: .venv-legacy/stamp  ## run the tests with fairseq 0.12.2 and torch 1.13.1 (Python 3.10 or 3.9)
	$(call RUN_TESTS,.venv-legacy,$(TESTS))

clean:  ## remove the environments, caches and outputs
	rm -rf .venv .venv-legacy build dist *.egg-info demo-out bench-out endure-out .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find fairseq_bso bso_runtime scripts tests user_dir_examples -name __pycache__ -prune -exec rm -rf {} +

# A stamp is written last, so an environment that was left half built is built again.
.venv/stamp: scripts/tools/build_venv.sh pyproject.toml
	@scripts/tools/build_venv.sh .venv $(PYTHON)
	@touch $@

.venv-legacy/stamp: scripts/tools/build_venv.sh pyproject.toml
	@scripts/tools/build_venv.sh .venv-legacy $(if $(filter command line,$(origin PYTHON)),$(PYTHON),python3.10 python3.9)
	@touch $@
