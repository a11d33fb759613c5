# Everything a developer runs. `make` alone prints what there is; each target sets up what it needs, once.

VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := config/constraints/cpu.txt
EXTRAS := sim,ros,record,view,dev
TRAINING := training[cluster,baselines]
SCENARIO := kuka_reach
SCENARIOS := $(basename $(notdir $(wildcard config/*.yaml)))
VIDEO_ARGS := --fps 20 --seconds 6
BENCH_ARGS :=
FUZZ_ARGS :=
SYSTEMS := unicycle cartpole pendulum double_pendulum quadrotor
STUDY = $(RUN) $(BIN)/python -m dpvp_training.systems.dpvp.bench
PYTEST_ARGS :=

# The first of these that can make a virtual environment; `make PYTHON=/path/to/python3.12` to choose.
PYTHON_CANDIDATES := python3.11 python3.12 python3.10 python3
SUITABLE := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(firstword $(foreach p,$(PYTHON_CANDIDATES),$(shell $(p) -c '$(SUITABLE)' 2>/dev/null && echo $(p))))

PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq -c $(CONSTRAINTS)
INTERFACES := $(shell find src/dpvp/ros/interfaces -type f -not -name '*.pyc' 2>/dev/null)

# One thread per process, and no traffic beyond this machine.
RUN := env OMP_NUM_THREADS=1 ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST

.DEFAULT_GOAL := help
.PHONY: help venv msgs train-venv demo test test-slow check format bench bench-realtime bench-robots faults soak bench-dpvp fuzz \
  artifacts videos clean
.DELETE_ON_ERROR:

help: ## print this list
	@echo "make <target>   (Python: $(or $(PYTHON),none found), environment: $(VENV))"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(VENV)/.installed ## make .venv with the pinned packages and dpvp itself (again when a pin changes)

msgs: $(VENV)/.messages ## build the message packages that pip does not have into .venv

train-venv: $(VENV)/.training ## add dpvp_training and torch to .venv (CONSTRAINTS=config/constraints/gpu.txt: with CUDA)

demo: msgs ## the arm reaches for goals in MuJoCo, planned and controlled through ROS 2
	@$(RUN) $(BIN)/dpvp demo $(SCENARIO)

# file by file, as what a file needs is often dear to make; what takes longest comes first
test: msgs train-venv ## all tests: two files at a time, then those of nodes in real time one by one
	@status=0; \
	$(RUN) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not alone" $(PYTEST_ARGS) \
	  tests/ros tests/closed_loop tests/training tests/unit tests/contracts || status=1; \
	$(RUN) $(BIN)/python -m pytest -m alone $(PYTEST_ARGS) tests/ros || status=1; \
	exit $$status

test-slow: msgs train-venv ## the tests that take minutes: whole training runs, killed and resumed, the cluster
	@$(RUN) $(BIN)/python -m pytest -m slow $(PYTEST_ARGS) tests/training

check: train-venv ## lint, format, types, direction of imports, constraints
	@status=0; \
	$(BIN)/ruff check --quiet . || status=1; \
	$(BIN)/ruff format --quiet --check --diff . || status=1; \
	$(BIN)/mypy --no-error-summary || status=1; \
	$(BIN)/lint-imports --no-logo || status=1; \
	$(BIN)/python config/constraints/generate.py --check || status=1; \
	[ $$status -eq 0 ] && echo "check: all good"; exit $$status

format: venv ## let ruff rewrite the sources
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

bench: msgs ## measure planners, horizons, guesses and rates (BENCH_ARGS=--quick: the short form)
	@$(RUN) $(BIN)/dpvp bench $(SCENARIO) $(BENCH_ARGS)

bench-realtime: msgs ## what --realtime is worth on this machine, alone and beside other work: docs/bench (four minutes)
	@$(RUN) $(BIN)/python -m dpvp.bench.realtime

bench-robots: msgs ## every scenario at its rates through all nodes, and what walks can take: docs/bench (an hour)
	@$(RUN) $(BIN)/python -m dpvp.bench.robots --json docs/bench/robots.json
	@$(RUN) $(BIN)/python -m dpvp.bench.walk_study --json docs/bench/quadruped_walk.json

faults: msgs ## break everything around the loop: docs/bench/faults (an hour; QUICK=1: minutes, into runs/faults)
	@$(RUN) $(BIN)/python -m dpvp.bench.faults $(if $(QUICK),--quick --json runs/faults/faults.json,--json docs/bench/faults.json)
	@$(if $(QUICK),,$(BIN)/python -m dpvp.bench.faults.hazards docs/bench/faults.json docs/safety.md)

soak: msgs ## all nodes at full rate for MINUTES=30: memory, missed periods, the recording
	@$(RUN) $(BIN)/python -m dpvp.bench.faults.soak --minutes $(or $(MINUTES),30) --json docs/bench/soak.json

fuzz: msgs ## ten thousand spoiled inputs of each kind that is read: docs/bench/fuzz.json (hours; FUZZ_ARGS: formats, --count)
	@$(RUN) $(BIN)/python -m dpvp.bench.fuzz --json docs/bench/fuzz.json $(FUZZ_ARGS)

bench-dpvp: msgs train-venv ## measure what DPVP learned: every study, docs/bench/dpvp (about an hour and a half)
	$(STUDY) closed_loop --task kuka_reach
	for system in leg_track $(SYSTEMS); do $(STUDY) closed_loop --task $$system --count 40 --steps 200 || exit 1; done
	for study in iterations bellman throughput ablation disturbance tracking starts lost tables; do $(STUDY) $$study || exit 1; done

artifacts: train-venv ## learn every artifact of config/artifacts again (about an hour)
	for task in kuka_reach leg_track quadruped_walk $(SYSTEMS); do $(RUN) $(BIN)/dpvp train dpvp --task $$task --out config/artifacts/$$task || exit 1; done

videos: msgs ## render a run of every scenario in docs/images/<scenario>.gif (VIDEO_ARGS: as of `dpvp video`)
	@for scenario in $(SCENARIOS); do \
	  case $$scenario in quadruped_walk) words="--cmd-vel 0.4 0 0.4";; *) words=;; esac; \
	  folder=runs/videos/$$scenario/$$(date +%Y%m%d-%H%M%S) && \
	  $(RUN) $(BIN)/dpvp run $$scenario $$words --headless --lock-step --runs $$folder && \
	  $(RUN) $(BIN)/dpvp video $$folder/* --out docs/images/$$scenario.gif $(VIDEO_ARGS) || exit 1; \
	done

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist install log .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./.git -prune -o \( -name __pycache__ -o -name '*.egg-info' \) -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(if $(PYTHON),,echo "No suitable Python: dpvp needs 3.10, 3.11 or 3.12 with venv and ensurepip (tried: $(PYTHON_CANDIDATES))." >&2; \
	  echo "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3.11" >&2; exit 1)
	@$(PYTHON) -c '$(SUITABLE)' || { echo "$(PYTHON) is not Python 3.10, 3.11 or 3.12 with venv and ensurepip" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml setup.py setup.cfg $(CONSTRAINTS) | $(BIN)/python
	@echo "Installing dpvp[$(EXTRAS)] with the versions of $(CONSTRAINTS) (a minute or two the first time)"
	@$(PIP_INSTALL) setuptools wheel
	@$(PIP_INSTALL) --no-build-isolation -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.training: $(VENV)/.installed training/pyproject.toml
	@echo "Installing $(TRAINING) with the versions of $(CONSTRAINTS) (a minute or two the first time)"
	@$(PIP_INSTALL) --no-build-isolation -e './$(TRAINING)'
	@touch $@

$(VENV)/.messages: $(VENV)/.installed $(INTERFACES)
	@$(BIN)/python -m dpvp.ros.interfaces.build
	@touch $@
