# Every command a developer needs; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CACHE := $(if $(TAPIO_CACHE),$(TAPIO_CACHE),$(HOME)/.cache/tapio)
PEERS = $(CACHE)/peers-$(shell sha256sum benchmarks/peers/beside/requirements.lock | cut -c1-16)
SCAN = $(CACHE)/scan-$(shell sha256sum tests/scan/requirements.lock | cut -c1-16)

.PHONY: campaign-sieve campaign-acto
.PHONY: help setup run test test-unit test-combinations test-real test-browser browser pictures check format crds deploy-manifests bench bench-peers test-peers clean control-plane golden golden-histories scan pod-security custom-resources
.PHONY: campaign-real

help: ## List these commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk 'BEGIN {FS = ":.*## "} {printf "  make %-18s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with everything that runs, tests and checks this project (about a minute).

$(STAMP): requirements.lock pyproject.toml
	@echo "[1/3] making a virtual environment in $(VENV) (a few seconds)"
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed and $(PYTHON) is not on PATH. Install it, or name it: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "[2/3] installing the locked packages (about 150 MB; a minute on an ordinary line)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@echo "[3/3] installing this project, editable"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(STAMP)

run: $(STAMP) ## Run the operator here: embedded NATS, simulated Kubernetes. EXAMPLE=file applies it; CONTEXT=name uses a real cluster.
	@exec $(BIN)/tapioctl run $(if $(EXAMPLE),--example '$(EXAMPLE)') $(if $(CONTEXT),--context '$(CONTEXT)') $(if $(ONCE),--once) $(if $(DIRECTORY),--directory '$(DIRECTORY)')

test: $(STAMP) ## Run every test that needs neither a control plane nor a browser.
	@$(BIN)/pytest -m "not real and not campaign and not browser and not peers" -n 3 --dist loadfile $(ARGS)

test-unit: $(STAMP) ## Run the unit tests alone.
	@$(BIN)/pytest tests/unit $(ARGS)

test-combinations: $(STAMP) ## Try thousands of random specs, and of ways from one to another, instead of the few of make test (about 4 minutes).
	@$(BIN)/pytest -m "campaign" -n 2 tests/unit/objects tests/simulation/test_transitions.py tests/replay/test_plan_tells_the_truth.py $(ARGS)

campaign-sieve: $(STAMP) ## Strike the operator at everything it writes, decides and is told (about 20 minutes of one core); see docs/sieve-and-acto.md.
	@$(BIN)/python -m tests.campaign.sieve $(ARGS)

campaign-acto: $(STAMP) ## Walk every field of the CRDs with good and bad values (about 10 minutes of one core); see docs/sieve-and-acto.md.
	@$(BIN)/python -m tests.campaign.acto $(ARGS)

test-real: $(STAMP) control-plane ## Run the suites that need a real etcd, kube-apiserver and kube-controller-manager.
	@$(BIN)/pytest -m "real and not campaign" $(ARGS)

test-browser: $(STAMP) browser ## Run the tests of the page (tapioctl ui) in a headless Chromium.
	@$(BIN)/pytest -m browser tests/ui $(ARGS)

browser: $(STAMP) ## Find Chromium, or install Debian's as root (once; 120 MB).
	@$(BIN)/python -m tests.ui.chromium

pictures: $(STAMP) browser ## Take the pictures of the page for the documentation anew.
	@$(BIN)/python -m tests.ui.pictures

.PHONY: campaign campaign-bites
campaign: $(STAMP) ## Run the operator through the fault schedules of SEEDS=FROM-TO, and tell how often each fault fired (docs/campaigns.md).
	@PYTHONHASHSEED=0 $(BIN)/python -m tests.campaign $(or $(SEEDS),1-500) $(ARGS)

campaign-bites: $(STAMP) ## Plant bugs in copies of the tree, and see that the campaign finds each within 500 seeds (half an hour).
	@$(BIN)/python -m tests.campaign.biting $(ARGS)
campaign-real: $(STAMP) ## Real faults that take minutes: NATS away for five, a full disk (root), leaders lost again and again (docs/campaigns.md).
	@$(BIN)/pytest -m "campaign and not real" tests/e2e tests/simulation/test_overload.py $(ARGS)

control-plane: $(STAMP) ## Find or build the real control plane (once; about 8 minutes on 2 cores).
	@$(BIN)/python -m tests.control_plane.build

check: $(STAMP) ## Format, lint, types, import contracts, generated files.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/yamllint --strict deploy/operator deploy/base deploy/legacy/kustomization.yaml
	@$(BIN)/python -m tapio_shared.api.crds --check
	@$(BIN)/python deploy/generate.py --check

scan: $(STAMP) ## Scan what is rendered from the examples with checkov, installed beside the project (once, about 300 MB).
	@[ -x $(SCAN)/bin/checkov ] || { echo "installing checkov in $(SCAN) (about a minute)"; rm -rf $(SCAN); \
	  $(PYTHON) -m venv $(SCAN) && $(SCAN)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/scan/requirements.lock; }
	@$(BIN)/python -m tests.scan $(SCAN)/bin/checkov

custom-resources: $(STAMP) ## Judge rendered custom resources of others by their own schemas, installed beside the project (once, 60 MB).
	@$(BIN)/python -m tests.custom_resources $(CACHE)

pod-security: $(STAMP) ## Judge the official fixtures of the Pod Security Standards. FIXTURES=checkout of kubernetes/pod-security-admission.
	@$(BIN)/python -m tests.pod_security $(FIXTURES)

format: $(STAMP) ## Format the code and mend what the linter can.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

crds: $(STAMP) ## Generate crds/, docs/reasons.md and docs/settings.md from the models.
	@$(BIN)/python -m tapio_shared.api.crds

deploy-manifests: $(STAMP) ## Generate the RBAC of deploy/ from the code.
	@$(BIN)/python deploy/generate.py

golden: $(STAMP) ## Write the golden renderings of the examples anew; read the diff before committing it.
	@$(BIN)/python -m tests.unit.objects.golden

golden-histories: $(STAMP) ## Record the golden histories anew, after a change of what is rendered that was meant.
	@$(BIN)/python -m tests.replay.golden

bench: $(STAMP) ## Measure speed as ratios within one run; see docs/benchmarks.md.
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(STAMP) $(PEERS)/.installed ## Measure this operator beside a kopf operator and the raw limit (3 minutes; ARGS=--full takes hours); writes docs/.
	@$(BIN)/python -m benchmarks.peers --python $(PEERS)/bin/python $(ARGS)

test-peers: $(STAMP) $(PEERS)/.installed ## Run bench-peers at its smallest and check that every subject does the same work (about 2 minutes).
	@TAPIO_PEERS_PYTHON=$(PEERS)/bin/python $(BIN)/pytest -m peers tests/peers $(ARGS)

$(PEERS)/.installed:
	@echo "installing kopf and matplotlib in $(PEERS) (about a minute)"
	@rm -rf $(PEERS); $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/peers/beside/requirements.lock
	@touch $@

clean: ## Remove what runs and tests left behind (not .venv).
	@rm -rf .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
