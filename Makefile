# What one can do here; `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help build demo test evals bench chaos fuzz fmt lint install

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the program, optimised: target/release/postern
	cargo build --release --locked

demo: ## a self-contained demonstration with fake providers; KEEP=1 leaves it running
	@scripts/demo $(if $(KEEP),--keep)

test: ## every test, with what they need (installs what is missing); TESTS="part of a name" for some
	@scripts/test $(TESTS)

evals: ## measure the example skills with a real model (needs a key); RUNS=3, BASELINE=1, JUDGE=model, CASES="parts of names"
	@scripts/evals --runs $(or $(RUNS),1) --jobs $(or $(JOBS),4) --threshold $(or $(THRESHOLD),0.9) \
		$(if $(PROJECT),--project $(PROJECT)) $(if $(BASELINE),--baseline) $(if $(JUDGE),--judge $(JUDGE)) $(if $(JSON),--json) $(CASES)

bench: ## measure, beside graphile-worker, pg-boss, pgbench and the disk; QUICK=1, ONLY="names of parts"
	@$(if $(QUICK),POSTERN_BENCH_SECONDS=1) scripts/with-services scripts/bench-peers cargo bench --locked -- $(ONLY)

chaos: ## faults at random for long: EVENTS=20000, KILLS=50, STORM=100, SEED=… to repeat one
	@CHAOS_EVENTS=$(or $(EVENTS),20000) CHAOS_KILLS=$(or $(KILLS),50) CHAOS_STORM=$(or $(STORM),100) CHAOS_LEASE=30 \
		$(if $(SEED),CHAOS_SEED=$(SEED)) PROPTEST_CASES=$(or $(CASES),10000) \
		scripts/test chaos recovery

fuzz: ## the property tests with CASES (default 20000) random inputs each
	@PROPTEST_CASES=$(or $(CASES),20000) scripts/test fuzz

fmt: ## format the source
	cargo fmt

lint: ## formatting and clippy, as strict as .ci/run
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

install: ## put postern in cargo's bin directory
	cargo install --path . --locked
