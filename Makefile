# Everything goes through .venv, which is made from the pinned lock when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-unit check lock docs bench-lora bench-gateway bench-faults bench-switch clean help

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

install: $(STAMP) ## Make .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml scripts/install.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/install.sh
	@touch $(STAMP)

demo: $(STAMP) ## The whole loop on real human ratings; about 20 minutes on 2 cores
	$(BIN)/loraloop demo $(DEMO)

test: $(STAMP) ## All tests, real engine and real training included
	$(BIN)/python -m pytest

test-unit: $(STAMP) ## The quick tests alone
	$(BIN)/python -m pytest tests/unit

check: $(STAMP) ## ruff, pyright, import-linter, docs in step with the code
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m ops.reference --check

docs: $(STAMP) ## Write the generated references
	$(BIN)/python -m ops.reference

bench-lora: $(STAMP) ## Base, stock adapters and ours on the CPU, side by side
	$(BIN)/python -m bench.lora

bench-gateway: $(STAMP) ## What the gateway adds to a request, beside its peers
	$(BIN)/python -m bench.gateway $(BENCH)

bench-faults: $(STAMP) ## 200 kills under load: what is lost, doubled, and how soon all is back
	$(BIN)/python -m bench.faults $(FAULTS)

bench-switch: $(STAMP) ## Promotions and rollbacks under load
	$(BIN)/python -m bench.switch $(SWITCH)

lock: $(STAMP) ## Resolve requirements.lock anew
	PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/lock.sh

clean: ## Remove what the demo and the tests left
	rm -rf demo dist .pytest_cache .ruff_cache .hypothesis
