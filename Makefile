# alpamayo_ros: `make demo` and `make test` are all that is needed; both set up what they need.
#
#   make demo [SCENE=… | SCENARIOS=…] [CHECKPOINT=… | PLANNER=…] [OUT=…]     make test     make help
#   make demo BAG=… RIG=… [CHECKPOINT=… OUT=…]
#
# Variables of the set-up: PYTHON (interpreter), TORCH (auto, cpu or cuda), TORCH_VERSION, VENV, CACHE.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup venv demo demo-sim demo-replay demo-arguments test test-quick test-transformers-4 test-long test-colcon reliability reliability-soak bench lint format doctor \
	clean distclean FORCE

VENV ?= .venv
CACHE ?= .cache
PYTHON ?=
TORCH ?= auto
TORCH_VERSION ?=
PYTEST_ARGS ?=
# Tests of computation alone run side by side, each process with models of its own in memory (1 GB and more);
# TEST_JOBS=0 runs all in one process, for a debugger.
TEST_JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 8 ? n : 8)))
COLCON_ROOMS ?=

# Of the demo. SCENE is driven and filmed; SCENARIOS are what `alpamayo sim` takes, the worst rollout is filmed.
SCENE ?=
SCENARIOS ?= $(or $(SCENE),$(DEMO_SCENARIOS))
PLANNER ?= $(or $(CHECKPOINT),$(SHIPPED_CHECKPOINT),expert)
# Of the replay; without RATE it plays in real time, or as slow as the planner needs.
BAG ?=
RIG ?= $(if $(BAG),,default)
CHECKPOINT ?=
BACKBONE ?=
RATE ?=
DEVICE ?=
OUT ?=

# The virtual environment holds a whole ROS 2; a sourced distribution or workspace must not mix with it.
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO ROS_VERSION \
	ROS_PYTHON_VERSION RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
export VIRTUAL_ENV := $(abspath $(VENV))
export PATH := $(VIRTUAL_ENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PY := $(VENV)/bin/python
# Each stamp below says that one step of the set-up is done; make repeats a step when its inputs change.
STAMP_VENV := $(VENV)/.stamp-venv
STAMP_TORCH := $(VENV)/.stamp-torch
STAMP_BUILD := $(VENV)/.stamp-build-requirements
READY := $(VENV)/.stamp-installed
TRANSFORMERS_4 := $(CACHE)/transformers-4.57
DEMO_SCENARIOS := pedestrian-11,cut_in-8,traffic_light-14
SHIPPED_CHECKPOINT := $(patsubst %/config.json,%,$(wildcard checkpoints/pisco/config.json))
DEMO_CHECKPOINT := $(CACHE)/demo/checkpoint
DEMO_BAG := $(CACHE)/demo/bag

# The rooms that wait for no clock and no graph. What is judged by time has the machine to itself, after them.
COMPUTING_ROOMS := $(wildcard $(addprefix test/,audit bags datasets evaluation model safety sensing sim2val training viz \
	sim/export sim/planners sim/render sim/scenes sim/scoring))
SIDE_BY_SIDE := -n $(TEST_JOBS) --dist loadfile

NODES := $(sort $(shell grep -l "^def main\\b" src/alpamayo_ros/nodes/*.py))
LAUNCH_FILES := $(sort $(wildcard launch/*.launch.py))
RANDOM_NOTICE := The network's weights are RANDOM, so plans and reasoning are noise, and the safety gate refuses \
	some of the plans; all else is real. \
	CHECKPOINT=nvidia/Alpamayo-1.5-10B runs the trained network on a GPU with 24 GB.
EXPERT_NOTICE := The EXPERT drives: it reads the simulated world itself and looks at no picture. \
	CHECKPOINT=pisco drives a checkpoint by the cameras.
INTERFACES := $(wildcard msg/*.msg srv/*.srv wheels/*/CMakeLists.txt wheels/*/msg/*.msg) CMakeLists.txt \
	$(wildcard cmake/*.cmake) package.xml setup.py src/alpamayo_ros/sim/protocol/compile_protos.py \
	$(wildcard src/alpamayo_ros/sim/protocol/protos/*.proto)
# Built by the install, but in the source tree: whoever removes it gets it again.
GENERATED := src/alpamayo_ros/sim/protocol/generated/__init__.py

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-22s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo 'Variables: PYTHON TORCH=auto|cpu|cuda TORCH_VERSION VENV; demo: SCENE SCENARIOS PLANNER CHECKPOINT OUT'
	@echo '  demo-replay: BAG RIG CHECKPOINT BACKBONE DEVICE RATE OUT'

setup: $(READY)  ## Create .venv with ROS 2, torch, transformers and this package (the others do it too)
venv: setup

demo: $(if $(BAG),demo-replay,demo-sim)  ## Drive scenes in closed loop (SCENE=, CHECKPOINT=), or replay a bag (BAG=, RIG=)

demo-sim: OUT := $(or $(OUT),out/demo)
demo-sim: $(READY)
	@if [ "$(PLANNER)" = expert ]; then echo "$(EXPERT_NOTICE)"; else echo "$(PLANNER) drives."; fi
	@film=(--video "$(or $(SCENE),worst)"); \
	missing="$$($(PY) -c 'from alpamayo_ros.sim.report import drawing_problem; print(drawing_problem())')"; \
	if [ -n "$$missing" ]; then film=(); echo "No film and no camera pictures: $$missing"; fi; \
	$(VENV)/bin/alpamayo sim --scenarios "$(SCENARIOS)" --planner "$(PLANNER)" --out "$(OUT)" "$${film[@]}"
	@echo "Look at        $(OUT)/report.html in a browser: scores, and each rollout from above and from its cameras"
	@if [ -e "$(OUT)/rollout.webm" ]; then echo "               $(OUT)/rollout.webm, the film of one"; fi

demo-replay: OUT := $(or $(OUT),out/replay)
demo-replay: demo-arguments $(READY) $(if $(CHECKPOINT),,$(DEMO_CHECKPOINT)/.done) $(if $(BAG),,$(DEMO_BAG)/.done)  ## Replay a bag over ROS topics through the planner (BAG=, RIG=)
	@if [ -z "$(CHECKPOINT)" ]; then echo "$(RANDOM_NOTICE)"; fi
	$(VENV)/bin/alpamayo replay "$(or $(BAG),$(DEMO_BAG)/bag)" --rig "$(RIG)" \
		--checkpoint "$(or $(CHECKPOINT),$(DEMO_CHECKPOINT))" --out "$(OUT)" \
		$(if $(BACKBONE),--backbone "$(BACKBONE)") $(if $(RATE),--rate "$(RATE)") $(if $(DEVICE),--device "$(DEVICE)")
	@ls -1 "$(OUT)"/summary.json "$(OUT)"/summary.png

demo-arguments:
	@if [ -z "$(RIG)" ]; then echo "make demo: with BAG= say RIG= too: a rig file or a name in config/rigs" >&2; exit 2; fi

test: test-quick test-transformers-4  ## Run the tests, the model's against both transformers 4.57 and the newest

test-quick: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not long" $(SIDE_BY_SIDE) $(PYTEST_ARGS) $(COMPUTING_ROOMS)
	$(PY) -m pytest -m "not long" $(PYTEST_ARGS) test $(addprefix --ignore=,$(COMPUTING_ROOMS))

test-transformers-4: $(READY) $(TRANSFORMERS_4)/.done
	@export PYTHONPATH="$(abspath $(TRANSFORMERS_4))"; \
	$(PY) -c 'import transformers as t; print("transformers", t.__version__); assert t.__version__[:4] == "4.57"'; \
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not long" $(SIDE_BY_SIDE) $(PYTEST_ARGS) test/model

test-long: $(READY)  ## Run the long tests too; installs Chromium for the web page's, where it may
	scripts/browser.sh
	$(PY) -m pytest -m "long or not long" $(PYTEST_ARGS)

test-colcon: $(READY)  ## Build and test with colcon, in a workspace and in place (COLCON_ROOMS="launch ros": these alone)
	scripts/test_colcon.sh "$(VENV)" "$(CACHE)/colcon" \
		$(if $(COLCON_ROOMS),--ctest-args -R '$(subst $() ,|,$(addprefix pytest_,$(strip $(COLCON_ROOMS))))')

reliability: export ALPAMAYO_RELIABILITY := $(CURDIR)/docs/RELIABILITY.md
reliability: $(READY)  ## Inject every fault into the planner and write what was found to docs/RELIABILITY.md
	$(PY) -m pytest -m "long or not long" test/faults --ignore test/faults/test_soak.py $(PYTEST_ARGS)

reliability-soak: export ALPAMAYO_RELIABILITY := $(CURDIR)/docs/RELIABILITY.md
reliability-soak: $(READY)  ## The same for half an hour, one fault after the other (ALPAMAYO_SOAK_S=)
	$(PY) -m pytest -s -m "long or not long" test/faults/test_soak.py $(PYTEST_ARGS)

bench: $(READY)  ## Run the benchmarks
	@for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; $(PY) -m "benchmarks.$$(basename "$$script" .py)"; done
	@echo "== benchmarks/model"; $(PY) -m benchmarks.model --size 4M --samples 1 6 --ticks 20

lint: $(READY)  ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(READY)  ## Let ruff mend what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

doctor: $(READY)  ## Say what is there and what is missing
	$(VENV)/bin/alpamayo doctor

clean:  ## Remove what was built (not .venv and .cache)
	rm -rf build install log out src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src test benchmarks launch -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## Remove .venv and .cache too
	rm -rf "$(VENV)" "$(CACHE)"

# --- Set-up -----------------------------------------------------------------------------------------

$(STAMP_VENV):
	@python="$$(scripts/find_python.sh $(PYTHON))"; \
	scripts/system_packages.sh "$$python"; \
	echo "Creating $(VENV) with $$python"; \
	"$$python" -m venv "$(VENV)"
	$(PY) -m pip install --quiet --upgrade pip
	@touch "$(VENV)/COLCON_IGNORE" $@

$(STAMP_TORCH): scripts/install_torch.py | $(STAMP_VENV)
	$(PY) scripts/install_torch.py --device "$(TORCH)" --version "$(TORCH_VERSION)"
	@touch $@

$(STAMP_BUILD): pyproject.toml scripts/build_requirements.py | $(STAMP_VENV)
	$(PY) scripts/build_requirements.py | $(PY) -m pip install --quiet --requirement /dev/stdin
	@touch $@

# Editable: a change of a module needs no new install. launch/ and config/ are linked, not copied, likewise;
# file by file, as `ros2 launch` does not look into linked folders.
$(READY): $(INTERFACES) pyproject.toml $(CACHE)/nodes.txt $(if $(wildcard $(GENERATED)),,FORCE) | $(STAMP_TORCH) $(STAMP_BUILD)
	@echo "Installing alpamayo_ros and what it needs"
	$(PY) -m pip install --quiet --no-build-isolation --editable '.[dev]'
	@for folder in launch config; do \
		rm -rf "$(VENV)/share/alpamayo_ros/$$folder"; \
		cp -rs "$(CURDIR)/$$folder" "$(VENV)/share/alpamayo_ros/$$folder"; \
	done
	@touch $@

# Every node has an executable, so a new node needs a new install, an edited one does not; launch files likewise.
$(CACHE)/nodes.txt: FORCE
	@mkdir -p $(@D) && touch $(CACHE)/COLCON_IGNORE
	@echo $(NODES) $(LAUNCH_FILES) | cmp --silent - $@ || echo $(NODES) $(LAUNCH_FILES) > $@

# The oldest supported transformers, beside the newest in .venv; torch stays the same.
$(TRANSFORMERS_4)/.done: | $(READY)
	rm -rf "$(@D)"
	$(PY) -m pip install --quiet --target "$(@D)" --no-deps "transformers==4.57.*" \
		"tokenizers>=0.22,<=0.23.0" "huggingface_hub<1" requests certifi charset-normalizer idna urllib3
	@touch $@

$(DEMO_CHECKPOINT)/.done: $(wildcard src/alpamayo_ros/model/random_*.py) | $(READY)
	rm -rf "$(@D)"
	$(VENV)/bin/alpamayo checkpoint random "$(@D)" --generation alpamayo1_5 --size small
	@touch $@

$(DEMO_BAG)/.done: $(wildcard src/alpamayo_ros/bags/synthetic/*.py) | $(READY)
	rm -rf "$(@D)" && mkdir -p "$(@D)"
	$(VENV)/bin/alpamayo bag synthetic "$(@D)/bag" --seconds 20
	@touch $@
