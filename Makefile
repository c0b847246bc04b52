# Everything runs from `.venv`, made here on first use. `make help` explains every target.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
PACKAGES := .flashsale/packages
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
SOURCE ?= simulated
QUICK ?=
OUT ?= out
# a local folder of wheels (for example a CPU build of torch) is honoured by uv as it is by pip
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export TZ := UTC
# every task is a process: without kept bytecode each would compile Airflow anew
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup archives java prepare chromium doctor demo test test-quick lint types imports dbt pytest e2e cluster bench up down status format clean

help: ## Explain every target
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed: install python3.11 and python3.11-venv"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || { echo "Python 3.11 or 3.12 is needed; found $$("$(PYTHON)" --version). Set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(BIN)/python -m ensurepip >/dev/null # an environment that uv made has none
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/python -m uv pip install -q --python $(BIN)/python -r requirements.lock
	$(BIN)/python -m uv pip install -q --python $(BIN)/python --no-deps -e .
	@rm -f $(VENV)/.installed-*
	@touch $(STAMP)

$(STAMP)-bench: $(STAMP) benchmarks/requirements.txt
	$(BIN)/python -m uv pip install -q --python $(BIN)/python -r benchmarks/requirements.txt
	@touch $@

setup: $(STAMP) archives java prepare ## Install what is missing: packages by uv, Java by the system's package manager

$(STAMP)-prepared: | $(STAMP) java
	@$(BIN)/python scripts/prepare.py
	@touch $@

prepare: $(STAMP)-prepared

archives: $(STAMP) # source archives that hold data; looked for each time, since they lie outside the environment
	@mkdir -p $(PACKAGES)
	@ls $(PACKAGES)/vader*3.3.2.tar.gz >/dev/null 2>&1 || $(BIN)/python -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: --dest $(PACKAGES) vaderSentiment==3.3.2

java:
	@bash scripts/ensure_java.sh

chromium:
	@bash scripts/ensure_chromium.sh

doctor: $(STAMP) ## Check Python, Java, memory, disk and ports, each with a remedy
	@$(BIN)/flashsale doctor

demo: setup ## Run the whole loop once on a real Airflow (SOURCE=simulated|completejourney|DIR, OUT=out)
	@$(BIN)/flashsale demo --source "$(SOURCE)" --out "$(OUT)" --approve-as demo

test: setup chromium ## Lint, types, import rules, dbt, unit and integration tests
	@$(MAKE) -j2 --output-sync=target --no-print-directory types lint imports dbt
	@$(MAKE) --no-print-directory pytest

test-quick: setup ## Unit tests alone
	$(BIN)/python -m pytest -q -m "not airflow and not spark and not server and not browser"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint -q dbt_project/models dbt_project/tests

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	PYTHONPATH=.:plugins $(BIN)/lint-imports --no-cache

dbt: $(STAMP)
	cd dbt_project && DBT_TARGET_PATH=../.flashsale/dbt-parse DBT_LOG_PATH=../.flashsale/dbt-parse ../$(BIN)/dbt parse --profiles-dir . --quiet

pytest: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

e2e: setup chromium ## The demo end to end, then its report in a browser
	FLASHSALE_E2E=1 $(BIN)/python -m pytest tests/e2e

cluster: setup ## Every Spark job on a real cluster of two workers, one of them killed (minutes)
	FLASHSALE_CLUSTER=1 $(BIN)/python -m pytest tests/spark_jobs/test_cluster.py

bench: setup $(STAMP)-bench ## Every benchmark against its peer; figures to benchmarks/results (QUICK=--quick: does it run?)
	@for file in benchmarks/[a-z]*.py; do case $$file in */harness.py) ;; *) echo "== $$file"; $(BIN)/python $$file $(QUICK);; esac; done

up: setup ## Start Airflow, MLflow and the simulated shop on loopback, wait until healthy, print the login
	@$(BIN)/flashsale up

down: $(STAMP) ## Stop everything `make up` started, also after a crash
	@$(BIN)/flashsale down

status: $(STAMP) ## What runs, and where
	@$(BIN)/flashsale status

format: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what runs left behind (not the environment)
	rm -rf .flashsale/worlds out .mypy_cache .ruff_cache
