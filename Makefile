# Everything a newcomer or the CI needs. Each target installs what it lacks, and does nothing twice.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build run test test-swift test-clients prove bench format lint sanitize clean packages test-packages venv sdks stand-ins

BUILD_PACKAGES := libwebsockets-dev libwebsockets-evlib-uv libuv1-dev libpq-dev libssl-dev libcurl4-openssl-dev \
	libpocketsphinx-dev pocketsphinx-en-us libspeexdsp-dev postgresql-15 pkg-config
TEST_PACKAGES := pocketsphinx python3-venv gcc libc6-dev valgrind
BENCH_PACKAGES := nginx-light wrk
PROVE_PACKAGES := chromium poppler-utils fonts-dejavu-core
SDK_VERSIONS := 4.8.1 5.3.0 6.0.1 7.17.0
SWIFT_SOURCES := Package.swift Sources Tests
SCRIPTS := .ci/run .ci/install-packages .ci/make-venv

# Tests that run at once. All at once, they wait for the cores and for each other until what has a limit of time reaches it.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH := 8

# What is passed on to pytest, for example: make test-clients PYTEST_ARGS='-k finalize -x'
PYTEST_ARGS ?=
PYTEST := .venvs/tests/bin/python -m pytest -c Tests/pytest.ini Tests/Clients Tests/EndToEnd
# Files of end-to-end tests that run at once: most of them wait for time to pass. The long ones and the sanitizers' run alone.
PYTEST_WORKERS ?= 2

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
		printf '  make %-13s %s\n' "$$name" "$$text"; done

build: packages ## Builds the debug binary, .build/debug/hansard
	swift build

run: packages ## Builds the release binary and starts everything on this machine
	swift build -c release --product hansard
	exec .build/release/hansard dev

test: lint test-swift test-clients ## Lint, unit tests, the SDKs and the end-to-end suite on the debug binary

test-swift: packages venv
	swift build --build-tests
	swift test --disable-xctest --skip-build

test-clients: build sdks stand-ins
	$(PYTEST) -n $(PYTEST_WORKERS) --dist loadfile -m 'not long' $(PYTEST_ARGS)

prove: test ## The tests, and then the long checks
	@.ci/install-packages $(PROVE_PACKAGES)
	@.ci/make-venv .venvs/focus Tests/EndToEnd/requirements-focus.txt
	HANSARD_FUZZ_ROUNDS=1000000 swift test --disable-xctest --skip-build --filter EventStreamFuzzTests
	HANSARD_RATING_PLANS=100000 swift test --disable-xctest --skip-build --filter RatingReferenceTests
	$(PYTEST) -m long $(PYTEST_ARGS)

bench: packages test-packages venv stand-ins ## Prints the figures of docs/performance.md; writes nothing else
	@.ci/install-packages $(BENCH_PACKAGES)
	swift build -c release --product hansard
	for part in local_engine latency gateway relay aws_request aws_calls aws_claims keys admin_reads revocation usage_ledger spool_append \
		billing; do \
		BOTO_DISABLE_CRT=true PYTHONPATH=Tests/Support:Tests .venvs/tests/bin/python Tests/Benchmarks/$$part.py; done

format: ## Formats the Swift sources in place
	swift format format --in-place --recursive $(SWIFT_SOURCES)

lint: venv ## Checks formatting, the Dockerfile, the scripts and openapi.yaml
	swift format lint --strict --recursive $(SWIFT_SOURCES)
	.venvs/tests/bin/hadolint Dockerfile
	.venvs/tests/bin/shellcheck $(SCRIPTS)
	@if [ -e openapi.yaml ]; then .venvs/tests/bin/openapi-spec-validator openapi.yaml; fi

# Each sanitizer has a build folder of its own, so that the ordinary build stays as it is. Leaks are not looked for:
# libwebsockets' contexts are never destroyed (docs/architecture.md), and what they hold would be reported.
SUPPRESSIONS := $(CURDIR)/Tests/Sanitizers
sanitize: packages sdks stand-ins ## Runs all tests under AddressSanitizer and ThreadSanitizer
	export ASAN_OPTIONS=detect_leaks=0:suppressions=$(SUPPRESSIONS)/asan.supp; \
	swift test --disable-xctest --sanitize=address --scratch-path .build/address-sanitizer; \
	HANSARD_BINARY=$(CURDIR)/.build/address-sanitizer/debug/hansard $(PYTEST) -m 'not long' $(PYTEST_ARGS)
	export TSAN_OPTIONS=suppressions=$(SUPPRESSIONS)/tsan.supp:halt_on_error=1; \
	swift test --disable-xctest --sanitize=thread --scratch-path .build/thread-sanitizer; \
	HANSARD_BINARY=$(CURDIR)/.build/thread-sanitizer/debug/hansard $(PYTEST) -m 'not long' $(PYTEST_ARGS)

clean: ## Removes what was built and the virtual environments; .hansard (your data) stays
	rm -rf .build .venvs

packages:
	@.ci/install-packages $(BUILD_PACKAGES)

test-packages: packages
	@.ci/install-packages $(TEST_PACKAGES)

venv: test-packages
	@.ci/make-venv .venvs/tests Tests/requirements.txt

sdks: venv
	@for version in $(SDK_VERSIONS); do \
		.ci/make-venv .venvs/deepgram-sdk-$$version Tests/Clients/requirements-$$version.txt; done

stand-ins: $(addprefix .build/stand-ins/,sink load sessions dynamodb transcribe_load counter.so clock.so)

.build/stand-ins/%: Tests/StandIns/%.c | test-packages
	@mkdir -p $(@D)
	gcc -std=gnu11 -O2 -Wall -Wextra -Werror -o $@ $< $(if $(filter sink transcribe_load,$*),-lwebsockets -luv)

.build/stand-ins/%.so: Tests/StandIns/%.c | test-packages
	@mkdir -p $(@D)
	gcc -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -shared -o $@ $<
