# ferrio: `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
export CARGO_TERM_COLOR ?= auto
TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
EXAMPLES := $(abspath $(TARGET_DIR))/quick/examples

.PHONY: help run test check rust-test fuzz-corpus peers matrix cluster soak browser bench fuzz docs tools redis protocol-tools dashboard clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: dashboard ## the job monitor with its dashboard, and an example job that reports to it
	@scripts/run.sh

test: tools check rust-test peers cluster browser ## everything: formatting, lints, docs, Rust, official clients, browser
	@echo "make test: everything passed"

check: ## formatting, lints, documentation
	cargo fmt --check
	cargo clippy --all-targets --all-features -- -D warnings
	cargo clippy --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features --quiet

rust-test: redis ## unit, property, vector and integration tests in Rust (the fuzz bodies over their corpus too)
	cargo test --all-features

peers: protocol-tools matrix ## official clients and raw conversations, against ferrio and against Node's own server
	cargo build --profile quick --features redis --example conformance --example engine_conformance --example bench_server
	cd protocol-tests && npm test
	cd protocol-tests && npm test -- --server "$(EXAMPLES)/conformance" \
		--engine-server "$(EXAMPLES)/engine_conformance" --bench-server "$(EXAMPLES)/bench_server --port {port}"
	cd protocol-tests && npm run --silent checklist

matrix: protocol-tools ## every generation of clients over every transport, against Node's own server and ferrio
	@for tool in chromium nginx python; do scripts/tools.sh $$tool || true; done
	cargo build --profile quick --features redis --example conformance
	cd protocol-tests && npm run --silent matrix
	cd protocol-tests && npm run --silent matrix -- --server "$(EXAMPLES)/conformance"

cluster: protocol-tools ## nodes of Node and of ferrio on one Redis: every operation in every direction, and failures
	@scripts/tools.sh redis
	cargo build --profile quick --features redis --example conformance
	cd protocol-tests && npm run --silent cluster
	cd protocol-tests && npm run --silent cluster -- --server "$(EXAMPLES)/conformance"

soak: protocol-tools ## ten minutes of load on two ferrio nodes and one of Node, Redis restarted three times
	@scripts/tools.sh redis
	cargo build --profile quick --features redis --example conformance
	cd protocol-tests && npm run --silent soak -- --server "$(EXAMPLES)/conformance"

browser: dashboard ## the dashboard in Chromium, with a real job
	@scripts/tools.sh chromium
	cargo build --profile quick --features job-monitor --bin job-monitor --example scrape
	cd dashboard && npm test

bench: ## counters and ratios against Node: encode, decode, broadcast, echo, polling, connections, abandoned sessions
	cargo bench

fuzz: ## each fuzz target for SECONDS_PER_TARGET (default 60) on the stable toolchain
	@scripts/fuzz.sh

docs: ## the library's documentation
	cargo doc --no-deps --all-features --open

dashboard: ## build the web page
	@scripts/tools.sh node
	cd dashboard && npm ci --no-audit --no-fund --silent && npm run --silent build

tools: ## say (or, as root on Debian, install) what is missing
	@scripts/tools.sh cargo node chromium redis

redis:
	@scripts/tools.sh redis

protocol-tools:
	@scripts/tools.sh cargo node
	cd protocol-tests && npm ci --no-audit --no-fund --silent

clean: ## remove what was built
	cargo clean
	rm -rf dashboard/dist dashboard/node_modules protocol-tests/node_modules protocol-tests/clients/.venv-*
