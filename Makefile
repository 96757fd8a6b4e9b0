# Everything sets itself up: `make demo` and `make test` work on a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help demo test test-gpu fuzz bench bench-cold lint build examples fixtures models resnet50 setup clean

examples := examples/wasm-models
fixtures := tests/fixtures/guests
minilm := $(examples)/sentences/model
gpu_libraries = "$${NOCTI_HOME:-$${XDG_CACHE_HOME:-$$HOME/.cache}/nocti}"/onnxruntime-gpu/*/libonnxruntime.so
# ONNX Runtime keeps a journal of its use for its maker otherwise.
export ORT_DISABLE_TELEMETRY := 1
python = "$${NOCTI_HOME:-$${XDG_CACHE_HOME:-$$HOME/.cache}/nocti}/python/bin/python"

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup examples models build ## Start a host, deploy the examples, call them, stop it; KEEP=1 leaves it up
	KEEP=$(KEEP) scripts/demo

test: setup examples fixtures models build ## Run all tests
	scripts/setup clients buckets registry
	cargo test --workspace --locked --manifest-path $(examples)/Cargo.toml
	cargo test --workspace --locked

test-gpu: setup examples fixtures models ## Run the tests that need an NVIDIA GPU (CUDA 13, cuDNN 9); they fail where there is none
	scripts/setup onnxruntime_gpu
	NOCTI_ONNXRUNTIME_LIBRARY=$${NOCTI_ONNXRUNTIME_LIBRARY:-$$(ls -v $(gpu_libraries) | tail -1)} \
	    cargo test --workspace --locked --features nocti-tests/gpu --test gpu

fuzz: ## Look for input that breaks a decoder, see fuzz/README.md; TARGET="json grpc" SECONDS=600 for some and for longer
	scripts/setup fuzz
	fuzz/run $(or $(SECONDS),60) $(or $(TARGET),$(basename $(notdir $(wildcard fuzz/targets/*.rs))))

bench: setup fixtures models resnet50 build ## Measure beside a server written by hand, see bench/README.md; BENCH="--only cnn" for some
	scripts/setup buckets
	cargo build --release --locked -p nocti -p nocti-bench
	target/release/nocti-bench $(BENCH)

bench-cold: setup ## Measure the cold start of a function of yours: BUNDLE=function.wasm (or a model, a folder) DATA=request.json
	cargo build --release --locked -p nocti -p nocti-bench
	target/release/nocti-bench --cold "$(BUNDLE)" $(if $(DATA),--data "$(DATA)") $(BENCH)

lint: ## Check format, scripts, WIT, dependencies, clippy and docs
	scripts/lint

build: ## Build nocti as `make test` does, into target/debug
	cargo build --workspace --locked

examples: setup ## Compile the example functions for wasm32-wasip2
	cd $(examples) && ../../scripts/guest-cargo build --release --locked

fixtures: setup ## Compile the functions of the tests, those of other toolchains too
	cd $(fixtures) && ../../../scripts/guest-cargo build --release --locked
	scripts/setup other_toolchains
	tests/fixtures/others/build

models: setup ## Make the models that are too large to be committed (90 MB)
	@if [ -e $(minilm)/minilm.onnx ] && [ -e $(minilm)/tokenizer.json ]; then echo "models: found, $(minilm)"; else \
	    scripts/setup python \
	    && $(python) $(examples)/sentences/convert.py; fi

resnet50: setup ## Make the model that only the benchmark needs (100 MB)
	@if [ -e bench/models/resnet50.onnx ]; then echo "resnet50: found, bench/models"; else \
	    scripts/setup python && $(python) bench/models/resnet50.py; fi

setup: ## Install what is missing: the guests' compiler, ONNX Runtime
	@scripts/setup

clean: ## Remove what was built here, not what the set-up installed
	cargo clean
	cargo clean --manifest-path $(examples)/Cargo.toml
