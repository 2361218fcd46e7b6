# Everything goes through .venv, which is made from the pinned lock when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-bench
# Requests per operation of an OpenAPI document in test-clients.
SCHEMA_CASES ?= 50
STAMP := $(VENV)/.installed
# Where nothing compiled is kept, each of the hundreds of processes that the tests start compiles its modules again.
unexport PYTHONDONTWRITEBYTECODE
# The variable turns off an advertisement for another tool.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

.PHONY: install demo test test-unit test-clients test-browser test-images test-chart check check-code check-pages check-types collect layout lock docs docs-site bench-lora bench-gateway bench-ingest bench-store bench-console bench-faults bench-switch bench-gates bench-eval bench-poison bench-train bench-preferences clean help

help: ## List all targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

install: $(STAMP) ## Make .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml scripts/install.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/install.sh
	@touch $(STAMP)

demo: $(STAMP) ## Run the whole loop on real human ratings; about 20 minutes on 2 cores
	$(BIN)/python -m demo $(DEMO)

test: test-unit ## All tests except slow clients and the browser's; a real engine and real training included
	$(BIN)/python -m pytest -m "not slow and not browser" --numprocesses 2 --dist loadfile tests/integration tests/acceptance

test-unit: $(STAMP) ## Run the unit tests in three processes: many of them wait
	$(BIN)/python -m pytest tests/unit --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-clients: $(STAMP) ## Test the gateway with external clients: openai (Python, Node), anthropic, LangChain, vllm bench, schemathesis
	$(BIN)/python -m pytest -rsP --timeout 3600 --schema-cases $(SCHEMA_CASES) tests/unit/serve/test_openapi_cases.py \
	    tests/unit/ops/test_control_openapi.py
	$(BIN)/python -m pytest -rs --timeout 3600 --schema-cases $(SCHEMA_CASES) tests/integration/test_clients.py tests/integration/test_clients_structured.py \
	    tests/integration/test_clients_responses.py tests/integration/test_clients_messages.py \
	    tests/integration/test_langchain.py \
	    tests/integration/test_bench_serve.py tests/integration/test_schema.py tests/integration/test_node.py

test-browser: $(STAMP) ## Test the console in Chromium, which is installed if needed
	@sh scripts/chromium.sh
	$(BIN)/python -m pytest -m browser tests/browser

test-images: $(STAMP) ## Build the container images with Debian's tools, run them as compose.yaml does, and print their sizes
	@VENV="$(VENV)" sh scripts/images.sh
	$(BIN)/python -m pytest -m images tests/images

test-chart: $(STAMP) ## Render and lint the Helm chart, and check every manifest and value against its schema
	$(BIN)/python -m pytest tests/unit/ops/test_chart*.py

check: check-code check-pages check-types ## ruff with its format, pyright, import rules, layout, generated pages and pictures, words, links of the site

check-code: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports
	$(BIN)/python -m tools.layout --check

check-pages: $(STAMP)
	$(BIN)/python -m tools.docs_reference --check
	$(BIN)/python -m tools.diagrams --check
	$(BIN)/python -m tools.words
	$(MKDOCS) build --quiet --strict

check-types: $(STAMP)
	$(BIN)/pyright

# Python keeps what it compiles. Three test processes that begin at once compile 11,000 modules three times.
collect: $(STAMP) ## Import all tests without running them, which compiles what they import
	@mkdir -p .pytest_cache
	@$(BIN)/python -m pytest --collect-only tests/unit tests/integration tests/acceptance >.pytest_cache/collected.txt || \
	    { tail -n 60 .pytest_cache/collected.txt; exit 1; }

layout: $(STAMP) ## Lengths of modules and functions, and import cycles, as JSON
	$(BIN)/python -m tools.layout

docs: $(STAMP) ## Write the generated references and draw the diagrams
	$(BIN)/python -m tools.docs_reference
	$(BIN)/python -m tools.diagrams

docs-site: $(STAMP) ## Build the documentation site into site/, offline and without warnings
	$(MKDOCS) build --strict
	@echo "Now run: $(BIN)/python -m http.server --directory site"

bench-lora: $(STAMP) ## Base model, stock adapters and the plugin on the CPU, compared
	$(BIN)/python -m bench.lora

bench-gateway: $(STAMP) $(PEERS)/.installed ## What the gateway adds to a request, compared with other gateways
	$(BIN)/python -m bench.gateway $(BENCH)

# Line by line, so that one gateway that cannot be installed leaves the others; the next run tries it again.
$(PEERS)/.installed: bench/peers/requirements.txt | $(STAMP)
	@echo "Installing the other gateways into $(PEERS); this takes some minutes"
	@$(BIN)/python -m venv $(PEERS)
	@grep -v '^#' $< | xargs -n 1 $(PEERS)/bin/pip install --quiet --disable-pip-version-check && touch $@ || \
		echo "One gateway could not be installed into $(PEERS); the benchmark leaves it out." >&2

bench-ingest: $(STAMP) ## Spools to DuckDB: interactions per second, on an empty store and on 10 million rows
	$(BIN)/python -m bench.ingest $(INGEST)

bench-store: $(STAMP) ## Snapshots, and the console's pages, over 10 million interactions and a million votes
	$(BIN)/python -m bench.store $(STORE)

bench-faults: $(STAMP) ## 200 kills under load: what is lost or stored twice, and how soon each process is back
	$(BIN)/python -m bench.faults $(FAULTS)

bench-switch: $(STAMP) ## Promotions and rollbacks under load, and 500 acts of two people at once
	$(BIN)/python -m bench.switch $(SWITCH)

bench-eval: $(STAMP) ## What an evaluation adds to the engine's own time, and the seconds per suite
	$(BIN)/python -m bench.evaluation $(EVAL)

bench-gates: $(STAMP) ## What the gates promote in thousands of simulated canaries, compared with naive gates
	$(BIN)/python -m bench.gates $(GATES)

bench-console: $(STAMP) ## Every page over 10,000 decisions, a million votes, ten million answers
	$(BIN)/python -m bench.console $(CONSOLE)

bench-poison: $(STAMP) ## A brigade's planted phrase and flipped labels, with and without the defences
	$(BIN)/python -m bench.poison $(POISON)

bench-train: $(STAMP) ## Our trainer compared with TRL's best stock configuration
	$(BIN)/python -m bench.train $(TRAIN)

bench-preferences: $(STAMP) ## Learn from people's votes and corrections through the whole loop: DATA=FOLDER
	$(BIN)/python -m bench.preferences $(DATA) $(PREFERENCES)

lock: $(STAMP) ## Resolve requirements.lock again
	PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/lock.sh

clean: ## Remove what the demo, the site and the tests left
	rm -rf demo-run dist site .pytest_cache .ruff_cache .hypothesis
