# Everything a developer does here. Each target sets up its environment by itself; it needs Python 3.10 or newer and make.
#   make PYTHON=python3.12 ...   another interpreter          make VENV=.venv-x ...   another environment

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then echo $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DATA ?= milvine-data

.PHONY: help install hello serve test test-all lint format dist bench bench-peers bench-guard crash offline faults fuzz load races scale soak picture clean audit intruders findings

help:
	@echo 'make hello      the Hello World page, step by step, on the embedded database'
	@echo 'make serve      a server on 127.0.0.1:19530 with its data in $(DATA)'
	@echo 'make test       every test'
	@echo 'make test-all   every test under every Python from 3.10 up that this machine has'
	@echo 'make lint       ruff and mypy'
	@echo 'make dist       wheel and sdist in dist/, checked, and the wheel used under every Python from 3.10 to 3.14 found'
	@echo 'make bench      Milvine beside raw faiss on real data (BENCH="recall --rows 20000" for a part)'
	@echo 'make bench-peers  the other databases that PyPI has, in the same run (BENCH="--rows 20000" for less)'
	@echo 'make bench-guard  ratios to raw faiss against the recorded ones; BENCH=--record records them'
	@echo 'make crash      50 ends by kill -9, then 200 power cuts that lose what was not synced'
	@echo 'make offline     flips bytes in a database, 500 times: verify, repair, compare'
	@echo 'make faults     kills and refusals at every point of the write path, a full disk, flipped, cut and lost files'
	@echo 'make fuzz       bad input for every parser and door (MINUTES=10 for each target, FUZZ="rpc log" for some)'
	@echo 'make load       writers, readers, deleters and index builds at once; exact counts at the end (MINUTES=10, LOAD="--writers 4")'
	@echo 'make races      collections made anew with other dimensions while others use them, at each door (MINUTES=10)'
	@echo 'make scale      searches a second with 1, 2, 4 and 8 clients at each door'
	@echo 'make soak       random operations, crashes and reopenings for many minutes'
	@echo 'make intruders  strangers at the doors of a server with tokens: who gets in, and who has to wait'
	@echo 'make audit      known vulnerabilities of everything that the extras install (asks PyPI)'
	@echo 'make findings   whether libraries still behave in the surprising ways that we met (asks PyPI)'
	@echo 'make install    the environment alone, in $(VENV)'

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo 'Python 3.10 or newer is needed; none was found. Name one with make PYTHON=...'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# What running Milvine needs. Where the native door has no wheel, grpcio is door enough.
$(VENV)/.runtime: $(VENV)/.created pyproject.toml
	$(PIP) install -e '.[server,native]' || $(PIP) install -e '.[server]'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install -e '.[server,otel,native,annoy,dev]' || $(PIP) install -e '.[server,otel,native,dev]' || $(PIP) install -e '.[server,otel,dev]'
	@touch $@

$(VENV)/.dist: $(VENV)/.dev
	$(PIP) install -e '.[dist]'
	@touch $@

install: $(VENV)/.dev

hello: $(VENV)/.runtime
	@$(BIN)/python examples/hello.py

serve: $(VENV)/.runtime
	$(BIN)/milvine serve --data $(DATA)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(TESTS)

test-all:
	@sh scripts/pythons | while read -r version python; do \
		echo "== Python $$version"; \
		$(MAKE) --no-print-directory test PYTHON="$$python" VENV=".venv-$$version" </dev/null || exit 1; \
	done

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# What would be published: built, looked into, then installed and used in new environments (asks PyPI).
dist: $(VENV)/.dist
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python scripts/dist_contents.py
	$(BIN)/python scripts/dist_trial.py

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(or $(BENCH),all)

# Each peer gets an environment of its own under bench/.peers; one that is absent or fails is noted.
bench-peers: $(VENV)/.dev
	$(BIN)/python -m bench peers $(BENCH)

# A short run whose ratios are compared with bench/guard.json; ends with an error when one fell too far. Not part of CI.
bench-guard: $(VENV)/.dev
	$(BIN)/python -m bench guard $(BENCH)

# Prints one line of figures each; ends with an error when a row was lost, came back, or a batch was half there.
crash: $(VENV)/.dev
	$(BIN)/python -m milvine.testing.crash kill --cycles $(or $(CYCLES),50) --seed $(or $(SEED),1)
	$(BIN)/python -m milvine.testing.crash powercut --states $(or $(STATES),200) --seed $(or $(SEED),1)

# One flipped byte after the other: verify must name it, repair must keep every row outside the damage.
offline: $(VENV)/.dev
	$(BIN)/python -m milvine.testing.offline flips --count $(or $(FLIPS),500) --seed $(or $(SEED),1)

load: $(VENV)/.dev
	$(BIN)/python -m milvine.testing.load --minutes $(or $(MINUTES),10) $(LOAD)

races: $(VENV)/.dev
	$(BIN)/python -m milvine.testing.races --minutes $(or $(MINUTES),10) $(RACES)

scale: $(VENV)/.dev
	$(BIN)/python -m milvine.testing.load.scale $(SCALE)

# EACH=3 takes at most three of the times that the workload comes to a point; 0, the default, all: about half an hour.
faults: $(VENV)/.dev
	for what in kill refuse full; do $(BIN)/python -m milvine.testing.faults $$what --each $(or $(EACH),0) || exit 1; done
	for what in flips cuts removals; do \
		$(BIN)/python -m milvine.testing.faults $$what --count $(or $(COUNT),300) --seed $(or $(SEED),1) || exit 1; \
	done
	$(BIN)/python -m pytest tests/faults

# Bytes, values and files that nobody sane would send, for some minutes per target; ends with an error when one was not refused properly.
fuzz: $(VENV)/.dev
	$(BIN)/python -m milvine.testing.fuzz --minutes $(or $(MINUTES),2) --seed $(or $(SEED),1) $(FUZZ)

soak: $(VENV)/.dev
	MILVINE_SOAK_EXAMPLES=$(or $(EXAMPLES),1000) $(BIN)/python -m pytest tests/crash/test_stateful.py tests/crash/test_indexed.py tests/crash/test_configurations.py --timeout 36000

# Thousands of requests without the right to what they ask, at both gRPC doors and HTTP; ends with an error when one got it.
intruders: $(VENV)/.dev
	$(BIN)/python -m milvine.testing.intruders --door grpc --count $(or $(COUNT),5000) --seed $(or $(SEED),1)
	$(BIN)/python -m milvine.testing.intruders --door native --count $(or $(COUNT),5000) --seed $(or $(SEED),1)

# What users install, in an environment of its own. A package that nobody could ask about is an error, not a pass.
audit: $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip --disable-pip-version-check --quiet install --upgrade pip '.[server,otel,native,postgresql]'
	$(VENV)-audit/bin/python -m pip --quiet uninstall --yes milvine
	$(BIN)/pip-audit --strict --path "$$($(VENV)-audit/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Each in an environment of its own. Names those whose behaviour has changed, and ends with an error then. Not part of CI.
findings:
	@changed=; for script in findings/*.sh; do \
		echo "== $$script"; bash "$$script" || changed="$$changed $$script"; \
	done; test -z "$$changed" || { echo "changed:$$changed"; exit 1; }

# The terminal picture in the README, from a real run.
picture: $(VENV)/.dev
	$(BIN)/python scripts/picture.py

clean:
	rm -rf .venv .venv-3.* .venv-audit .cache .mypy_cache .ruff_cache .pytest_cache build dist
