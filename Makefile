# Everything that is done with this project. `make` alone tells what there is.
NODE := ./node_modules/node/bin/node
NPM_FLAGS := --no-audit --no-fund --loglevel=error
TEST := $(NODE) --disable-warning=ExperimentalWarning --test --test-concurrency=2 --test-timeout=300000
ARGS ?=
MINUTES ?= 10
SEED ?= 1

.PHONY: help install demo test check bench bench-peers faults soak long-link sim fmt clean

help:
	@echo 'make demo    a tree of seven clusters, traffic, and faults every 15 s; ARGS=--once for one round'
	@echo 'make test    installs what is needed, type-checks, and runs every test'
	@echo 'make check   the quick part of it: types, lint, house rules, unit tests'
	@echo 'make bench   requests/s and CPU per request beside its peers; ARGS=--save writes bench/results,'
	@echo '             ARGS="--quick --only gRPC --peers espalier,envoy" shows that these rows work'
	@echo 'make bench-peers  installs the peers that can be had'
	@echo 'make faults  a real tree under constant load while something breaks; ARGS="--only crash --runs 5 --save"'
	@echo 'make soak    mixed load through two gateways while connections are cut; MINUTES=10 SEED=1'
	@echo 'make long-link  one HTTP/2 stream over 80 ms beside one TCP connection; ARGS="100 400": Mbit/s'
	@echo 'make sim     the waterfall beside other rules in simulated trees with faults; exits with 1 where it is not best;'
	@echo '             ARGS="--only dark-region --seed 3", ARGS=--save writes bench/results'
	@echo 'make fmt     formats every file'
	@echo 'make install npm packages, and nats-server if none is on PATH'
	@echo 'make clean   removes what install has made'

install: node_modules/.installed
	@./tools/nats-server.sh

node_modules/.installed: package.json package-lock.json
	@command -v npm >/dev/null || { echo 'npm is missing: install Node 20 or newer with npm (https://nodejs.org)' >&2; exit 3; }
	@npm ci $(NPM_FLAGS)
	@test -x $(NODE) || { echo 'the pinned Node was not installed: allow the install script of the npm package "node"' >&2; exit 3; }
	@touch $@

demo: install
	@./espalier demo $(ARGS)

test: install
	@./node_modules/.bin/tsc
	@./node_modules/.bin/biome check --error-on-warnings .
	@# The demo is judged by the second: it has the machine to itself.
	@$(TEST) test/e2e/demo.test.ts
	@$(TEST) 'test/**/!(demo).test.ts'

check: install
	@./node_modules/.bin/tsc
	@./node_modules/.bin/biome check --error-on-warnings .
	@$(TEST) 'test/*.test.ts' 'test/unit/**/*.test.ts'

bench: install
	@$(NODE) --disable-warning=ExperimentalWarning bench/load/main.ts $(ARGS)

bench-peers:
	@./tools/bench-peers.sh

faults: install
	@$(NODE) --disable-warning=ExperimentalWarning bench/load/faults.ts $(ARGS)

soak: install
	@$(NODE) --disable-warning=ExperimentalWarning bench/soak/mixed_load.ts --minutes $(MINUTES) --seed $(SEED)

long-link: install
	@$(NODE) --disable-warning=ExperimentalWarning bench/scale/long_link.ts $(ARGS)

sim: install
	@$(NODE) --disable-warning=ExperimentalWarning bench/scale/routing.ts $(ARGS)

fmt: install
	@./node_modules/.bin/biome check --write .

clean:
	@rm -rf node_modules .tools dist
