# The commands to remember. `make` lists them; scripts/ holds what they do.
.DEFAULT_GOAL := help
.PHONY: help setup ready train test check bench configs clean
python := .venv/bin/python

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16
	@echo 'Add ARGS="..." to train and test: make train ARGS="seed=1", make test ARGS="tests/unit -x".'

setup: ## make .venv with everything that runs here; EXTRAS=maniskill,dev,hil,... for a choice
	@scripts/setup.sh

ready:
	@scripts/setup.sh --quick

train: ready ## train a robot arm to push a cube
	@.venv/bin/embodied train experiment=$$(scripts/experiment.sh) $(ARGS)

test: ready ## run the tests
	@$(python) -m pytest $(ARGS)

check: ready ## style, types, import directions, packaging, configs, file lengths
	@scripts/check.sh

bench: ready ## short benchmarks: sampling speed, and time from command to first step
	@$(python) benchmarks/sampler.py
	@$(python) benchmarks/start.py

configs: ready ## print the recipes into configs/
	@.venv/bin/embodied configs --write

clean: ## remove caches and builds; .venv and runs stay
	@rm -rf build dist .pytest_cache .ruff_cache
	@find . \( -path ./.venv -o -path ./.git \) -prune -o -name __pycache__ -type d -exec rm -rf {} +
