# Everything a person types. Needs make and Python 3.11 or newer; everything else is installed into the checkout.

PYTHON ?= python3
RUN := .venv/bin/python
export PYTHONPATH := include:plugins
# The tests find Node there where it came from PyPI.
VENV_PATH := PATH="$(CURDIR)/.venv/bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help demo test up down status tables install lint format types contracts check docs lock clean clean-state bench faults

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables: AUDIO=folder (recordings of your own), PYTHON=python3.12, AIRFLOW_PORT, AZURITE_PORT, SPEECH_PORT\n'

demo: install ## transcribe the shipped recordings, or AUDIO=folder, from end to end on this machine
	@$(RUN) -m local.demo $(if $(AUDIO),--audio "$(AUDIO)")

test: install ## run all tests (ARGS="-k name" passes options to pytest)
	@$(RUN) -m local.browser
	@$(VENV_PATH) $(RUN) -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

up: install ## start Azurite, the Speech emulator and Airflow, and print address and login
	@$(RUN) -m local.stack up

down: ## stop what `make up` started; the state stays in .stack
	@[ ! -x $(RUN) ] || $(RUN) -m local.stack down

status: ## say what of the stack runs, and where its logs lie
	@[ ! -x $(RUN) ] || $(RUN) -m local.stack status || true

tables: install ## print a table of the running stack, TABLE=transcripts, outcomes, phrases or words
	@$(RUN) -m local.tables $(TABLE)

install: ## install the pinned packages, the model and Azurite into this checkout; the second time costs nothing
	@env -u PYTHONPATH $(PYTHON) -m local.install

lint: install ## look for mistakes, and check the format
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

format: install ## correct the format and what can be corrected by itself
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

types: install ## check the types of core, shell and emulator, and of these scripts
	@.venv/bin/mypy
	@PYTHONPATH= .venv/bin/mypy --strict -p local

contracts: install ## check who may import whom: the core knows no Airflow, the emulator knows neither
	@.venv/bin/lint-imports

check: lint types contracts test ## lint, types, import contracts and all tests: what must pass before a change is done

docs: install ## write the generated pages anew: settings, tables, DAGs
	@$(RUN) -m local.docs

lock: install ## pin the newest fitting packages: requirements.txt and package-lock.json
	@.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header requirements.in -o requirements.txt
	@npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

bench: install ## measure everything, in up to 40 minutes, into docs/BENCHMARKS.md (ARGS="polling": some of it; ARGS=--list)
	@PYTHONPATH=$(PYTHONPATH):tests:. $(VENV_PATH) $(RUN) -m bench $(ARGS)

faults: install ## kill, freeze and disturb runs at every point and print what came of it (ARGS="--quick")
	@PYTHONPATH=$(PYTHONPATH):tests:. $(VENV_PATH) $(RUN) -m faults $(ARGS)

clean-state: down ## stop the stack and forget its state: transcriptions, tables, Airflow's database
	@rm -rf .stack

clean: clean-state ## remove everything that was installed or made in this checkout
	@rm -rf .venv node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
