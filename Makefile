# Everything sets itself up: `make demo` and `make test` work on a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help demo test lint build examples fixtures models setup clean

examples := examples/wasm-models
fixtures := tests/fixtures/guests
minilm := $(examples)/sentences/model

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup examples models build ## Start a host, deploy the examples, call them, stop it; KEEP=1 leaves it up
	KEEP=$(KEEP) scripts/demo

test: setup examples fixtures models build ## Run all tests
	cargo test --workspace --locked --manifest-path $(examples)/Cargo.toml
	cargo test --workspace --locked

lint: ## Check format, scripts, WIT, dependencies, clippy and docs
	scripts/lint

build: ## Build nocti as `make test` does, into target/debug
	cargo build --workspace --locked

examples: setup ## Compile the example functions for wasm32-wasip2
	cd $(examples) && ../../scripts/guest-cargo build --release --locked

fixtures: setup ## Compile the badly behaved functions of the tests
	cd $(fixtures) && ../../../scripts/guest-cargo build --release --locked

models: setup ## Make the models that are too large to be committed (90 MB)
	@if [ -e $(minilm)/minilm.onnx ] && [ -e $(minilm)/tokenizer.json ]; then echo "models: found, $(minilm)"; else \
	    scripts/setup python \
	    && "$${NOCTI_HOME:-$${XDG_CACHE_HOME:-$$HOME/.cache}/nocti}/python/bin/python" $(examples)/sentences/convert.py; fi

setup: ## Install what is missing: the guests' compiler, ONNX Runtime
	@scripts/setup

clean: ## Remove what was built here, not what the set-up installed
	cargo clean
	cargo clean --manifest-path $(examples)/Cargo.toml
