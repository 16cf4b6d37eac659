# Every command builds what it needs first. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := packages/provider packages/gateway packages/python

.PHONY: install run test check bench lock clean

install: .venv/installed
.venv/installed: locks/development.txt $(PACKAGES:=/pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r locks/development.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	touch $@

run: install  ## start a gateway for development
	@$(BIN)/ailink dev

test: check  ## check, then run every test
	$(BIN)/pytest -n auto

check: install  ## lint, types, and that generated code is current
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python packages/python/generate_sync.py --check

bench: .venv/bench  ## measure everything and write docs/benchmarks.md (needs wrk and nginx); BENCH="--quick --only unary" for less
	$(BIN)/python -m bench.run $(BENCH)

.venv/bench: locks/bench.txt install
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r locks/bench.txt
	touch $@

lock: install  ## renew the lock files
	cd locks && for name in runtime development bench; do ../$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --upgrade --output-file $$name.txt $$name.in; done

clean:  ## remove what the commands above made
	rm -rf .venv .ailink .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/results
