# One plain command each. `make demo` and `make test` do all of their own set-up.
.PHONY: demo test test-rust test-manifests test-keda check bench setup clean

# A minute of scaling on an embedded queue: needs the Rust toolchain and a C compiler, no server, no cluster.
demo: toolchain
	cargo run --quiet --locked -- demo

# Everything that needs no cluster. Installs what it lacks, starts real servers on free ports, stops them again.
test: setup test-rust test-manifests

# The examples are processes in the tests, so their programs come first.
test-rust:
	cargo build --locked --bins --examples
	cargo test --locked --all-targets

test-manifests:
	bash tests/manifests/run.sh

# The loop on a real control plane with a real KEDA, built from Go modules the first time (a quarter of an hour, 2 GB)
# and started in a network namespace of its own. `make test-keda KEDA=v2.20.2`, `make test-keda ONLY="redis push"`.
test-keda: toolchain
	bash scripts/setup.sh redis-server go unshare ip
	KEDA="$(KEDA)" cargo test --locked --test keda -- $(ONLY)

# Formatting and lints.
check: toolchain
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test keda -- -D warnings

# Figures, printed: the cost of a decision; 10,000 triggers on one Redis.
bench: setup
	cargo bench --locked

# Without Node.js the reporter in TypeScript is not tried, and its test says so.
setup: toolchain
	bash scripts/setup.sh redis-server python3 openssl
	-bash scripts/setup.sh node npm

.PHONY: toolchain
toolchain:
	bash scripts/setup.sh cargo cc

clean:
	cargo clean
