# Every target works from a fresh clone. `make` alone lists them.
PROFILE ?= demo
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
ESR := $(CARGO_TARGET_DIR)/release/esr
GPU_RESULTS ?= $(CARGO_TARGET_DIR)/gpu
REHEARSAL ?= $(CARGO_TARGET_DIR)/rehearsal
KERNELS := src/engine/cuda/kernels
PEERS_PYTHON ?= benches/peers/.venv/bin/python
SKIPPED := $(abspath $(CARGO_TARGET_DIR))/skipped-tests.txt

.PHONY: help build kernels kernels-check bench-gpu reproduce test check fmt lint doc peers-test bench bench-kernels bench-step bench-fetch clean cargo

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

cargo:
	@command -v cargo >/dev/null || { \
	  echo "cargo is missing; this line installs it: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; exit 1; }

build: cargo ## Build the program: target/release/esr
	cargo build --release --locked

kernels: ## Make the PTX of the CUDA kernels, and the table of what they take (fetches two wheels; no GPU, no toolkit)
	python3 $(KERNELS)/build.py build --tools $(CARGO_TARGET_DIR)/cuda-tools
	python3 $(KERNELS)/build.py report --tools $(CARGO_TARGET_DIR)/cuda-tools

kernels-check: ## Compile the CUDA kernels and compare with the PTX that is checked in
	python3 $(KERNELS)/build.py check --tools $(CARGO_TARGET_DIR)/cuda-tools

reproduce: build ## Walk the whole way from data to report (PROFILE=demo, verify or paper)
	$(ESR) reproduce --profile $(PROFILE)

test: cargo ## Run all tests (set ESR_REFERENCE to the reference data to run those that need it)
	@mkdir -p $(CARGO_TARGET_DIR) && rm -f $(SKIPPED)
	@if cargo nextest --version >/dev/null 2>&1; \
	  then ESR_SKIP_LOG=$(SKIPPED) cargo nextest run --locked --no-fail-fast; \
	  else ESR_SKIP_LOG=$(SKIPPED) cargo test --locked --no-fail-fast; fi
	@if [ -s $(SKIPPED) ]; then echo "skipped, because ESR_REFERENCE is not set:"; sort -u $(SKIPPED); fi

check: fmt lint doc kernels-check peers-test test ## Everything CI runs: formatting, lints, documentation, PTX, self-tests of the comparisons, tests

fmt: cargo
	cargo fmt --check

lint: cargo
	cargo clippy --locked --all-targets -- -D warnings

doc: cargo
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

peers-test:
	@if command -v python3 >/dev/null; \
	  then python3 benches/peers/compare.py --self-test && python3 benches/fetch/rehearsal.py --self-test \
	    && python3 benches/gpu/run.py --self-test; \
	  else echo "skipped: the self-tests of benches/peers, benches/fetch and benches/gpu need python3" >&2; fi

bench: build ## Time the hot paths, then the engine in turns with the peers that PEERS_PYTHON has
	cargo bench --locked --bench hot_paths
	cargo bench --locked --bench engine --no-run
	@if command -v python3 >/dev/null; \
	  then python3 benches/peers/compare.py --python $(PEERS_PYTHON) --esr $(ESR); \
	  else echo "no comparison with peers: it needs python3" >&2; fi

bench-fetch: build ## Rehearse fetching on loopback beside curl, sha256sum and unzip (needs 15 GB in REHEARSAL)
	python3 benches/fetch/rehearsal.py --work $(REHEARSAL) --output $(REHEARSAL)/rehearsal.json --esr $(ESR) --python $(PEERS_PYTHON)

bench-gpu: build ## Measure on a GPU beside PyTorch, in parts that can be repeated (GPU_RESULTS, PEERS_PYTHON with PyTorch)
	python3 benches/gpu/run.py --esr $(ESR) --out $(GPU_RESULTS) --python $(PEERS_PYTHON)

bench-kernels: cargo ## Time every kernel of the planned engine alone, on one thread
	cargo bench --locked --bench kernels

bench-step: cargo ## Print the time of one training step as one JSON line
	@cargo bench --locked --bench engine -- step

clean: ## Remove everything built and every run; data stays
	rm -rf $(CARGO_TARGET_DIR) runs
