# One command for each thing. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# Set-up and servers are one at a time, whatever -j says.
.NOTPARALLEL:
.PHONY: help run stop status test test-unit test-integration test-e2e test-faults test-scale bench lint lock clean

ARCHIVE ?= sample
RELEASE ?=
RUNS ?=
CAMCOLS ?=
FIELDS ?=
BANDS ?= ugriz
STAGE ?=
SKY ?=
BATCH ?= 0
AGAIN ?=
PROFILE ?= survey
# What `make` was told travels in the environment, never pasted into a shell line.
export ARCHIVE RELEASE RUNS CAMCOLS FIELDS BANDS SKY STAGE BATCH AGAIN PROFILE

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

run: ## set up, start the local stack, ingest frames to a published catalogue (ARCHIVE= RELEASE= RUNS= CAMCOLS= FIELDS= BANDS= SKY= STAGE= PROFILE= AGAIN=1)
	@scripts/setup run
	@.venv/bin/kira run --archive "$$ARCHIVE" --release "$$RELEASE" --runs "$$RUNS" --camcols "$$CAMCOLS" --fields "$$FIELDS" \
	  --bands "$$BANDS" --sky "$$SKY" --stage "$$STAGE" --batch-size "$$BATCH" --profile "$$PROFILE" $(if $(filter 1 yes true,$(AGAIN)),--again)

stop: ## stop the local stack; its data stays
	@test -x .venv/bin/kira || { echo "Nothing was set up here, so nothing runs."; exit 0; } && .venv/bin/kira stack down

status: ## say what runs, and where
	@test -x .venv/bin/kira || { echo "Nothing was set up here, so nothing runs."; exit 0; } && .venv/bin/kira stack status

test: lint test-unit test-integration test-e2e ## set up, and all tests: linters, unit, integration, end to end, some faults (SLOW=1: with what takes many minutes)
	@$(MAKE) --no-print-directory test-faults FAULTS=quick

# What takes long for what it adds is tested with SLOW=1.
QUICK := $(if $(SLOW),, and not slow)

test-unit: ## the quick tests
	@scripts/setup test
	@$(if $(SLOW),,KIRA_FUZZ=$${KIRA_FUZZ:-1000} ).venv/bin/python -m pytest -n auto --dist worksteal -m "not integration$(QUICK)" tests/unit

test-integration: ## real S3, HDFS and Spark
	@scripts/setup test
	@.venv/bin/python -m pytest -n 2 --dist loadfile -m "integration$(QUICK)" tests/integration tests/unit

test-e2e: ## Airflow's own scheduler from the archive to the catalogue (SLOW=1: with what takes many minutes)
	@scripts/setup test
	@.venv/bin/python -m pytest $(if $(SLOW),,-m "not slow") tests/e2e

test-faults: ## break real servers and processes on purpose, and see that nothing is lost (FAULTS=quick, ci: parts of it)
	@scripts/setup test
	@$(if $(FAULTS),KIRA_FAULT_MOMENTS=$${KIRA_FAULT_MOMENTS:-2} )\
	  .venv/bin/python -m pytest $(if $(FAULTS),-m "faults and ci") \
	  $(if $(filter quick,$(FAULTS)),tests/faults/test_archive.py tests/faults/test_hdfs.py,tests/faults)

test-scale: ## millions of frames in the ledger, and 176,940 through Airflow's scheduler, none of them real (half an hour)
	@scripts/setup test
	@.venv/bin/python -m pytest -s tests/scale

SCENARIOS ?=
FRAMES ?=
REPEATS ?=
LONG_REPEATS ?=
REPORT ?=
DATASET ?=
export SCENARIOS FRAMES REPEATS LONG_REPEATS REPORT DATASET

bench: ## prove and measure; hours where all is asked for (SCENARIOS= FRAMES= REPEATS= LONG_REPEATS= ARCHIVE=folder DATASET=tiny REPORT=folder)
	@scripts/setup test
	@.venv/bin/python -m benchmarks.run $(if $(SCENARIOS),--scenarios "$$SCENARIOS") $(if $(FRAMES),--frames "$$FRAMES") \
	  $(if $(REPEATS),--repeats "$$REPEATS") $(if $(LONG_REPEATS),--long-repeats "$$LONG_REPEATS") \
	  $(if $(filter-out sample,$(ARCHIVE)),--archive "$$ARCHIVE") $(if $(REPORT),--report "$$REPORT") \
	  $(if $(DATASET),--data-set "$$DATASET")

lint: ## ruff and mypy
	@scripts/setup test
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

lock: ## make requirements.txt and requirements-dev.txt from the .in files
	@scripts/setup test
	@.venv/bin/python -m uv pip compile -q --python-version 3.11 --generate-hashes --custom-compile-command "make lock" requirements.in -o requirements.txt
	@.venv/bin/python -m uv pip compile -q --python-version 3.11 --generate-hashes --custom-compile-command "make lock" requirements-dev.in -o requirements-dev.txt

clean: stop ## remove the virtual environment and all of the stack's data
	@rm -rf .venv .kira

.PHONY: compose-up compose-run compose-test compose-down
SPARK_WORKERS ?=
AIRFLOW_WORKERS ?=
export SPARK_WORKERS AIRFLOW_WORKERS

compose-up: ## build the image, and start every server as a container of its own (SPARK_WORKERS=2 AIRFLOW_WORKERS=1, kept)
	@scripts/compose up

compose-run: ## what `make run` does, by those containers (the same settings as run, without STAGE)
	@scripts/compose run

compose-test: ## bring up containers beside all others, break some in the middle, and compare the catalogue with the local one
	@scripts/setup test
	@.venv/bin/python -m pytest -s tests/compose

compose-down: ## stop the containers; what they stored stays in its volumes
	@scripts/compose down
