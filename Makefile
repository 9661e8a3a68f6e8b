# One plain command each. `make demo` and `make test` do all of their own set-up.
.PHONY: demo test test-rust test-fuzz fuzz test-manifests test-fleet test-keda check bench setup clean

# Two minutes with real Redis, workers and a stand-in for an LLM provider, beside the same under KEDA's list length.
# Needs the Rust toolchain, a C compiler and redis-server; without the last a smaller demo, on a queue in memory.
demo: toolchain
	@if bash scripts/setup.sh redis-server; then \
	  echo "Building the demo and its programs: the first time that takes some minutes."; \
	  cargo build --locked --examples && cargo run --quiet --locked --example demo; \
	else \
	  echo "No redis-server can be had here, so this is the smaller demo, on a queue in memory."; \
	  cargo run --quiet --locked -- demo; \
	fi

# Everything that needs no cluster. Installs what it lacks, starts real servers on free ports, stops them again.
test: setup test-rust test-fuzz test-manifests test-fleet

# The examples are processes in the tests, so their programs come first; the tests mostly wait for them.
test-rust:
	cargo build --locked --bins --examples
	RUST_TEST_THREADS=4 cargo test --locked --all-targets

# Nonsense from everybody who can send some, within a fixed time: about a minute on two cores.
test-fuzz:
	cargo test --locked --test fuzz

# The same for an hour a target: `make fuzz FUZZ_SECONDS=60 ONLY=redis`. A failure names the seed to begin with:
# `make fuzz FUZZ_SEED=1796084433`.
FUZZ_SECONDS ?= 3600
fuzz: toolchain
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(if $(FUZZ_SEED),FUZZ_SEED=$(FUZZ_SEED)) cargo test --locked --test fuzz -- --nocapture $(ONLY)

# What is shipped: strict schemas, rules between objects, the chart, and every pod started from its manifest.
test-manifests: setup
	bash tests/manifests/run.sh

# Fleets of real worker processes under a provider's limit, and their figures: `make test-fleet ONLY="shares chaos"`.
test-fleet: setup
	cargo test --locked --test fleet -- $(ONLY)

# The loop on a real control plane with a real KEDA, built from Go modules the first time (a quarter of an hour, 2 GB)
# and started in a network namespace of its own. `make test-keda KEDA=v2.20.2`, `make test-keda ONLY="redis push"`.
test-keda: toolchain
	bash scripts/setup.sh redis-server go unshare ip python3 java mvn prometheus
	KEDA="$(KEDA)" cargo test --locked --test keda -- $(ONLY)

# Formatting and lints.
check: toolchain
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test keda --test fleet --test fuzz -- -D warnings

# Figures, printed: the cost of a decision; 10,000 triggers on one Redis.
bench: setup
	cargo bench --locked

# Without Node.js the reporter in TypeScript is not tried, and its test says so.
setup: toolchain
	bash scripts/setup.sh redis-server python3 openssl java mvn prometheus
	-bash scripts/setup.sh node npm

# Kafka's client is C and C++, and takes its TLS from the system. Without it (`--no-default-features`) `cargo` and `cc` do.
.PHONY: toolchain
toolchain:
	bash scripts/setup.sh cargo cc g++ make pkg-config libssl-dev

clean:
	cargo clean
