# The whole interface of the project: `make` alone lists it, with what each target costs on two idle cores once the project
# is built. What the first build costs, and why, is in docs/build.md.

PYTHON ?= python3
CARGO ?= cargo
BIN := .venv/bin
SAM_BIN := .venv-sam/bin

# One job more than there are cores: the EC2 client is one long job in one thread, which cargo would begin among the last.
export CARGO_BUILD_JOBS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

.DEFAULT_GOAL := help
# The decisions, and the rules about files.
WITHOUT_SDK := --package ami-backup-core --package ami-backup-contract

.PHONY: help build check test lint fmt demo demo-cleanup local local-down simulator invoke invoke-all machines partial faults simulate \
	planted mutants features bench bench-loop policies package clean \
	lint-rust lint-template lint-machines lint-python test-rust test-wire test-local

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## Compile what the local stack runs (the first time about 7 minutes: the EC2 client is large)
	$(CARGO) build --workspace --locked --bin functions --bin simulated-aws

demo: build .venv/ready ## Back up an instance and an image in all three ways and bring one back, against a simulated AWS
	$(BIN)/python -m local.demo

demo-cleanup: build .venv/ready ## Plan a clean-up of a large simulated account, and print the plan as a person reads it (seconds)
	$(BIN)/python -m local.cleanup_demo

local: build .venv/ready ## Start the whole stack on this machine and leave it up; says how to use it
	@$(BIN)/python -m local.stack start

local-down: .venv/ready ## Stop the stack that `make local` started
	@$(BIN)/python -m local.stack stop

simulator: build .venv/ready ## Start the simulated AWS alone, in the foreground, for the aws CLI and SDKs; CONTAINERS=1 for `sam local invoke` too
	@$(BIN)/python -m local.simulator $(if $(CONTAINERS),--containers)

invoke: build .venv/ready ## Run one function on its event: FUNCTION=start-store, optionally EVENT=path/to/event.json
	@test -n "$(FUNCTION)" || { echo "name the function: make invoke FUNCTION=start-store"; exit 2; }
	@$(BIN)/python -m local.invoke $(FUNCTION) $(if $(EVENT),--event "$(EVENT)")

invoke-all: build .venv/ready ## Run every function on its event and compare the answers with what is expected
	@$(BIN)/python -m local.invoke

machines: build .venv/ready ## Run every machine's events on a stack and compare how they end with what is expected
	@$(BIN)/python -m local.machines

partial: build .venv/ready ## Meet a bad Region, a bad image and a failed store task: the rest is done, the same run again does what is missing
	@$(BIN)/python -m local.partial

faults: build .venv/ready ## Lose a reply in every function that changes something; the end must be as without (minutes)
	@$(BIN)/python -m local.faults

SEEDS ?= 10000
simulate: ## The fault simulation: every fault, one by one and at random, on a virtual clock (10 minutes); SEEDS=1000, or SEED=7 to replay one
	$(CARGO) build --workspace --locked --bin simulate
	@target/debug/simulate $(if $(SEED),--seed $(SEED),$(if $(SCENARIO),--scenario $(SCENARIO) --faults '$(or $(FAULTS),[])',--seeds $(SEEDS)))

planted: ## Plant faults in the product, one at a time, and see by what the simulation finds each (half an hour)
	$(PYTHON) tests/simulation/planted.py

mutants: ## Break the decisions in crates/core in every small way and see the tests notice (an hour; installs cargo-mutants)
	@$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install cargo-mutants --locked --quiet
	$(CARGO) mutants --package ami-backup-core

features: build .venv/ready ## Run the small machines that the engine is held against on the local engine too, and compare
	@$(BIN)/python -m local.features

bench-loop: build .venv/ready ## Time what a change costs: a line changed in core, in a function, in the simulator, and none (a quarter of an hour)
	@$(BIN)/python -m local.bench_loop

bench: build .venv-bench/ready ## Time the plan of a clean-up over a large account, next to Cloud Custodian on the same account (a quarter of an hour)
	$(CARGO) build --release --workspace --locked --bin plan-cleanup
	@.venv-bench/bin/python -m local.bench

check: ## Format, clippy and tests of the decisions in core, and the rules about files: nothing here waits for the SDK (half a minute)
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(WITHOUT_SDK) --all-targets --locked -- -D warnings
	$(CARGO) test $(WITHOUT_SDK) --lib --test contract --locked

test: ## All tests: Rust, the simulator driven by boto3 and the aws CLI, the local stack's own, side by side (2 minutes)
	@+$(MAKE) --no-print-directory --jobs=3 --output-sync=line test-rust test-wire test-local

test-rust:
	$(CARGO) test --workspace --locked

test-wire: build .venv/ready
	SIMULATED_AWS=$(CURDIR)/target/debug/simulated-aws $(BIN)/python -m unittest discover -v -s tests/wire -t tests/wire

test-local: build .venv/ready
	$(BIN)/python -m unittest discover -v -s local/tests -t .

lint: lint-rust lint-template lint-machines lint-python ## Format, clippy, docs, licences, the template and the machines

lint-rust:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	$(CARGO) deny --log-level error check bans licenses sources && sha256sum Cargo.lock deny.toml >.ci/deny-passed; \
	elif ! sha256sum --check --status .ci/deny-passed; then \
	echo "Cargo.lock or deny.toml has changed since cargo-deny passed: cargo install cargo-deny --locked, then make lint"; exit 1; fi

lint-template: .venv-sam/ready
	SAM_CLI_TELEMETRY=0 $(SAM_BIN)/sam validate --lint --region us-east-1 --template template.yaml

lint-machines: $(if $(shell command -v npm 2>/dev/null),,.venv-node/ready)
	$(if $(shell command -v npm 2>/dev/null),cd tests/asl && npm ci --silent && npm run --silent check,.venv-node/bin/python tests/asl/check.py)

lint-python: .venv/ready
	$(BIN)/ruff check --quiet local
	$(BIN)/ruff format --quiet --check local

fmt: .venv/ready ## Format the Rust and the Python code
	$(CARGO) fmt --all
	$(BIN)/ruff format --quiet local

policies: .venv/ready ## Fill the policies of SECURITY.md with the role ARNs of a deployed stack, into .local/policies: STACK=ami-backup
	@$(BIN)/python -m local.policies $(or $(STACK),ami-backup)

ARCHITECTURE ?= x86_64
package: .venv-sam/build-ready ## Build the release packages as `sam build` does, for `sam deploy` (a quarter of an hour the first time); ARCHITECTURE=arm64
	PATH="$(CURDIR)/$(SAM_BIN):$$PATH" SAM_CLI_TELEMETRY=0 $(SAM_BIN)/sam build --parameter-overrides Architecture=$(ARCHITECTURE)
	@$(SAM_BIN)/python -m local.packaged $(ARCHITECTURE)

clean: ## Stop a running stack and remove what was built and installed here
	-@test ! -x $(BIN)/python || $(BIN)/python -m local.stack stop
	$(CARGO) clean
	rm -rf .venv .venv-sam .venv-node .venv-bench .local .aws-sam tests/asl/node_modules

# ---- Python environments, remade when their requirements change -----------------------------------------------------

define make-venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed (make PYTHON=python3.12 ...)")'
$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) cannot make environments: install its venv package (Debian: apt-get install python3-venv)"; exit 1; }
$(PYTHON) -m venv $(1)
endef

.venv/ready: local/requirements.txt
	@$(call make-venv,.venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.venv-sam/ready: local/requirements-sam.txt
	@$(call make-venv,.venv-sam)
	$(SAM_BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.venv-sam/build-ready: local/requirements-build.txt .venv-sam/ready
	$(SAM_BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.venv-bench/ready: local/requirements-bench.txt
	@$(call make-venv,.venv-bench)
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.venv-node/ready: local/requirements-node.txt
	@$(call make-venv,.venv-node)
	.venv-node/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
